"""How large an experiment is: models, steps, seeds, and which points of each grid are run.

tiny    one family on one corpus, within half an hour of one core for each experiment
small   the full grid: three families, three corpora; a cell takes one to three minutes of one core
gpu     the paper's sizes, on a CUDA device
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from types import MappingProxyType

from shieldwall.core.canonical import canonical_bytes
from shieldwall.core.errors import ConfigError

FAMILIES = ("opt", "bloom", "gpt2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Model and batch."""

    layers: int = 6
    width: int = 128
    heads: int = 4
    vocabulary: int = 2048
    block_tokens: int = 64
    stages: int = 6
    micro_batches: int = 4
    micro_batch_size: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Everything that an experiment's grid is made from, but for its seed and its texts."""

    name: str
    size: Size = Size()
    families: tuple[str, ...] = FAMILIES
    corpora: tuple[str, ...] = ("wikitext", "arxiv", "openwebtext")
    """Where a folder of data is given."""
    own_corpora: tuple[str, ...] = ("pydoc", "stdlib")
    """Where none is."""
    hub: tuple[tuple[str, str], ...] = ()
    """Families and a pretrained model's name for each; a family that is not here is pretrained by the experiment."""
    pretrain_steps: int = 1000
    pretrain_rate: float = 1e-3
    steps: int = 1000
    warmup_steps: int = 50
    tuning: tuple[float, ...]
    """Learning rates among which the clean baseline's is chosen."""
    seeds: int = 2
    """Besides the one that settings are chosen on."""
    clippings: tuple[str, ...] = ("stage", "none")
    topologies: tuple[str, ...] = ("star", "chain")
    """In which a step is played around suspects. The paper's skip layer is a star's."""
    evaluations: int = 10
    """Points of each curve."""
    patience: int = 3
    eval_blocks: int = 64
    test_blocks: int = 256
    device: str = "cpu"
    detection_steps: int = 8
    detection_rates: tuple[float, ...] = (0.1, 0.5, 1.0)
    detection_strengths: int = 2
    """At most so many strengths of each kind, the weakest first."""
    map_steps: int = 1000
    map_rates: tuple[tuple[str, tuple[float, ...]], ...] = (("adamw", (3e-4, 1e-3, 3e-3)), ("sgd", (0.03, 0.3)))
    """Optimizers and the learning rates of each."""
    map_clippings: tuple[str, ...] = ("none", "stage", "model")

    @property
    def identity(self) -> str:
        """What cells are known by: a name in `SCALES`, and a hash besides for any other scale of that name."""
        if SCALES.get(self.name) == self:
            return self.name
        return f"{self.name}-{hashlib.sha256(canonical_bytes(asdict(self))).hexdigest()[:8]}"


TINY = Scale(
    name="tiny",
    size=Size(width=64),
    families=("gpt2",),
    corpora=("arxiv",),
    own_corpora=("pydoc",),
    pretrain_steps=600,
    steps=600,
    pretrain_rate=2e-3,
    tuning=(1e-3, 3e-3),
    test_blocks=128,
    detection_rates=(0.3, 1.0),
    detection_strengths=1,
    map_steps=400,
    map_rates=(("adamw", (1e-3, 3e-3)), ("sgd", (0.1,))),
)

SMALL = Scale(
    name="small",
    steps=600,
    pretrain_steps=2000,
    pretrain_rate=2e-3,
    tuning=(1e-3, 3e-3),
    topologies=("star",),
    eval_blocks=128,
    test_blocks=1024,
    detection_steps=12,
    detection_rates=(0.01, 0.1, 0.3, 0.5, 0.7, 1.0),
    detection_strengths=4,
)

GPU = Scale(
    name="gpu",
    size=Size(layers=24, width=1024, heads=16, vocabulary=8192, block_tokens=512, micro_batch_size=1),
    hub=(("opt", "facebook/opt-350m"), ("bloom", "bigscience/bloom-560m"), ("gpt2", "gpt2-medium")),
    pretrain_steps=2000,
    pretrain_rate=3e-4,
    steps=2500,
    warmup_steps=0,
    tuning=(5e-6, 2e-5, 5e-5),
    clippings=("stage",),
    evaluations=2,
    patience=1,
    device="cuda",
    map_rates=(("adamw", (5e-6, 5e-5)), ("sgd", (1e-2,))),
)

SCALES: Mapping[str, Scale] = MappingProxyType({scale.name: scale for scale in (TINY, SMALL, GPU)})


def find_scale(name: str) -> Scale:
    """The scale of that name.

    Raises:
        ConfigError: SW-C121; there is none.
    """
    if name not in SCALES:
        raise unknown_choice("scale", name, tuple(SCALES), "--scale")
    return SCALES[name]


def unknown_choice(what: str, got: str, known: tuple[str, ...], where: str) -> ConfigError:
    """The error SW-C121: neither such an experiment nor such a scale."""
    near = get_close_matches(got, known, n=1)
    return ConfigError(
        "SW-C121",
        f"there is no such {what}",
        where=where,
        expected=f"one of: {', '.join(known)}",
        got=got,
        remedy=f"did you mean {near[0]}?" if near else "shieldwall experiment --help says what each one is",
    )
