"""Perplexity of a saved model, by transformers alone: nothing of the pipeline takes part."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from shieldwall.config import DataSection, check_prompt
from shieldwall.core.arithmetic import choose_device
from shieldwall.core.errors import ConfigError, CorpusError, NonFiniteError
from shieldwall.data import TABLES, Blocks, Rows, all_rows, check_vocabulary, evaluation_batches, load_tokenizer
from shieldwall.data.corpora import specs_of
from shieldwall.run.corpus import cut_configured, read_configured
from shieldwall.run.saved_model import SavedModel

_LARGEST_LOSS = 700.0
"""Beyond it the exponential is no float any more."""

Split = Literal["eval", "train", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What `eval` found."""

    perplexity: float
    """e to the loss."""
    loss: float
    """Mean over all predicted tokens, in nats."""
    blocks: int
    """Rows that were evaluated."""
    block_tokens: int
    """Tokens in a row."""
    tokens: int
    """Tokens of all rows, padding left out."""
    split: str
    """The part of the text."""
    data: str
    """The corpus; where there are several, all of them with commas."""
    model: str
    """The folder that was loaded."""


def evaluate(
    checkpoint: Path,
    data: str | Sequence[str] | None = None,
    *,
    base: str | None = None,
    prompt: str | None = None,
    completion: str | None = None,
    split: Split = "eval",
    block_tokens: int | None = None,
    blocks: int | None = None,
    batch: int = 8,
    device: str = "auto",
    on_batch: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Perplexity of a saved model on a corpus, in the arithmetic that it was trained in.

    Args:
        checkpoint: a model folder, an adapter's folder, a checkpoint, or a run's folder (its `model/` is taken).
        data: a corpus as in `data.corpus`, or several; what the model was trained on if not given.
        base: the model that adapters belong to; what they say themselves if not given.
        prompt: field or template as in `data.prompt`, "" for plain text; as the model was trained if not given, but
            plain text where `data` names a corpus without fields.
        completion: likewise.
        split: the part that training leaves out, the part that it uses, or the whole text.
        block_tokens: tokens in a row; as the model was trained, else 128.
        blocks: use at most so many rows, 0 for all; as trained for the split `eval`, all for the others.
        batch: rows at once; decides memory, not the result.
        device: where to compute.
        on_batch: called after each batch with the rows done and all rows.

    Raises:
        CheckpointError: SW-K107, no model there; SW-K102, a file is damaged.
        CorpusError, ModelError, ConfigError: what was given cannot be used.
    """
    saved = SavedModel.find(checkpoint, base or "")
    kept = saved.recipe()
    recipe = kept.data
    usual = recipe.eval_blocks if split == "eval" else 0
    prompts = (recipe.prompt, recipe.completion) if _has_fields(data) else ("", "")
    recipe = recipe.model_copy(
        update={
            "corpus": data or recipe.corpus,
            "prompt": prompts[0] if prompt is None else prompt,
            "completion": prompts[1] if completion is None else completion,
            "block_tokens": block_tokens or recipe.block_tokens,
            "eval_blocks": usual if blocks is None else blocks,
        }
    )
    check_prompt(recipe)
    rows = _choose_rows(saved, recipe, split)
    model = saved.load(choose_device(device), kept.dtype)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=kept.autocast):
        loss = mean_loss(model, rows, batch, on_batch or _say_nothing)
    return Evaluation(
        perplexity=perplexity_of(loss, str(saved.folder)),
        loss=loss,
        blocks=len(rows),
        block_tokens=recipe.block_tokens,
        tokens=rows.tokens,
        split=split,
        data=", ".join(specs_of(recipe.corpus)),
        model=str(saved.folder),
    )


def perplexity_of(loss: float, where: str) -> float:
    """The exponential of a mean loss in nats.

    Raises:
        NonFiniteError: SW-N103; the loss is NaN, infinite or so large that its exponential is.
    """
    if not loss < _LARGEST_LOSS:
        raise NonFiniteError(
            "SW-N103",
            "the loss on the evaluation rows gives no perplexity",
            where=where,
            expected=f"a mean loss below {_LARGEST_LOSS} nats",
            got=str(loss),
            remedy="the weights are not usable; take an earlier checkpoint",
        )
    return math.exp(loss)


def _has_fields(data: str | Sequence[str] | None) -> bool:
    """Whether all of what is to be evaluated on are tables, as the corpus of a model trained on prompts is.

    A table with a field behind its path is plain text.
    """
    return data is None or all(spec.partition(":")[0] in TABLES and not _names_field(spec) for spec in specs_of(data))


def _names_field(spec: str) -> bool:
    path, _, field = spec.partition(":")[2].rpartition(":")
    return bool(path and field) and Path(path).exists()


def _choose_rows(saved: SavedModel, recipe: DataSection, split: Split) -> Rows:
    source = saved.base
    if recipe.block_tokens > source.positions:
        raise ConfigError(
            "SW-C107",
            "a block is longer than the model's positions",
            where="--block-tokens",
            expected=f"at most {source.positions}",
            got=str(recipe.block_tokens),
            remedy=f"give --block-tokens {source.positions}",
        )
    corpus, tokenizer = read_configured(recipe), load_tokenizer(saved.folder)
    if split == "all":
        chosen = all_rows(corpus, tokenizer, recipe.block_tokens, packing=recipe.packing)
    else:
        alone = recipe.model_copy(update={"packing": recipe.packing and not recipe.prompt})
        found = cut_configured(alone, corpus, tokenizer)
        chosen = found.eval if split == "eval" else found.train
    chosen = chosen.first(recipe.eval_blocks)
    if not len(chosen):
        raise CorpusError(
            "SW-D116",
            "the corpus is too short",
            where=corpus.spec,
            expected=f"at least one row of {recipe.block_tokens} tokens, or one example",
            got="less",
            remedy="give a longer text or a smaller --block-tokens",
        )
    check_vocabulary(Blocks(chosen, chosen), int(source.config.vocab_size))
    return chosen


def _say_nothing(done: int, rows: int) -> None:
    """What is called after each batch where nobody wants to know."""


@torch.no_grad()
def mean_loss(
    model: PreTrainedModel, rows: Rows, batch: int, on_batch: Callable[[int, int], None] = _say_nothing
) -> float:
    """Mean loss of a model, in nats, over all targets of `rows`; `batch` rows at once decide memory, not the result."""
    total, targets, done = 0.0, 0, 0
    for taken in evaluation_batches(rows, batch):
        tokens_BT, labels_BT = taken.tokens_BT.to(model.device), taken.labels_BT.to(model.device)
        total += float(model(input_ids=tokens_BT, labels=labels_BT, use_cache=False).loss) * taken.targets
        targets += taken.targets
        done += len(tokens_BT)
        on_batch(done, len(rows))
    return total / targets
