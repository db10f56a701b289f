"""The estimate of memory, and the refusal where it cannot fit."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import torch

from shieldwall.core.errors import PlanError
from shieldwall.models.measure import UnitCost
from shieldwall.pipeline.optimizer import OptimizerSettings

_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def stage_bytes(
    units: list[UnitCost],
    in_flight: int,
    optimizer: OptimizerSettings,
    *,
    gradient_checkpointing: bool,
    gradients_apart: int = 1,
) -> int:
    """Peak bytes that a stage needs: weights, moments, and the larger of two moments of a step.

    While micro-batches are in flight there are gradients and what autograd keeps of each (under gradient checkpointing
    the input of each, and all of one); in the prepare phase there are gradients and the new weights and moments beside
    the old ones. Where work is checked, the gradients of `gradients_apart` micro-batches are held by themselves.
    """
    weights = sum(unit.trained_bytes for unit in units)
    frozen = sum(unit.frozen_bytes for unit in units)
    kept = sum(unit.saved_bytes for unit in units)
    entry = max(unit.entry_bytes for unit in units)
    saved = in_flight * entry + kept if gradient_checkpointing else in_flight * kept
    state = weights * (1 + optimizer.moments)
    return frozen + state + weights * gradients_apart + max(saved, state)


def available_bytes(device: torch.device) -> int:
    """Bytes that this process may still take on `device`, by what is free, its container's limit and its own."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    used = psutil.Process().memory_info()
    free = int(psutil.virtual_memory().available)
    if _CONTAINER_LIMIT.exists() and (limit := _CONTAINER_LIMIT.read_text().strip()).isdigit():
        free = min(free, int(limit) - int(used.rss))
    for name, taken in ((resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, getattr(used, "data", 0))):
        soft, _ = resource.getrlimit(name)
        if soft != resource.RLIM_INFINITY:
            free = min(free, soft - int(taken))
    return max(0, free)


def refuse_too_large(memory_bytes: dict[str, int], device: torch.device) -> None:
    """Refuse a plan whose hosts, all in this process, need more memory than there is.

    Raises:
        PlanError: SW-P201.
    """
    need, room = sum(memory_bytes.values()), available_bytes(device)
    if need > room:
        raise PlanError(
            "SW-P201",
            "the run does not fit into memory",
            where=f"{device}, {len(memory_bytes)} hosts in one process",
            expected=f"at most {format_bytes(room)}, which is free now",
            got=f"about {format_bytes(need)}: "
            + ", ".join(f"{host} {format_bytes(size)}" for host, size in memory_bytes.items()),
            remedy="lower pipeline.micro_batch_size, pipeline.micro_batches or data.block_tokens, or take"
            ' pipeline.schedule = "1f1b" or a smaller model',
        )


def format_bytes(size: int) -> str:
    """A size for people: `312 MiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
