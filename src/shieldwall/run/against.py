"""The plan against what happened: the predicted step beside the traced ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from shieldwall.core.errors import PlanError
from shieldwall.dashboard.numbers import PassTimes, PlanTimes
from shieldwall.dashboard.recorded import Line, garbled
from shieldwall.schedule import (
    Action,
    Kind,
    Plan,
    StageCosts,
    TimedAction,
    Timeline,
    draw_timelines,
    simulate,
    waiting_share,
)


@dataclass(frozen=True, slots=True)
class Against:
    """A plan, the step that it predicts, and the steps that were traced under it, by number."""

    plan: Plan
    cut: tuple[int, ...]
    predicted: Timeline
    traced: dict[int, Timeline]

    @property
    def compared(self) -> dict[int, Timeline]:
        """The traced steps without step 0, which pays for what is done once; with it if there is no other."""
        return {step: timeline for step, timeline in self.traced.items() if step} or self.traced

    def numbers(self, lines: Sequence[Line]) -> PlanTimes:
        """Predicted and measured times; `lines` are those of `metrics.jsonl`."""
        compared = self.compared
        measured = list(compared.values())
        return PlanTimes(
            traced_steps=tuple(compared),
            drawn_step=max(compared, default=None),
            passes=tuple(self._pass(stage, kind) for stage in range(self.plan.stages) for kind in self._kinds(stage)),
            predicted_step_s=self.predicted.step_s,
            measured_step_s=_median([timeline.step_s for timeline in measured]),
            predicted_waiting_share=waiting_share(self.plan.hosts, self.predicted),
            measured_waiting_share=_median([waiting_share(self.plan.hosts, timeline) for timeline in measured]),
            whole_step_s=statistics.median(line["seconds"] for line in lines),
        )

    def draw(self) -> bytes:
        """The predicted step, and below it the latest traced one, as a PNG."""
        titled = [(self._title("predicted", self.predicted), self.predicted)]
        if self.compared:
            step = max(self.compared)
            titled.append((self._title(f"measured in step {step}", self.compared[step]), self.compared[step]))
        return draw_timelines(self.plan, titled)

    def _title(self, what: str, timeline: Timeline) -> str:
        plan = self.plan
        waiting = waiting_share(plan.hosts, timeline)
        return (
            f"{what}: {plan.schedule}, K = {plan.stages}, M = {plan.micro_batches}, "
            f"passes {timeline.step_s:.4g} s, bubble {waiting:.1%}"
        )

    def _host(self, stage: int, kind: Kind) -> str:
        return self.plan.checker_of(stage) or "" if kind.is_check else self.plan.host_of(stage)

    def _kinds(self, stage: int) -> tuple[Kind, ...]:
        """What is computed of a stage: both passes, and both again by its duplicate where it has one."""
        return (*_DIRECTIONS, *(_CHECKS if self.plan.checker_of(stage) is not None else ()))

    def _pass(self, stage: int, kind: Kind) -> PassTimes:
        measured = [seconds for timeline in self.compared.values() for seconds in _durations(timeline, stage, kind)]
        return PassTimes(
            stage=stage,
            host=self._host(stage, kind),
            direction=(_DIRECTIONS | _CHECKS)[kind],
            predicted_s=_median(_durations(self.predicted, stage, kind)) or 0.0,
            measured_s=_median(measured),
        )


_DIRECTIONS = {Kind.FORWARD: "forward", Kind.BACKWARD: "backward"}
_CHECKS = {Kind.CHECK_FORWARD: "check of forward", Kind.CHECK_BACKWARD: "check of backward"}


def hold_against(planned: dict[str, Any], planned_path: Path, traces: Sequence[Line], traces_path: Path) -> Against:
    """The plan in `plan.json` beside the lines of `trace.jsonl` that were written under that cut, by the same hosts.

    Args:
        planned: what `plan.json` holds.
        planned_path: where it lies, for messages.
        traces: lines of `trace.jsonl`.
        traces_path: where they lie, for messages.

    Raises:
        RunFolderError: SW-R107; one of them is not what a run writes.
    """
    try:
        plan = Plan.from_json(planned["plan"])
        costs = StageCosts(tuple(planned["forward_seconds"]), tuple(planned["backward_seconds"]))
        predicted, cut = simulate(plan, costs), tuple(planned["cut"])
    except (PlanError, KeyError, TypeError) as error:
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        raise garbled(planned_path, got, "the plan that the run wrote") from error
    passes = _passes(plan)
    traced = [line for line in traces if tuple(line["cut"]) == cut]
    mine = [line for line in traced if not _is_elsewhere(_done(line), passes)]
    for line in mine:
        if _done(line) != passes:
            raise garbled(traces_path, f"others in the line of step {line['step']}", "each pass of the run's plan once")
    return Against(plan, cut, predicted, {line["step"]: _timeline(plan, line) for line in mine})


def _passes(plan: Plan) -> dict[str, list[str]]:
    """The passes and checks of each host, sorted."""
    return {lane.host: sorted(str(one) for one in lane.actions if one.kind.is_compute) for lane in plan.lanes}


def _done(line: Line) -> dict[str, list[str]]:
    return {host: sorted(done[0] for done in work) for host, work in line["work"].items()}


def _is_elsewhere(done: dict[str, list[str]], passes: dict[str, list[str]]) -> bool:
    """Whether all passes of the plan were done, and by others: who holds what has been drawn anew since."""
    return done != passes and sorted(chain(*done.values())) == sorted(chain(*passes.values()))


def _timeline(plan: Plan, line: Line) -> Timeline:
    work = [_timed(host, *done) for host, passes in line["work"].items() for done in passes]
    return Timeline(tuple(lane.host for lane in plan.lanes), tuple(sorted(work, key=lambda done: done.start_s)))


def _timed(host: str, text: str, start_s: float, end_s: float) -> TimedAction:
    action = Action.parse(text)
    return TimedAction(host, action.stage, action.micro_batch, action.kind, start_s, end_s)


def _durations(timeline: Timeline, stage: int, kind: Kind) -> list[float]:
    return [done.end_s - done.start_s for done in timeline.work if (done.stage, done.kind) == (stage, kind)]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
