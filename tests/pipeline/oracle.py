"""The pipeline and the plain loop side by side, on the same tokens in the same arithmetic class."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from shieldwall.core.hooks import Hook
from shieldwall.core.ids import Role
from shieldwall.core.messages import StageState, View
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header
from shieldwall.lab.plain import train_plain
from shieldwall.models.adapters import make_lora
from shieldwall.models.families import find_family
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.span import even_cut, spans_of
from shieldwall.pipeline.compute import Compute
from shieldwall.pipeline.coordinator import StepWork
from shieldwall.pipeline.feed import MicroBatch
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.pipeline.learning_rate import LearningRate
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.recovery.views import with_duplicates
from shieldwall.run.deployment import deploy_in_process
from shieldwall.run.recompute import StageRecompute
from shieldwall.run.shield import Parties, Shield, first_roots
from shieldwall.run.states import Holding, Origin, owners, stage_states
from shieldwall.schedule import Host, Plan, make_plan, usual_hosts
from shieldwall.verify.court import Court
from shieldwall.verify.court.record import StepRecord


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training to run both ways."""

    family: str
    stages: int
    schedule: str = "gpipe"
    micro_batches: int = 4
    layers: int = 6
    cut: tuple[int, ...] = ()
    steps: int = 5
    dropout: float = 0.1
    clip_norm: float = 0.5
    attention: str = ""
    """Implementation by transformers' name; empty for the first that the family has."""
    seed: int = 7
    batch: int = 2
    block_tokens: int = 16
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

    @property
    def learning_rate(self) -> LearningRate:
        return LearningRate(peak=3e-3, warmup_steps=2, steps=self.steps, shape="cosine")

    @property
    def attention_name(self) -> str:
        return self.attention or find_family(self.family, "test").attentions[0]

    @property
    def tokens(self) -> Tensor:
        """(steps, M, B, T)."""
        generator = torch.Generator().manual_seed(self.seed)
        shape = (self.steps, self.micro_batches, self.batch, self.block_tokens)
        return torch.randint(97, shape, generator=generator)

    def config(self, folder: Path) -> PreTrainedConfig:
        config = AutoConfig.from_pretrained(folder)
        for name in find_family(self.family, "test").dropout_fields:
            setattr(config, name, self.dropout)
        return config

    def hosts(self) -> tuple[Host, ...]:
        hosts = usual_hosts(self.stages)
        if self.workers is not None:
            middle = range(1, self.stages - 1)
            shared = [Host(f"worker-{n + 1}", tuple(middle[n :: self.workers])) for n in range(self.workers)]
            hosts = (Host("initiator", tuple(dict.fromkeys((0, self.stages - 1)))), *shared)
        return with_duplicates(hosts) if self.when else hosts


@dataclass(frozen=True)
class Trained:
    """Weights by name, mean loss and gradient norm of each step."""

    weights: dict[str, Tensor]
    losses: list[float]
    court: Court | None = None
    rerun: int = 0
    """Micro-batches that were run again."""
    record: MemoryRecord | None = None


class MemoryRecord:
    """Remembers a run in lists."""

    def __init__(self) -> None:
        self.statements: list[Signed[Any]] = []
        self.commits: list[StepRecord] = []

    def add(self, signed: Signed[Any]) -> None:
        self.statements.append(signed)

    def add_view(self, view: View) -> None:
        del view

    def keep_evidence(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
        del tensors, about
        return ""

    def correct(self, header: Signed[Header]) -> None:
        self.statements.append(header)

    def commit(self, step: StepRecord) -> str:
        self.commits.append(step)
        return "head"


def train_pipeline(case: Case, folder: Path) -> Trained:
    return asyncio.run(_train_pipeline(case, folder))


async def _train_pipeline(case: Case, folder: Path) -> Trained:
    config = case.config(folder)
    spans = spans_of(case.cut or even_cut(case.layers, case.stages))
    model = model_settings(case, config)
    skeleton = build_skeleton(model)
    hosts = case.hosts()
    plan = make_plan(case.schedule, case.stages, case.micro_batches, hosts, when=case.when)
    settings = HostSettings(
        model=model,
        seed=case.seed,
        device=torch.device("cpu"),
        optimizer=case.optimizer,
        gradient_checkpointing=case.gradient_checkpointing,
    )
    holdings = list(stage_states(skeleton, spans, Origin(base=folder, seed=case.seed), case.dtype))
    record = MemoryRecord()
    shield = _shield(case, settings, holdings, record) if case.when else None
    deployment = deploy_in_process(
        plan,
        settings,
        TensorFeed(case),
        run="test",
        stage_of=owners(skeleton, spans),
        clip_norm=case.clip_norm,
        hooks_of=case.hooks_of,
        compute_of=case.compute_of,
        shield=shield,
    )
    weights: dict[str, Tensor] = {}
    losses = []
    rerun = 0
    width = model.config.hidden_size
    shapes = dict.fromkeys(range(case.micro_batches), (case.batch, case.block_tokens, width)) if shield else None

    def again(micro_batches: tuple[int, ...]) -> Plan:
        return make_plan(case.schedule, case.stages, case.micro_batches, hosts, when="before_use", only=micro_batches)

    async with deployment as coordinator:
        if shield:
            await coordinator.announce(shield.view(hosts), [host.name for host in hosts])
        for holding in holdings:
            span = holding.span
            await coordinator.assign(plan.host_of(span.index), span, holding.state, holding.frozen)
            checker = plan.checker_of(span.index)
            if checker:
                await coordinator.assign(checker, span, holding.state, holding.frozen, Role.DUPLICATE)
        for step in range(case.steps):
            work = StepWork(plan=plan, step=step, learning_rate=case.learning_rate.at(step), shapes=shapes, again=again)
            result = await coordinator.step(work)
            losses.append(sum(result.losses.values()) / len(result.losses))
            rerun += len(result.rerun)
        async for _, state in coordinator.states():
            weights.update(_copied(state))
    return Trained(weights, losses, shield.court if shield else None, rerun, record)


def _shield(case: Case, settings: HostSettings, holdings: list[Holding], record: MemoryRecord) -> Shield:
    frozen = {holding.span.index: holding.frozen for holding in holdings}
    recompute = StageRecompute(settings, [holding.span for holding in holdings], lambda stage: frozen[stage])
    hosts = case.hosts()
    checked = {stage for host in hosts for stage in host.duplicates}
    states = {each.span.index: each.state for each in holdings if each.span.index in checked}
    return Shield(
        Parties(host.name for host in hosts),
        arithmetic="class",
        recompute=recompute,
        record=record,
        state_roots=first_roots(recompute, states),
        bans=case.bans,
    )


def train_reference(case: Case, folder: Path) -> Trained:
    """The unsplit model under `lab/plain.py`, dropout reseeded by the published function, written out anew here."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, config=case.config(folder), attn_implementation=case.attention_name, dtype=case.dtype
    )
    whole = add_adapters(model, case) if case.lora_rank else model
    whole.train()
    family = find_family(case.family, "test")
    units = [model.get_input_embeddings(), *model.get_submodule(family.layers)]
    rates = [case.learning_rate.at(step) for step in range(case.steps)]
    trained = {name: parameter for name, parameter in whole.named_parameters() if parameter.requires_grad}
    losses = train_plain(
        whole,
        list(case.tokens),
        optimizer=case.optimizer.build(list(trained.values()), rates[0]),
        learning_rates=rates,
        clip_norm=case.clip_norm,
        units=units,
        seed_of=lambda step, micro_batch, unit: published_seed("dropout", case.seed, step, micro_batch, unit),
        autocast=case.autocast,
    )
    weights = {name.removeprefix("base_model.model.").replace(".default", ""): trained[name] for name in trained}
    return Trained({name: parameter.detach() for name, parameter in weights.items()}, losses)


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


def add_adapters(model: PreTrainedModel, case: Case) -> PeftModel:
    """Adapters as anybody would add them with peft, their first weights drawn by the published function."""
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=case.lora_rank,
        lora_alpha=16,
        lora_dropout=case.lora_dropout,
        target_modules=list(case.lora_targets) or None,
        fan_in_fan_out=case.family == "gpt2",
    )
    whole = get_peft_model(model, lora)
    adapters = [(name, weight) for name, weight in whole.named_parameters() if ".lora_" in name]
    for place, (name, weight) in enumerate(adapters):
        if ".lora_A." in name:
            drawn = torch.Generator().manual_seed(published_seed("adapter", case.seed, place))
            torch.nn.init.kaiming_uniform_(weight.data, a=5**0.5, generator=drawn)
    return whole


def published_seed(purpose: str, *parts: int) -> int:
    text = "|".join(["shieldwall/1", purpose, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def assert_bit_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Per parameter: the same names, and the same bits under each."""
    assert found.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []


class TensorFeed:
    """Tokens of a case for the initiator's host."""

    def __init__(self, case: Case) -> None:
        self._tokens = case.tokens
        self._micro_batches = case.micro_batches

    def training(self, step: int, micro_batch: int) -> MicroBatch:
        tokens_BT = self._tokens[step, micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, self._micro_batches)

    def evaluation(self, micro_batch: int) -> MicroBatch:
        tokens_BT = self._tokens[0, micro_batch]
        return MicroBatch(tokens_BT, tokens_BT, 1.0)

    def positions(self, step: int) -> Mapping[int, Tensor]:
        del step
        return {}


def _copied(state: StageState) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.parameters.items()}
