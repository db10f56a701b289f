"""Tokenizers: train a small byte-level one, load one from a model's folder, encode a long text.

A trained tokenizer needs no download, knows every byte (so nothing is unknown, and decoding gives the text back) and
is a function of the text and the size alone. A loaded one never runs code from its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shieldwall.core.errors import CorpusError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
"""The one special token of a trained tokenizer: begin, end and unknown in one, as in GPT-2."""

SMALLEST_VOCABULARY = 257
"""Every byte and `END_OF_TEXT`."""

PIECE_CHARACTERS = 1 << 15
"""A long text is encoded in pieces of about this many characters, several at a time."""

PIECES_AT_ONCE = 64

CONFIG_FILE, WHOLE_FILE = "tokenizer_config.json", "tokenizer.json"
TOKENIZER_FILES = (WHOLE_FILE, CONFIG_FILE, "vocab.*", "*.model", "tekken.json", "*.tiktoken")
"""A folder without any of these holds no tokenizer."""

FAST_CLASS = "TokenizersBackend"
"""The class that stands for `tokenizer.json` exactly as it is; written for every tokenizer we train."""


def train_tokenizer(text: str, vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; the same text and size give the same files.

    Args:
        text: what it learns its merges from; any text, also none.
        vocabulary: largest number of tokens, at least 257; fewer where the text has no more pairs that come twice.

    Returns:
        A fast tokenizer that adds no space and no special token, and whose `decode(encode(x))` is `x`.

    Raises:
        CorpusError: SW-D111, the vocabulary is too small.

    Source: byte-level BPE, Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
    """
    if vocabulary < SMALLEST_VOCABULARY:
        raise CorpusError(
            "SW-D111",
            "the vocabulary is too small for a tokenizer",
            where="the size of the tokenizer to train",
            expected=f"{SMALLEST_VOCABULARY} or more: 256 bytes and {END_OF_TEXT}",
            got=f"{vocabulary}",
            remedy="ask for 257 or more; 2048 suits a small model",
        )
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(pieces(text), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer of a local folder; nothing is downloaded and no code of the folder is run.

    Raises:
        CorpusError: SW-D112, no folder or no tokenizer in it; SW-D113, it is not a fast one or needs its own code;
            SW-D114, its files are damaged.
    """
    folder = Path(folder)
    if not any(path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)):
        raise CorpusError(
            "SW-D112",
            "there is no tokenizer",
            where=str(folder),
            expected=f"a folder with a tokenizer in it ({WHOLE_FILE})",
            got="no tokenizer file in that folder" if folder.is_dir() else "no such folder",
            remedy="name the folder of a whole model: its tokenizer files lie beside config.json",
        )
    from transformers import PreTrainedTokenizerFast

    tokenizer = _load(folder)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise _not_fast(folder, f"{type(tokenizer).__name__}, which has no fast form")
    return tokenizer


def _load(folder: Path) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        loader = PreTrainedTokenizerFast if _is_exact(folder) else AutoTokenizer
        return loader.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # `tokenizers` raises bare Exception, and a damaged file any kind; always re-raised
        if "trust_remote_code" in str(error):
            raise _not_fast(folder, "a tokenizer that needs Python code of its own, which is never run") from error
        raise CorpusError(
            "SW-D114",
            "the tokenizer cannot be loaded",
            where=str(folder),
            expected="whole tokenizer files, as save_pretrained writes them",
            got=f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}",
            remedy="fetch or save the tokenizer again; the files may be cut short or from different models",
        ) from error


def _is_exact(folder: Path) -> bool:
    """Whether the folder asks for its `tokenizer.json` as it is.

    For some model families (qwen2 is one) `AutoTokenizer` puts the family's own rules in place of those in the file;
    a tokenizer that we trained would then cut text differently after it was saved.
    """
    config = folder / CONFIG_FILE
    if not (config.is_file() and (folder / WHOLE_FILE).is_file()):
        return False
    return bool(json.loads(config.read_text(encoding="utf-8")).get("tokenizer_class") == FAST_CLASS)


def _not_fast(folder: Path, got: str) -> CorpusError:
    return CorpusError(
        "SW-D113",
        "the tokenizer is not a fast one",
        where=str(folder),
        expected="a tokenizer that the tokenizers library can run",
        got=got,
        remedy=f"convert it and save it as {WHOLE_FILE}, or choose a model that has that file",
    )


def encode_text(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """The token ids of a text of any length, without special tokens, truncation or padding.

    The text is encoded in `pieces`, so that all cores work on it; the ids depend on the text and the tokenizer alone.
    """
    return encode_each(tokenizer, [text])[0]


def encode_each(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text, as `encode_text` gives them."""
    backend = _unlimited(tokenizer)
    ids: list[list[int]] = [[] for _ in texts]
    cut = ((number, piece) for number, text in enumerate(texts) for piece in pieces(text))
    while batch := list(islice(cut, PIECES_AT_ONCE)):
        encodings = backend.encode_batch_fast([piece for _, piece in batch], add_special_tokens=False)
        for (number, _), encoding in zip(batch, encodings, strict=True):
            ids[number].extend(encoding.ids)
    return ids


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


def pieces(text: str, characters: int = PIECE_CHARACTERS) -> Iterator[str]:
    """Cut `text` into pieces of at most `characters`, at the last line end in each where there is one."""
    start = 0
    while start < len(text):
        end = start + characters
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end
