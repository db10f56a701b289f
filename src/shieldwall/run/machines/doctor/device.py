"""Devices: each is given a product of matrices to compute, and its result is held against one in double precision."""

from __future__ import annotations

import platform
from collections.abc import Callable

import torch
from torch import Tensor

from shieldwall.core.arithmetic import choose_device
from shieldwall.run.machines.doctor.finding import Finding, bad, good

_SIDE = 256
_UNIT = 2.0**-24
"""Of rounding in float32."""

Multiply = Callable[[Tensor, Tensor, torch.device], Tensor]
"""The product of two float32 matrices, computed on a device, as it is then on the CPU."""


def multiply(left_NN: Tensor, right_NN: Tensor, device: torch.device) -> Tensor:
    """The product as torch computes it."""
    return (left_NN.to(device) @ right_NN.to(device)).cpu()


def check_devices(wish: str, *, every: bool, compute: Multiply = multiply) -> list[Finding]:
    """Whether the device that is wished for is there and computes right.

    Args:
        wish: "auto" or a device of torch's.
        every: for "auto", all devices and not only the one that would be taken.
        compute: what is asked to compute.
    """
    chosen = find_device(wish)
    if chosen is None:
        known = ", ".join(map(str, _devices()))
        return [bad("device", "it is not there", f"give --device auto, or one of: {known}", wish)]
    return [check_device(each, compute) for each in (_devices() if every and wish == "auto" else [chosen])]


def find_device(wish: str) -> torch.device | None:
    """The device that is wished for, of torch's; None where it is not there."""
    try:
        chosen = choose_device(wish)
    except RuntimeError:  # no kind of device that torch knows
        return None
    numbered = torch.device(chosen.type, chosen.index or 0) if chosen.type == "cuda" else chosen
    return chosen if numbered in _devices() else None


def _devices() -> list[torch.device]:
    return [torch.device("cpu"), *(torch.device("cuda", number) for number in range(torch.cuda.device_count()))]


def check_device(device: torch.device, compute: Multiply = multiply) -> Finding:
    """Whether a product of two matrices comes out as near to the true one as float32 allows.

    |computed - true| <= n u / (1 - n u) |A| |B|, entry by entry, with n terms in each sum and rounding unit u: holds
    for any order of the sums, and for nothing that computes in fewer digits.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, second edition, section 3.5.
    """
    generator = torch.Generator().manual_seed(0)
    left_NN, right_NN = (torch.randn(_SIDE, _SIDE, generator=generator) for _ in range(2))
    try:
        computed_NN = compute(left_NN, right_NN, device).double()
    except RuntimeError as error:
        why = str(error).splitlines()[0][:200]
        return bad("device", f"it does not compute: {why}", _other_device(device), _name(device))
    true_NN = left_NN.double() @ right_NN.double()
    bound_NN = _SIDE * _UNIT / (1 - _SIDE * _UNIT) * (left_NN.double().abs() @ right_NN.double().abs())
    wrong = int((~((computed_NN - true_NN).abs() <= bound_NN)).sum())
    if not wrong:
        return good("device", "computes a product of matrices right", _name(device))
    saw = f"{wrong:,} of {computed_NN.numel():,} entries of a product of matrices are wrong"
    return bad("device", saw, _other_device(device), _name(device))


def _other_device(device: torch.device) -> str:
    return "test the machine's memory" if device.type == "cpu" else f"see to {device}'s driver, or give --device cpu"


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"
