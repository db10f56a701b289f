"""Playing a lane: receive, compute, send, in the order that the plan says."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import PassTime, Play, TensorFrame
from shieldwall.pipeline.compute import Compute
from shieldwall.pipeline.feed import Feed, MicroBatch
from shieldwall.core.hooks import Border, Hook
from shieldwall.pipeline.hosted_stage import HostedStage
from shieldwall.pipeline.mailbox import Mailbox
from shieldwall.schedule import Action, Kind
from shieldwall.transport import Endpoint


class NonFiniteFound(Exception):  # noqa: N818 (reported by the host, never shown)
    """A stage made a NaN or an infinity."""

    def __init__(self, slot: Slot, what: str) -> None:
        super().__init__(str(slot))
        self.slot = slot
        self.what = what


class _Key(NamedTuple):
    """Names a tensor within a step: the activation that `stage` makes, or the gradient that it sends back."""

    backward: bool
    stage: int
    micro_batch: int


class LanePlayer:
    """Plays one host's actions of one step.

    Args:
        play: the order.
        arrived_s: `time.perf_counter()` when the order had come in.
        stages: the stages that the host holds, by number.
        endpoint: where tensors leave.
        mailbox: where tensors arrive.
        compute: how computation is run.
        hooks: called at the borders, in this order.
        feed: tokens, on the host of the first and last stage alone.
    """

    def __init__(
        self,
        play: Play,
        stages: Mapping[int, HostedStage],
        *,
        arrived_s: float,
        endpoint: Endpoint,
        mailbox: Mailbox,
        compute: Compute,
        hooks: Sequence[Hook],
        feed: Feed | None,
    ) -> None:
        self._play = play
        self._arrived_s = arrived_s
        self._stages = stages
        self._endpoint = endpoint
        self._mailbox = mailbox
        self._compute = compute
        self._hooks = hooks
        self._feed = feed
        self._actions, uses = _read_actions(play.actions)
        self._uses = uses.copy()
        self._tensors: dict[_Key, Tensor] = {}
        self.losses: dict[int, Tensor] = {}
        self.work: list[PassTime] = []
        """When each forward and backward pass ran, as far as the lane is played."""

    async def play(self) -> None:
        """Play to the end.

        Raises:
            NonFiniteFound: a stage made a NaN or an infinity; it was not sent.
            StepDiscarded: the coordinator gave the step up.
        """
        for action, text in zip(self._actions, self._play.actions, strict=True):
            await self._one(action, text)

    async def _one(self, action: Action, text: str) -> None:
        if action.kind.is_compute:
            start_s = time.perf_counter() - self._arrived_s
            await (self._forward(action) if action.kind is Kind.FORWARD else self._backward(action))
            self.work.append(PassTime(text, start_s, time.perf_counter() - self._arrived_s))
        elif action.kind.is_send:
            await self._send(action)
        else:
            key = _made_by(action)
            self._tensors[key] = await self._mailbox.take_tensor(self._slot(key))

    async def _send(self, action: Action) -> None:
        key = _made_by(action)
        frame = TensorFrame(
            slot=self._slot(key), source=self._endpoint.name, destination=action.peer, tensor=self._use(key)
        )
        await self._endpoint.send(action.peer, frame)

    async def _forward(self, action: Action) -> None:
        stage, micro_batch = self._stages[action.stage], action.micro_batch
        key = _Key(False, action.stage, micro_batch)
        border = self._border(key)
        if stage.model.span.embeddings:
            value = self._batch(micro_batch).tokens_BT
        else:
            value = self._use(_Key(False, action.stage - 1, micro_batch))
            for hook in self._hooks:
                value = await hook.before_forward(border, value)
        if stage.model.span.head:
            await self._compute.run(action, lambda: self._forward_to_loss(stage, micro_batch, value, border.slot))
            return
        output = await self._compute.run(action, lambda: self._compute_forward(stage, micro_batch, value))
        for hook in self._hooks:
            output = await hook.after_forward(border, output)
        _require_finite(output, border.slot, "an activation")
        self._tensors[key] = output

    def _compute_forward(self, stage: HostedStage, micro_batch: int, value: Tensor) -> Tensor:
        play = self._play
        positions_BT = play.positions.get(micro_batch)
        return stage.forward(play.step, micro_batch, value, positions_BT, training=play.training)

    def _forward_to_loss(self, stage: HostedStage, micro_batch: int, value: Tensor, slot: Slot) -> None:
        logits_BTV = self._compute_forward(stage, micro_batch, value)
        loss = stage.loss(micro_batch, logits_BTV, self._batch(micro_batch), training=self._play.training)
        _require_finite(loss, slot, "a loss")
        self.losses[micro_batch] = loss

    async def _backward(self, action: Action) -> None:
        stage, micro_batch = self._stages[action.stage], action.micro_batch
        key = _Key(True, action.stage, micro_batch)
        border = self._border(key)
        gradient = None
        if not stage.model.span.head:
            gradient = self._use(_Key(True, action.stage + 1, micro_batch))
            for hook in self._hooks:
                gradient = await hook.before_backward(border, gradient)
        sent_back = await self._compute.run(action, lambda: stage.backward(micro_batch, gradient))
        if sent_back is None:
            return
        for hook in self._hooks:
            sent_back = await hook.after_backward(border, sent_back)
        _require_finite(sent_back, border.slot, "a gradient")
        self._tensors[key] = sent_back

    def _use(self, key: _Key) -> Tensor:
        """The tensor behind `key`, let go of at its last use."""
        self._uses[key] -= 1
        return self._tensors[key] if self._uses[key] else self._tensors.pop(key)

    def _batch(self, micro_batch: int) -> MicroBatch:
        if self._feed is None:
            raise LookupError(f"{self._endpoint.name} has no feed")
        if self._play.training:
            return self._feed.training(self._play.step, micro_batch)
        return self._feed.evaluation(micro_batch)

    def _border(self, key: _Key) -> Border:
        return Border(host=self._endpoint.name, slot=self._slot(key))

    def _slot(self, key: _Key) -> Slot:
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


@lru_cache(maxsize=64)
def _read_actions(texts: tuple[str, ...]) -> tuple[tuple[Action, ...], Counter[_Key]]:
    """The actions of a lane, and how often each tensor is used; the same lane comes again with every step."""
    actions = tuple(Action.parse(text) for text in texts)
    return actions, Counter(key for action in actions for key in _reads(action))


def _made_by(action: Action) -> _Key:
    """The tensor that a send or receive moves."""
    backward = action.kind in (Kind.SEND_GRADIENT, Kind.RECEIVE_GRADIENT)
    return _Key(backward, action.stage, action.micro_batch)


def _reads(action: Action) -> Iterable[_Key]:
    """The tensors that an action uses up."""
    if action.kind is Kind.FORWARD:
        return [_Key(False, action.stage - 1, action.micro_batch)]
    if action.kind is Kind.BACKWARD:
        return [_Key(True, action.stage + 1, action.micro_batch)]
    return [_made_by(action)] if action.kind.is_send else []


def _require_finite(tensor: Tensor, slot: Slot, what: str) -> None:
    """A sum is the cheapest look at every value: any NaN or infinity shows in it. Finite values may overflow it too,
    so a sum that is not finite is only a reason to look closer.
    """
    if not math.isfinite(tensor.sum().item()) and not bool(torch.isfinite(tensor).all()):
        raise NonFiniteFound(slot, what)
