"""What `make demo` runs: the embedded default, and then a look at its result with transformers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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

_PROMPT = "The import statement"
_STEPS = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo showed."""

    folder: Path
    summary: Summary
    first_loss: float
    loaded_perplexity: float
    """Of the exported model, loaded and evaluated by transformers alone."""
    sample: str
    """How the trained model goes on from a prompt."""


def demo(folder: Path | None = None, view: ProgressView | None = None) -> DemoResult:
    """Train the embedded default, a little longer, load the result with transformers and evaluate it again.

    Args:
        folder: the run's folder; a new one under `runs/` if not given.
        view: shows progress.

    Raises:
        ShieldwallError: as `train` and `evaluate` do.
    """
    config = Config.parse({"run": {"steps": _STEPS}}, "the demo")
    result = train(config, folder=folder or Path("runs") / f"demo-{unique_name()}", view=view)
    model_folder = RunFolder(result.folder).model
    return DemoResult(
        folder=result.folder,
        summary=result.summary,
        first_loss=read_lines(RunFolder(result.folder).metrics).lines[0]["loss"],
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
    summary = result.summary
    say(f"loss {result.first_loss:.2f} -> {summary.train_loss:.2f} in {summary.steps} steps of six stages")
    say(f"perplexity {summary.eval_perplexity:.2f} by the pipeline, {result.loaded_perplexity:.2f} by transformers")
    say(f"sample: {' '.join(result.sample.split())}")
    say(f"weights root {summary.weights_root}")
    say(f"model: {result.folder / 'model'}")
