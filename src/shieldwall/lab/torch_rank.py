"""One rank of `torch.distributed.pipelining`, in a process of its own: `python -m shieldwall.lab.torch_rank TASK`.

TASK is JSON, as `RankTask` says. Orders come as lines of JSON on standard input:
`{"schedule": S, "first": F, "last": L}` means to train the steps F to L - 1. Every order is answered by a line of JSON
on standard output: `seconds` of all those steps and `losses`, which only the last rank has. The first line says that
the rank is ready. Between orders the process waits for the next line and takes no processor time; it ends when
standard input does.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTask:
    """What the process shall do.

    Args:
        rank: its place in the pipeline.
        layers: for each rank its first layer, and the one after its last.
        schedules: each is trained with weights and an optimizer of its own.
        folder: a GPT-2 in Hugging Face layout.
        vocabulary: tokens are drawn below it.
        shape: micro-batches of a step, sequences in one, tokens in a sequence.
        steps: for how many steps tokens are drawn.
        seed: of the tokens.
        threads: of torch.
        device: where it computes.
        meeting: a file that is not there yet, through which the ranks find each other.
        patience_s: for how long it waits for the other ranks.
    """

    rank: int
    layers: tuple[tuple[int, int], ...]
    schedules: tuple[str, ...]
    folder: str
    vocabulary: int
    shape: tuple[int, int, int]
    steps: int
    seed: int
    threads: int
    device: str
    meeting: str
    patience_s: float

    def to_json(self) -> str:
        """The command line's argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RankTask:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        tuples = {key: tuple(fields[key]) for key in ("shape", "schedules")}
        return cls(**{**fields, **tuples, "layers": tuple(tuple(each) for each in fields["layers"])})


def serve(task: RankTask, orders: TextIO, answers: TextIO) -> None:
    """Join the other ranks and obey orders until there are no more."""
    import torch
    import torch.distributed as dist

    from shieldwall.core.arithmetic import pinned_arithmetic
    from shieldwall.run.allocator import keep_freed_memory

    keep_freed_memory()
    dist.init_process_group(
        "gloo",
        init_method=Path(task.meeting).as_uri(),
        rank=task.rank,
        world_size=len(task.layers),
        timeout=timedelta(seconds=task.patience_s),
    )
    with pinned_arithmetic(torch.device(task.device), task.threads):
        trainers = _make_trainers(task)
        _say(answers, {"ready": True})
        while line := orders.readline():
            _say(answers, _obey(trainers, json.loads(line)))
    dist.destroy_process_group()


def _make_trainers(task: RankTask) -> Mapping[str, Any]:
    import torch
    import torch.distributed as dist

    from shieldwall.lab.torch_stage import StageTrainer
    from shieldwall.lab.whole import draw_tokens

    steps = draw_tokens(task.vocabulary, task.shape, task.steps, task.seed)
    ends = dist.new_group([0, len(task.layers) - 1])
    return {
        schedule: StageTrainer(
            Path(task.folder),
            steps,
            layers=task.layers[task.rank],
            schedule=schedule,
            ends=ends,
            device=torch.device(task.device),
        )
        for schedule in task.schedules
    }


def _obey(trainers: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """Train; the clock starts when all ranks have done with what is theirs to do before."""
    import torch.distributed as dist

    gc.collect()
    dist.barrier()
    start = time.perf_counter()
    losses = trainers[order["schedule"]].train(order["first"], order["last"])
    return {"seconds": time.perf_counter() - start, "losses": losses}


def _say(answers: TextIO, answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def main() -> None:
    """Serve; what libraries print goes to standard error, so that answers stay alone on standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(RankTask.from_json(sys.argv[1]), sys.stdin, answers)


if __name__ == "__main__":
    main()
