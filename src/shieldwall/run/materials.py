"""What a run works on: model folder, tokenizer, rows of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shieldwall.config import Config
from shieldwall.core.errors import ModelError
from shieldwall.core.files import whole_folder
from shieldwall.data import Blocks, Corpus, Pairs, check_vocabulary, load_tokenizer, train_tokenizer
from shieldwall.models.families import TinyShape
from shieldwall.models.source import ModelSource, find_folder, open_source, tiny_family
from shieldwall.models.tiny import write_tiny
from shieldwall.run.corpus import cut_configured, read_configured, training_text

_LEAST_POSITIONS = 256


@dataclass(frozen=True, slots=True)
class Materials:
    """Model, tokenizer and rows that fit each other."""

    source: ModelSource
    tokenizer: Any
    blocks: Blocks


def gather_materials(config: Config, initial: Path) -> Materials:
    """Read the corpus, find or make the model, and put the text into rows.

    Args:
        config: of the run.
        initial: where a `tiny:` model's first weights and tokenizer are kept; made if it is not there.

    Raises:
        CorpusError: SW-D1..., the text or the tokenizer cannot be used.
        ModelError: SW-M1..., the model cannot be used; SW-M106, a block is longer than the model's positions.
    """
    corpus = read_configured(config.data)
    if tiny_family(config.model.name) is None:
        folder = find_folder(config.model.name)
    else:
        folder = initial
        if not initial.exists():
            _make_tiny(config, corpus, initial)
    source = open_source(folder)
    check_block(config, source)
    set_dropout(source, config.model.dropout)
    tokenizer = load_tokenizer(folder)
    blocks = cut_configured(config.data, corpus, tokenizer)
    check_vocabulary(blocks, int(source.config.vocab_size))
    return Materials(source, tokenizer, blocks)


def tiny_shape(config: Config, vocabulary: int, end_token: int) -> TinyShape:
    """Size of the configured `tiny:` model."""
    return TinyShape(
        layers=config.model.layers,
        width=config.model.width,
        heads=config.model.heads,
        vocabulary=vocabulary,
        positions=max(_LEAST_POSITIONS, config.data.block_tokens),
        end_token=end_token,
    )


def check_block(config: Config, source: ModelSource) -> None:
    """Refuse blocks that are longer than the model can take.

    Raises:
        ModelError: SW-M106.
    """
    if config.data.block_tokens > source.positions:
        raise ModelError(
            "SW-M106",
            "a block is longer than the model's positions",
            where="data.block_tokens",
            expected=f"at most {source.positions}, as {source.folder / 'config.json'} says",
            got=str(config.data.block_tokens),
            remedy=f"set data.block_tokens to {source.positions} or less",
        )


def set_dropout(source: ModelSource, dropout: float | None) -> None:
    """Set every dropout probability of the model's configuration, where the user asked for it."""
    if dropout is not None:
        for field in source.family.dropout_fields:
            setattr(source.config, field, dropout)


def _make_tiny(config: Config, corpus: Corpus | Pairs, initial: Path) -> None:
    tokenizer = train_tokenizer(training_text(corpus, config.data.eval_fraction), config.data.vocabulary)
    shape = tiny_shape(config, len(tokenizer), int(tokenizer.eos_token_id))
    with whole_folder(initial) as partial:
        write_tiny(tiny_family(config.model.name) or "", shape, config.run.seed, partial)
        tokenizer.save_pretrained(partial)
