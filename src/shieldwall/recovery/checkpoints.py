"""The checkpoints of a run: `checkpoints/step-N/`, each whole, self-contained and checked when it is read.

    step-N/  model-*.safetensors, index, config.json, tokenizer     Hugging Face layout: transformers loads it
             or adapter_model.safetensors, adapter_config.json      under LoRA, as peft loads it
             optimizer-*.safetensors                                moments by parameter name
             state.json                                             step, best evaluation, roots of all tensors

A checkpoint is written as `step-N.partial`, flushed and renamed. Tensors are kept by name, so a run may go on with
another cut than it was saved with.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from shieldwall.core.errors import CheckpointError
from shieldwall.core.files import remove_partials, remove_whole, storing, whole_folder
from shieldwall.core.messages import StageState
from shieldwall.core.roots import open_safetensors, tensor_names, weights_root
from shieldwall.recovery.model_folder import ModelFolderWriter, split_moment

_STATE_FILE = "state.json"
_STEP_FOLDER = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a run must remember besides tensors."""

    step: int
    """Committed steps."""
    best_step: int | None = None
    """Committed steps at the best evaluation so far."""
    best_perplexity: float | None = None
    evaluations_since_best: int = 0
    seconds: float = 0.0
    """Time spent in the run so far."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One whole checkpoint on the disk."""

    folder: Path
    progress: Progress

    def moments(self, names: Iterable[str]) -> dict[str, dict[str, Tensor]]:
        """What the optimizer remembers of the named parameters; those it knows nothing of are left out.

        Raises:
            CheckpointError: SW-K102; a file is damaged.
        """
        wanted = set(names)
        moments: dict[str, dict[str, Tensor]] = {}
        for path in sorted(self.folder.glob("optimizer-*.safetensors")):
            mine = [stored for stored in tensor_names(path) if split_moment(stored)[0] in wanted]
            with open_safetensors(path) as handle:
                for stored in mine:
                    name, key = split_moment(stored)
                    moments.setdefault(name, {})[key] = handle.get_tensor(stored)
        return moments


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: `checkpoints/` of the run.
        keep: newest checkpoints to keep; the best one is kept besides.
        adapter_prefix: what peft puts before the names of adapters; None where whole weights are kept.
    """

    def __init__(self, folder: Path, keep: int, adapter_prefix: str | None = None) -> None:
        self.folder = folder
        self._keep = keep
        self._adapter_prefix = adapter_prefix

    async def save(
        self,
        progress: Progress,
        stages: int,
        states: AsyncIterator[tuple[int, StageState]],
        write_assets: Callable[[Path], None],
    ) -> Path:
        """Write the state after `progress.step` steps, then remove what is older than the newest few.

        Args:
            progress: what to remember besides tensors.
            stages: number of stages that `states` yields.
            states: each stage's committed state.
            write_assets: writes configuration and tokenizer into the folder.

        Raises:
            StorageError: SW-S101; no trace of the new checkpoint is left, all older ones stand.
            FileExistsError: that checkpoint is there already; a mistake of the caller.
        """
        target = self.path(progress.step)
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with whole_folder(target) as partial:
            await write_model(partial, stages, states, write_assets, adapter_prefix=self._adapter_prefix)
            state = {"progress": asdict(progress), "root": _root(progress, weights_root(partial))}
            (partial / _STATE_FILE).write_text(json.dumps(state, indent=2) + "\n")
        self._prune(progress)
        return target

    def path(self, step: int) -> Path:
        """Where the checkpoint after `step` steps lies."""
        return self.folder / f"step-{step}"

    def steps(self) -> list[int]:
        """Steps of which a whole checkpoint lies there, in order."""
        found = [_STEP_FOLDER.fullmatch(path.name) for path in self.folder.glob("step-*")]
        return sorted(int(match[1]) for match in found if match)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint, checked; None if there is none. Removes what an interrupted save left.

        Raises:
            CheckpointError: SW-K102 or SW-K106; the newest checkpoint is damaged.
        """
        remove_partials(self.folder)
        steps = self.steps()
        return read_checkpoint(self.path(steps[-1])) if steps else None

    def _prune(self, progress: Progress) -> None:
        for step in self.steps()[: -self._keep]:
            if step != progress.best_step:
                remove_whole(self.path(step))


async def write_model(
    folder: Path,
    stages: int,
    states: AsyncIterator[tuple[int, StageState]],
    write_assets: Callable[[Path], None],
    *,
    adapter_prefix: str | None = None,
) -> None:
    """Fill `folder` with the model that `states` make up, in Hugging Face layout, or with adapters in peft's.

    Raises:
        StorageError: SW-S101.
    """
    writer = ModelFolderWriter(folder, stages, adapter_prefix)
    with storing(folder):
        write_assets(folder)
    async for stage, state in states:
        writer.add(stage, state)
    writer.finish()


def read_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint and check every tensor of it against the root that was stored with it.

    Raises:
        CheckpointError: SW-K101, SW-K102, files missing or cut short; SW-K106, tensors or state were changed.
    """
    stored = _read_state(folder)
    progress = Progress(**stored["progress"])
    found = _root(progress, weights_root(folder))
    if found != stored["root"]:
        raise CheckpointError(
            "SW-K106",
            "a checkpoint does not hold what was saved",
            where=str(folder),
            expected=f"root {stored['root']}",
            got=f"root {found}",
            remedy=f"remove {folder.name} and resume from the checkpoint before it",
        )
    return Checkpoint(folder, progress)


def _root(progress: Progress, tensors_root: str) -> str:
    """Hash over what a checkpoint remembers besides tensors, and over all its tensors."""
    text = json.dumps([asdict(progress), tensors_root], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / _STATE_FILE
    try:
        state: dict[str, Any] = json.loads(path.read_text())
        Progress(**state["progress"])
        str(state["root"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "SW-K102",
            f"{_STATE_FILE} of a checkpoint cannot be read",
            where=str(path),
            expected="the JSON file that was saved with the checkpoint",
            got=f"{type(error).__name__}: {error}",
            remedy=f"remove {folder.name} and resume from the checkpoint before it",
        ) from error
    return state
