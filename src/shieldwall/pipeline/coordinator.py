"""The initiator's desk: makes a step of what the hosts do.

    play --> all report their gradients' norms --> prepare --> all report --> commit --> all report

Before the commit nothing that was computed has changed a weight; `Discard` takes everyone back to the last commit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from torch import Tensor

from shieldwall.core.errors import NonFiniteError, TransportError
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import (
    Assign,
    Assigned,
    Commit,
    Committed,
    Discard,
    Discarded,
    Message,
    NonFinite,
    PassTime,
    Play,
    Played,
    Prepare,
    Prepared,
    SendState,
    StageState,
    StateReport,
    Stop,
)
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.clip import clip_coefficient, global_norm
from shieldwall.schedule import Lane, Plan
from shieldwall.transport import Endpoint

R = TypeVar("R", Assigned, Played, Prepared, Committed, Discarded, StateReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a committed step reports.

    `losses` holds each micro-batch's mean loss in nats before the update, `gradient_norm` is the global norm before
    clipping. `work` holds for each host when its passes ran, in seconds since its order to play had come to it.
    """

    step: int
    losses: Mapping[int, float]
    gradient_norm: float
    learning_rate: float
    work: Mapping[str, tuple[PassTime, ...]]


class Coordinator:
    """Gives the orders of a run.

    Args:
        endpoint: the coordinator's end of the transport.
        run: the run's name, part of every slot.
        stage_of: name of each parameter to the stage that owns it, in the whole model's order.
        clip_norm: largest global norm of the gradients; 0 switches clipping off.
    """

    def __init__(self, endpoint: Endpoint, run: str, stage_of: Mapping[str, int], clip_norm: float) -> None:
        self._endpoint = endpoint
        self._run = run
        self._stage_of = dict(stage_of)
        self._clip_norm = clip_norm
        self._hosts: dict[int, str] = {}

    async def assign(
        self, host: str, span: StageSpan, state: StageState, frozen: Mapping[str, Tensor] | None = None
    ) -> None:
        """Let `host` hold the stage of `span`, starting from `state`; `frozen` is what training leaves alone."""
        order = Assign(
            stage=span.index,
            stages=span.stages,
            first_layer=span.first,
            last_layer=span.last,
            state=state,
            frozen=frozen or {},
        )
        await self._endpoint.send(host, order)
        await self._gather(Assigned, 1)
        self._hosts[span.index] = host

    async def step(
        self, plan: Plan, step: int, learning_rate: float, positions: Mapping[int, Tensor] | None = None
    ) -> StepResult:
        """Train one step and commit it.

        Args:
            plan: the lanes to play.
            step: its number.
            learning_rate: of this step.
            positions: micro-batch to positions (B, T), where a row holds several examples.

        Raises:
            NonFiniteError: SW-N101; nothing of the step has changed a weight.
        """
        played = await self._play(plan, step, positions or {})
        norms = _merge(report.norms for report in played)
        norm = global_norm(norms, tuple(self._stage_of))
        if not norm.isfinite():
            await self._give_up(step, self._explain_norm(plan, step, norms))
        coefficient = clip_coefficient(norm, self._clip_norm)
        await self._order_all(Prepare(step=step, learning_rate=learning_rate, clip_coefficient=coefficient))
        await self._gather(Prepared, len(self.hosts))
        await self._order_all(Commit(step=step))
        await self._gather(Committed, len(self.hosts))
        return StepResult(
            step=step,
            losses=_losses(played),
            gradient_norm=float(norm),
            learning_rate=learning_rate,
            work={report.host: report.work for report in played},
        )

    async def evaluate(self, plan: Plan, step: int) -> dict[int, float]:
        """Mean loss in nats of each micro-batch of the evaluation blocks.

        Raises:
            NonFiniteError: SW-N101.
        """
        return _losses(await self._play(plan, step, {}))

    async def states(self) -> AsyncIterator[tuple[int, StageState]]:
        """The committed state of each stage in order, one stage at a time."""
        for stage in sorted(self._hosts):
            await self._endpoint.send(self._hosts[stage], SendState(stage=stage))
            (report,) = await self._gather(StateReport, 1)
            yield stage, report.state

    async def stop(self) -> None:
        """Let every host end."""
        await self._order_all(Stop())

    @property
    def hosts(self) -> list[str]:
        """Names of the hosts that hold a stage, each once."""
        return list(dict.fromkeys(self._hosts.values()))

    async def _play(self, plan: Plan, step: int, positions: Mapping[int, Tensor]) -> list[Played]:
        for lane in plan.lanes:
            order = Play(
                run=self._run,
                view=0,
                attempt=0,
                step=step,
                training=plan.training,
                actions=_write_actions(lane),
                positions=positions,
            )
            await self._endpoint.send(lane.host, order)
        return await self._gather(Played, len(plan.lanes), step=step)

    async def _order_all(self, order: Message) -> None:
        for host in self.hosts:
            await self._endpoint.send(host, order)

    async def _gather(self, wanted: type[R], count: int, step: int = -1) -> list[R]:
        """The next `count` reports of one kind; a host that gives up ends the step."""
        reports: list[R] = []
        while len(reports) < count:
            report = await self._endpoint.receive()
            if isinstance(report, NonFinite):
                await self._give_up(step, report)
            elif not isinstance(report, wanted):
                raise TransportError(
                    "SW-T106",
                    "the coordinator was sent something else than it waits for",
                    expected=wanted.__name__,
                    got=type(report).__name__,
                )
            else:
                reports.append(report)
        return reports

    async def _give_up(self, step: int, cause: NonFinite) -> None:
        """Take everyone back to the last commit, then raise."""
        await self._order_all(Discard(step=step))
        waiting = set(self.hosts)
        while waiting:
            report = await self._endpoint.receive()
            if isinstance(report, Discarded):
                waiting.discard(report.host)
        raise NonFiniteError(
            "SW-N101",
            f"stage {cause.slot.stage} made {cause.what} that is not finite",
            where=f"{cause.slot}, host {cause.host}",
            expected="finite numbers",
            got="NaN or infinity, first seen there",
            state="what was being computed changed no weight; the last checkpoint, if there is one, stands",
            remedy="start a new run with a lower optimizer.learning_rate or with optimizer.clip_norm, from the last"
            " checkpoint: --set model.name=runs/NAME/checkpoints/step-N, or model.adapter= under LoRA",
        )

    def _explain_norm(self, plan: Plan, step: int, norms: Mapping[str, Tensor]) -> NonFinite:
        """The stage nearest to the loss whose gradients are not finite; failing that, the one with the largest."""
        broken = [self._stage_of[name] for name, norm in norms.items() if not norm.isfinite()]
        stage = max(broken) if broken else self._stage_of[max(norms, key=lambda name: float(norms[name]))]
        slot = Slot(
            run=self._run,
            view=0,
            attempt=0,
            step=step,
            micro_batch=plan.micro_batches - 1,
            direction=Direction.BACKWARD,
            stage=stage,
        )
        return NonFinite(host=self._hosts[stage], slot=slot, what="a weight gradient")


@lru_cache(maxsize=64)
def _write_actions(lane: Lane) -> tuple[str, ...]:
    """A lane's actions in their text form; the same lane is played with every step."""
    return tuple(str(action) for action in lane.actions)


def _losses(played: Sequence[Played]) -> dict[int, float]:
    """Each micro-batch's mean loss, in order."""
    losses = _merge(report.losses for report in played)
    return {micro_batch: float(losses[micro_batch]) for micro_batch in sorted(losses)}


K = TypeVar("K")


def _merge(parts: Iterable[Mapping[K, Tensor]]) -> dict[K, Tensor]:
    return {key: value for part in parts for key, value in part.items()}
