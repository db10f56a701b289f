"""Training from one command: gather, plan, deploy, loop, export."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from shieldwall.config import Config
from shieldwall.core.arithmetic import pin_arithmetic
from shieldwall.core.errors import InputError
from shieldwall.core.files import whole_folder, write_whole
from shieldwall.core.roots import weights_root
from shieldwall.dashboard.progress import ProgressView, SilentView
from shieldwall.models.skeleton import build_skeleton
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.hooks import Hook
from shieldwall.pipeline.host import HostSettings
from shieldwall.recovery.checkpoints import Checkpoint, Checkpoints, Progress, read_checkpoint, write_model
from shieldwall.recovery.model_folder import copy_model
from shieldwall.run.deployment import deploy_in_process
from shieldwall.run.evaluate import write_recipe
from shieldwall.run.folder import (
    RunFolder,
    create,
    forget_untrained,
    keep_metrics_before,
    name_run,
    read_metrics,
    remove_stale,
    reopen,
)
from shieldwall.run.loop import BlockFeed, LoopResult, LoopTools, TrainingLoop
from shieldwall.run.materials import Materials, gather_materials
from shieldwall.run.memory import format_bytes, refuse_too_large
from shieldwall.run.planning import RunPlan, find_device, optimizer_settings, plan_run
from shieldwall.run.signals import stop_signals
from shieldwall.run.states import owners, stage_states
from shieldwall.run.summary import Summary


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished run: where it lies and what it found."""

    folder: Path
    summary: Summary


def train(
    config: Config | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    view: ProgressView | None = None,
    hooks_of: Mapping[str, Sequence[Hook]] | None = None,
) -> TrainResult:
    """Train a model through the pipeline and leave a run's folder behind.

    Args:
        config: of the run; the embedded default if not given. A resumed run must be given the same one or none.
        folder: the run's folder; `runs/NAME` if not given.
        resume: go on with the run in `folder` where its last checkpoint ends.
        view: shows progress; nothing is shown if not given.
        hooks_of: hooks for each host by name, called at the borders of its stages.

    Returns:
        The folder and what `summary.json` says.

    Raises:
        InputError: what was given cannot be used; nothing was changed.
        NonFiniteError: SW-N101; a NaN or infinity arose, the last checkpoint stands.
        StorageError: SW-S101; the disk refused, the last checkpoint stands.
        Interrupted: SW-I101; SIGINT or SIGTERM came, the state is saved.
    """
    named, run_folder = name_run(config or Config(), folder)
    if resume:
        named = reopen(named, run_folder, as_given=config is not None)
    else:
        find_device(named)
        create(named, run_folder)
    with run_folder.locked():
        if run_folder.summary.exists():
            return TrainResult(run_folder.path, Summary.read(run_folder.summary))
        try:
            return _train_locked(named, run_folder, view or SilentView(), hooks_of or {})
        except InputError:
            if not resume:
                forget_untrained(run_folder)
            raise


def _train_locked(
    config: Config, folder: RunFolder, view: ProgressView, hooks_of: Mapping[str, Sequence[Hook]]
) -> TrainResult:
    remove_stale(folder)
    pin_arithmetic(find_device(config), config.run.threads)
    materials = gather_materials(config, folder.initial)
    run_plan = plan_run(config, materials.source)
    refuse_too_large(run_plan.memory_bytes, run_plan.device)
    write_whole(folder.plan, (json.dumps(run_plan.to_json(), indent=2) + "\n").encode())
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint.keep)
    start = checkpoints.latest()
    keep_metrics_before(folder.metrics, start.progress.step if start else 0)
    _announce(view, config, run_plan, start)
    chapters = _Chapters(config, folder, materials, run_plan, checkpoints, start, view, hooks_of)
    try:
        result = asyncio.run(chapters.play())
    finally:
        view.stop()
    summary = _summarise(config, folder, result)
    summary.write(folder.summary)
    return TrainResult(folder.path, summary)


@dataclass(frozen=True, slots=True)
class _Chapters:
    """Everything that the asynchronous part of a run works with."""

    config: Config
    folder: RunFolder
    materials: Materials
    run_plan: RunPlan
    checkpoints: Checkpoints
    start: Checkpoint | None
    view: ProgressView
    hooks_of: Mapping[str, Sequence[Hook]]

    async def play(self) -> LoopResult:
        """Deploy, hand out the stages, run the loop, export the model."""
        config, run_plan, source = self.config, self.run_plan, self.materials.source
        skeleton = build_skeleton(source.config, run_plan.attention, torch.float32)
        stage_of = owners(skeleton, run_plan.spans)
        settings = HostSettings(
            config=source.config,
            attention=run_plan.attention,
            seed=config.run.seed,
            device=run_plan.device,
            optimizer=optimizer_settings(config),
        )
        feed = BlockFeed(self.materials.blocks, config)
        deployment = deploy_in_process(
            run_plan.plan,
            settings,
            feed,
            run=config.run.name,
            stage_of=stage_of,
            clip_norm=config.optimizer.clip_norm,
            hooks_of=self.hooks_of,
        )
        async with deployment as coordinator:
            origin = self.start.folder if self.start else source.folder
            for span, state in stage_states(skeleton, run_plan.spans, origin, self.start):
                await coordinator.assign(run_plan.plan.host_of(span.index), span, state)
            with stop_signals() as stop_wanted:
                tools = LoopTools(
                    config=config,
                    folder=self.folder,
                    run_plan=run_plan,
                    feed=feed,
                    coordinator=coordinator,
                    checkpoints=self.checkpoints,
                    write_assets=self._write_assets,
                    view=self.view,
                    stop_wanted=stop_wanted,
                )
                result = await TrainingLoop(tools, self.start.progress if self.start else Progress(step=0)).run()
            return await self._export(coordinator, result)

    async def _export(self, coordinator: Coordinator, result: LoopResult) -> LoopResult:
        """Write `model/`: the last weights, or those of the best evaluation."""
        best = result.progress.best_step
        perplexity = result.progress.best_perplexity
        wants_best = self.config.evaluation.export == "best" and best not in (None, result.progress.step)
        with whole_folder(self.folder.model) as partial:
            if wants_best and best is not None and perplexity is not None:
                copy_model(read_checkpoint(self.checkpoints.path(best)).folder, partial)
                return replace(result, perplexity=perplexity)
            stages = self.run_plan.plan.stages
            await write_model(partial, stages, coordinator.states(), self._write_assets, with_moments=False)
        return result

    def _write_assets(self, folder: Path) -> None:
        self.materials.source.config.save_pretrained(folder)
        self.materials.tokenizer.save_pretrained(folder)
        write_recipe(folder, self.config.data)


def _announce(view: ProgressView, config: Config, run_plan: RunPlan, start: Checkpoint | None) -> None:
    numbers = run_plan.to_json()
    need = sum(run_plan.memory_bytes.values())
    view.note(
        f"{config.model.name} in {run_plan.plan.stages} stages {numbers['cut']} on {len(run_plan.plan.hosts)} hosts,"
        f" {run_plan.plan.schedule}, about {numbers['step_seconds']:.2f} s a step, memory about {format_bytes(need)}"
    )
    view.note(f"arithmetic class: {run_plan.arithmetic}")
    done = start.progress.step if start else 0
    if start:
        view.note(f"resuming from {start.folder.name}")
    view.start(done, config.run.steps)


def _summarise(config: Config, folder: RunFolder, result: LoopResult) -> Summary:
    lines = read_metrics(folder.metrics)
    seconds = sum(line["seconds"] for line in lines)
    return Summary(
        steps=result.progress.step,
        train_loss=lines[-1]["loss"],
        eval_perplexity=result.perplexity,
        tokens_per_second=config.step_tokens * len(lines) / seconds,
        wall_seconds=result.progress.seconds,
        weights_root=weights_root(folder.model),
        attacks_fired=None,
        alerts=0,
        verdicts=[],
        false_accusations=None,
        steps_lost=0,
        micro_batches_rerun=0,
        failures=[],
        config_root=config.root(),
    )
