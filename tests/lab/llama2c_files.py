"""llama2.c's side, written apart from the converter: its two files, its forward pass and its encoding of text.

The forward pass and the encoding follow run.c line by line, in float64, one token and one head at a time.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Array = npt.NDArray[Any]

LEARNED = [" ", "a", "b", "c", "é", "\n", "ab", " a", "aa", "bc", "  ", "abc", " ab", "aaa", "aaaa", " abc", "ca"]
"""Pieces of the small tokenizer besides the fixed ones, in falling order of score."""


_NOT_PLAIN = ("▁", "<unk>", "<s>", "</s>")
"""A piece's sign for a space, and names of special tokens: Hugging Face gives them a meaning that run.c does not."""


def plain_texts(often: str, longest: int) -> st.SearchStrategy[str]:
    """Texts of any characters, those in `often` more often than others."""
    letters = st.sampled_from(often) | st.characters(exclude_categories=["Cs"])
    return st.text(letters, max_size=longest).filter(lambda text: not any(part in text for part in _NOT_PLAIN))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    dim: int = 24
    hidden: int = 20
    layers: int = 2
    heads: int = 6
    kv_heads: int = 2
    vocabulary: int = 259 + len(LEARNED)
    positions: int = 16
    tied: bool = True

    def header(self) -> list[int]:
        signed = self.vocabulary if self.tied else -self.vocabulary
        return [self.dim, self.hidden, self.layers, self.heads, self.kv_heads, signed, self.positions]


def random_weights(sizes: Sizes, seed: int) -> dict[str, Array]:
    """Weights under run.c's names, in the file's order; large enough that every part of the model matters."""
    draw = np.random.default_rng(seed)
    kv_dim = sizes.dim // sizes.heads * sizes.kv_heads
    layers, dim, hidden = sizes.layers, sizes.dim, sizes.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding_table": (sizes.vocabulary, dim),
        "rms_att_weight": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, kv_dim, dim),
        "wv": (layers, kv_dim, dim),
        "wo": (layers, dim, dim),
        "rms_ffn_weight": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "rms_final_weight": (dim,),
    }
    weights: dict[str, Array] = {
        name: draw.normal(size=shape).astype(np.float32) / np.float32(2) for name, shape in shapes.items()
    }
    if not sizes.tied:
        weights["wcls"] = draw.normal(size=(sizes.vocabulary, dim)).astype(np.float32)
    return weights


def write_model(path: Path, sizes: Sizes, weights: dict[str, Array]) -> None:
    """The file as `legacy_export` writes it. The tables of angles are NaN: whoever reads them shows it."""
    table = np.full(sizes.positions * sizes.dim // sizes.heads // 2, math.nan, np.float32).tobytes()
    content = b"".join(weights[name].tobytes() for name in weights if name != "wcls")
    classifier = weights["wcls"].tobytes() if "wcls" in weights else b""
    path.write_bytes(struct.pack("<7i", *sizes.header()) + content + table + table + classifier)


def small_pieces() -> list[tuple[bytes, float]]:
    """The small tokenizer's pieces and scores."""
    fixed = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{value:02X}>" for value in range(256))]
    return [(text.encode(), 0.0) for text in fixed] + [
        (text.encode(), -float(rank)) for rank, text in enumerate(LEARNED)
    ]


def write_tokenizer(path: Path, pieces: Sequence[tuple[bytes, float]]) -> None:
    rows = [struct.pack("<fi", score, len(text)) + text for text, score in pieces]
    path.write_bytes(struct.pack("<i", max(len(text) for text, _ in pieces)) + b"".join(rows))


def read_pieces(path: Path) -> list[tuple[bytes, float]]:
    """The pieces and scores of a tokenizer file."""
    content, at, found = path.read_bytes(), 4, []
    while at < len(content):
        score, length = struct.unpack_from("<fi", content, at)
        found.append((content[at + 8 : at + 8 + length], score))
        at += 8 + length
    return found


def encode(pieces: Sequence[tuple[bytes, float]], text: str) -> list[int]:
    """`encode` of run.c, without begin and end token."""
    ids = {piece: token for token, (piece, _) in enumerate(pieces)}
    tokens = [ids[b" "]] if text else []
    for character in text:
        raw = character.encode()
        tokens += [ids[raw]] if raw in ids else [byte + 3 for byte in raw]
    while True:
        best_score, best_at, best = -1e10, -1, -1
        for at in range(len(tokens) - 1):
            together = ids.get(pieces[tokens[at]][0] + pieces[tokens[at + 1]][0], -1)
            if together != -1 and pieces[together][1] > best_score:
                best_score, best_at, best = pieces[together][1], at, together
        if best_at == -1:
            return tokens
        tokens[best_at : best_at + 2] = [best]


def rmsnorm(x: Array, weight: Array) -> Array:
    scaled: Array = weight * x / np.sqrt((x * x).mean() + 1e-5)
    return scaled


def rotate(vector: Array, position: int, head_size: int) -> None:
    """Turn each pair of neighbours in place."""
    for i in range(0, len(vector), 2):
        angle = position / 10000.0 ** ((i % head_size) / head_size)
        first, second = vector[i], vector[i + 1]
        vector[i] = first * math.cos(angle) - second * math.sin(angle)
        vector[i + 1] = first * math.sin(angle) + second * math.cos(angle)


def forward(sizes: Sizes, weights: dict[str, Array], tokens: Sequence[int]) -> Array:
    """Logits at every position, (T, V)."""
    w = {name: weight.astype(np.float64) for name, weight in weights.items()}
    keys: list[list[Array]] = [[] for _ in range(sizes.layers)]
    values: list[list[Array]] = [[] for _ in range(sizes.layers)]
    logits = []
    for position, token in enumerate(tokens):
        x = w["token_embedding_table"][token].copy()
        for layer in range(sizes.layers):
            x += attention(sizes, w, layer, position, x, keys[layer], values[layer])
            xb = rmsnorm(x, w["rms_ffn_weight"][layer])
            gate = w["w1"][layer] @ xb
            x += w["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (w["w3"][layer] @ xb))
        logits.append(w.get("wcls", w["token_embedding_table"]) @ rmsnorm(x, w["rms_final_weight"]))
    return np.stack(logits)


def attention(
    sizes: Sizes, w: dict[str, Array], layer: int, position: int, x: Array, keys: list[Array], values: list[Array]
) -> Array:
    """What one layer's attention adds to x; the position's key and value join those before it."""
    head_size, shared_by = sizes.dim // sizes.heads, sizes.heads // sizes.kv_heads
    xb = rmsnorm(x, w["rms_att_weight"][layer])
    query, key = w["wq"][layer] @ xb, w["wk"][layer] @ xb
    rotate(query, position, head_size)
    rotate(key, position, head_size)
    keys.append(key)
    values.append(w["wv"][layer] @ xb)
    out = np.zeros(sizes.dim)
    for head in range(sizes.heads):
        mine = slice(head * head_size, (head + 1) * head_size)
        theirs = slice(head // shared_by * head_size, (head // shared_by + 1) * head_size)
        scores = np.array([query[mine] @ past[theirs] for past in keys]) / math.sqrt(head_size)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        out[mine] = sum(share * past[theirs] for share, past in zip(shares, values, strict=True))
    added: Array = w["wo"][layer] @ out
    return added
