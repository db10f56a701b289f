"""llama2.c's tokenizer file: what its tokenizer.py keeps of a sentencepiece model.

    int32   bytes of the longest piece
    for each token: float32 score, int32 bytes of its piece, the piece in UTF-8

The number of tokens is not in it; it must be the model's. A space stands where sentencepiece writes "▁", and the begin
and end tokens have line ends around them. The first 259 tokens are the unknown, begin and end token and the 256 bytes.

Source: `Tokenizer.export` in llama2.c's tokenizer.py, `build_tokenizer` and `encode` in its run.c, Karpathy, 2023.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shieldwall.core.errors import ModelError
from shieldwall.lab.llama2c.given_file import opened

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL = (UNKNOWN, BEGIN, END)
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
"""How the pieces that stand for single bytes are written."""
FIXED = (*SPECIAL, *BYTES)
"""The pieces that run.c takes for granted, from id 0 on."""

SPACE = "▁"
"""Stands for a space in the pieces of sentencepiece and of Hugging Face's tokenizers."""

_LONGEST = struct.Struct("<i")
_TOKEN = struct.Struct("<fi")


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: its text, with `SPACE` for spaces, and its score; among neighbours the highest score merges first."""

    text: str
    score: float


def read_tokenizer_file(path: Path, vocabulary: int) -> list[Piece]:
    """Read a tokenizer file.

    Args:
        path: of the file.
        vocabulary: tokens of the model that it must fit.

    Returns:
        The pieces by id; all different, the first 259 are `FIXED`.

    Raises:
        ModelError: SW-M120, the file cannot be read; SW-M124, it is damaged or no such file; SW-M125, it has
            another number of tokens than the model.
    """
    with opened(path) as (handle, size):
        longest = _read_longest(handle, path)
        pieces: list[Piece] = []
        while handle.tell() < size:
            pieces.append(_read_piece(handle, path, len(pieces), longest, size))
    if len(pieces) != vocabulary:
        raise ModelError(
            "SW-M125",
            "the tokenizer does not belong to the model",
            where=str(path),
            expected=f"{vocabulary} tokens, as the model has",
            got=f"{len(pieces)} tokens",
            remedy="take the tokenizer file that the model was trained with; for stories260K that is tok512.bin",
        )
    _check_fixed(path, pieces)
    _check_different(path, pieces)
    return pieces


def _read_longest(handle: BinaryIO, path: Path) -> int:
    start = handle.read(_LONGEST.size)
    if len(start) < _LONGEST.size:
        raise _damaged(path, "the length of the longest piece in its first 4 bytes", f"a file of {len(start)} bytes")
    longest: int = _LONGEST.unpack(start)[0]
    return longest


def _read_piece(handle: BinaryIO, path: Path, token: int, longest: int, size: int) -> Piece:
    where = f"{path}, token {token}, byte {handle.tell()}"
    start = handle.read(_TOKEN.size)
    if len(start) < _TOKEN.size:
        raise _damaged(where, "a score and a length, 8 bytes", f"{len(start)} bytes and the end of the file")
    score, length = _TOKEN.unpack(start)
    if not math.isfinite(score):
        raise _damaged(where, "a finite score", str(score))
    if not 1 <= length <= longest:
        raise _damaged(where, f"a piece of 1 to {longest} bytes, the longest as the file's start says", f"{length}")
    if length > size - handle.tell():
        raise _damaged(where, f"a piece of {length} bytes", f"{size - handle.tell()} bytes and the end of the file")
    try:
        text = handle.read(length).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(where, "a piece in UTF-8", f"{error.reason} at byte {error.start} of it") from error
    return Piece(_as_in_sentencepiece(text, token), score)


def _as_in_sentencepiece(text: str, token: int) -> str:
    return text.strip("\n") if token < len(SPECIAL) else text.replace(" ", SPACE)


def _check_fixed(path: Path, pieces: list[Piece]) -> None:
    if len(pieces) < len(FIXED):
        raise _damaged(path, f"at least {len(FIXED)} tokens: {', '.join(SPECIAL)} and 256 bytes", f"{len(pieces)}")
    for token, text in enumerate(FIXED):
        if pieces[token].text != text:
            raise _damaged(f"{path}, token {token}", text, ascii(pieces[token].text))


def _check_different(path: Path, pieces: list[Piece]) -> None:
    first: dict[str, int] = {}
    for token, piece in enumerate(pieces):
        if first.setdefault(piece.text, token) != token:
            raise _damaged(
                f"{path}, token {token}",
                "a piece that no other token has",
                f"{piece.text!a}, which is token {first[piece.text]} too",
            )


def _damaged(where: Path | str, expected: str, got: str) -> ModelError:
    return ModelError(
        "SW-M124",
        "the file is no whole tokenizer of llama2.c",
        where=str(where),
        expected=expected,
        got=got,
        remedy="fetch the file again, or export it again: python tokenizer.py --tokenizer-model=TOKENIZER.model",
    )
