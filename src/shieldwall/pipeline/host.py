"""The stage host: takes stages and duplicates, plays lanes, prepares and commits, and reports.

The same host serves every deployment. It knows its endpoint, its compute, its hooks and its guard, and nothing of the
other hosts but what arrives in messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.hooks import Hook, Update
from shieldwall.core.ids import COORDINATOR, Role
from shieldwall.core.messages import (
    Assign,
    Assigned,
    Commit,
    Committed,
    Correct,
    Corrected,
    Discard,
    Discarded,
    ListKept,
    ListState,
    Message,
    NonFinite,
    Open,
    Opened,
    Play,
    Played,
    Prepare,
    Prepared,
    Release,
    Released,
    SendChunk,
    SendState,
    Show,
    StageState,
    StateReport,
    Stop,
    SummedUp,
    SumUp,
    TakeChunk,
    TakeGradients,
    Taken,
    TakePrepared,
    View,
    Viewed,
    Void,
)
from shieldwall.core.signing import Signed
from shieldwall.core.statements import GradientClaim
from shieldwall.pipeline.compute import Compute, InlineCompute
from shieldwall.pipeline.door import Door
from shieldwall.pipeline.feed import Feed
from shieldwall.pipeline.guard import Guard
from shieldwall.pipeline.holdings import Holdings, HostSettings, on_device
from shieldwall.pipeline.lane import LanePlayer, NonFiniteFound
from shieldwall.pipeline.mailbox import Mailbox, StepDiscarded
from shieldwall.pipeline.transfer.kept import Kept
from shieldwall.pipeline.transfer.served import Served
from shieldwall.schedule import Topology
from shieldwall.transport import Endpoint

__all__ = ["HostSettings", "StageHost"]


class StageHost:
    """One party's computer in the pipeline.

    Args:
        endpoint: its end of the transport.
        settings: of the run.
        hooks: called at the borders of its stages, around their updates, at its checks and at the door.
        compute: how it runs computation.
        feed: tokens; only the initiator's host has one.
        guard: keeps its records in a run that is checked; None where nothing is.
        topology: whether it talks to other hosts or to the server alone.
        kept: what it has of stages from before; nothing if not given.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: HostSettings,
        *,
        hooks: Sequence[Hook] = (),
        compute: Compute | None = None,
        feed: Feed | None = None,
        guard: Guard | None = None,
        topology: Topology = "chain",
        kept: Kept | None = None,
    ) -> None:
        self.name = endpoint.name
        self._settings = settings
        self._hooks = tuple(hooks)
        self._compute = compute or InlineCompute()
        self._feed = feed
        self._guard = guard
        self._door = Door(endpoint, self._hooks, guard, topology)
        self._mailbox = Mailbox(endpoint, guard, self._attend, self._door.send_notes)
        self._holdings = Holdings(settings, hold_apart=guard is not None)
        self._served = Served(self.name)
        self._kept = kept or Kept()
        self._step = 0
        """The step that was committed last."""
        self._orders: dict[type[Message], Callable[[Any], Awaitable[None]]] = {
            Assign: self._assign,
            ListKept: self._list_kept,
            TakeChunk: self._take_chunk,
            Release: self._release,
            View: self._see_view,
            Play: self._play,
            SumUp: self._sum_up,
            TakeGradients: self._take_gradients,
            Prepare: self._prepare,
            Open: self._open,
            TakePrepared: self._take_prepared,
            Commit: self._commit,
            Discard: self._discard,
        }

    async def serve(self) -> None:
        """Obey orders until told to stop.

        Raises:
            TransportError: SW-T104; the coordinator sent something that is no order.
        """
        while not isinstance(order := await self._mailbox.take_order(), Stop):
            await self._obey(order)

    async def _obey(self, order: Message) -> None:
        obey = self._orders.get(type(order))
        if obey is None:
            raise TransportError(
                "SW-T104",
                f"{self.name} was sent something that is no order",
                expected="an order of the coordinator",
                got=type(order).__name__,
            )
        await obey(order)

    async def _attend(self, message: Message) -> bool:
        """Answer what cannot wait until the lane is played; False where the message is not of that kind."""
        if isinstance(message, SendState):
            state = await self._committed(message.role, message.stage)
            await self._report(StateReport(host=self.name, stage=message.stage, state=state, role=message.role))
        elif isinstance(message, ListState):
            state = await self._committed(message.role, message.stage)
            await self._report(await self._served.list(message, state))
        elif isinstance(message, SendChunk):
            await self._report(self._served.send(message))
        elif self._guard is None or isinstance(message, Void):
            return isinstance(message, Void)
        elif isinstance(message, Correct):
            self._guard.correct(message)
            await self._report(Corrected(host=self.name, slot=message.header.statement.slot))
        elif isinstance(message, Show):
            await self._report(self._guard.show(message))
        else:
            return False
        return True

    def put_away(self) -> None:
        """Keep what is held for another session with the same `kept`: this one has ended."""
        for stage in self._holdings.stages:
            self._kept.put_away(stage, self._holdings.tensors(stage))

    async def _list_kept(self, order: ListKept) -> None:
        await self._report(await self._kept.list(order, self.name, self._holdings.tensors(order.stage)))

    async def _take_chunk(self, order: TakeChunk) -> None:
        await self._report(self._kept.take(order, self.name))

    async def _assign(self, order: Assign) -> None:
        order = self._kept.resolve(order, self.name)
        label = self._label(order.role, order.stage, self._step)
        state, frozen = order.state, order.frozen
        for hook in self._hooks:
            state, frozen = await hook.before_hold(label, state, frozen)
        held = self._holdings.take(
            Assign(
                stage=order.stage,
                stages=order.stages,
                role=order.role,
                first_layer=order.first_layer,
                last_layer=order.last_layer,
                state=state,
                frozen=frozen,
            )
        )
        if self._guard:
            self._guard.hold(order.stage, order.role, order.state, order.frozen, held.stage.model.buffers)
        await self._report(Assigned(host=self.name, stage=order.stage, role=order.role))

    async def _release(self, order: Release) -> None:
        self._holdings.release(order.role, order.stage)
        await self._report(Released(host=self.name, stage=order.stage, role=order.role))

    async def _see_view(self, order: View) -> None:
        if self._guard:
            self._guard.see_view(order)
        await self._report(Viewed(host=self.name, view=order.view))

    async def _play(self, order: Play) -> None:
        for _, _, held in self._holdings:
            held.stage.model.set_training(order.training)
        if self._guard:
            self._guard.begin(order)
        self._mailbox.begin(order)
        player = LanePlayer(
            order,
            self._holdings,
            arrived_s=self._mailbox.order_arrived_s,
            door=self._door,
            mailbox=self._mailbox,
            compute=self._compute,
            hooks=self._hooks,
            feed=self._feed,
            guard=self._guard,
            compression=self._settings.compression,
        )
        try:
            await player.play()
        except StepDiscarded:
            return
        except NonFiniteFound as found:
            what = found.what + self._blame_weights(found.slot.stage, order.step)
            await self._report(NonFinite(host=self.name, slot=found.slot, what=what))
            return
        norms = (await self._add_up(SumUp(step=order.step)))[0] if order.sums_up else {}
        await self._report(
            Played(
                host=self.name,
                step=order.step,
                attempt=order.attempt,
                losses=player.losses,
                work=tuple(player.work),
                norms=norms,
            )
        )

    def _blame_weights(self, stage: int, step: int) -> str:
        """Says so where the stage's weights were broken before the step began."""
        parameters = self._holdings.get(Role.STAGE, stage).stage.model.parameters.values()
        if all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            return ""
        return f", from weights that the update of step {step - 1} (or the model itself) had made so,"

    async def _sum_up(self, order: SumUp) -> None:
        norms, claims = await self._add_up(order)
        await self._report(SummedUp(host=self.name, step=order.step, norms=norms, claims=claims))

    async def _add_up(self, order: SumUp) -> tuple[dict[str, Tensor], tuple[Signed[GradientClaim], ...]]:
        """Norms by parameter, and what the guard claims of them."""
        norms: dict[str, Tensor] = {}
        claims = []
        for role, stage, held in self._holdings:
            if stage in order.still:
                held.stage.forget_step()
            held.stage.sum_up()
            gradients: Mapping[str, Tensor] = held.stage.gradients()
            for hook in self._hooks:
                gradients = await hook.before_prepare(self._label(role, stage, order.step), gradients)
            held.stage.use_gradients(gradients)
            own = held.stage.norms()
            if role is Role.STAGE:
                norms |= own
            if self._guard and self._guard.answers_for(role, stage):
                claims.append(self._guard.claim(stage, role, order.step, gradients, own))
        return norms, tuple(claims)

    async def _take_gradients(self, order: TakeGradients) -> None:
        gradients = {name: gradient.clone() for name, gradient in order.gradients.items()}
        self._holdings.get(order.role, order.stage).stage.use_gradients(gradients)
        await self._report(Taken(host=self.name, step=order.step, stage=order.stage, role=order.role))

    async def _prepare(self, order: Prepare) -> None:
        seals = []
        for role, stage, held in self._holdings:
            held.update.scale_gradients(order.clip_coefficients[stage])
            prepared = held.update.prepare(held.stage.gradients(), order.learning_rate)
            for hook in self._hooks:
                prepared = await hook.after_prepare(self._label(role, stage, order.step), prepared)
            held.update.prepared = prepared
            if self._guard and self._guard.answers_for(role, stage):
                seals.append(self._guard.close_envelope(stage, role, order.step, prepared))
        await self._report(Prepared(host=self.name, step=order.step, seals=tuple(seals)))

    async def _open(self, order: Open) -> None:
        openings = self._guard.open_envelopes(order.step) if self._guard else ()
        await self._report(Opened(host=self.name, step=order.step, openings=openings))

    async def _take_prepared(self, order: TakePrepared) -> None:
        state = on_device(order.state, self._settings.device)
        self._holdings.get(order.role, order.stage).update.prepared = state
        if self._guard:
            self._guard.close_envelope(order.stage, order.role, order.step, state)
        await self._report(Taken(host=self.name, step=order.step, stage=order.stage, role=order.role))

    async def _commit(self, order: Commit) -> None:
        for role, stage, held in self._holdings:
            label = self._label(role, stage, order.step)
            state = held.update.prepared
            if state is None:
                raise TransportError(
                    "SW-T105",
                    f"{self.name} was told to commit what it has not prepared",
                    where=f"step {order.step}, stage {stage}",
                    expected="Prepare before Commit",
                    got="Commit alone",
                )
            for hook in self._hooks:
                state = await hook.before_commit(label, state)
            held.update.commit(state)
            for hook in self._hooks:
                await hook.after_commit(label, state)
        self._step = order.step
        self._served.forget()
        self._kept.forget()
        self._mailbox.forget_tensors()
        receipt = self._guard.commit(order.step, order.head) if self._guard else None
        await self._report(Committed(host=self.name, step=order.step, receipt=receipt))

    async def _discard(self, order: Discard) -> None:
        for _, _, held in self._holdings:
            held.update.discard()
        self._mailbox.forget_tensors()
        await self._report(Discarded(host=self.name, step=order.step))

    async def _committed(self, role: Role, stage: int) -> StageState:
        """The committed state as this host serves it."""
        state = self._holdings.get(role, stage).update.committed
        for hook in self._hooks:
            state = await hook.before_serve(self._label(role, stage, self._step), state)
        return state

    def _label(self, role: Role, stage: int, step: int) -> Update:
        return Update(host=self.name, stage=stage, step=step, role=role)

    async def _report(self, report: Message) -> None:
        await self._door.send(COORDINATOR, report)
