"""A run's folder: what lies where, who may write to it, and whether it can be resumed.

runs/NAME/
  config.toml     as resolved                          metrics.jsonl   one line a step
  plan.json       the plan that was played             summary.json    written last
  initial/        first weights and tokenizer of a     checkpoints/    step-N/
                  tiny: model                          model/          the result, in Hugging Face layout
  run.lock        held while a process trains here     adapter/        under LoRA, as peft loads it
  inputs.json     roots of the blocks, arithmetic      trace.jsonl     when the passes of some steps ran
                  class                                board/          events for TensorBoard, if wanted
  ledger.sqlite   who signed for what, and who was     report/         written by `shieldwall report`
                  found out; hash-chained, signed      evidence/       tensors behind verdicts, sealed
  workers.json    with --listen: who is there          returns.jsonl   each time that it went back to a checkpoint
  custody.json    with --listen: who was drawn to hold what
  private/        the keys of the run and of its reviewers; for its owner alone
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from shieldwall.config import Config
from shieldwall.core.errors import RunFolderError, StorageError
from shieldwall.core.files import (
    PARTIAL,
    flush_to_disk,
    held_alone,
    remove_partials,
    remove_whole,
    storing,
    write_whole,
)
from shieldwall.core.lines import read_lines


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def initial(self) -> Path:
        return self.path / "initial"

    @property
    def inputs(self) -> Path:
        return self.path / "inputs.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def returns(self) -> Path:
        return self.path / "returns.jsonl"

    @property
    def trace(self) -> Path:
        return self.path / "trace.jsonl"

    @property
    def board(self) -> Path:
        return self.path / "board"

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def custody(self) -> Path:
        return self.path / "custody.json"

    @property
    def private(self) -> Path:
        return self.path / "private"

    @property
    def evidence(self) -> Path:
        return self.path / "evidence"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def sealed_summary(self) -> Path:
        """The summary before the ledger is closed; it becomes `summary` right after."""
        return self.path / "summary.json.sealed"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training here; the lock goes with the process, however it ends.

        Raises:
            RunFolderError: SW-R103; another process trains here.
        """
        taken = RunFolderError(
            "SW-R103",
            "another process is training in this folder",
            where=str(self.path),
            expected="one process at a time",
            got="run.lock is held",
            remedy="wait for it or stop it; the lock ends with its process",
        )
        with held_alone(self.path / "run.lock", taken):
            yield


def unique_name() -> str:
    """A name that no other run has: the time and four random letters."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def name_run(config: Config, folder: Path | None) -> tuple[Config, RunFolder]:
    """The configuration with the run's name in it, and the run's folder: `folder`, or `runs/NAME`."""
    name = config.run.name or (folder.name if folder else unique_name())
    named = config.model_copy(update={"run": config.run.model_copy(update={"name": name})})
    return named, RunFolder(folder or Path("runs") / name)


def create(config: Config, folder: RunFolder) -> None:
    """Make a new run's folder and put the configuration into it.

    Raises:
        RunFolderError: SW-R101; something is there already.
        StorageError: SW-S101.
    """
    with storing(folder.path):
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.path.mkdir()
        except FileExistsError as error:
            raise RunFolderError(
                "SW-R101",
                "the run's folder exists already",
                where=str(folder.path),
                expected="a folder that does not exist; nothing is ever overwritten",
                got="files" if folder.path.is_dir() and any(folder.path.iterdir()) else "an empty folder or a file",
                remedy="give another --run DIR, or add --resume to go on with that run",
            ) from error
    try:
        write_whole(folder.config, config.to_toml().encode())
    except StorageError:
        shutil.rmtree(folder.path)
        raise


def reopen(config: Config, folder: RunFolder, *, as_given: bool) -> Config:
    """The configuration of the run that lies in `folder`; makes the folder where a kill came too early for it.

    Args:
        config: the given configuration, named.
        folder: where the run lies.
        as_given: whether the user gave a file or overrides, which must then agree with what the run was started with;
            what decides nothing, such as run.tensorboard, is taken as given.

    Raises:
        RunFolderError: SW-R102; the folder holds something else than a run. SW-R104; the configurations differ.
    """
    if not folder.config.exists():
        if not as_given or _holds_something_else(folder):
            raise no_run(folder)
        with storing(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
        write_whole(folder.config, config.to_toml().encode())
        return config
    stored = Config.load(folder.config)
    if as_given and stored.root() != config.root():
        raise RunFolderError(
            "SW-R104",
            "the run was started with another configuration",
            where=str(folder.config),
            expected="the same values: a resumed run must end where the unbroken one would",
            got="\n".join(_differences(stored.deciding(), config.deciding())),
            remedy="resume without a configuration and without --set, or start a new run",
        )
    if not as_given:
        return stored
    return stored.model_copy(update={"run": config.run.model_copy(update={"name": stored.run.name})})


def no_run(folder: RunFolder) -> RunFolderError:
    """The error for a folder that holds something else than a run, or nothing."""
    path = folder.path
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    return RunFolderError(
        "SW-R102",
        "there is no run in this folder",
        where=str(path),
        expected="config.toml, which every run writes first",
        got=", ".join(names[:6]) or ("an empty folder" if path.is_dir() else "no such folder"),
        remedy="give the folder of a run with --run DIR; to start one, give its configuration",
    )


def _holds_something_else(folder: RunFolder) -> bool:
    """Whether there is more than a run leaves that is killed before it wrote its configuration."""
    if not folder.path.exists():
        return False
    return any(path.name != "run.lock" and not path.name.endswith(PARTIAL) for path in folder.path.iterdir())


def _differences(stored: dict[str, Any], given: dict[str, Any]) -> list[str]:
    rows = []
    for section in sorted({*stored, *given}):
        if not isinstance(stored.get(section, {}), dict) or not isinstance(given.get(section, {}), dict):
            if stored.get(section) != given.get(section):
                rows.append(f"{section}: the run has {stored.get(section)!r}, given was {given.get(section)!r}")
            continue
        for key in sorted({*stored.get(section, {}), *given.get(section, {})}):
            was, now = stored.get(section, {}).get(key), given.get(section, {}).get(key)
            if was != now:
                rows.append(f"{section}.{key}: the run has {was!r}, given was {now!r}")
    return rows


_METRICS_KEYS = {"step", "loss", "seconds"}
_TRACE_KEYS = {"step", "seconds", "cut", "work"}


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add one line to `metrics.jsonl` or `trace.jsonl`.

    Raises:
        StorageError: SW-S101.
    """
    with storing(path), path.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(line) + "\n")


def keep_lines_before(folder: RunFolder, step: int) -> None:
    """Drop the lines of steps that will be run again, and all from the first that is damaged.

    Raises:
        StorageError: SW-S101.
    """
    for path, keys in ((folder.metrics, _METRICS_KEYS), (folder.trace, _TRACE_KEYS)):
        if not path.exists():
            continue
        kept = [line for line in _sound_lines(path, keys) if line["step"] < step]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _sound_lines(path: Path, keys: Set[str]) -> Iterator[dict[str, Any]]:
    return takewhile(lambda line: line.keys() >= keys, read_lines(path).lines)


def remove_stale(folder: RunFolder) -> None:
    """Remove what a killed run left half done: partial folders, and results without their summary."""
    remove_partials(folder.path)
    folder.sealed_summary.unlink(missing_ok=True)
    for result in (folder.model, folder.adapter):
        if result.exists() and not folder.summary.exists():
            remove_whole(result)


def publish_summary(folder: RunFolder) -> None:
    """The run is over: its summary takes its place.

    Raises:
        StorageError: SW-S101.
    """
    with storing(folder.summary):
        folder.sealed_summary.replace(folder.summary)
        flush_to_disk(folder.path)


def forget_untrained(folder: RunFolder) -> None:
    """Remove a run's folder that was just made for input that turned out unusable, before any step was trained."""
    if not folder.metrics.exists():
        shutil.rmtree(folder.path)
