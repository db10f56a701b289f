"""What `make demo` runs: the embedded default with a liar and a crash, its clean twin, and a look at the result.

Four workers, each a process of its own that dials in over mutual TLS. From a certain step on one of them sends the
negative of what its stage made. It is seen, named and banned, and what it sent is repaired from its neighbour's
duplicate. Later another one is killed (SIGKILL). Its neighbours have what it had. The run ends with the very weights of
the twin, which is one process and in which nothing happens.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from shieldwall.config import Config
from shieldwall.core.files import storing
from shieldwall.core.ids import worker_name
from shieldwall.core.lines import read_lines
from shieldwall.dashboard.progress import ProgressView, SilentView, Views
from shieldwall.models.quiet import without_progress_bars
from shieldwall.run.evaluate import evaluate
from shieldwall.run.folder import RunFolder, unique_name
from shieldwall.run.machines.local import LocalWorkers, local_workers
from shieldwall.run.machines.worker import ATTACK_LOG
from shieldwall.run.summary import Summary
from shieldwall.run.train import train
from shieldwall.verify.ledger import LedgerReport, verify_ledger

_PROMPT = "The import statement"
_PLAN: dict[str, Any] = {
    "run": {"steps": 30, "threads": 1},
    "optimizer": {"learning_rate": 0.005, "warmup_steps": 4},
}
_LIE: dict[str, Any] = {"kind": "sign_flip", "direction": "forward", "from_step": 10}
_KILLED_AFTER = 21
"""The step after which a worker is killed."""
_WORKERS, _LIAR, _VICTIM = (1, 2, 3, 4), 2, 3
"""Processes by the order in which they are started; what the run calls them, and which stages they hold, is drawn."""
_TICKET = re.compile(r"shieldwall join (sw1\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo showed."""

    folder: Path
    """Of the run with the liar and the crash."""
    summary: Summary
    liar: str
    """What the run calls it."""
    lies: int
    """Activations that it falsified."""
    clean: Summary
    """Of the twin in which nothing happens."""
    ledger: LedgerReport
    first_loss: float
    loaded_perplexity: float
    """Of the exported model, loaded and evaluated by transformers alone."""
    sample: str
    """How the trained model goes on from a prompt."""


def demo(folder: Path | None = None, view: ProgressView | None = None) -> DemoResult:
    """Train the embedded default with a liar and a crash and without, verify the ledger, and evaluate the result.

    Args:
        folder: holds both runs, `attacked/` and `clean/`, and the workers' homes; a new one under `runs/` if not given.
        view: shows progress.

    Raises:
        ShieldwallError: as `train`, `evaluate` and `verify_ledger` do; no worker's process is left then either.
    """
    both, shown = folder or Path("runs") / f"demo-{unique_name()}", view or SilentView()
    config = Config.parse(_PLAN, "the demo")
    with local_workers(both / "workers") as workers:
        shown.note(
            f"four workers, each a process of its own: one turns the sign of what its stage made from step"
            f" {_LIE['from_step']} on, another is killed after step {_KILLED_AFTER}"
        )
        stage = _Stage(workers, _write_lie(both / "lie.toml"))
        attacked = train(config, folder=both / "attacked", view=Views([stage, shown]), listen="127.0.0.1:0")
        lies = read_lines(workers.home(_LIAR) / ATTACK_LOG).lines
    shown.note("its clean twin: one process, nobody lies and nobody dies")
    clean = train(config, folder=both / "clean", view=view)
    model_folder = RunFolder(attacked.folder).model
    return DemoResult(
        folder=attacked.folder,
        summary=attacked.summary,
        liar=next((str(line["worker"]) for line in lies), ""),
        lies=len(lies),
        clean=clean.summary,
        ledger=verify_ledger(attacked.folder),
        first_loss=read_lines(RunFolder(attacked.folder).metrics).lines[0]["loss"],
        loaded_perplexity=evaluate(model_folder).perplexity,
        sample=_continue(model_folder, _PROMPT),
    )


class _Stage(SilentView):
    """Starts the workers when the run has printed its ticket, and kills one of them in the middle."""

    def __init__(self, workers: LocalWorkers, lie: Path) -> None:
        self._workers = workers
        self._lie = lie
        self._pids: dict[int, int] = {}

    def note(self, text: str) -> None:
        found = _TICKET.search(text)
        if found and not self._pids:
            for number in _WORKERS:
                self._pids[number] = self._workers.start(number, found[1], self._lie if number == _LIAR else None)

    def step(self, line: dict[str, Any]) -> None:
        if line["step"] == _KILLED_AFTER:
            os.kill(self._pids[_VICTIM], signal.SIGKILL)


def _write_lie(path: Path) -> Path:
    """The file by which a worker lies, whatever name the run gives it: it acts by the table of its own."""
    tables = [{**_LIE, "stage": worker_name(index)} for index in range(len(_WORKERS))]
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps({"attack": tables}))
    return path


def _continue(folder: Path, prompt: str) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with without_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    encoded = tokenizer(prompt, return_tensors="pt")
    with torch.no_grad():
        tokens = model.generate(
            **encoded, max_new_tokens=24, do_sample=False, repetition_penalty=1.3, pad_token_id=tokenizer.eos_token_id
        )
    return str(tokenizer.decode(tokens[0], skip_special_tokens=True))


def tell(result: DemoResult, say: Callable[[str], None]) -> None:
    """Say in a few lines what the demo showed."""
    summary, first = result.summary, result.summary.verdicts[0]
    accused = sum(verdict["culprit"] != result.liar for verdict in summary.verdicts)
    say(f"loss {result.first_loss:.2f} -> {summary.train_loss:.2f} in {summary.steps} steps of six stages")
    say(
        f"liar: {first['culprit']}, caught in step {first['caught_in_step']} before it was committed, banned;"
        f" {result.lies} lies, {accused} false accusations"
    )
    for lost in [failure for failure in summary.failures if failure["step"] > _KILLED_AFTER]:
        say(
            f"crash: {lost['worker']}, killed before step {lost['step']}, missed after {lost['detected_s']:.1f} s,"
            f" replaced in {lost['resumed_s']:.1f} s; {summary.steps_lost} steps lost"
        )
    same = "the same weights as" if summary.weights_root == result.clean.weights_root else "OTHER WEIGHTS THAN"
    say(f"{same} the clean twin: {summary.weights_root}")
    say(f"ledger: {result.ledger.rows:,} rows, {result.ledger.steps} steps, every signature and hash holds")
    say(f"perplexity {summary.eval_perplexity:.2f} by the pipeline, {result.loaded_perplexity:.2f} by transformers")
    say(f"sample: {' '.join(result.sample.split())}")
    say(f"model: {result.folder / 'model'}")
