"""One deployment of a run: hand out the stages, train, write the model."""

from __future__ import annotations

import copy
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from shieldwall.config import Config
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import INITIATOR, Role
from shieldwall.core.lines import read_lines
from shieldwall.core.messages import StageState, View
from shieldwall.dashboard.progress import ProgressView
from shieldwall.models.lora_file import write_lora
from shieldwall.models.skeleton import build_skeleton
from shieldwall.pipeline.clip import Clipping
from shieldwall.pipeline.compute import ThreadCompute
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.recovery.checkpoints import Checkpoint, Checkpoints, Progress, read_checkpoint
from shieldwall.recovery.views import without
from shieldwall.run.attackers import Attackers, hire_attackers
from shieldwall.run.corpus import run_steps
from shieldwall.run.custody import Custody
from shieldwall.run.custody import describe as describe_places
from shieldwall.run.defence import Defence, raise_shield
from shieldwall.run.deployment import deploy
from shieldwall.run.detours import Detours
from shieldwall.run.dismissal import Dismissal
from shieldwall.run.export import Exporter, States
from shieldwall.run.feed import BlockFeed
from shieldwall.run.fitting import fit_machines, joined_before, record_fit, room_on
from shieldwall.run.folder import RunFolder
from shieldwall.run.handover import Handover
from shieldwall.run.lateness import Lateness
from shieldwall.run.loop import LoopResult, LoopTools, TrainingLoop, tell_verdicts
from shieldwall.run.losses import Losses
from shieldwall.run.machines.listen import Listen
from shieldwall.run.machines.muster import Machines, Muster
from shieldwall.run.machines.sentry import allowed_silence_s
from shieldwall.run.machines.speed import Probe
from shieldwall.run.machines.welcome import describe
from shieldwall.run.materials import Materials
from shieldwall.run.model import compression_of
from shieldwall.run.planning import (
    InFlight,
    Planner,
    RunPlan,
    configured_hosts,
    optimizer_settings,
    spare_names,
)
from shieldwall.run.plans import write_plan
from shieldwall.run.saved_model import write_recipe
from shieldwall.run.states import Holding, Origin, owners, stage_states
from shieldwall.run.succession import Succession
from shieldwall.run.uneven import least_bytes
from shieldwall.run.watch import Watch, expelled_before
from shieldwall.schedule import Host, Plan

_RETURN_PATIENCE_S = 10.0
"""How long a run that goes back to its checkpoint waits for those whom it has lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSession:
    """Everything that the asynchronous part of a run works with."""

    config: Config
    folder: RunFolder
    materials: Materials
    run_plan: RunPlan
    planner: Planner
    """Makes the plan anew for machines, where it is not settled by the configuration."""
    checkpoints: Checkpoints
    start: Checkpoint | None
    view: ProgressView
    hooks_of: Mapping[str, Sequence[Hook]]
    stop_wanted: Callable[[], bool]
    losses: Losses
    """Hosts that were lost and that nothing tells of yet, such as those because of whom a run went back."""
    listen: Listen | None
    """Where workers on other machines dial; None where all hosts are in this process."""
    before_close: Callable[[LoopResult], None]
    """Called when all is done but the closing of the ledger, after which nothing can be added."""
    started: float
    """`time.perf_counter()` at the start of this process's part of the run."""

    async def play(self) -> LoopResult:
        """Deploy, hand out the stages, run the loop, export the model."""
        config, run_plan, source = self.config, self.run_plan, self.materials.source
        skeleton = build_skeleton(run_plan.model)
        settings = HostSettings(
            model=run_plan.model,
            seed=config.run.seed,
            device=run_plan.device,
            optimizer=optimizer_settings(config),
            gradient_checkpointing=config.pipeline.gradient_checkpointing,
            compression=compression_of(config, run_plan.model),
        )
        feed = BlockFeed(self.materials.blocks, config)
        origin = Origin(
            base=source.folder,
            checkpoint=self.start,
            adapter=Path(config.model.adapter) if config.model.adapter else None,
            seed=config.run.seed,
        )
        async with self._machines(settings) as machines:
            session, spares = self._fitted(machines) if machines else (self, spare_names(config))
            return await session._play(settings, feed, origin, skeleton, machines, spares)

    def _fitted(self, machines: Machines) -> tuple[TrainingSession, list[str]]:
        """The same with the plan that fits the machines which are there, and who is a spare of those whom it names.

        In which order workers stand is drawn first, and the cut follows: what they claim of themselves has no part in
        who checks whom.
        """
        config = self.config
        spares = [*(name for name in spare_names(config) if name in machines.there), *machines.unexpected]
        drawn, spares = self._custody.first(configured_hosts(config), spares)
        if config.pipeline.cut != "auto":
            return replace(self, run_plan=self.run_plan.dealt(drawn)), spares
        workers = [host.name for host in drawn if host.name != INITIATOR]
        found = fit_machines(self.planner, machines, self.folder, workers, spares)
        record_fit(self.folder, self._steps, found, machines)
        for reason in found.reasons:
            self.view.note(reason)
        self.view.note(f"layers of the stages for these machines: {found.run_plan.cut}")
        return replace(self, run_plan=found.run_plan), list(found.spares)

    async def _play(
        self,
        settings: HostSettings,
        feed: BlockFeed,
        origin: Origin,
        skeleton: PreTrainedModel,
        machines: Machines | None,
        spares: list[str],
    ) -> LoopResult:
        config, source = self.config, self.materials.source
        run_plan, spares = self._deal(machines, spares)
        attackers = hire_attackers(config, run_plan.plan.hosts, spare_names(config), settings.compression)
        holdings = stage_states(skeleton, run_plan.spans, origin, run_plan.model.dtype)
        defence = self._raise_shield(settings, run_plan, spares, holdings, machines.keys if machines else {})
        deployment = deploy(
            run_plan.plan,
            settings,
            feed,
            run=config.run.name,
            stage_of=owners(skeleton, run_plan.spans),
            clipping=Clipping(norm=config.optimizer.clip_norm, by=config.optimizer.clip_by),
            hooks_of=_all_hooks(self.hooks_of, attackers),
            shield=defence.shield if defence else None,
            spares=spares if defence else (),
            compute_of=(lambda _: ThreadCompute()) if machines else None,
            network=machines.hub if machines else None,
            elsewhere=machines.there if machines else (),
            state_bytes=max(run_plan.memory_bytes.values()),
            tell=self.view.note,
            deadlines=self._deadlines(machines, run_plan),
        )
        try:
            async with deployment as coordinator:
                handover = self._handover(coordinator, defence, attackers, machines)
                has_room = room_on(machines, self.planner, run_plan)
                succession = await self._begin(defence, handover, run_plan.plan.hosts, spares, has_room)
                for holding in stage_states(skeleton, run_plan.spans, origin, run_plan.model.dtype):
                    await assign_both(coordinator, run_plan.plan, holding)
                coordinator.tell_still_there()
                tools = LoopTools(
                    config=config,
                    steps=self._steps,
                    folder=self.folder,
                    run_plan=run_plan,
                    feed=feed,
                    coordinator=coordinator,
                    checkpoints=self.checkpoints,
                    write_assets=self._write_adapter_assets if run_plan.model.adapter else self._write_model_assets,
                    view=self.view,
                    stop_wanted=self.stop_wanted,
                    watch=Watch(defence.shield.court if defence else None, attackers.log if attackers else None),
                    court=defence.shield.court if defence else None,
                    succession=succession,
                    custody=self._custody,
                    losses=self.losses,
                    lateness=Lateness(run_plan.costs) if machines else None,
                    cut_off=machines.cut_off if machines else None,
                    on_arrival=_admission(defence, machines),
                    detours=Detours(handover) if handover and config.respond.policy == "skip" else None,
                    expelled=self._expelled_before(machines),
                    dismiss=Dismissal(coordinator, defence.shield.court if defence else None, machines),
                )
                progress = self.start.progress if self.start else Progress(step=0)
                loop = TrainingLoop(tools, progress, self.started)
                trained = await loop.run()
                exporter = Exporter(
                    settings=run_plan.model,
                    skeleton=skeleton,
                    spans=run_plan.spans,
                    base=source.folder,
                    write_model_assets=self._write_model_assets,
                    write_adapter_assets=self._write_adapter_assets,
                )
                result = await loop.surely(lambda: self._export(exporter, coordinator, trained))
                for culprit in tools.court.book.take_condemned() if tools.court else ():
                    await tools.dismiss(culprit)
                tell_verdicts(tools.watch, self.view, result.progress.step)
                result = replace(result, news=tools.watch.take(result.progress.step))
                self.before_close(result)
        except BaseException:
            if defence:
                defence.writer.release()
            raise
        if defence:
            defence.writer.close()
        return result

    @asynccontextmanager
    async def _machines(self, settings: HostSettings) -> AsyncIterator[Machines | None]:
        """Workers on other machines, once all of them are there; None where all hosts are in this process."""
        if self.listen is None:
            yield None
            return
        config, plan, needs = self.config, self.run_plan.plan, self.run_plan.memory_bytes
        settled, rows = config.pipeline.cut != "auto", config.micro_batch_size * self.planner.row_tokens
        muster = Muster(
            folder=self.folder,
            run=config.run.name,
            listen=self.listen,
            topology=plan.topology,
            welcome=describe(
                settings,
                run=config.run.name,
                topology=plan.topology,
                checked=config.checks,
                threads=config.run.threads,
                frame_bytes=self.run_plan.border_bytes,
                state_bytes=max(needs.values()) if settled else sum(needs.values()),
                silence_s=allowed_silence_s(self.run_plan.costs),
                rows=rows,
            ),
            deadlines=Deadlines(
                costs=self.run_plan.costs, border_bytes=self.run_plan.border_bytes, state_bytes=max(needs.values())
            ),
            arithmetic=self.run_plan.arithmetic,
            worker_bytes=max((size for host, size in needs.items() if host != INITIATOR), default=0)
            if settled
            else least_bytes(self.planner, InFlight.of(plan)),
            own_passes_per_s=Probe.of(settings.model, rows).passes_per_s(self.run_plan.device),
            patience_s=_RETURN_PATIENCE_S if self.losses.workers else None,
            view=self.view,
            stop_wanted=self.stop_wanted,
        )
        names = [host.name for host in plan.hosts if host.name != INITIATOR]
        async with muster.gather([*names, *spare_names(config)]) as machines:
            yield machines

    def _deadlines(self, machines: Machines | None, run_plan: RunPlan) -> Deadlines | None:
        """Of answers, by the plan that is played; nobody in this process can keep anything back."""
        if machines is None:
            return None
        machines.deadlines.costs = run_plan.costs
        machines.deadlines.state_bytes = max(run_plan.memory_bytes.values())
        return machines.deadlines

    def _deal(self, machines: Machines | None, spares: list[str]) -> tuple[RunPlan, list[str]]:
        """Who holds what at the start, and who is a spare.

        As planned; others stand in for workers on other machines that are not there.
        """
        run_plan = self.run_plan
        if machines is None:
            return run_plan, spares
        hosts, there, barred = run_plan.plan.hosts, machines.there, self.losses.barred.keys()
        self.view.note(f"drawn: {describe_places(hosts)}")
        placed = {host.name for host in hosts}
        spares = [name for name in dict.fromkeys([*spares, *machines.unexpected]) if name in there - placed - barred]
        absent = [host.name for host in hosts if host.name not in {INITIATOR, *there} or host.name in barred]
        for name in absent:
            successor = spares.pop(0) if spares and self.config.checks else INITIATOR
            why = "has missed a deadline" if name in barred else "is not there"
            self.view.note(f"{name} {why}; {successor} takes over what it held")
            hosts = without(hosts, name, successor)
        machines.warden.register.see_hosts(hosts)
        run_plan = run_plan.held_by(hosts) if absent else run_plan
        write_plan(self.folder.plan, self._steps, run_plan, joined_before(self.folder))
        return run_plan, spares

    @property
    def _custody(self) -> Custody:
        return Custody(self.folder.custody if self.listen else None)

    @property
    def _steps(self) -> int:
        return run_steps(self.config, len(self.materials.blocks.train))

    def _raise_shield(
        self,
        settings: HostSettings,
        run_plan: RunPlan,
        spares: Sequence[str],
        holdings: Iterable[Holding],
        elsewhere: Mapping[str, bytes],
    ) -> Defence | None:
        """The shield and its ledger, where the configuration wants work checked."""
        config = self.config
        if not config.checks:
            return None
        return raise_shield(
            config,
            self.folder,
            settings,
            run_plan,
            holdings,
            names=[*(host.name for host in run_plan.plan.hosts), *spares],
            step=self.start.progress.step if self.start else 0,
            elsewhere=elsewhere,
        )

    def _expelled_before(self, machines: Machines | None) -> tuple[str, ...]:
        """Who was expelled before the run was resumed; with workers elsewhere the book of members knows, by key."""
        if machines or not self.config.bans:
            return ()
        return expelled_before(read_lines(self.folder.metrics).lines)

    def _handover(
        self,
        coordinator: Coordinator,
        defence: Defence | None,
        attackers: Attackers | None,
        machines: Machines | None,
    ) -> Handover | None:
        """Moves duties; None where nothing is checked."""
        if defence is None:
            return None
        told = [attackers.see_view] if attackers else []
        told += [machines.warden.register.see_view] if machines else []

        def on_view(view: View) -> None:
            for tell in told:
                tell(view)

        return Handover(coordinator, defence.shield, self.run_plan.spans, defence.frozen_of, on_view)

    async def _begin(
        self,
        defence: Defence | None,
        handover: Handover | None,
        hosts: Sequence[Host],
        spares: Sequence[str],
        has_room: Callable[[Host], bool],
    ) -> Succession | None:
        """Announce the first view."""
        if defence is None or handover is None:
            return None
        succession = Succession(handover, hosts, spares, portions=self.run_plan.plan.hosts, has_room=has_room)
        await succession.begin()
        self.view.note(f"run key {defence.fingerprint}")
        return succession

    async def _export(self, exporter: Exporter, coordinator: Coordinator, result: LoopResult) -> LoopResult:
        """Write `model/`, and under LoRA `adapter/`: the last weights, or those of the best evaluation."""
        best = result.progress.best_step
        perplexity = result.progress.best_perplexity
        wants_best = self.config.evaluation.export == "best" and best not in (None, result.progress.step)
        states = _without_moments(coordinator.states())
        if wants_best and best is not None and perplexity is not None:
            states = exporter.checkpointed(read_checkpoint(self.checkpoints.path(best)))
            result = replace(result, perplexity=perplexity)
        await exporter.export(states, self.folder.model, self.folder.adapter)
        return result

    def _write_model_assets(self, folder: Path) -> None:
        config = copy.deepcopy(self.materials.source.config)
        config.dtype = self.run_plan.model.dtype
        config.save_pretrained(folder)
        generation = self.materials.source.folder / GENERATION_CONFIG_NAME
        if generation.exists():
            shutil.copyfile(generation, folder / GENERATION_CONFIG_NAME)
        self._write_text_assets(folder)

    def _write_adapter_assets(self, folder: Path) -> None:
        if self.run_plan.model.adapter is not None:
            write_lora(folder, self.run_plan.model.adapter)
        self._write_text_assets(folder)

    def _write_text_assets(self, folder: Path) -> None:
        self.materials.tokenizer.save_pretrained(folder)
        write_recipe(folder, self.config.data, self.config.model)


def _all_hooks(given: Mapping[str, Sequence[Hook]], attackers: Attackers | None) -> dict[str, Sequence[Hook]]:
    """The given hooks, and behind them those of the run's own attackers."""
    hooks: dict[str, Sequence[Hook]] = dict(given)
    for name, hook in (attackers.hooks if attackers else {}).items():
        hooks[name] = (*hooks.get(name, ()), hook)
    return hooks


def _admission(defence: Defence | None, machines: Machines | None) -> Callable[[str], None]:
    """Makes the key known of somebody who comes while the run is on."""

    def admit(name: str) -> None:
        if defence and machines:
            defence.shield.admit(name, machines.keys[name])

    return admit


async def assign_both(coordinator: Coordinator, plan: Plan, holding: Holding) -> None:
    """Hand a stage to its host, and to the host of its duplicate if it has one, before the first step."""
    stage, checker = holding.span.index, plan.checker_of(holding.span.index)
    await coordinator.place(plan.host_of(stage), holding.span, holding.state, holding.frozen)
    if checker is not None:
        await coordinator.place(checker, holding.span, holding.state, holding.frozen, Role.DUPLICATE)


async def _without_moments(states: States) -> States:
    async for stage, state in states:
        yield stage, StageState(parameters=state.parameters)
