"""From the configuration's `[data]` section to text, and from text to rows of tokens."""

from __future__ import annotations

import math
from typing import Any

from shieldwall.config import Config, DataSection
from shieldwall.data import Blocks, Corpus, Pairs, make_blocks, read_corpus, read_pairs, split_pairs, split_text

_MUCH_LOST = 0.1
"""From this share of examples cut or left out on, the user is warned."""


def read_configured(data: DataSection) -> Corpus | Pairs:
    """The text that the section names, as documents, or as prompts and completions where it says how to make them.

    Raises:
        CorpusError: SW-D1..., it cannot be read.
    """
    if data.prompt:
        return read_pairs(data.corpus, data.prompt, data.completion, split=data.hf_split)
    return read_corpus(data.corpus, text_field=data.text_field, split=data.hf_split)


def training_text(source: Corpus | Pairs, eval_fraction: float) -> str:
    """The text of the training part, which a `tiny:` model's tokenizer learns from."""
    if isinstance(source, Pairs):
        return split_pairs(source, eval_fraction)[0].text
    return split_text(source, eval_fraction)[0]


def cut_configured(data: DataSection, source: Corpus | Pairs, tokenizer: Any) -> Blocks:
    """Rows of tokens for training and evaluation.

    Raises:
        CorpusError: SW-D1..., the text does not fill them.
    """
    return make_blocks(source, tokenizer, data.block_tokens, data.eval_fraction, data.eval_blocks, packing=data.packing)


def run_steps(config: Config, rows: int) -> int:
    """How many steps the run takes: `run.steps`, or as many as `run.epochs` over `rows` training rows need."""
    run, pipeline = config.run, config.pipeline
    if not run.epochs:
        return run.steps
    return max(1, math.ceil(run.epochs * rows / (pipeline.micro_batches * config.micro_batch_size)))


def describe_rows(blocks: Blocks) -> list[str]:
    """A line on the examples and what was lost of them; none where the text is one long sequence."""
    if blocks.tally is None or blocks.train.examples is None:
        return []
    found, cut, left_out = blocks.tally.found, blocks.tally.cut, blocks.tally.left_out
    kept, width = sum(map(len, blocks.train.examples)), blocks.train.tokens_NT.shape[1]
    text = f"{found} examples: {kept} for training in {len(blocks.train)} rows, {len(blocks.eval)} evaluated"
    text += f"; {cut} cut to {width} tokens" if cut else ""
    text += f"; {left_out} left out, nothing to predict in {width} tokens" if left_out else ""
    if cut + left_out <= _MUCH_LOST * found:
        return [text]
    return [text, "warning: much of the text is lost; raise data.block_tokens, or shorten the prompts"]
