"""What the seed paper reports, to stand beside ours.

Source: Lu et al., arXiv 2312.00843v1, tables 1 and 2: perplexity after fine-tuning with 6 stages, learning rate 5e-6,
batch 4, micro-batch 1, no dropout. Its clean runs were neither tuned nor stopped early, and it reports one run each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BACKWARD_CLAIM = 7.0
"""Section 5: at rate 0.7 the backward attack raises perplexity at least so many times."""

MODEL_OF_FAMILY: Mapping[str, str] = MappingProxyType({"opt": "OPT-350M", "bloom": "Bloom-560M", "gpt2": "GPT2-1.5B"})
"""The paper's model that each family is held against."""


@dataclass(frozen=True, slots=True)
class Table1Row:
    """Perplexity under attack, no defence."""

    clean: float
    forward_03: float
    forward_07: float
    backward_03: float
    backward_07: float


@dataclass(frozen=True, slots=True)
class Table2Row:
    """Perplexity at rate 0.5, forward; `defended` is the skip layer's."""

    clean: float
    attacked: float
    defended: float


TABLE_1: Mapping[tuple[str, str], Table1Row] = MappingProxyType(
    {
        ("OPT-350M", "wikitext"): Table1Row(29.77, 24.82, 52.37, 27.73, 2128.31),
        ("OPT-350M", "arxiv"): Table1Row(22.61, 20.90, 1383.81, 56.14, 1384.22),
        ("OPT-350M", "openwebtext"): Table1Row(41.38, 38.30, 3578.41, 355.31, 3584.42),
        ("GPT2-1.5B", "wikitext"): Table1Row(40.05, 56.43, 2503.65, 25.454, 788.4),
        ("GPT2-1.5B", "arxiv"): Table1Row(35.34, 28.89, 843.38, 23.42, 275.4),
        ("GPT2-1.5B", "openwebtext"): Table1Row(53.41, 988.80, 3226.01, 104.87, 2064.69),
    }
)

TABLE_2: Mapping[tuple[str, str], Table2Row] = MappingProxyType(
    {
        ("OPT-350M", "arxiv"): Table2Row(22.61, 601.92, 19.31),
        ("Bloom-560M", "arxiv"): Table2Row(67.15, 1682.94, 22.54),
        ("GPT2-1.5B", "arxiv"): Table2Row(35.34, 185.11, 19.12),
        ("Bloom-7B", "arxiv"): Table2Row(59.06, 818.43, 27.91),
        ("OPT-350M", "openwebtext"): Table2Row(41.38, 3563.56, 34.85),
        ("Bloom-560M", "openwebtext"): Table2Row(122.25, 3984.84, 61.65),
        ("GPT2-1.5B", "openwebtext"): Table2Row(53.41, 2435.17, 36.56),
        ("Bloom-7B", "openwebtext"): Table2Row(102.94, 3077.24, 52.62),
    }
)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why a ratio may be other than the paper's."""

    less: str
    more: str


def beside(ours: float | None, theirs: float, what: str, why: Reasons) -> str:
    """A sentence on how our ratio to clean differs from the paper's; with a reason where it does by half or more.

    `ours` is None where the attacked model has no perplexity.
    """
    here = "no perplexity" if ours is None else f"{ours:.2f} x clean"
    if ours is not None and 1 / 1.5 < ours / theirs < 1.5:
        return f"{what}: {here} here, {theirs:.2f} x in the paper: alike."
    is_less = ours is not None and ours < theirs
    reason = f"less here: {why.less}" if is_less else f"more here: {why.more}"
    return f"{what}: {here} here, {theirs:.2f} x in the paper; {reason}."
