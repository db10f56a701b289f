"""Plays one cell: trains it with the product, then measures what it saved."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from shieldwall.config import Config, DataSection
from shieldwall.core.arithmetic import choose_device, pinned_arithmetic
from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.errors import NonFiniteError
from shieldwall.core.lines import read_lines
from shieldwall.data import Rows, all_rows, load_tokenizer, read_corpus
from shieldwall.lab.experiment.base import Subject
from shieldwall.lab.experiment.cell import Cell, Finished, Outcome
from shieldwall.lab.experiment.scale import Scale
from shieldwall.lab.experiment.settings import configure
from shieldwall.lab.experiment.stopping import stop_early
from shieldwall.run.corpus import cut_configured, read_configured
from shieldwall.run.evaluate import mean_loss, perplexity_of
from shieldwall.run.saved_model import SavedModel
from shieldwall.run.summary import Summary
from shieldwall.run.train import train

_CHECKPOINT = "step-"
_ROWS_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTask:
    """A cell with all that it takes to play it."""

    cell: Cell
    subject: Subject
    scale: Scale
    work: Path
    """Where its run's folder lies while it is played."""

    def __str__(self) -> str:
        return str(self.cell)


def play(task: CellTask) -> Finished:
    """Train the cell and measure its saved weights; nothing of its run is left.

    Raises:
        ShieldwallError: as `train`; but a NaN or an infinity in an attacked or badly set run is an outcome.
    """
    started = time.perf_counter()
    folder = task.work / task.cell.key
    shutil.rmtree(folder, ignore_errors=True)
    config = configure(task.cell, task.subject, task.scale)
    try:
        summary = _train(config, folder)
        outcome = _measure(task, config, folder, summary)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Finished(task.cell, outcome, time.perf_counter() - started)


def _train(config: Config, folder: Path) -> Summary | None:
    """The run's summary; None where it ended in a NaN or an infinity."""
    try:
        return train(config, folder=folder).summary
    except NonFiniteError:
        return None


def _measure(task: CellTask, config: Config, folder: Path, summary: Summary | None) -> Outcome:
    cell, scale = task.cell, task.scale
    meter = _Meter(config, task.subject, scale)
    saved = _saved(folder / "checkpoints")
    with pinned_arithmetic(choose_device(scale.device), 1):
        curve = tuple((step, meter.validation(path)) for step, path in saved.items())
        stopped_at = stop_early(curve, scale.patience) if curve else 0
        perplexity = meter.test(saved[stopped_at]) if curve else None
        last = meter.test(saved[cell.steps]) if cell.steps in saved else None
    lines = read_lines(folder / "metrics.jsonl").lines if (folder / "metrics.jsonl").exists() else []
    verdicts = [row for line in lines for row in line.get("verdicts", [])]
    return Outcome(
        curve=curve,
        stopped_at=stopped_at,
        perplexity=perplexity,
        last_perplexity=last,
        steps=len(lines),
        train_loss=lines[-1]["loss"] if lines else None,
        weights_root=summary.weights_root if summary else "",
        attacks_fired=_total(lines, "attacks_fired"),
        alerts=_total(lines, "alerts"),
        culprits=tuple(sorted({row["culprit"] for row in verdicts})),
        verdicts=len(verdicts),
        false_accusations=_total(lines, "false_accusations"),
        struck=tuple(line["step"] for line in lines if line.get("attacks_fired")),
        noticed=tuple(line["step"] for line in lines if line.get("alerts") or line.get("verdicts")),
    )


def _saved(folder: Path) -> dict[int, Path]:
    """Step to checkpoint, in the order of the steps."""
    found = {int(path.name.removeprefix(_CHECKPOINT)): path for path in folder.glob(f"{_CHECKPOINT}*[0-9]")}
    return dict(sorted(found.items()))


def _total(lines: Sequence[Mapping[str, Any]], key: str) -> int:
    return sum(line.get(key, 0) for line in lines)


@lru_cache(maxsize=2)
def _read_rows(data: bytes, test: str, root: str, base: Path) -> tuple[Rows, Rows]:
    """Validation and test rows; one cell's are the next one's too, and encoding them takes longer than a short run."""
    del root  # makes a changed text another one
    section = DataSection.model_validate_json(data)
    tokenizer = load_tokenizer(base)
    blocks = cut_configured(section, read_configured(section), tokenizer)
    return blocks.eval, all_rows(read_corpus(test), tokenizer, section.block_tokens)


class _Meter:
    """Perplexity of saved weights on a cell's validation and test text, by transformers alone.

    Args:
        config: of the cell's run, for the validation rows that it leaves out of training.
        subject: for the test text.
        scale: how many rows are used.
    """

    def __init__(self, config: Config, subject: Subject, scale: Scale) -> None:
        self._device = choose_device(scale.device)
        data = canonical_bytes(config.data.model_dump())
        self._validation, test = _read_rows(data, subject.texts.test, subject.texts.root, subject.base)
        self._test = test.first(scale.test_blocks)

    def validation(self, checkpoint: Path) -> float | None:
        return self._perplexity(checkpoint, self._validation)

    def test(self, checkpoint: Path) -> float | None:
        return self._perplexity(checkpoint, self._test)

    def _perplexity(self, checkpoint: Path, rows: Rows) -> float | None:
        """None where there is none: the weights are not finite, or the loss is beyond what a float holds."""
        saved = SavedModel.find(checkpoint)
        try:
            return perplexity_of(
                mean_loss(saved.load(self._device, saved.recipe().dtype), rows, _ROWS_AT_ONCE), str(checkpoint)
            )
        except NonFiniteError:
            return None
