"""The arithmetic class: everything that decides bits, pinned and named.

Two machines of one class give the same bits for the same inputs; across classes results differ in the last places
(what was measured about each line stands in `docs/arithmetic.md`). A class is named so that a comparison between two
machines can be exact where it may be, and is never exact where it may not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
import transformers

from shieldwall.core.compression import PLAIN, Compression


@dataclass(frozen=True, slots=True, kw_only=True)
class ArithmeticClass:
    """Name of the arithmetic that a host computes in."""

    device: str
    """`cpu`, or the name of the accelerator's model."""
    isa: str
    """Instruction set that torch's CPU kernels use, such as `AVX512`; empty on accelerators."""
    torch: str
    """Version of torch; its kernels decide the order of sums."""
    transformers: str
    """Version of transformers; its modules decide which kernels are called."""
    threads: int
    """Threads inside one operation; they decide how a long sum is split."""
    attention: str
    """Attention implementation, such as `sdpa` or `eager`."""
    dtype: str
    """Type of weights and of arithmetic, such as `float32`."""
    optimizer: str
    """Optimizer and variant, such as `adamw/fused`."""
    borders: str = "contiguous"
    """Layout of the tensors that cross a stage's border, and how they are packed where they are."""

    def root(self) -> str:
        """SHA-256 over the fields as JSON with sorted keys, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def on(self, machine: Mapping[str, str]) -> ArithmeticClass:
        """The class of a machine that makes the same choices; `machine` as `name_machine` gives it.

        Raises:
            KeyError: something is missing in it.
        """
        return replace(
            self,
            device=machine["device"],
            isa=machine["isa"],
            torch=machine["torch"],
            transformers=machine["transformers"],
        )

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items() if value != "")


def name_arithmetic(
    device: torch.device,
    *,
    threads: int,
    attention: str,
    dtype: str,
    optimizer: str,
    compression: Compression = PLAIN,
) -> ArithmeticClass:
    """The class of this machine under these choices."""
    return ArithmeticClass(
        **name_machine(device),
        threads=threads,
        attention=attention,
        dtype=dtype,
        optimizer=optimizer,
        borders="contiguous" if compression.kind == "none" else f"contiguous/{compression}",
    )


OF_MACHINES = ("device", "isa", "torch", "transformers")
"""Those parts of a class that a machine brings with it; the others a run chooses."""


def name_machine(device: torch.device) -> dict[str, str]:
    """The parts of the class that this machine brings with it, by name."""
    on_cpu = device.type == "cpu"
    return {
        "device": "cpu" if on_cpu else torch.cuda.get_device_name(device),
        "isa": torch.backends.cpu.get_cpu_capability() if on_cpu else "",
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }


@contextmanager
def pinned_arithmetic(device: torch.device, threads: int) -> Iterator[None]:
    """While the block runs, impose what a process can impose on its own arithmetic.

    That is the number of threads, and on CUDA deterministic kernels and no TF32 (bit-equality there is not measured
    yet). Everything is put back afterwards, the state of torch's generators included, so that a program that trains is
    not changed by it.
    """
    cuda = device.type == "cuda"
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    threads_before, tf32_before = torch.get_num_threads(), (matmul.allow_tf32, cudnn.allow_tf32)
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    if cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        with torch.random.fork_rng(devices=[device] if cuda else []):
            yield
    finally:
        torch.set_num_threads(threads_before)
        if cuda:
            torch.use_deterministic_algorithms(deterministic_before)
            matmul.allow_tf32, cudnn.allow_tf32 = tf32_before


def choose_device(wish: str) -> torch.device:
    """The device behind `auto` (CUDA where there is one, else the CPU) or behind a torch device name."""
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wish)
