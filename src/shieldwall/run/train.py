"""Training from one command: gather, plan, deploy, loop, export."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shieldwall.config import Config
from shieldwall.core.arithmetic import pinned_arithmetic
from shieldwall.core.errors import InputError, RunFolderError, StateLostError
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import INITIATOR
from shieldwall.core.lines import read_lines
from shieldwall.core.roots import weights_root
from shieldwall.dashboard.board import BoardView, require_tensorboard
from shieldwall.dashboard.progress import ProgressView, SilentView, Views
from shieldwall.models.adapter_folder import AdapterFolder
from shieldwall.models.adapters import PEFT_PREFIX
from shieldwall.models.weights import WeightFiles
from shieldwall.recovery.checkpoints import Checkpoint, Checkpoints
from shieldwall.run.attackers import check_attacks, refuse_elsewhere, refuse_idle
from shieldwall.run.corpus import describe_rows, run_steps
from shieldwall.run.defence import check_record, is_over
from shieldwall.run.fitting import cut_before, joined_before
from shieldwall.run.folder import (
    RunFolder,
    create,
    forget_untrained,
    name_run,
    publish_summary,
    remove_stale,
    reopen,
)
from shieldwall.run.inputs import hold_inputs
from shieldwall.run.loop import LoopResult
from shieldwall.run.losses import Losses
from shieldwall.run.machines.listen import Listen, choose_transport
from shieldwall.run.materials import Materials, gather_materials
from shieldwall.run.memory import format_bytes, refuse_too_large
from shieldwall.run.planning import Planner, RunPlan, configured_source, find_device, refuse_hopeless, spare_names
from shieldwall.run.plans import write_plan
from shieldwall.run.returns import RESUMED, STATE_LOST, go_back, steps_lost
from shieldwall.run.session import TrainingSession
from shieldwall.run.signals import stop_signals
from shieldwall.run.summary import Summary
from shieldwall.run.watch import News


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished run: where it lies and what it found."""

    folder: Path
    """The run's folder; the model lies in `model/` of it."""
    summary: Summary


def train(
    config: Config | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    view: ProgressView | None = None,
    hooks_of: Mapping[str, Sequence[Hook]] | None = None,
    listen: str | None = None,
) -> TrainResult:
    """Train a model through the pipeline and leave a run's folder behind.

    Args:
        config: of the run; the embedded default if not given. A resumed run must be given the same one or none.
        folder: the run's folder; `runs/NAME` if not given.
        resume: go on with the run in `folder` where its last checkpoint ends.
        view: shows progress; nothing is shown if not given.
        hooks_of: hooks for each host by name, called at the borders of its stages.
        listen: HOST:PORT that workers on other machines dial (`shieldwall join`); all hosts are in this process if not
            given.

    Returns:
        The folder and what `summary.json` says.

    Raises:
        InputError: what was given cannot be used; nothing was changed.
        NonFiniteError: SW-N101; a NaN or infinity arose, the last checkpoint stands.
        StorageError: SW-S101; the disk refused, the last checkpoint stands.
        Interrupted: SW-I101; SIGINT or SIGTERM came, the state is saved.
    """
    address = Listen.parse(listen) if listen else None
    named, run_folder = name_run(config or Config(), folder)
    fresh = not run_folder.config.exists()
    _check_extras(named)
    if resume:
        named = choose_transport(reopen(named, run_folder, as_given=config is not None), address, "the run")
        _check_extras(named)
        _check_attackers(named, address)
    else:
        find_device(named)
        named = choose_transport(named, address, "the configuration")
        _check_attackers(named, address)
        create(named, run_folder)
    with run_folder.locked():
        if run_folder.summary.exists():
            return TrainResult(run_folder.path, Summary.read(run_folder.summary))
        if is_over(run_folder):
            publish_summary(run_folder)
            return TrainResult(run_folder.path, Summary.read(run_folder.summary))
        check_record(named, run_folder)
        try:
            return _train_locked(named, run_folder, view or SilentView(), hooks_of or {}, address)
        except InputError:
            if fresh and not (address and run_folder.private.exists()):  # those who have joined would find it no more
                forget_untrained(run_folder)
            raise


def _train_locked(
    config: Config,
    folder: RunFolder,
    view: ProgressView,
    hooks_of: Mapping[str, Sequence[Hook]],
    listen: Listen | None,
) -> TrainResult:
    started = time.perf_counter()
    remove_stale(folder)
    with pinned_arithmetic(find_device(config), config.run.threads), stop_signals() as stop_wanted:
        refuse_hopeless(config, configured_source(config))
        materials = gather_materials(config, folder.initial)
        blocks = materials.blocks
        planner = Planner.measure(
            _as_cut_before(config, folder), materials.source, max(blocks.train.longest, blocks.eval.longest)
        )
        run_plan = planner.usual()
        check_attacks(config, run_plan.plan.hosts, spare_names(config))
        steps = run_steps(config, len(materials.blocks.train))
        refuse_idle(config, steps)
        if listen is None:
            refuse_too_large(run_plan.memory_bytes, run_plan.device)
        elif config.pipeline.cut != "auto":  # else what fits is seen when it is known who is there
            refuse_too_large({INITIATOR: run_plan.memory_bytes[INITIATOR]}, run_plan.device)
        hold_inputs(folder.inputs, materials.blocks, run_plan.arithmetic, _kept_roots(config, run_plan, materials))
        numbers = write_plan(folder.plan, steps, run_plan, joined_before(folder))
        adapter_prefix = None if run_plan.model.adapter is None else PEFT_PREFIX
        checkpoints = Checkpoints(folder.checkpoints, config.checkpoint.keep, adapter_prefix)
        start = go_back(folder, checkpoints, RESUMED)
        view = _with_board(view, config, folder)
        _announce(view, config, run_plan, numbers, start)
        for note in describe_rows(materials.blocks):
            view.note(note)
        before = start.progress.seconds if start else 0.0

        def seal(result: LoopResult) -> None:
            wall_seconds = before + time.perf_counter() - started
            _summarise(config, folder, result, wall_seconds).write(folder.sealed_summary)

        session = TrainingSession(
            config=config,
            folder=folder,
            materials=materials,
            run_plan=run_plan,
            planner=planner,
            checkpoints=checkpoints,
            start=start,
            view=view,
            hooks_of=hooks_of,
            stop_wanted=stop_wanted,
            losses=Losses(),
            listen=listen,
            before_close=seal,
            started=started,
        )
        _run_to_end(session, steps)
    publish_summary(folder)
    return TrainResult(folder.path, Summary.read(folder.summary))


def _check_extras(config: Config) -> None:
    """Refuse, before anything is written, what needs an extra that is not installed."""
    if config.run.tensorboard:
        require_tensorboard()


def _check_attackers(config: Config, listen: Listen | None) -> None:
    """Refuse, before anything is written, attacks of workers that are not in this process."""
    if listen:
        refuse_elsewhere(config)


def _with_board(view: ProgressView, config: Config, folder: RunFolder) -> ProgressView:
    """The view, with TensorBoard's events beside it where they are wanted."""
    if not config.run.tensorboard:
        return view
    earlier = [] if folder.board.exists() else read_lines(folder.metrics).lines
    return Views([BoardView(folder.board, earlier), view])


def _kept_roots(config: Config, run_plan: RunPlan, materials: Materials) -> dict[str, str]:
    """Hashes of what decides bits and is read at each start: configurations, and weights that no checkpoint holds."""
    settings, source = run_plan.model, materials.source
    roots = {f"configuration.{name}": root for name, root in settings.configuration_roots().items()}
    if settings.adapter is not None:
        roots["weights.base"] = WeightFiles(source.folder, "", source.family.stored_names).root()
    if config.model.adapter:
        roots["weights.adapter"] = AdapterFolder(Path(config.model.adapter)).root()
    return roots


def _as_cut_before(config: Config, folder: RunFolder) -> Config:
    """Where a run was begun that keeps its cut: with that cut, however costs come out this time.

    Raises:
        RunFolderError: SW-R107; plan.json is not what the run wrote.
    """
    cut = cut_before(folder) if config.pipeline.cut == "auto" else None
    if cut is None:
        return config
    return config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"cut": cut})})


def _run_to_end(session: TrainingSession, steps: int) -> None:
    """Run the session, again from its last checkpoint whenever a state is lost that workers elsewhere held."""
    before_s = session.start.progress.seconds if session.start else 0.0
    finished = False
    while not finished:
        start, view = session.start, session.view
        view.start(start.progress.step if start else 0, steps)
        try:
            _run(session)
            finished = True
        except StateLostError as lost:
            if session.listen is None:
                raise
            view.note(f"{lost.summary} ({lost.code})")
            start = go_back(session.folder, session.checkpoints, STATE_LOST, session.losses.workers)
            view.note(f"going back to {start.folder.name if start else 'the beginning'} by itself")
            if start:  # the time that was lost counts
                start = replace(start, progress=replace(start.progress, seconds=before_s))
            session = replace(session, start=start)
        finally:
            view.stop()


def _run(session: TrainingSession) -> LoopResult:
    """Run the session on an event loop of its own, in a thread where this one has a loop already, as notebooks do."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(session.play())
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(lambda: asyncio.run(session.play())).result()


def _announce(
    view: ProgressView, config: Config, run_plan: RunPlan, numbers: dict[str, Any], start: Checkpoint | None
) -> None:
    need = sum(run_plan.memory_bytes.values())
    view.note(
        f"{config.model.name} in {run_plan.plan.stages} stages {numbers['cut']} on {len(run_plan.plan.hosts)} hosts,"
        f" {run_plan.plan.schedule}, about {numbers['step_seconds']:.2f} s a step, memory about {format_bytes(need)}"
    )
    view.note(f"arithmetic class: {run_plan.arithmetic}")
    if start:
        view.note(f"resuming from {start.folder.name}")


def _summarise(config: Config, folder: RunFolder, result: LoopResult, wall_seconds: float) -> Summary:
    lines = read_lines(folder.metrics).lines
    news = News.total(lines, result.news, attacked=bool(config.attack))
    if not lines:
        raise RunFolderError(
            "SW-R107",
            "a file of the run cannot be read",
            where=str(folder.metrics),
            expected=f"a line for each of {result.progress.step} steps",
            got="none",
            remedy="start the run again; its model lies in model/",
        )
    seconds = sum(line["seconds"] for line in lines)
    return Summary(
        steps=result.progress.step,
        train_loss=lines[-1]["loss"],
        eval_perplexity=result.perplexity,
        tokens_per_second=sum(line["tokens_per_second"] * line["seconds"] for line in lines) / seconds,
        wall_seconds=wall_seconds,
        weights_root=weights_root(folder.model),
        attacks_fired=news.attacks_fired,
        alerts=news.alerts,
        verdicts=news.verdicts,
        false_accusations=news.false_accusations,
        steps_lost=steps_lost(folder),
        micro_batches_rerun=news.rerun,
        failures=[failure for line in lines for failure in line.get("failures", [])],
        config_root=config.root(),
    )
