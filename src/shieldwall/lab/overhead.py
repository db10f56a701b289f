"""Where a step's time goes, in plain training and through the pipeline, side by side.

Python's own profiler (`cProfile`) is switched on for whole steps, and the inclusive time of a few functions is read
from it: parts that both ways have, and parts that only the pipeline has. No function in a part calls one of another
part, but where a part is written as a difference. The profiler slows Python code down and leaves torch's kernels as
they are, so times of parts that are pure Python are upper bounds.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shieldwall.lab.subject import Trainer

_OPTIMIZER = ("torch/optim/optimizer.py", "wrapper")
_LET_GO = "letting gradients (and the old state) go"
_BACKWARD = ("torch/autograd/__init__.py", "backward")


@dataclass(frozen=True, slots=True)
class Part:
    """Time in the functions of `places` less that in those of `without`; a place is the end of a path, and a name."""

    name: str
    places: tuple[tuple[str, str], ...]
    without: tuple[tuple[str, str], ...] = ()


PLAIN_PARTS = (
    Part("forward and loss", (("torch/nn/modules/module.py", "_call_impl"),)),
    Part("backward", (_BACKWARD,)),
    Part("norms and clipping", (("torch/nn/utils/clip_grad.py", "clip_grad_norm_"),)),
    Part("optimizer's step", (_OPTIMIZER,)),
    Part(_LET_GO, (("torch/optim/optimizer.py", "zero_grad"),)),
)
PIPELINE_PARTS = (
    Part(
        "forward and loss",
        (("pipeline/hosted_stage.py", "forward"), ("pipeline/hosted_stage.py", "loss")),
    ),
    Part("backward", (_BACKWARD,)),
    Part(
        "norms and clipping",
        (
            ("pipeline/hosted_stage.py", "norms"),
            ("pipeline/clip.py", "global_norm"),
            ("pipeline/clip.py", "clip_coefficient"),
            ("pipeline/update.py", "scale_gradients"),
        ),
    ),
    Part("optimizer's step", (_OPTIMIZER,)),
    Part("copies for the new state beside the old", (("pipeline/update.py", "prepare"),), without=(_OPTIMIZER,)),
    Part(_LET_GO, (("pipeline/update.py", "commit"),)),
    Part("head's share of tied gradients", (("pipeline/hosted_stage.py", "backward"),), without=(_BACKWARD,)),
    Part("checks that all is finite", (("pipeline/lane.py", "require_finite"),)),
)
REST = "everything else: orders, messages, event loop"


@dataclass(frozen=True, slots=True)
class StepProfile:
    """Milliseconds of one step by part, and the functions with most time of their own."""

    total_ms: float
    part_ms: Mapping[str, float]
    top: Sequence[Mapping[str, Any]]


async def profile_steps(trainer: Trainer, first: int, last: int, parts: Sequence[Part]) -> StepProfile:
    """Train the steps `first` to `last - 1` under the profiler.

    Raises:
        LookupError: a part's function never ran; the engine has changed and `parts` must follow.
    """
    profile = cProfile.Profile()
    start = time.perf_counter()
    profile.enable()
    try:
        await trainer.train(first, last)
    finally:
        profile.disable()
    count = last - first
    total_ms = (time.perf_counter() - start) * 1e3 / count
    calls = _inclusive_ms(profile)
    part_ms = {part.name: (_time(calls, part.places) - _time(calls, part.without)) / count for part in parts}
    return StepProfile(total_ms, {**part_ms, REST: total_ms - sum(part_ms.values())}, _top(profile, count))


def overhead_rows(plain: Sequence[StepProfile], pipeline: Sequence[StepProfile]) -> list[dict[str, Any]]:
    """Medians of both ways and their difference, a row for each part and one for the whole step."""
    names = [part.name for part in PIPELINE_PARTS] + [REST]
    rows = []
    for name in names:
        ours = statistics.median(profile.part_ms[name] for profile in pipeline)
        theirs = statistics.median(profile.part_ms.get(name, 0.0) for profile in plain)
        rows.append({"part": name, "plain_ms": theirs, "pipeline_ms": ours, "extra_ms": ours - theirs})
    whole = [statistics.median(each.total_ms for each in profiles) for profiles in (plain, pipeline)]
    rows.append({"part": "whole step", "plain_ms": whole[0], "pipeline_ms": whole[1], "extra_ms": whole[1] - whole[0]})
    return rows


_Calls = Mapping[tuple[str, str], float]


def _inclusive_ms(profile: cProfile.Profile) -> dict[tuple[str, str], float]:
    """Inclusive time by file and function; recursion is counted once."""
    calls: dict[tuple[str, str], float] = {}
    for (file, _, name), (_, _, _, inclusive_s, _) in _stats(profile).items():
        key = (file.replace("\\", "/"), name)
        calls[key] = calls.get(key, 0.0) + inclusive_s * 1e3
    return calls


def _time(calls: _Calls, places: Sequence[tuple[str, str]]) -> float:
    total = 0.0
    for ending, name in places:
        found = [ms for (file, function), ms in calls.items() if file.endswith(ending) and function == name]
        if not found:
            raise LookupError(f"{name} of {ending} never ran")
        total += sum(found)
    return total


def _top(profile: cProfile.Profile, count: int, entries: int = 15) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"function": _describe(place), "calls": calls / count, "own_ms": own_s * 1e3 / count}
        for place, (_, calls, own_s, _, _) in _stats(profile).items()
    ]
    return sorted(rows, key=lambda row: -row["own_ms"])[:entries]


def _describe(place: tuple[str, int, str]) -> str:
    """A function's name with the last two parts of its file's path, which say nothing of this machine."""
    file, _, name = place
    return name if file == "~" else f"{'/'.join(file.replace(chr(92), '/').split('/')[-2:])}: {name}"


def _stats(profile: cProfile.Profile) -> dict[tuple[str, int, str], tuple[int, int, float, float, Any]]:
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = vars(pstats.Stats(profile))["stats"]
    return stats
