"""One deployment of a run: hand out the stages, train, write the model."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers.utils import GENERATION_CONFIG_NAME

from shieldwall.config import Config
from shieldwall.core.hooks import Hook
from shieldwall.core.messages import StageState
from shieldwall.dashboard.progress import ProgressView
from shieldwall.models.lora_file import write_lora
from shieldwall.models.skeleton import build_skeleton
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.recovery.checkpoints import Checkpoint, Checkpoints, Progress, read_checkpoint
from shieldwall.run.corpus import run_steps
from shieldwall.run.deployment import deploy_in_process
from shieldwall.run.export import Exporter, States
from shieldwall.run.feed import BlockFeed
from shieldwall.run.folder import RunFolder
from shieldwall.run.loop import LoopResult, LoopTools, TrainingLoop
from shieldwall.run.materials import Materials
from shieldwall.run.planning import RunPlan, optimizer_settings
from shieldwall.run.saved_model import write_recipe
from shieldwall.run.states import Origin, owners, stage_states


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSession:
    """Everything that the asynchronous part of a run works with."""

    config: Config
    folder: RunFolder
    materials: Materials
    run_plan: RunPlan
    checkpoints: Checkpoints
    start: Checkpoint | None
    view: ProgressView
    hooks_of: Mapping[str, Sequence[Hook]]
    stop_wanted: Callable[[], bool]
    started: float
    """`time.perf_counter()` at the start of this process's part of the run."""

    async def play(self) -> LoopResult:
        """Deploy, hand out the stages, run the loop, export the model."""
        config, run_plan, source = self.config, self.run_plan, self.materials.source
        skeleton = build_skeleton(run_plan.model)
        stage_of = owners(skeleton, run_plan.spans)
        settings = HostSettings(
            model=run_plan.model,
            seed=config.run.seed,
            device=run_plan.device,
            optimizer=optimizer_settings(config),
            gradient_checkpointing=config.pipeline.gradient_checkpointing,
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
            origin = Origin(
                base=source.folder,
                checkpoint=self.start,
                adapter=Path(config.model.adapter) if config.model.adapter else None,
                seed=config.run.seed,
            )
            for holding in stage_states(skeleton, run_plan.spans, origin, run_plan.model.dtype):
                host = run_plan.plan.host_of(holding.span.index)
                await coordinator.assign(host, holding.span, holding.state, holding.frozen)
            tools = LoopTools(
                config=config,
                steps=run_steps(config, len(self.materials.blocks.train)),
                folder=self.folder,
                run_plan=run_plan,
                feed=feed,
                coordinator=coordinator,
                checkpoints=self.checkpoints,
                write_assets=self._write_adapter_assets if run_plan.model.adapter else self._write_model_assets,
                view=self.view,
                stop_wanted=self.stop_wanted,
            )
            progress = self.start.progress if self.start else Progress(step=0)
            result = await TrainingLoop(tools, progress, self.started).run()
            exporter = Exporter(
                settings=run_plan.model,
                skeleton=skeleton,
                spans=run_plan.spans,
                base=source.folder,
                write_model_assets=self._write_model_assets,
                write_adapter_assets=self._write_adapter_assets,
            )
            return await self._export(exporter, coordinator, result)

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


async def _without_moments(states: States) -> States:
    async for stage, state in states:
        yield stage, StageState(parameters=state.parameters)
