"""The stage host: takes stages, plays lanes, prepares and commits, and reports.

The same host serves every deployment. It knows its endpoint, its compute and its hooks, and nothing of the other
hosts but what arrives in messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import COORDINATOR
from shieldwall.core.messages import (
    Assign,
    Assigned,
    Commit,
    Committed,
    Discard,
    Discarded,
    Message,
    NonFinite,
    Play,
    Played,
    Prepare,
    Prepared,
    SendState,
    StateReport,
    Stop,
)
from shieldwall.models.settings import ModelSettings
from shieldwall.models.span import StageSpan
from shieldwall.models.stage import StageModel
from shieldwall.pipeline.compute import Compute, InlineCompute
from shieldwall.pipeline.feed import Feed
from shieldwall.core.hooks import Hook, Update
from shieldwall.pipeline.hosted_stage import HostedStage, TiedGradients
from shieldwall.pipeline.lane import LanePlayer, NonFiniteFound
from shieldwall.pipeline.mailbox import Mailbox, StepDiscarded
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.pipeline.update import StageUpdate
from shieldwall.transport import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What every host of a run is told before it takes a stage."""

    model: ModelSettings
    seed: int
    device: torch.device
    optimizer: OptimizerSettings
    gradient_checkpointing: bool = False
    """Keep only a stage's inputs between forward and backward, and compute the rest again."""


class StageHost:
    """One party's computer in the pipeline.

    Args:
        endpoint: its end of the transport.
        settings: of the run.
        hooks: called at the borders of its stages and around their updates.
        compute: how it runs computation.
        feed: tokens; only the initiator's host has one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: HostSettings,
        *,
        hooks: Sequence[Hook] = (),
        compute: Compute | None = None,
        feed: Feed | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._hooks = tuple(hooks)
        self._compute = compute or InlineCompute()
        self._feed = feed
        self._mailbox = Mailbox(endpoint)
        self._stages: dict[int, HostedStage] = {}
        self._updates: dict[int, StageUpdate] = {}

    async def serve(self) -> None:
        """Obey orders until told to stop.

        Raises:
            TransportError: SW-T104; an order came that no host can obey.
        """
        while not isinstance(order := await self._mailbox.take_order(), Stop):
            await self._obey(order)

    async def _obey(self, order: Message) -> None:
        if isinstance(order, Assign):
            await self._assign(order)
        elif isinstance(order, Play):
            await self._play(order)
        elif isinstance(order, Prepare):
            await self._prepare(order)
        elif isinstance(order, Commit):
            await self._commit(order)
        elif isinstance(order, Discard):
            await self._discard(order)
        elif isinstance(order, SendState):
            state = self._updates[order.stage].committed
            await self._report(StateReport(host=self._endpoint.name, stage=order.stage, state=state))
        else:
            raise TransportError(
                "SW-T104",
                f"{self._endpoint.name} was sent something that is no order",
                expected="an order of the coordinator",
                got=type(order).__name__,
            )

    async def _assign(self, order: Assign) -> None:
        settings = self._settings
        span = StageSpan(order.stage, order.stages, order.first_layer, order.last_layer)
        model = StageModel(settings.model, span, order.state.parameters, frozen=order.frozen, device=settings.device)
        stage = HostedStage(model, settings.seed, settings.device, recompute=settings.gradient_checkpointing)
        moments = {
            name: {key: moment.to(settings.device) for key, moment in kept.items()}
            for name, kept in order.state.moments.items()
        }
        self._stages[order.stage] = stage
        self._updates[order.stage] = StageUpdate(stage, moments, settings.optimizer)
        self._tie_ends(order.stages)
        await self._report(Assigned(host=self._endpoint.name, stage=order.stage))

    def _tie_ends(self, stages: int) -> None:
        first, last = self._stages.get(0), self._stages.get(stages - 1)
        if first is None or last is None or first is last:
            return
        handles = last.model.tie_head(first.model)
        if handles:
            first.tied = last.tied = TiedGradients(handles, first.model)

    async def _play(self, order: Play) -> None:
        for stage in self._stages.values():
            stage.model.set_training(order.training)
        player = LanePlayer(
            order,
            self._stages,
            arrived_s=self._mailbox.order_arrived_s,
            endpoint=self._endpoint,
            mailbox=self._mailbox,
            compute=self._compute,
            hooks=self._hooks,
            feed=self._feed,
        )
        try:
            await player.play()
        except StepDiscarded:
            return
        except NonFiniteFound as found:
            what = found.what + self._blame_weights(found.slot.stage, order.step)
            await self._report(NonFinite(host=self._endpoint.name, slot=found.slot, what=what))
            return
        norms = self._norms() if order.training else {}
        await self._report(
            Played(
                host=self._endpoint.name,
                step=order.step,
                norms=norms,
                losses=player.losses,
                work=tuple(player.work),
            )
        )

    def _blame_weights(self, stage: int, step: int) -> str:
        """Says so where the stage's weights were broken before the step began."""
        parameters = self._stages[stage].model.parameters.values()
        if all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            return ""
        return f", from weights that the update of step {step - 1} (or the model itself) had made so,"

    def _norms(self) -> dict[str, Tensor]:
        return {name: norm for stage in self._stages.values() for name, norm in stage.norms().items()}

    async def _prepare(self, order: Prepare) -> None:
        for stage, update in self._updates.items():
            label = self._label(stage, order.step)
            gradients: Mapping[str, Tensor] = update.clipped_gradients(order.clip_coefficient)
            for hook in self._hooks:
                gradients = await hook.before_prepare(label, gradients)
            prepared = update.prepare(gradients, order.learning_rate)
            for hook in self._hooks:
                prepared = await hook.after_prepare(label, prepared)
            update.prepared = prepared
        await self._report(Prepared(host=self._endpoint.name, step=order.step))

    async def _commit(self, order: Commit) -> None:
        for stage, update in self._updates.items():
            label = self._label(stage, order.step)
            state = update.prepared
            if state is None:
                raise TransportError(
                    "SW-T105",
                    f"{self._endpoint.name} was told to commit what it has not prepared",
                    where=f"step {order.step}, stage {stage}",
                    expected="Prepare before Commit",
                    got="Commit alone",
                )
            for hook in self._hooks:
                state = await hook.before_commit(label, state)
            update.commit(state)
            for hook in self._hooks:
                await hook.after_commit(label, state)
        self._mailbox.forget_tensors()
        await self._report(Committed(host=self._endpoint.name, step=order.step))

    async def _discard(self, order: Discard) -> None:
        for update in self._updates.values():
            update.discard()
        self._mailbox.forget_tensors()
        await self._report(Discarded(host=self._endpoint.name, step=order.step))

    def _label(self, stage: int, step: int) -> Update:
        return Update(host=self._endpoint.name, stage=stage, step=step)

    async def _report(self, report: Message) -> None:
        await self._endpoint.send(COORDINATOR, report)
