"""One deployment of a run: hand out the stages, train, write the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shieldwall.config import Config
from shieldwall.core.files import whole_folder
from shieldwall.dashboard.progress import ProgressView
from shieldwall.models.skeleton import build_skeleton
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.hooks import Hook
from shieldwall.pipeline.host import HostSettings
from shieldwall.recovery.checkpoints import Checkpoint, Checkpoints, Progress, read_checkpoint, write_model
from shieldwall.recovery.model_folder import copy_model
from shieldwall.run.corpus import run_steps
from shieldwall.run.deployment import deploy_in_process
from shieldwall.run.evaluate import write_recipe
from shieldwall.run.feed import BlockFeed
from shieldwall.run.folder import RunFolder
from shieldwall.run.loop import LoopResult, LoopTools, TrainingLoop
from shieldwall.run.materials import Materials
from shieldwall.run.planning import RunPlan, optimizer_settings
from shieldwall.run.states import owners, stage_states


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
            tools = LoopTools(
                config=config,
                steps=run_steps(config, len(self.materials.blocks.train)),
                folder=self.folder,
                run_plan=run_plan,
                feed=feed,
                coordinator=coordinator,
                checkpoints=self.checkpoints,
                write_assets=self._write_assets,
                view=self.view,
                stop_wanted=self.stop_wanted,
            )
            progress = self.start.progress if self.start else Progress(step=0)
            result = await TrainingLoop(tools, progress, self.started).run()
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
