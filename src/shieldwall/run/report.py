"""`shieldwall report`: what a finished or running run has done so far, as pictures, a page and numbers.

The run's own files are only read. Each file of a report is written whole and takes an older one's place; the page comes
last, so that it never names a picture that is not there.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shieldwall.config import Config
from shieldwall.core.errors import RunFolderError
from shieldwall.core.files import remove_partials, storing, write_whole
from shieldwall.dashboard.figures import draw_gradient_norm, draw_learning_rate, draw_loss, draw_throughput
from shieldwall.dashboard.markdown import write_page
from shieldwall.dashboard.numbers import EvaluationPoint, RunNumbers
from shieldwall.dashboard.recorded import (
    Line,
    garbled,
    list_checkpoints,
    read_json,
    read_metrics_lines,
    read_trace_lines,
)
from shieldwall.data.corpora import specs_of
from shieldwall.run.against import Against, hold_against
from shieldwall.run.folder import RunFolder, no_run
from shieldwall.run.summary import Summary
from shieldwall.run.watch import News


@dataclass(frozen=True, slots=True)
class Report:
    """Where a report lies, and its numbers."""

    page: Path
    """`report/report.md` of the run; its pictures lie beside it."""
    numbers: RunNumbers


def report(run: Path) -> Report:
    """Write `report/` of the run in folder `run`, which may be finished, running or stopped.

    Raises:
        RunFolderError: SW-R102, there is no run; SW-R107, a file is damaged; SW-R108, no step is committed yet;
            SW-R109, another process is writing a report of this run.
        ConfigError: SW-C1..., the run's config.toml is damaged.
        StorageError: SW-S101; the files of an older report that were not yet replaced stand.
    """
    folder = RunFolder(run)
    if not folder.config.exists():
        raise no_run(folder)
    config = Config.load(folder.config)
    summary = Summary.read(folder.summary) if folder.summary.exists() else None
    lines = read_metrics_lines(folder.metrics)
    planned = read_json(folder.plan)
    against = hold_against(planned, folder.plan, read_trace_lines(folder.trace), folder.trace)
    numbers = _numbers(config, folder, planned, against, lines, summary)
    pictures = {
        "loss": draw_loss(lines),
        "learning_rate": draw_learning_rate(lines),
        "gradient_norm": draw_gradient_norm(lines, _global_limit(config)),
        "throughput": draw_throughput(lines),
        "plan": against.draw(),
    }
    return Report(_write(folder.report, pictures, write_page(numbers)), numbers)


def _global_limit(config: Config) -> float:
    """Largest global norm; 0 where nothing is clipped, or each stage by a norm of its own that is not recorded."""
    return config.optimizer.clip_norm if config.optimizer.clip_by == "model" else 0.0


def _steps_wanted(planned: Mapping[str, Any], path: Path) -> int:
    steps = planned.get("steps")
    if not isinstance(steps, int) or steps < 1:
        raise garbled(path, f"steps: {steps!r}", "a whole number of steps, at least 1")
    return steps


def _tally(folder: RunFolder) -> dict[str, int]:
    """Examples found, cut and left out, where the text was examples."""
    inputs = read_json(folder.inputs)
    counts = {name: inputs.get(f"examples.{name}") for name in ("found", "cut", "left_out")}
    return {name: int(count) for name, count in counts.items() if isinstance(count, str) and count.isdigit()}


def _numbers(
    config: Config,
    folder: RunFolder,
    planned: Mapping[str, Any],
    against: Against,
    lines: tuple[Line, ...],
    summary: Summary | None,
) -> RunNumbers:
    evaluations = tuple(
        EvaluationPoint(line["step"] + 1, line["eval_perplexity"]) for line in lines if "eval_perplexity" in line
    )
    newest = evaluations[-1].perplexity if evaluations else None
    seconds = sum(line["seconds"] for line in lines)
    tokens = sum(line["tokens_per_second"] * line["seconds"] for line in lines)
    news = _news(config, lines, summary)
    arithmetic = planned.get("arithmetic_class")
    if not isinstance(arithmetic, dict):
        raise garbled(folder.plan, "no arithmetic_class", "the plan that the run wrote")
    return RunNumbers(
        name=config.run.name,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        finished=summary is not None,
        steps=lines[-1]["step"] + 1,
        steps_wanted=_steps_wanted(planned, folder.plan),
        model=config.model.name,
        corpus=", ".join(specs_of(config.data.corpus)),
        examples=_tally(folder),
        schedule=against.plan.schedule,
        cut=against.cut,
        hosts={host.name: list(host.stages) for host in against.plan.hosts},
        duplicates={host.name: list(host.duplicates) for host in against.plan.hosts},
        micro_batches=against.plan.micro_batches,
        first_loss=lines[0]["loss"],
        train_loss=lines[-1]["loss"],
        eval_perplexity=summary.eval_perplexity if summary else newest,
        tokens_per_second=tokens / seconds,
        wall_seconds=summary.wall_seconds if summary else None,
        alerts=news.alerts,
        micro_batches_rerun=news.rerun,
        verdicts=tuple(news.verdicts),
        attacks_fired=news.attacks_fired,
        false_accusations=news.false_accusations,
        weights_root=summary.weights_root if summary else None,
        config_root=config.root(),
        arithmetic_class=arithmetic,
        plan=against.numbers(lines),
        evaluations=evaluations,
        checkpoints=list_checkpoints(folder.checkpoints),
    )


def _news(config: Config, lines: tuple[Line, ...], summary: Summary | None) -> News:
    """What the shield saw: of a finished run as its summary says, else as far as the lines go."""
    if summary is None:
        return News.total(lines, News(), attacked=bool(config.attack))
    return News(
        alerts=summary.alerts,
        rerun=summary.micro_batches_rerun,
        verdicts=list(summary.verdicts),
        attacks_fired=summary.attacks_fired,
        false_accusations=summary.false_accusations,
    )


def _write(folder: Path, pictures: Mapping[str, bytes], page: str) -> Path:
    """Write the pictures, then the page.

    Raises:
        RunFolderError: SW-R109.
        StorageError: SW-S101.
    """
    with _alone_in(folder):
        remove_partials(folder)
        for name, content in pictures.items():
            write_whole(folder / f"{name}.png", content)
        write_whole(folder / "report.md", page.encode())
    return folder / "report.md"


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other reports from writing into `folder`, made if it is not there; the lock ends with the process."""
    with storing(folder):
        folder.mkdir(exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                "SW-R109",
                "another process is writing a report of this run",
                where=str(folder),
                expected="one report at a time",
                got="the folder is locked",
                remedy="wait for it, or stop it; the lock ends with its process",
            ) from error
        yield
    finally:
        os.close(handle)
