"""llama2.c's legacy model file: seven int32, then float32 tensors in a fixed order, and nothing else.

    dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len        vocab_size < 0: a classifier of its own
    token_embedding (V, D)
    for each of the following, all layers in a row:
        rms_att (D)   wq (D, D)   wk (G, D)   wv (G, D)   wo (D, D)   rms_ffn (D)   w1 (F, D)   w2 (D, F)   w3 (F, D)
    rms_final (D)
    freq_cis_real (S, P/2)   freq_cis_imag (S, P/2)                            tables, which nobody needs
    wcls (V, D)                                                                only where vocab_size < 0

V tokens, D width, F width inside the feed-forward part, S positions, P width of one head, G = n_kv_heads * P.

Everything is checked against the file's size before a byte of a tensor is read.

Source: `legacy_export` in llama2.c's export.py, `memory_map_weights` in its run.c, Karpathy, 2023.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from shieldwall.core.errors import ModelError
from shieldwall.lab.llama2c.given_file import opened

_HEADER = struct.Struct("<7i")
_NUMBERS = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
_FLOAT_BYTES = 4

_VERSIONED = 0x616B3432
"""What the newer formats of llama2.c begin with ("ak42"); their second number is the version."""

_LEGACY = "llama2.c's legacy float32 format"
_REMEDY = "export the model again with llama2.c: python export.py MODEL.bin --version 0 --checkpoint MODEL.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The seven numbers that a model file begins with; `vocabulary` without its sign, which is `tied`."""

    width: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    positions: int
    tied: bool
    """The classifier is the token embedding."""

    @property
    def head_width(self) -> int:
        """Numbers in one head's query, key or value."""
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Rows of the projections to keys and to values."""
        return self.kv_heads * self.head_width


@dataclass(frozen=True, slots=True)
class _Row:
    """Tensors of one shape that follow each other in the file, a name for each; no name: nobody needs them."""

    shape: tuple[int, ...]
    name: str = ""
    count: int = 1

    @property
    def bytes_each(self) -> int:
        return _FLOAT_BYTES * prod(self.shape)


def read_model_file(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """Read a model file.

    Returns:
        The header, and each tensor in float32 under the name that `LlamaForCausalLM` has for it. The rows of the
        projections to queries and keys are still in llama2.c's order.

    Raises:
        ModelError: SW-M120, the file cannot be read; SW-M121, its header is none of this format; SW-M122, it is
            shorter or longer than its header says; SW-M123, a weight is not finite.
    """
    with opened(path) as (handle, size):
        header = _read_header(handle, path)
        rows = _rows(header)
        expected = _HEADER.size + sum(row.bytes_each * row.count for row in rows)
        if size != expected:
            raise _wrong_size(path, header, expected, size)
        return header, dict(_read_tensors(handle, path, rows))


def _read_header(handle: BinaryIO, path: Path) -> Header:
    start = handle.read(_HEADER.size)
    if len(start) < _HEADER.size:
        raise _no_header(path, f"{_HEADER.size} bytes of header", f"a file of {len(start)} bytes")
    numbers = dict(zip(_NUMBERS, _HEADER.unpack(start), strict=True))
    if numbers["dim"] == _VERSIONED:
        raise _no_header(path, "version 0, which has no version number", f"version {numbers['hidden_dim']}")
    for name, value in numbers.items():
        if value < 1 and (name != "vocab_size" or value == 0):
            raise _no_header(path, f"{name} {'other than 0' if name == 'vocab_size' else 'of at least 1'}", str(value))
    width, heads, kv_heads = numbers["dim"], numbers["n_heads"], numbers["n_kv_heads"]
    if width % heads or (width // heads) % 2:
        raise _no_header(path, f"n_heads that divides dim = {width} into even widths", f"n_heads = {heads}")
    if heads % kv_heads:
        raise _no_header(path, f"n_kv_heads that divides n_heads = {heads}", f"n_kv_heads = {kv_heads}")
    return Header(
        width=width,
        hidden=numbers["hidden_dim"],
        layers=numbers["n_layers"],
        heads=heads,
        kv_heads=kv_heads,
        vocabulary=abs(numbers["vocab_size"]),
        positions=numbers["seq_len"],
        tied=numbers["vocab_size"] > 0,
    )


def _rows(header: Header) -> list[_Row]:
    """The tensors in the file's order, those of one kind in all layers as one row."""
    width, hidden, kv_width = header.width, header.hidden, header.kv_width
    in_layers: dict[str, tuple[int, ...]] = {
        "input_layernorm": (width,),
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv_width, width),
        "self_attn.v_proj": (kv_width, width),
        "self_attn.o_proj": (width, width),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
        "mlp.up_proj": (hidden, width),
    }
    rows = [_Row((header.vocabulary, width), "model.embed_tokens.weight")]
    rows += [_Row(shape, f"model.layers.{{}}.{name}.weight", header.layers) for name, shape in in_layers.items()]
    rows += [_Row((width,), "model.norm.weight"), _Row((2, header.positions, header.head_width // 2))]
    return rows if header.tied else [*rows, _Row((header.vocabulary, width), "lm_head.weight")]


def _read_tensors(handle: BinaryIO, path: Path, rows: list[_Row]) -> Iterator[tuple[str, Tensor]]:
    for row in rows:
        if not row.name:
            handle.seek(row.bytes_each * row.count, os.SEEK_CUR)
            continue
        for index in range(row.count):
            name = row.name.format(index)
            yield name, _read_tensor(handle, path, name, row.shape)


def _read_tensor(handle: BinaryIO, path: Path, name: str, shape: tuple[int, ...]) -> Tensor:
    values = np.fromfile(handle, dtype="<f4", count=prod(shape))
    if values.size < prod(shape):
        raise _cut_short(path, name)
    tensor = torch.from_numpy(values.astype(np.float32, copy=False)).view(shape)
    if not bool(torch.isfinite(tensor).all()):
        raise ModelError(
            "SW-M123",
            "a weight in the model file is not finite",
            where=f"{path}, {name}",
            expected="finite float32 numbers",
            got="NaN or infinity",
            remedy="fetch the file again, or export the model again from weights that are finite",
        )
    return tensor


def _no_header(path: Path, expected: str, got: str) -> ModelError:
    return ModelError(
        "SW-M121",
        f"the file does not begin like {_LEGACY}",
        where=f"{path}, its first {_HEADER.size} bytes: {', '.join(_NUMBERS)}",
        expected=expected,
        got=got,
        remedy=_REMEDY,
    )


def _wrong_size(path: Path, header: Header, expected: int, size: int) -> ModelError:
    return ModelError(
        "SW-M122",
        "the model file is cut short" if size < expected else "the model file goes on after its last tensor",
        where=str(path),
        expected=f"{expected:,} bytes: {header.layers} layers of width {header.width}, {header.vocabulary} tokens,"
        f" {'the classifier tied to the embedding' if header.tied else 'a classifier of its own'}, all in float32",
        got=f"{size:,} bytes",
        remedy=f"fetch the file again; if it is whole it is not in {_LEGACY}",
    )


def _cut_short(path: Path, name: str) -> ModelError:
    return ModelError(
        "SW-M122",
        "the model file is cut short",
        where=f"{path}, {name}",
        expected="a file that keeps its size while it is read",
        got="its end, before the end of this tensor",
        remedy="wait until the file is written or fetched, then run the same command again",
    )
