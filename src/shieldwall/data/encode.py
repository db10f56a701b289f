"""From text to token ids: texts of any length, many at once, and texts that go on with another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PIECE_CHARACTERS = 1 << 15
"""A long text is encoded in pieces of about this many characters, several at a time."""

PIECES_AT_ONCE = 64

LEAD = "\n"
"""What a text that goes on is encoded behind, so that nothing is put before it; a line's end does not join words."""


def encode_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The token ids of a text of any length, without special tokens, truncation or padding.

    The text is encoded in `pieces`, so that all cores work on it; the ids depend on the text and the tokenizer alone.
    """
    return encode_each(tokenizer, [text])[0]


def encode_each(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], continuing: Sequence[bool] | None = None
) -> list[list[int]]:
    """The token ids of each text, as `encode_text` gives them.

    Args:
        tokenizer: a fast tokenizer.
        texts: any number of them.
        continuing: for each text whether it goes on with another one: a tokenizer that puts a space before every text,
            as Llama's do, puts none before these. None do if not given.
    """
    backend = _unlimited(tokenizer)
    lead = _lead(backend)
    ids: list[list[int]] = [[] for _ in texts]
    cut = (
        (number, piece, place > 0 or bool(continuing and continuing[number]))
        for number, text in enumerate(texts)
        for place, piece in enumerate(pieces(text))
    )
    while batch := list(islice(cut, PIECES_AT_ONCE)):
        led = [LEAD + piece if lead and goes_on else piece for _, piece, goes_on in batch]
        encodings = backend.encode_batch_fast(led, add_special_tokens=False)
        for (number, piece, goes_on), encoding in zip(batch, encodings, strict=True):
            ids[number].extend(_without_lead(backend, piece, encoding.ids, lead) if goes_on else encoding.ids)
    return ids


def _lead(backend: Any) -> list[int]:
    """The ids of `LEAD` where the tokenizer puts something before every text; else none, and no lead is needed."""
    alone, letter, both = (backend.encode(text, add_special_tokens=False).ids for text in (LEAD, "a", f"{LEAD}a"))
    return [] if both == alone + letter else list(alone)


def _without_lead(backend: Any, piece: str, ids: list[int], lead: list[int]) -> list[int]:
    """The ids of a piece that was encoded behind `LEAD`; of the piece alone where the two have grown together."""
    if ids[: len(lead)] == lead:
        return ids[len(lead) :]
    alone: list[int] = backend.encode(piece, add_special_tokens=False).ids
    return alone


def begin_token(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The id that the tokenizer itself puts before every text, as Llama's do; None where it puts none."""
    begin = tokenizer.bos_token_id
    found = _unlimited(tokenizer).encode("a", add_special_tokens=True).ids
    return int(begin) if begin is not None and found[:1] == [begin] else None


def padding_token(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id to fill rows with: for padding, else the end token's, else 0. No token that counts ever looks at it."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0


def _unlimited(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The tokenizer's engine without truncation and padding; the tokenizer stays as it is."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None or backend.padding is not None:
        backend = deepcopy(backend)
        backend.no_truncation()
        backend.no_padding()
    return backend


def pieces(text: str, characters: int | None = None) -> Iterator[str]:
    """Cut `text` into pieces of at most `characters` (else the usual), at the last line end in each if there is one."""
    characters = characters or PIECE_CHARACTERS
    start = 0
    while start < len(text):
        end = start + characters
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end
