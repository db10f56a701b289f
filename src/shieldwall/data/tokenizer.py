"""Tokenizers: train a small byte-level one, load one from a model's folder.

A trained tokenizer needs no download, knows every byte (so nothing is unknown, and decoding gives the text back) and
is a function of the text and the size alone. A loaded one never runs code from its folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shieldwall.core.errors import CorpusError
from shieldwall.data.encode import pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
"""The one special token of a trained tokenizer: begin, end and unknown in one, as in GPT-2."""

SMALLEST_VOCABULARY = 257
"""Every byte and `END_OF_TEXT`."""

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
