"""One process that trains in one way and tells how much memory it took: `python -m shieldwall.lab.memory_child TASK`.

TASK is JSON, as `MemoryTask` says. The last line of standard output is JSON: `peak_bytes`, `losses`. What a way does
not need it does not import, so that the pipeline pays for its own code and plain training does not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTask:
    """What the process shall do.

    Args:
        way: "nothing" only imports the libraries; "accumulation" and "all_forwards" train plainly; "pipeline" trains
            through the pipeline.
        folder: a model in Hugging Face layout.
        vocabulary: tokens are drawn below it.
        shape: micro-batches of a step, sequences in one, tokens in a sequence.
        seed: of the tokens.
        threads: of torch.
        stages: K, for "pipeline".
        schedule: for "pipeline".
        keep: ask the allocator to keep freed memory, as the commands do.
    """

    way: str
    folder: str
    vocabulary: int
    shape: tuple[int, int, int]
    seed: int
    threads: int
    stages: int = 0
    schedule: str = ""
    keep: bool = False
    gradient_checkpointing: bool = False

    def to_json(self) -> str:
        """The command line's argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> MemoryTask:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "shape": tuple(fields["shape"])})


def peak_bytes() -> int:
    """Most memory that was ever resident in this process.

    On Linux this is `VmHWM`, which begins anew with the process; `ru_maxrss` there can be that of the parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024


async def run_task(task: MemoryTask) -> list[float]:
    """Train as the task says and return the losses."""
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(task.threads)
    if task.way == "nothing":
        del GPT2LMHeadModel
        return []
    return await (_train_pipeline(task) if task.way == "pipeline" else _train_plain(task))


async def _train_plain(task: MemoryTask) -> list[float]:
    from shieldwall.lab.whole import PlainTrainer, draw_tokens

    steps = draw_tokens(task.vocabulary, task.shape, STEPS, task.seed)
    trainer = PlainTrainer(
        Path(task.folder),
        steps,
        all_forwards_first=task.way == "all_forwards",
        gradient_checkpointing=task.gradient_checkpointing,
    )
    return await trainer.train(0, STEPS)


async def _train_pipeline(task: MemoryTask) -> list[float]:
    from shieldwall.lab.subject import pipeline_trainer, plan_on_one_machine
    from shieldwall.lab.whole import draw_tokens
    from shieldwall.run.allocator import keep_freed_memory

    if task.keep:
        keep_freed_memory()
    steps = draw_tokens(task.vocabulary, task.shape, STEPS, task.seed)
    plan = plan_on_one_machine(task.schedule, task.stages, task.shape[0])
    again = task.gradient_checkpointing
    async with pipeline_trainer(Path(task.folder), steps, plan, gradient_checkpointing=again) as trainer:
        return await trainer.train(0, STEPS)


def main() -> None:
    """Run the task on the command line."""
    losses = asyncio.run(run_task(MemoryTask.from_json(sys.argv[1])))
    print(json.dumps({"peak_bytes": peak_bytes(), "losses": losses}))


if __name__ == "__main__":
    main()
