"""What the report says of the comparison with `torch.distributed.pipelining`: tables, receipts, notes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shieldwall.lab.interleaved import SPEED_COLUMNS, Measured
from shieldwall.lab.record import Column, Receipt, Section, Table
from shieldwall.lab.subject import Size

PLAIN = "plain"
FIRST_STEPS = 3
"""In these the losses of torch's ways are held to plain's; later the smallest difference may have grown."""
CPU_TOLERANCE, OTHER_TOLERANCE = 1e-6, 1e-4
"""Largest relative difference. On the CPU 1e-8 was seen, and 1e-5 where the tied gradients are not added."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two ways with the same cut and the same schedule."""

    stages: int
    schedule: str

    @property
    def ours(self) -> str:
        return f"shieldwall K={self.stages} {self.schedule}"

    @property
    def torch(self) -> str:
        return f"torch K={self.stages} {self.schedule}"


def section_of(measured: Mapping[str, Measured], pairs: Sequence[Pair], size: Size, steps: int) -> Section:
    """Everything that was measured, by device.

    Args:
        measured: by device.
        pairs: what was held against each other.
        size: of the model and a step.
        steps: of one way in one repeat.
    """
    tables: list[Table] = []
    receipts: list[Receipt] = []
    for device, each in measured.items():
        tables += [_speed_table(device, each, pairs, size), _paired_table(device, each, pairs)]
        receipts += [_our_receipt(device, each, pairs), _torch_receipt(device, each, pairs)]
    keys = ("micro_batches", "micro_batch_size")
    setup = {**{f"side_by_side_{key}": getattr(size, key) for key in keys}, "side_by_side_steps_per_repeat": steps}
    notes = _NOTES + (_CUDA_NOTES if "cuda" in measured else ())
    return Section(setup=setup, tables=tuple(tables), receipts=tuple(receipts), notes=notes)


_NOTES = (
    "Side by side, an interleaved run of its own: the same model with more and smaller micro-batches, because torch's"
    " 1F1B refuses fewer micro-batches than stages. All processes ask the C library to keep freed memory.",
    "Plain and shieldwall train in this one process with its threads; torch's K ranks are K processes with one thread"
    " each. They live through the whole run, wait for orders without taking processor time while others train, and"
    " talk by gloo over the loopback interface.",
    "A rank holds Hugging Face's own modules, cut as shieldwall cuts, with gradient accumulation and fused AdamW as"
    " plain training has it. What pipelining leaves to its user is done by hand: an all-reduce of the tied"
    " embedding's gradient between the first and the last rank, and one of the squared norms before clipping at 1.0."
    " The step's logits are not gathered.",
    "The time of torch's ways is that of the slowest rank by its own clock, from a barrier before the first step to the"
    " end of its last update.",
    "Torch's losses are not the same bits as plain's, because the tied gradient and the global norm are summed in"
    f" another order; on the CPU they must be within {CPU_TOLERANCE:g} of them, relatively, in the first {FIRST_STEPS}"
    " steps: ten times less than what forgetting the tied gradient's exchange changes.",
)
_CUDA_NOTES = (
    "On the CUDA device all processes share one GPU. NCCL refuses two ranks on one GPU, and gloo sends from host memory"
    " alone, so torch's ranks copy activations and gradients through host memory; shieldwall in one process does not."
    " What is compared there is therefore one process on one GPU with several, not two GPU clusters.",
    "On the CUDA device all ways run with deterministic kernels and without TF32; shieldwall's losses are held to the"
    f" same tolerance as torch's there, {OTHER_TOLERANCE:g}, and the table says how far they are from plain's.",
)


def _speed_table(device: str, measured: Measured, pairs: Sequence[Pair], size: Size) -> Table:
    def row(name: str, processes: int) -> dict[str, Any]:
        return {
            "variant": name,
            "processes": processes,
            **measured.speed_cells(name, PLAIN, size.step_tokens),
            "loss_difference": loss_difference(measured, name),
        }

    ours = [row(pair.ours, 1) for pair in pairs]
    theirs = [row(pair.torch, pair.stages) for pair in pairs]
    columns = (
        Column("variant", "variant"),
        Column("processes", "processes"),
        *SPEED_COLUMNS,
        Column("loss_difference", "loss against plain's, greatest relative difference", "{:.1e}"),
    )
    title = f"Side by side with torch.distributed.pipelining, {device}, {size.micro_batches} micro-batches"
    return Table(_key("side_by_side", device), title, columns, [row(PLAIN, 1), *ours, *theirs])


def _paired_table(device: str, measured: Measured, pairs: Sequence[Pair]) -> Table:
    rows = [
        {
            "stages": pair.stages,
            "schedule": pair.schedule,
            **measured.ratios(pair.ours, pair.torch).to_json("ours_to_torch"),
        }
        for pair in pairs
    ]
    columns = (
        Column("stages", "K"),
        Column("schedule", "schedule"),
        Column("ours_to_torch_median", "shieldwall's tokens/s over torch's in the same repeat, median", "{:.3f}"),
        Column("ours_to_torch_min", "least", "{:.3f}"),
        Column("ours_to_torch_max", "most", "{:.3f}"),
    )
    title = f"shieldwall against torch.distributed.pipelining, paired, {device}"
    return Table(_key("side_by_side_paired", device), title, columns, rows)


def _key(name: str, device: str) -> str:
    return name if device == "cpu" else f"{name}_{device}"


def loss_difference(measured: Measured, name: str, steps: int | None = None) -> float:
    """Greatest relative difference between the losses of `name` and plain's, in the first `steps` steps or in all.

    Infinite where a loss is missing or not finite.
    """
    theirs, plain = measured.losses[name][:steps], measured.losses[PLAIN][:steps]
    if len(theirs) != len(plain) or not all(map(math.isfinite, [*theirs, *plain])):
        return math.inf
    return max(abs(loss - right) / abs(right) for loss, right in zip(theirs, plain, strict=True))


def _our_receipt(device: str, measured: Measured, pairs: Sequence[Pair]) -> Receipt:
    names = [pair.ours for pair in pairs]
    if device != "cpu":
        return _close_receipt(device, measured, names)
    plain = measured.losses[PLAIN]
    return Receipt(
        f"side by side, {device}: the losses of {'; '.join(names)} equal plain's, bit for bit, in each of"
        f" {len(plain)} steps",
        all(measured.losses[name] == plain for name in names),
    )


def _torch_receipt(device: str, measured: Measured, pairs: Sequence[Pair]) -> Receipt:
    return _close_receipt(device, measured, [pair.torch for pair in pairs])


def _close_receipt(device: str, measured: Measured, names: Sequence[str]) -> Receipt:
    count = min(FIRST_STEPS, len(measured.losses[PLAIN]))
    tolerance = CPU_TOLERANCE if device == "cpu" else OTHER_TOLERANCE
    return Receipt(
        f"side by side, {device}: the losses of {'; '.join(names)} are within {tolerance:g} of plain's, relatively, in"
        f" the first {count} steps",
        all(loss_difference(measured, name, FIRST_STEPS) <= tolerance for name in names),
    )
