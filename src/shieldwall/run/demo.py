"""What `make demo` runs: the embedded default with a liar among its workers, its clean twin, and a look at the result.

The liar is worker-2: from a certain step on it sends the negative of what its stage made. It is seen, named, repaired
from its neighbour's duplicate and expelled, and the run ends with the very weights of the twin in which nobody lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from shieldwall.config import Config
from shieldwall.core.lines import read_lines
from shieldwall.dashboard.progress import ProgressView
from shieldwall.models.quiet import without_progress_bars
from shieldwall.run.evaluate import evaluate
from shieldwall.run.folder import RunFolder, unique_name
from shieldwall.run.summary import Summary
from shieldwall.run.train import train
from shieldwall.verify.ledger import LedgerReport, verify_ledger

_PROMPT = "The import statement"
_PLAN: dict[str, Any] = {
    "run": {"steps": 36},
    "pipeline": {"spares": 1},
    "optimizer": {"learning_rate": 0.005, "warmup_steps": 4},
}
_LIAR = {"kind": "sign_flip", "stage": 2, "direction": "forward", "rate": 0.5, "from_step": 15}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo showed."""

    folder: Path
    """Of the run with the liar."""
    summary: Summary
    clean: Summary
    """Of the twin in which nobody lies."""
    ledger: LedgerReport
    first_loss: float
    loaded_perplexity: float
    """Of the exported model, loaded and evaluated by transformers alone."""
    sample: str
    """How the trained model goes on from a prompt."""


def demo(folder: Path | None = None, view: ProgressView | None = None) -> DemoResult:
    """Train the embedded default with a liar and without, verify the ledger, and evaluate with transformers.

    Args:
        folder: holds both runs, `liar/` and `clean/`; a new one under `runs/` if not given.
        view: shows progress.

    Raises:
        ShieldwallError: as `train`, `evaluate` and `verify_ledger` do.
    """
    both = folder or Path("runs") / f"demo-{unique_name()}"
    if view:
        view.note("with a liar: worker-2 turns the sign of what stage 2 made, from step 15 on")
    attacked = train(Config.parse({**_PLAN, "attack": [_LIAR]}, "the demo"), folder=both / "liar", view=view)
    if view:
        view.note("its clean twin: nobody lies")
    clean = train(Config.parse(_PLAN, "the demo"), folder=both / "clean", view=view)
    model_folder = RunFolder(attacked.folder).model
    return DemoResult(
        folder=attacked.folder,
        summary=attacked.summary,
        clean=clean.summary,
        ledger=verify_ledger(attacked.folder),
        first_loss=read_lines(RunFolder(attacked.folder).metrics).lines[0]["loss"],
        loaded_perplexity=evaluate(model_folder).perplexity,
        sample=_continue(model_folder, _PROMPT),
    )


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
    say(f"loss {result.first_loss:.2f} -> {summary.train_loss:.2f} in {summary.steps} steps of six stages")
    say(
        f"liar: {first['culprit']}, caught in step {first['caught_in_step']} before it was committed, expelled;"
        f" {summary.attacks_fired} lies, {summary.false_accusations} false accusations, {summary.steps_lost} steps lost"
    )
    same = "the same weights as" if summary.weights_root == result.clean.weights_root else "OTHER WEIGHTS THAN"
    say(f"{same} the clean twin: {summary.weights_root}")
    say(f"ledger: {result.ledger.rows:,} rows, {result.ledger.steps} steps, every signature and hash holds")
    say(f"perplexity {summary.eval_perplexity:.2f} by the pipeline, {result.loaded_perplexity:.2f} by transformers")
    say(f"sample: {' '.join(result.sample.split())}")
    say(f"model: {result.folder / 'model'}")
