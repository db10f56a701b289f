"""What a small training is made of: a `Case` says everything about it, its tokens included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from shieldwall.core.compression import CompressionKind
from shieldwall.core.hooks import Hook
from shieldwall.models.adapters import make_lora
from shieldwall.models.families import find_family
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.pipeline.clip import ClipBy
from shieldwall.pipeline.compute import Compute
from shieldwall.pipeline.feed import MicroBatch
from shieldwall.pipeline.learning_rate import LearningRate
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.recovery.views import with_duplicates
from shieldwall.schedule import Host, Topology, usual_hosts

VOCABULARY = 97
"""Tokens of a case are below this; so must be its model's vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training, to be run in whatever way."""

    family: str
    stages: int
    schedule: str = "gpipe"
    micro_batches: int = 4
    layers: int = 6
    cut: tuple[int, ...] = ()
    steps: int = 5
    dropout: float = 0.1
    clip_norm: float = 0.5
    clip_by: ClipBy = "model"
    peak_learning_rate: float = 3e-3
    attention: str = ""
    """Implementation by transformers' name; empty for the first that the family has."""
    seed: int = 7
    batch: int = 2
    block_tokens: int = 16
    packed: bool = False
    """Whether each row holds two examples, the second counting its positions from 0 again."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    workers: int | None = None
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    gradient_checkpointing: bool = False
    lora_rank: int = 0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ()
    hooks_of: Mapping[str, Sequence[Hook]] = field(default_factory=dict)
    compute_of: Callable[[str], Compute] | None = None
    when: Literal["before_use", "before_commit"] | None = None
    """When slots are settled; None: nothing is checked."""
    bans: bool = False
    respond: Literal["repair", "skip", "restart"] = "repair"
    """What follows an alert."""
    attempts: int = 8
    """How often a step is tried."""
    topology: Topology = "chain"
    compression: CompressionKind = "none"
    """Of what crosses a border."""

    @property
    def learning_rate(self) -> LearningRate:
        return LearningRate(peak=self.peak_learning_rate, warmup_steps=2, steps=self.steps, shape="cosine")

    @property
    def attention_name(self) -> str:
        return self.attention or find_family(self.family, "test").attentions[0]

    @property
    def tokens(self) -> Tensor:
        """(steps, M, B, T)."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.steps, self.micro_batches, self.batch, self.block_tokens)
        return torch.randint(VOCABULARY, shape, generator=generator)

    @property
    def positions_BT(self) -> Tensor:  # noqa: N802 (the shape is in the name)
        """(B, T), the same for every micro-batch of a packed case."""
        first = self.block_tokens // 3
        row_T = torch.cat([torch.arange(first), torch.arange(self.block_tokens - first)])
        return row_T.repeat(self.batch, 1)

    def config(self, folder: Path) -> PreTrainedConfig:
        """The configuration of the model in `folder`, with this case's dropout."""
        config = AutoConfig.from_pretrained(folder)
        for name in find_family(self.family, "test").dropout_fields:
            setattr(config, name, self.dropout)
        return config

    def hosts(self) -> tuple[Host, ...]:
        """The usual hosts, or `workers` of them who share the middle stages in turns."""
        hosts = usual_hosts(self.stages)
        if self.workers is not None:
            middle = range(1, self.stages - 1)
            shared = [Host(f"worker-{n + 1}", tuple(middle[n :: self.workers])) for n in range(self.workers)]
            hosts = (Host("initiator", tuple(dict.fromkeys((0, self.stages - 1)))), *shared)
        return with_duplicates(hosts) if self.when else hosts

    @property
    def holders(self) -> dict[int, str]:
        """Stage to its host."""
        return {stage: host.name for host in self.hosts() for stage in host.stages}

    @property
    def checkers(self) -> dict[int, str]:
        """Stage to the host of its duplicate; empty where nothing is checked."""
        return {stage: host.name for host in self.hosts() for stage in host.duplicates}

    @property
    def worker_names(self) -> list[str]:
        """Everybody but the initiator."""
        return [host.name for host in self.hosts() if host.name != "initiator"]


def model_settings(case: Case, config: PreTrainedConfig) -> ModelSettings:
    """With adapters that our own code configures from what a user would ask for."""
    plain = ModelSettings(config=config, attention=case.attention_name, dtype=case.dtype, autocast=case.autocast)
    if not case.lora_rank:
        return plain
    lora = make_lora(
        build_skeleton(plain),
        rank=case.lora_rank,
        alpha=16.0,
        dropout=case.lora_dropout,
        targets=list(case.lora_targets),
        base="",
    )
    return replace(plain, adapter=lora)


class CaseFeed:
    """Tokens of a case for the initiator's host."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._tokens = case.tokens

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        """What `micro_batch` of `step` trains on."""
        tokens_BT = self._tokens[step, micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, self._case.micro_batches)

    def evaluation(self, micro_batch: int) -> MicroBatch:
        """Tokens of the first step."""
        tokens_BT = self._tokens[0, micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, 1.0)

    def positions(self, step: int) -> Mapping[int, Tensor]:
        """Of a packed case for every micro-batch; of another one none."""
        del step
        return dict.fromkeys(range(self._case.micro_batches), self._case.positions_BT) if self._case.packed else {}
