"""From a configuration and a model to a plan: measure, cut, make, predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from shieldwall.config import Config
from shieldwall.core.arithmetic import ArithmeticClass, choose_device, name_arithmetic, pinned_arithmetic
from shieldwall.core.errors import ConfigError
from shieldwall.core.ids import INITIATOR, worker_name
from shieldwall.data.blocks import SMALLEST_BLOCK
from shieldwall.models.cut import UnitSeconds, balance_cut
from shieldwall.models.families import find_family
from shieldwall.models.measure import ModelCosts, UnitCost, measure_model
from shieldwall.models.settings import ModelSettings
from shieldwall.models.skeleton import build_skeleton
from shieldwall.models.source import ModelSource, find_folder, open_source, tiny_family
from shieldwall.models.span import StageSpan, check_cut, spans_of
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.recovery.detour import Detour
from shieldwall.recovery.views import with_duplicates
from shieldwall.run.adapter_base import check_adapter
from shieldwall.run.materials import check_block, set_dropout, tiny_shape
from shieldwall.run.memory import refuse_too_large, stage_bytes
from shieldwall.run.model import DTYPES, compression_of, model_settings
from shieldwall.schedule import (
    Host,
    Plan,
    StageCosts,
    When,
    bubble,
    make_plan,
    peak_in_flight,
    peak_in_flight_of_duplicates,
    simulate,
    traffic_of,
    waiting_share,
)

_THIS_MACHINE = "this machine"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run is going to do, and what that is expected to cost."""

    plan: Plan
    spans: tuple[StageSpan, ...]
    """The layers of each stage."""
    costs: StageCosts
    memory_bytes: dict[str, int]
    """Peak need of each host."""
    model: ModelSettings
    device: torch.device
    """Where the stages compute."""
    arithmetic: ArithmeticClass
    border_bytes: int
    """Of the tensor that one micro-batch sends over a border between stages, in either direction, as it is sent."""

    @property
    def cut(self) -> list[int]:
        """Layers of each stage."""
        return [span.last - span.first for span in self.spans]

    def evaluation(self, micro_batches: int) -> Plan:
        """The forward-only plan for that many micro-batches; where work is checked, before it is used."""
        plan = self.plan
        when: When | None = "before_use" if plan.when else None
        return make_plan(
            plan.schedule,
            plan.stages,
            micro_batches,
            plan.hosts,
            self.costs,
            training=False,
            when=when,
            topology=plan.topology,
        )

    def settled_before_use(self, micro_batches: Sequence[int] | None = None) -> Plan:
        """The plan for a step, or for some micro-batches of it, in which nothing is used before it is settled."""
        plan = self.plan
        return make_plan(
            plan.schedule,
            plan.stages,
            plan.micro_batches,
            plan.hosts,
            self.costs,
            when="before_use",
            only=micro_batches,
            topology=plan.topology,
        )

    def around(self, found: Detour) -> Plan:
        """The plan for a step around some hosts; a stage that is passed by takes no time."""
        plan, costs = self.plan, self.costs
        free = replace(
            costs,
            forward_s=_none_for(found.bypassed, costs.forward_s),
            backward_s=_none_for(found.bypassed, costs.backward_s),
        )
        return make_plan(
            plan.schedule,
            plan.stages,
            plan.micro_batches,
            found.hosts,
            free,
            when="before_use",
            topology=plan.topology,
        )

    def held_by(self, hosts: Sequence[Host]) -> RunPlan:
        """The same run on other hosts, after one has gone."""
        return replace(self, plan=self._on(hosts, self.plan.when))

    def dealt(self, hosts: Sequence[Host]) -> RunPlan:
        """The same run with other workers in the same places; a place keeps its needs."""
        names = {before.name: now.name for before, now in zip(self.plan.hosts, hosts, strict=True)}
        needs = {names[name]: need for name, need in self.memory_bytes.items()}
        return replace(self.held_by(hosts), memory_bytes=needs)

    def spread(self, *, checked: bool = True) -> Plan:
        """The plan for the same hosts if each had a machine of its own like this one, with or without checks."""
        plan = self.plan
        hosts = tuple(
            Host(host.name, host.stages, host.speed, duplicates=host.duplicates if checked else ())
            for host in plan.hosts
        )
        return self._on(hosts, plan.when if checked else None)

    def unchecked(self) -> Plan:
        """The plan for the same hosts without checks."""
        plan = self.plan
        return self._on(tuple(replace(host, duplicates=()) for host in plan.hosts), None)

    def _on(self, hosts: Sequence[Host], when: When | None) -> Plan:
        """The plan of the same step on other hosts."""
        plan = self.plan
        return make_plan(
            plan.schedule,
            plan.stages,
            plan.micro_batches,
            hosts,
            self.costs,
            when=when,
            topology=plan.topology,
        )

    def _traffic(self) -> dict[str, dict[str, int]]:
        """Tensors of a step and their bytes, by where they travel."""
        travels = traffic_of(self.plan)._asdict()
        return {way: {"tensors": count, "bytes": count * self.border_bytes} for way, count in travels.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything that `shieldwall plan --json` prints."""
        plan = self.plan
        here, spread = simulate(plan, self.costs), simulate(self.spread(), self.costs)
        unchecked, unchecked_spread = simulate(self.unchecked(), self.costs), self.spread(checked=False)
        spread_unchecked_s = simulate(unchecked_spread, self.costs).step_s
        return {
            "schedule": plan.schedule,
            "stages": plan.stages,
            "micro_batches": plan.micro_batches,
            "cut": self.cut,
            "hosts": {host.name: list(host.stages) for host in plan.hosts},
            "duplicates": {host.name: list(host.duplicates) for host in plan.hosts},
            "when": plan.when,
            "topology": plan.topology,
            "bubble": round(bubble(plan.schedule, plan.stages, plan.micro_batches), 4),
            "bubble_predicted": waiting_share(plan.hosts, here),
            "step_seconds": here.step_s,
            "step_seconds_unchecked": unchecked.step_s,
            "spread": {
                "step_seconds": spread.step_s,
                "step_seconds_unchecked": spread_unchecked_s,
                "bubble_predicted": spread.idle_share,
            },
            "traffic": self._traffic(),
            "memory_bytes": self.memory_bytes,
            "forward_seconds": list(self.costs.forward_s),
            "backward_seconds": list(self.costs.backward_s),
            "arithmetic_class": {**asdict(self.arithmetic), "root": self.arithmetic.root()},
            "plan": plan.to_json(),
        }


def _none_for(bypassed: Sequence[int], seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(0.0 if stage in bypassed else each for stage, each in enumerate(seconds))


def optimizer_settings(config: Config) -> OptimizerSettings:
    """The optimizer that the configuration names."""
    wanted = config.optimizer
    return OptimizerSettings(
        kind=wanted.kind,
        variant=wanted.variant,
        weight_decay=wanted.weight_decay,
        betas=(wanted.beta1, wanted.beta2),
        eps=wanted.eps,
        momentum=wanted.momentum,
    )


def configured_source(config: Config) -> ModelSource:
    """The configured model's configuration and family, without weights; for `tiny:` nothing is written.

    Raises:
        ModelError: SW-M1...
    """
    family_name = tiny_family(config.model.name)
    if family_name is None:
        folder = find_folder(config.model.name)
        source = open_source(folder)
        check_block(config, source)
    else:
        family = find_family(family_name, f"model.name = {config.model.name}")
        shape = tiny_shape(config, config.data.vocabulary, 0)
        source = ModelSource(Path(config.model.name), family.tiny_config(shape), family)
    set_dropout(source, config.model.dropout)
    return source


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Makes plans for one run on any hosts, from what was measured once. Made by `measure`."""

    config: Config
    model: ModelSettings
    device: torch.device
    costs: ModelCosts
    """Of each unit, on this machine."""
    row_tokens: int
    """In the longest row that the run will see."""

    @classmethod
    def measure(cls, config: Config, source: ModelSource, row_tokens: int | None = None) -> Planner:
        """Look at the model and this machine; raises as `plan_run`."""
        device = find_device(config)
        if config.pipeline.cut != "auto":
            check_cut(config.pipeline.cut, layers=source.layers, stages=config.pipeline.stages)
        model = model_settings(config, source, device)
        check_adapter(config.model, source, model)
        longest = row_tokens or config.data.block_tokens
        costs = measure_model(model, device=device, batch=config.micro_batch_size, block_tokens=longest)
        return cls(config=config, model=model, device=device, costs=costs, row_tokens=longest)

    @property
    def unit_seconds(self) -> UnitSeconds:
        """What each unit takes for one micro-batch."""
        costs = self.costs
        return UnitSeconds(
            embeddings=costs.embeddings.forward_s + costs.embeddings.backward_s,
            layers=tuple(layer.forward_s + layer.backward_s for layer in costs.layers),
            head=costs.head.forward_s + costs.head.backward_s,
        )

    def usual(self) -> RunPlan:
        """The plan for the hosts that the configuration names, as if each were a process of this machine."""
        hosts, cut = configured_hosts(self.config), self.config.pipeline.cut
        return self.plan(hosts, cut if cut != "auto" else balanced(self.unit_seconds, hosts))

    def plan(self, hosts: Sequence[Host], cut: list[int]) -> RunPlan:
        """The plan of a step on these hosts with this cut.

        Raises:
            PlanError: SW-P101, unknown schedule.
        """
        config, model = self.config, self.model
        spans = spans_of(cut)
        units = [self.units(span) for span in spans]
        seconds = _stage_costs(units, gradient_checkpointing=config.pipeline.gradient_checkpointing)
        plan = make_plan(
            config.pipeline.schedule,
            config.pipeline.stages,
            config.pipeline.micro_batches,
            hosts,
            seconds,
            when=_when(config),
            topology=config.pipeline.topology,
        )
        compression = compression_of(config, model)
        arithmetic = name_arithmetic(
            self.device,
            threads=config.run.threads,
            attention=model.attention,
            dtype=model.arithmetic,
            optimizer=optimizer_settings(config).name,
            compression=compression,
        )
        border_BTD = (config.micro_batch_size, self.row_tokens, int(model.config.hidden_size))
        return RunPlan(
            plan,
            spans,
            seconds,
            self.host_bytes(plan.hosts, spans, InFlight.of(plan)),
            model,
            self.device,
            arithmetic,
            border_bytes=compression.sent_bytes(border_BTD),
        )

    def units(self, span: StageSpan) -> list[UnitCost]:
        """What a stage consists of."""
        units = [self.costs.layers[index] for index in span.layers]
        if span.embeddings:
            units.append(self.costs.embeddings)
        if span.head:
            units.append(self.costs.head)
        return units

    def host_bytes(self, hosts: Sequence[Host], spans: Sequence[StageSpan], in_flight: InFlight) -> dict[str, int]:
        """Peak need of each host, duplicates and gradients that are held apart included."""
        config = self.config
        settings, apart = optimizer_settings(config), config.pipeline.micro_batches if _when(config) else 1

        def need(stage: int, kept: int) -> int:
            checkpointing = config.pipeline.gradient_checkpointing
            return stage_bytes(
                self.units(spans[stage]), kept, settings, gradient_checkpointing=checkpointing, gradients_apart=apart
            )

        return {
            host.name: sum(need(stage, in_flight.of_stages.get(stage, 0)) for stage in host.stages)
            + sum(need(stage, in_flight.of_duplicates.get(stage, 0)) for stage in host.duplicates)
            for host in hosts
        }


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many micro-batches are kept at once, by stage: what memory for activations grows with."""

    of_stages: Mapping[int, int]
    of_duplicates: Mapping[int, int]

    @classmethod
    def of(cls, plan: Plan) -> InFlight:
        """As a plan has it."""
        return cls(peak_in_flight(plan), peak_in_flight_of_duplicates(plan))

    def or_more(self, other: InFlight) -> InFlight:
        """The larger of both, stage by stage."""
        return InFlight(_larger(self.of_stages, other.of_stages), _larger(self.of_duplicates, other.of_duplicates))


def _larger(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return {stage: max(one.get(stage, 0), other.get(stage, 0)) for stage in one.keys() | other.keys()}


def plan_run(config: Config, source: ModelSource, row_tokens: int | None = None) -> RunPlan:
    """Measure the model on this machine, cut it and plan a step.

    Args:
        config: of the run.
        source: the model's configuration and family.
        row_tokens: tokens in the longest row that the run will see; `data.block_tokens` if not given.

    Raises:
        ModelError: SW-M110 or SW-M111, the cut does not fit.
        PlanError: SW-P101, unknown schedule.
        ConfigError: SW-C106, the device is not there.
    """
    return Planner.measure(config, source, row_tokens).usual()


def _when(config: Config) -> When | None:
    """When the plan settles checks; "auto" begins before the commit."""
    if not config.checks:
        return None
    return "before_use" if config.verify.when == "before_use" else "before_commit"


def refuse_hopeless(config: Config, source: ModelSource) -> None:
    """Refuse what cannot fit before anything of its size is made: weights, optimizer and one micro-batch's logits.

    Raises:
        PlanError: SW-P201.
    """
    device = find_device(config)
    skeleton = build_skeleton(model_settings(config, source, device))
    trained = sum(parameter.nbytes for parameter in skeleton.parameters() if parameter.requires_grad)
    frozen = sum(parameter.nbytes for parameter in skeleton.parameters() if not parameter.requires_grad)
    full_rows = config.data.packing and not config.data.prompt
    targets = config.micro_batch_size * (config.data.block_tokens if full_rows else SMALLEST_BLOCK)
    logits = targets * int(source.config.vocab_size) * DTYPES[config.model.dtype].itemsize
    least = frozen + trained * 2 * (1 + optimizer_settings(config).moments) + logits
    refuse_too_large({"all hosts, at least": least}, device)


def find_device(config: Config) -> torch.device:
    """The configured device.

    Raises:
        ConfigError: SW-C106; it is not there.
    """
    device = choose_device(config.run.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            "SW-C106",
            "the device is not there",
            where="run.device",
            expected=f"one of: auto, cpu{''.join(f', cuda:{n}' for n in range(torch.cuda.device_count()))}",
            got=config.run.device,
            remedy='set run.device to "auto"',
        )
    return device


def configured_hosts(config: Config) -> tuple[Host, ...]:
    """The initiator with both ends, and the workers with the middle stages in turn; all share this machine."""
    names = [INITIATOR, *(worker_name(index) for index in range(config.workers))]
    speeds = config.pipeline.speeds or [1.0] * len(names)
    return deal(config, dict(zip(names, speeds, strict=True)), _THIS_MACHINE)


def deal(config: Config, speeds: Mapping[str, float], processor: str | None = None) -> tuple[Host, ...]:
    """The initiator with both ends, and the others with the middle stages in turn, and duplicates where work is
    checked.

    Args:
        config: of the run.
        speeds: by host, the initiator first.
        processor: that all of them share; each has its own if not given.

    Raises:
        PlanError: SW-P127; a worker would hold a stage and its duplicate.
    """
    stages, workers = config.pipeline.stages, len(speeds) - 1
    middle = range(1, stages - 1)
    held = [tuple(dict.fromkeys((0, stages - 1)))]
    held += [tuple(middle[index::workers]) for index in range(workers)]
    hosts = tuple(Host(name, mine, speed, processor) for (name, speed), mine in zip(speeds.items(), held, strict=True))
    return with_duplicates(hosts) if config.checks else hosts


def spare_names(config: Config) -> list[str]:
    """Names of the workers that hold nothing at first."""
    return [worker_name(config.workers + index) for index in range(config.pipeline.spares)]


def balanced(
    seconds: UnitSeconds, hosts: Sequence[Host], excess: Callable[[Sequence[int]], int] | None = None
) -> list[int]:
    """The cut with which the busiest of these hosts is least busy, checks included; `excess` as for `balance_cut`."""
    host_of_stage = {stage: host.name for host in hosts for stage in host.stages}
    ordered = [host_of_stage[stage] for stage in range(len(host_of_stage))]
    checkers = {stage: host.name for host in hosts for stage in host.duplicates}
    return balance_cut(seconds, ordered, {host.name: host.speed for host in hosts}, checkers, excess=excess)


def _stage_costs(units: list[list[UnitCost]], *, gradient_checkpointing: bool) -> StageCosts:
    """Seconds of each stage; under gradient checkpointing a backward pass begins with a forward pass."""
    forward_s = tuple(sum(unit.forward_s for unit in stage) for stage in units)
    backward_s = tuple(sum(unit.backward_s for unit in stage) for stage in units)
    if gradient_checkpointing:
        backward_s = tuple(map(sum, zip(forward_s, backward_s, strict=True)))
    return StageCosts(forward_s=forward_s, backward_s=backward_s)


def plan(config: Config | None = None) -> RunPlan:
    """What training under `config` (the embedded default if not given) is going to do; trains and writes nothing.

    Raises:
        ConfigError, ModelError, PlanError: what was given cannot be used.
    """
    chosen = config or Config()
    with pinned_arithmetic(find_device(chosen), chosen.run.threads):
        source = configured_source(chosen)
        refuse_hopeless(chosen, source)
        return plan_run(chosen, source)
