"""Playing a lane: receive, compute, check, send, in the order that the plan says.

    what a stage made --pack--> what is signed, compared, sent and kept --unpack--> what a stage or duplicate works on

What crosses a border is packed once, by whoever made it, and unpacked where it is worked on; between the two it is the
bytes as sent. That holds for a border inside one host too, so that who holds what decides no bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from shieldwall.core.compression import PLAIN, Compression
from shieldwall.core.hooks import Border, Hook
from shieldwall.core.ids import Direction, Role, Slot
from shieldwall.core.messages import PassTime, Play, TensorFrame
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header
from shieldwall.pipeline.compute import Compute
from shieldwall.pipeline.door import Door
from shieldwall.pipeline.feed import Feed, MicroBatch
from shieldwall.pipeline.guard import Guard
from shieldwall.pipeline.holdings import Holdings
from shieldwall.pipeline.hosted_stage import HostedStage
from shieldwall.pipeline.lane_text import Key, made_by, read_lane
from shieldwall.pipeline.mailbox import Mailbox, MicroBatchVoid
from shieldwall.schedule import Action, Kind

T = TypeVar("T")


class NonFiniteFound(Exception):  # noqa: N818 (reported by the host, never shown)
    """A stage made a NaN or an infinity."""

    def __init__(self, slot: Slot, what: str) -> None:
        super().__init__(str(slot))
        self.slot = slot
        self.what = what


class LanePlayer:
    """Plays one host's actions of one step.

    Args:
        play: the order.
        holdings: the stages and duplicates that the host holds.
        arrived_s: `time.perf_counter()` when the order had come in.
        door: where messages leave.
        mailbox: where they arrive.
        compute: how computation is run.
        hooks: called at the borders, in this order.
        feed: tokens, on the host of the first and last stage alone.
        guard: headers and checks; None in a run that checks nothing.
        compression: of what crosses a border.
    """

    def __init__(
        self,
        play: Play,
        holdings: Holdings,
        *,
        arrived_s: float,
        door: Door,
        mailbox: Mailbox,
        compute: Compute,
        hooks: Sequence[Hook],
        feed: Feed | None,
        guard: Guard | None,
        compression: Compression = PLAIN,
    ) -> None:
        self._play = play
        self._holdings = holdings
        self._arrived_s = arrived_s
        self._door = door
        self._mailbox = mailbox
        self._compute = compute
        self._hooks = hooks
        self._feed = feed
        self._guard = guard
        self._compression = compression
        self._lane = read_lane(play.actions)
        self._uses = self._lane.uses.copy()
        self._tensors: dict[Key, Tensor] = {}
        """As they are sent."""
        self._headers: dict[Key, Signed[Header]] = {}
        self._halted: set[Key] = set()
        self._unchecked: set[tuple[int, int]] = set()
        self.losses: dict[int, Tensor] = {}
        self.work: list[PassTime] = []
        """When each pass ran, as far as the lane is played."""

    async def play(self) -> None:
        """Play to the end.

        Raises:
            NonFiniteFound: a stage made a NaN or an infinity; it was not sent. Under a guard it is noted instead.
            StepDiscarded: the coordinator gave the step up.
        """
        for action, text in zip(self._lane.actions, self._play.actions, strict=True):
            if action.micro_batch in self._mailbox.void:
                continue
            try:
                await self._one(action, text)
            except MicroBatchVoid:
                continue
            except NonFiniteFound as found:
                if self._guard is None:
                    raise
                self._halt(action, found)
            if self._guard:
                await self._door.send_notes()

    def _halt(self, action: Action, found: NonFiniteFound) -> None:
        """Say so. A stage that is checked plays on: what needs its tensor waits for the initiator's, or is left out."""
        if self._guard is None:
            return
        self._guard.halt(found.slot, self._made_from(action), found.what)
        if self._guard.answers_for(Role.STAGE, action.stage):
            self._halted.add(Key(action.kind.direction is Direction.BACKWARD, action.stage, action.micro_batch))
        else:
            self._mailbox.void.add(action.micro_batch)

    async def _one(self, action: Action, text: str) -> None:
        if action.kind.is_compute:
            start_s = time.perf_counter() - self._arrived_s
            await self._pass(action)
            self.work.append(PassTime(text, start_s, time.perf_counter() - self._arrived_s))
        elif action.kind.is_send:
            await self._send(action)
        elif action.kind.is_wait:
            key = made_by(action)
            self._tensors[key] = await self._mailbox.take_settled(self._slot(key))
        else:
            key = made_by(action)
            self._tensors[key] = await self._mailbox.take_tensor(self._slot(key), action.peer)

    async def _pass(self, action: Action) -> None:
        if action.kind is Kind.FORWARD:
            await self._forward(action)
        elif action.kind is Kind.BACKWARD:
            await self._backward(action)
        else:
            await self._check(action)

    async def _send(self, action: Action) -> None:
        key = made_by(action)
        border = self._border(key)
        sent, header = self._use(key), self._headers.get(key)
        other = await self._replaced(border, action.peer, sent)
        if other is not None:
            sent = other
            header = await self._guard.reseal(header, sent, action.peer) if header and self._guard else header
        frame = TensorFrame(slot=border.slot, source=border.host, destination=action.peer, tensor=sent, header=header)
        await self._door.send(action.peer, frame)

    async def _replaced(self, border: Border, destination: str, sent: Tensor) -> Tensor | None:
        """What a hook sends in the place of `sent`; None where no hook does."""
        if not self._hooks:
            return None
        value = made = self._compression.unpack(sent)
        for hook in self._hooks:
            value = await hook.before_send(border, destination, value)
        return None if value is made else self._compression.pack(value)

    async def _forward(self, action: Action) -> None:
        stage, micro_batch = self._holdings.get(Role.STAGE, action.stage).stage, action.micro_batch
        key = Key(False, action.stage, micro_batch)
        border = self._border(key)
        if stage.model.span.embeddings:
            value = self._batch(micro_batch).tokens_BT
        else:
            value = self._compression.unpack(self._use(Key(False, action.stage - 1, micro_batch)))
            for hook in self._hooks:
                value = await hook.before_forward(border, value)
        with stage.computing_with(await self._other_weights(border, stage)):
            if stage.model.span.head:
                await self._run(action, lambda: self._forward_to_loss(stage, micro_batch, value, border.slot))
                return
            output = await self._run(action, lambda: self._compute_forward(stage, micro_batch, value))
        for hook in self._hooks:
            output = await hook.after_forward(border, output)
        require_finite(output, border.slot, "an activation")
        await self._keep_made(action, key, output)

    async def _other_weights(self, border: Border, stage: HostedStage) -> Mapping[str, Tensor] | None:
        """What a hook puts in the place of the weights in force for one pass; None where no hook does."""
        if not self._hooks:
            return None
        weights: Mapping[str, Tensor] = stage.weights()
        in_force = weights
        for hook in self._hooks:
            weights = await hook.before_compute(border, weights)
        return None if weights is in_force else weights

    async def _run(self, action: Action, work: Callable[[], T]) -> T:
        computing = self._compute.run(action, work)
        return await (self._mailbox.meanwhile(computing) if self._guard and self._compute.leaves_loop else computing)

    def _compute_forward(self, stage: HostedStage, micro_batch: int, value: Tensor) -> Tensor:
        play = self._play
        positions_BT = play.positions.get(micro_batch)
        return stage.forward(play.step, micro_batch, value, positions_BT, training=play.training)

    def _forward_to_loss(self, stage: HostedStage, micro_batch: int, value: Tensor, slot: Slot) -> None:
        logits_BTV = self._compute_forward(stage, micro_batch, value)
        loss = stage.loss(micro_batch, logits_BTV, self._batch(micro_batch), training=self._play.training)
        require_finite(loss, slot, "a loss")
        self.losses[micro_batch] = loss

    async def _backward(self, action: Action) -> None:
        stage, micro_batch = self._holdings.get(Role.STAGE, action.stage).stage, action.micro_batch
        key = Key(True, action.stage, micro_batch)
        border = self._border(key)
        gradient = None
        if not stage.model.span.head:
            gradient = self._compression.unpack(self._use(Key(True, action.stage + 1, micro_batch)))
            for hook in self._hooks:
                gradient = await hook.before_backward(border, gradient)
        with stage.computing_with(await self._other_weights(border, stage)):
            sent_back = await self._run(action, lambda: stage.backward(micro_batch, gradient))
        if sent_back is None:
            return
        for hook in self._hooks:
            sent_back = await hook.after_backward(border, sent_back)
        require_finite(sent_back, border.slot, "a gradient")
        await self._keep_made(action, key, sent_back)

    async def _check(self, action: Action) -> None:
        """Let a duplicate repeat its stage's pass, and have the guard compare."""
        stage, micro_batch = self._holdings.get(Role.DUPLICATE, action.stage).stage, action.micro_batch
        backward = action.kind is Kind.CHECK_BACKWARD
        key = Key(backward, action.stage, micro_batch)
        came = self._use(Key(backward, action.stage + 1 if backward else action.stage - 1, micro_batch))
        given = self._compression.unpack(came)
        border = self._border(key)
        made: Tensor | None = None
        forward_left_out = (action.stage, action.micro_batch) in self._unchecked
        if not all([await hook.before_check(border) for hook in self._hooks]):
            self._unchecked.add((action.stage, action.micro_batch))
        elif not (backward and forward_left_out):  # without a forward pass there is nothing to go back over
            if backward:
                made = await self._run(action, lambda: stage.backward(micro_batch, given))
            else:
                made = await self._run(action, lambda: self._compute_forward(stage, micro_batch, given))
        source = self._made_from(action)
        if self._guard and source:
            await self._guard.check(border.slot, source, None if made is None else self._compression.pack(made))

    async def _keep_made(self, action: Action, key: Key, tensor: Tensor) -> None:
        sent = self._compression.pack(tensor)
        if self._guard:
            self._headers[key] = await self._guard.seal(self._slot(key), sent, self._made_from(action))
        if self._uses[key]:
            self._tensors[key] = sent

    def _made_from(self, action: Action) -> Slot | None:
        """The slot of the tensor that a pass works on; None where that is the initiator's own data."""
        backward = action.kind.direction is Direction.BACKWARD
        source = action.stage + 1 if backward else action.stage - 1
        ends = self._play.stages
        return self._slot(Key(backward, source, action.micro_batch)) if 0 <= source < ends else None

    def _use(self, key: Key) -> Tensor:
        """The tensor behind `key` as it is sent, let go of at its last use.

        Raises:
            MicroBatchVoid: this host has not made it, because it was not finite.
        """
        if key in self._halted and key not in self._tensors:
            raise MicroBatchVoid
        self._uses[key] -= 1
        return self._tensors[key] if self._uses[key] else self._tensors.pop(key)

    def _batch(self, micro_batch: int) -> MicroBatch:
        if self._feed is None:
            raise LookupError("this host has no feed")
        if self._play.training:
            return self._feed.training(self._play.step, micro_batch)
        return self._feed.evaluation(micro_batch)

    def _border(self, key: Key) -> Border:
        return Border(host=self._door.name, slot=self._slot(key))

    def _slot(self, key: Key) -> Slot:
        forward = Direction.FORWARD if self._play.training else Direction.EVALUATION
        return Slot(
            run=self._play.run,
            view=self._play.view,
            attempt=self._play.attempt,
            step=self._play.step,
            micro_batch=key.micro_batch,
            direction=Direction.BACKWARD if key.backward else forward,
            stage=key.stage,
        )


def require_finite(tensor: Tensor, slot: Slot, what: str) -> None:
    """A sum is the cheapest look at every value: any NaN or infinity shows in it. Finite values may overflow it too,
    so a sum that is not finite is only a reason to look closer.

    Raises:
        NonFiniteFound: there is one.
    """
    if not math.isfinite(tensor.sum().item()) and not bool(torch.isfinite(tensor).all()):
        raise NonFiniteFound(slot, what)
