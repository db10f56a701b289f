"""The steps of a run: train, evaluate, save, stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from shieldwall.config import Config
from shieldwall.core.errors import Interrupted
from shieldwall.dashboard.progress import ProgressView
from shieldwall.pipeline.coordinator import Coordinator, StepResult, StepWork
from shieldwall.pipeline.desk import HostsLost
from shieldwall.pipeline.learning_rate import LearningRate
from shieldwall.recovery.checkpoints import Checkpoints, Progress
from shieldwall.run.custody import Custody, describe
from shieldwall.run.detours import Detours
from shieldwall.run.evaluate import perplexity_of
from shieldwall.run.feed import BlockFeed
from shieldwall.run.folder import RunFolder, append_line
from shieldwall.run.lateness import STEPS, TIMES, Lateness
from shieldwall.run.losses import GONE_AS, Losses, nobody_else
from shieldwall.run.planning import RunPlan
from shieldwall.run.plans import Plans
from shieldwall.run.responder import Course, Responder
from shieldwall.run.succession import Succession
from shieldwall.run.trace import is_traced, trace_line
from shieldwall.run.watch import News, Watch
from shieldwall.verify.court import Court
from shieldwall.verify.ledger.show import sentence

T = TypeVar("T")

_TOLD = 3
"""Verdicts of one step that get a line of their own on the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopTools:
    """What the loop works with."""

    config: Config
    steps: int
    """Length of the run."""
    folder: RunFolder
    run_plan: RunPlan
    feed: BlockFeed
    coordinator: Coordinator
    checkpoints: Checkpoints
    write_assets: Callable[[Path], None]
    view: ProgressView
    stop_wanted: Callable[[], bool]
    watch: Watch
    court: Court | None = None
    """Judges over the run; None where nothing is checked."""
    succession: Succession | None = None
    """Moves the duties of those who are expelled; None where nothing is checked."""
    custody: Custody = field(default_factory=lambda: Custody(None))
    """Draws anew who holds what."""
    detours: Detours | None = None
    """Leads steps around suspects; None where that is not what follows an alert."""
    lateness: Lateness | None = None
    """Says who is late; None where all hosts share a machine, and nobody can be."""
    losses: Losses = field(default_factory=Losses)
    """Hosts that were lost before the loop began are told of in its first line."""
    cut_off: Callable[[str], Awaitable[None]] | None = None
    """Ends the connections of a worker that has missed a deadline; None where all hosts are in this process."""
    on_arrival: Callable[[str], None] = lambda _: None
    """Told of each worker that has come while the run is on, before anything is given to it."""
    expelled: tuple[str, ...] = ()
    """Who was expelled before the run was stopped and resumed; they do not come back."""
    dismiss: Callable[[str], Awaitable[None]]
    """Sends a culprit away whose duties have gone over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """How the loop ended."""

    progress: Progress
    perplexity: float
    """Of the weights after the last step."""
    news: News = field(default_factory=News)
    """Of what came after the last step's line."""


def tell_verdicts(watch: Watch, view: ProgressView, step: int) -> None:
    """Show the verdicts that have not been told yet: the first few in words, and how many more there are."""
    verdicts = watch.untold()
    for verdict in verdicts[:_TOLD]:
        view.note(sentence(verdict))
    if len(verdicts) > _TOLD:
        view.note(f"and {len(verdicts) - _TOLD} more verdicts in step {step}")


class TrainingLoop:
    """Runs from a progress to the end of the run, or to where it is stopped.

    Args:
        tools: what it works with.
        progress: where it starts.
        started: `time.perf_counter()` at the start of this process's part of the run.
    """

    def __init__(self, tools: LoopTools, progress: Progress, started: float) -> None:
        self._tools = tools
        self._progress = progress
        self._seconds_before = progress.seconds
        self._started = started
        self._plans = Plans(tools.run_plan, tools.config.verify, len(tools.feed.evaluation_batches))
        self._width = int(tools.run_plan.model.config.hidden_size)
        self._responder = Responder(
            tools.coordinator,
            self._plans,
            topology=tools.config.pipeline.topology,
            attempts=tools.config.respond.attempts,
            detours=tools.detours,
            between=self._between_attempts,
            on_loss=self._replace_lost,
        )
        optimizer = tools.config.optimizer
        self._learning_rate = LearningRate(
            peak=optimizer.learning_rate,
            warmup_steps=optimizer.warmup_steps,
            steps=tools.steps,
            shape=optimizer.schedule,
        )

    async def run(self) -> LoopResult:
        """Train to the end.

        Raises:
            NonFiniteError: SW-N101; the last checkpoint stands.
            StorageError: SW-S101; likewise.
            Interrupted: SW-I101; the state after the last committed step is saved.
        """
        await self._expel(self._tools.expelled, again=True)
        perplexity = None
        while self._progress.step < self._tools.steps and not self._out_of_patience():
            await self._stop_if_wanted()
            perplexity = await self._step()
        if perplexity is None:
            perplexity = await self._evaluate()
        if self._tools.config.checkpoint.every_steps:
            await self._save()
        return LoopResult(progress=self._timed(), perplexity=perplexity)

    async def _step(self) -> float | None:
        tools, step = self._tools, self._progress.step
        await self._admit_and_release()
        await self._redraw_if_due()
        start = time.perf_counter()
        plan, usual = self._plans.training(), self._plans.usual
        work = StepWork(
            plan=plan,
            step=step,
            learning_rate=self._learning_rate.at(step),
            positions=tools.feed.positions(step),
            shapes=tools.feed.shapes(step, self._width) if tools.court else None,
            again=self._plans.again if tools.court else None,
            attempts=tools.config.respond.attempts,
        )
        course = await self._responder.step(work)
        result = course.result
        seconds = time.perf_counter() - start
        self._progress = replace(self._progress, step=step + 1)
        line = self._line(result, seconds) | _course_line(course)
        tell_verdicts(tools.watch, tools.view, step)
        culprits = tools.court.book.take_condemned() if tools.court else []
        await self._expel(culprits)
        try:
            perplexity = await self._evaluate_if_due()
            if perplexity is not None:
                line["eval_perplexity"] = perplexity
        finally:
            again = course.abandoned + course.broken_off
            line |= self._news(step, len(result.rerun) + again * plan.micro_batches)
            append_line(tools.folder.metrics, line)
        as_planned = plan is usual and not (result.rerun or course.abandoned or course.broken_off)
        if is_traced(step) and not culprits and as_planned and plan is tools.run_plan.plan:
            append_line(tools.folder.trace, trace_line(plan, tools.run_plan.cut, result, seconds))
        tools.view.step(line)
        if tools.lateness and as_planned:
            await self._relieve_late(tools.lateness.note(plan, result.work))
        if self._save_due():
            await self._save()
        return perplexity

    def _line(self, result: StepResult, seconds: float) -> dict[str, Any]:
        return {
            "step": result.step,
            "loss": self._tools.feed.training_loss(result.step, result.losses),
            "learning_rate": result.learning_rate,
            "gradient_norm": result.gradient_norm,
            "tokens_per_second": self._tools.feed.tokens(result.step) / seconds,
            "seconds": seconds,
        }

    def _news(self, step: int, rerun: int) -> dict[str, Any]:
        tell_verdicts(self._tools.watch, self._tools.view, step)
        news = self._tools.watch.take(step, rerun)
        self._plans.heed(news.alerts)
        failures = self._tools.losses.take()
        return news.to_line() | ({"failures": failures} if failures else {})

    async def _between_attempts(self) -> None:
        """Before a step is run again as a whole, those who were found to be wrong go; a step around them needs nobody
        to go first."""
        tools = self._tools
        tell_verdicts(tools.watch, tools.view, self._progress.step)
        if tools.court and not tools.detours:
            await self._expel(tools.court.book.take_condemned())

    async def _admit_and_release(self) -> None:
        """Between steps: who has come is a spare, and who wants to go hands over what it holds and is let go."""
        tools = self._tools
        self._take_in_arrivals()
        for name in tools.coordinator.take_leavers():
            if tools.succession is None:
                tools.view.note(f"{name} wants to go, and cannot: without duplicates nobody else has what it holds")
                continue
            successor = await self._hand_over(name)
            await tools.coordinator.stop([name])
            tools.view.note(f"{name} has left" + (f"; {successor} takes over what it held" if successor else ""))
        if tools.succession and (relieved := tools.succession.relieve()):
            await self.surely(tools.succession.settle)
            self._plans.move(tools.succession.hosts)
            for name, stages in relieved.items():
                tools.view.note(f"{name} takes stage {', '.join(map(str, stages))} from the initiator")

    async def _redraw_if_due(self) -> None:
        """Between steps: workers change places as drawn, one pair after the other, so that few states are under way."""
        tools, step, every = self._tools, self._progress.step, self._tools.config.redraw_steps
        if tools.succession is None or not every or not step or step % every:
            return
        before = tools.succession.hosts
        for swap in tools.succession.swaps(tools.custody):
            if tools.succession.swap(swap):
                await self.surely(tools.succession.settle)
        if tools.succession.hosts != before:
            self._plans.move(tools.succession.hosts)
            tools.custody.note(step, tools.succession.hosts)
            tools.view.note(f"drawn anew: {describe(tools.succession.hosts)}")

    async def _relieve_late(self, late: Mapping[str, float]) -> None:
        """Let others hold what a worker holds that keeps everybody waiting; it is given nothing any more."""
        tools = self._tools
        for name, late_s in late.items() if tools.succession else ():
            tools.losses.add(self._progress.step, name, late_s, kind="late")
            successor = await self._hand_over(name)
            tools.view.note(
                f"{name} takes more than {TIMES:g} times as long as the others, in {STEPS} steps;"
                f" {successor} takes over what it held"
            )
        if late:
            tools.losses.resume()

    def _take_in_arrivals(self) -> None:
        """Whoever has come, or come back, is a spare from now on."""
        for name in self._tools.coordinator.take_arrivals():
            self._tools.on_arrival(name)
            if name in self._tools.losses.barred:
                self._tools.view.note(f"{name} is back, and is given nothing: it has missed a deadline before")
            elif self._tools.succession:
                self._tools.succession.add_spare(name)
                self._tools.view.note(f"{name} is there and holds nothing yet")

    async def _hand_over(self, name: str) -> str:
        """Let another take what a host holds; gives that one's name, "" where there was nothing to take."""
        tools = self._tools
        if tools.succession is None:
            return ""
        successor = tools.succession.dismiss(name)
        await self.surely(tools.succession.settle)
        self._plans.move(tools.succession.hosts)
        return successor

    async def _replace_lost(self) -> None:
        """Let others hold what those held who cannot be reached any more.

        Raises:
            StateLostError: SW-V301, nobody else has what they held; SW-V302, both who had it are lost.
            RunError: SW-V202; who is left has another state than the one that both signed.
        """
        tools, settled = self._tools, False
        await self._cut_off_overdue()
        if tools.succession is None:
            for name, silent_s in tools.coordinator.lost.items():
                tools.losses.add(self._progress.step, name, silent_s, tools.coordinator.why_gone(name))
            raise nobody_else(tools.coordinator.lost, tools.folder.path)
        while not settled:
            tools.coordinator.drop_reports()
            await self._cut_off_overdue()
            self._take_in_arrivals()
            gone = dict(tools.coordinator.gone)
            for name, successor in tools.succession.dismiss_lost().items():
                why = tools.coordinator.why_gone(name)
                tools.losses.add(self._progress.step, name, gone[name], why)
                tools.view.note(f"{name} {GONE_AS.get(why, 'is gone')}; {successor} takes over what it held")
            with contextlib.suppress(HostsLost):
                await tools.succession.settle()
                settled = True
        self._plans.move(tools.succession.hosts)
        tools.losses.resume()

    async def _cut_off_overdue(self) -> None:
        """Have nothing more to do with those who have missed a deadline: whatever they send now is too late."""
        tools = self._tools
        for name, what in tools.coordinator.overdue.items():
            if name in tools.losses.barred:
                continue
            tools.losses.barred[name] = what
            waited_s = tools.coordinator.gone.get(name, 0.0)
            tools.view.note(f"{name} has missed a deadline: {what} was waited for, {waited_s:.1f} s long")
            if tools.cut_off:
                await tools.cut_off(name)

    async def surely(self, act: Callable[[], Awaitable[T]]) -> T:
        """What `act` gives, once nobody is lost in it whom it needs."""
        while True:
            try:
                return await act()
            except HostsLost:
                await self._replace_lost()

    async def _expel(self, culprits: Sequence[str], *, again: bool = False) -> None:
        """Let the duties of those go over whose work was found to be wrong; on resuming, `again` and told before."""
        tools = self._tools
        for culprit in culprits:
            successor = await self._hand_over(culprit)
            if successor and not again:
                tools.view.note(f"{culprit} is expelled; {successor} takes over what it held")
            await tools.dismiss(culprit)

    async def _evaluate_if_due(self) -> float | None:
        every = self._tools.config.evaluation.every_steps
        if not every or self._progress.step % every:
            return None
        perplexity = await self._evaluate()
        best = self._progress.best_perplexity
        if best is None or perplexity < best:
            self._progress = replace(
                self._progress,
                best_step=self._progress.step,
                best_perplexity=perplexity,
                evaluations_since_best=0,
            )
        else:
            self._progress = replace(self._progress, evaluations_since_best=self._progress.evaluations_since_best + 1)
        return perplexity

    async def _evaluate(self) -> float:
        """Perplexity on the evaluation rows: exp of the mean loss over all their targets."""
        feed = self._tools.feed
        losses = await self.surely(
            lambda: self._tools.coordinator.evaluate(
                self._plans.evaluation(), self._progress.step, feed.evaluation_shapes(self._width)
            )
        )
        return perplexity_of(self._tools.feed.evaluation_loss(losses), f"after step {self._progress.step}")

    def _out_of_patience(self) -> bool:
        patience = self._tools.config.evaluation.patience
        return bool(patience) and self._progress.evaluations_since_best >= patience

    def _save_due(self) -> bool:
        every, wants_best = self._tools.config.checkpoint.every_steps, self._tools.config.evaluation.export == "best"
        due = bool(every) and self._progress.step % every == 0
        return due or (wants_best and self._progress.best_step == self._progress.step)

    async def _save(self) -> None:
        tools = self._tools
        if tools.checkpoints.path(self._progress.step).exists():
            return
        stages = tools.run_plan.plan.stages
        saved = await self.surely(
            lambda: tools.checkpoints.save(self._timed(), stages, tools.coordinator.states(), tools.write_assets)
        )
        tools.view.note(f"saved {saved.name}")

    def _timed(self) -> Progress:
        return replace(self._progress, seconds=self._seconds_before + time.perf_counter() - self._started)

    async def _stop_if_wanted(self) -> None:
        if not self._tools.stop_wanted():
            return
        await self._save()
        step = self._progress.step
        raise Interrupted(
            "SW-I101",
            "the run was stopped by a signal",
            where=str(self._tools.folder.path),
            state=f"everything up to step {step} is saved in checkpoints/step-{step}",
            remedy=f"shieldwall train --run {self._tools.folder.path} --resume",
        )


def _course_line(course: Course) -> dict[str, Any]:
    """The keys of a line of `metrics.jsonl` for a step that was thrown away before; else none."""
    line: dict[str, Any] = {"attempts_abandoned": course.abandoned} if course.abandoned else {}
    return line | ({"bypassed": list(course.bypassed)} if course.bypassed else {})
