"""The hook that carries attacks out: installed on a worker's host, it is that worker's bad half.

It decides by `Aim` whether an attack acts, gives it what its worker has, and notes in the log what came back changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from shieldwall.attacks.aim import PlacedAttack
from shieldwall.attacks.base import Attack, Turn
from shieldwall.attacks.bits import same_bits, same_frames, same_states, same_tensors
from shieldwall.attacks.log import AttackLog
from shieldwall.attacks.memory import Memory
from shieldwall.core.compression import PLAIN, Compression
from shieldwall.core.hooks import Border, Hook, Update
from shieldwall.core.ids import Role, Slot
from shieldwall.core.messages import Message, StageState, TensorFrame, View
from shieldwall.core.statements import Header

T = TypeVar("T")
Hit = tuple[PlacedAttack, Turn]
Held = tuple[StageState, Mapping[str, Tensor]]


class AttackHook(Hook):
    """One worker's attacks.

    Args:
        host: the worker's name.
        attacks: of the whole run; those that are not this worker's stay silent.
        log: shared by the run's attackers.
        holders: stage to the host that holds it, as far as it is known; `see_view` and every stage that the host is
            handed bring it up to date.
        checkers: stage to the host of its duplicate.
        compression: of what crosses a border: what differs no more when it is packed was not falsified.
    """

    def __init__(
        self,
        host: str,
        attacks: Sequence[PlacedAttack],
        *,
        log: AttackLog,
        holders: Mapping[int, str] | None = None,
        checkers: Mapping[int, str] | None = None,
        compression: Compression = PLAIN,
    ) -> None:
        self._host = host
        self._log = log
        self._holders = dict(holders or {})
        self._checkers = dict(checkers or {})
        self._attempt = 0
        """Of the work that was seen last."""
        self._compression = compression
        self.take_up(attacks)

    def take_up(self, attacks: Sequence[PlacedAttack]) -> None:
        """Carry these out from now on, in the place of those before; nothing is remembered."""
        self._attacks = tuple(attacks)
        states_back = max((placed.attack.states_back for placed in self._attacks), default=0)
        self._memory = Memory(states_back, self._compression)
        self._looks_back = frozenset(word for placed in self._attacks for word in placed.attack.looks_back)

    def see_view(self, view: View) -> None:
        """Learn who holds what from the order that every host is given."""
        self._holders, self._checkers = dict(view.holders), dict(view.checkers)

    async def before_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        return self._take_in(border.slot, activation_BTD)

    async def before_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        return self._take_in(border.slot, gradient_BTD)

    async def before_compute(self, border: Border, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self._act(
            self._work(border.slot), weights, lambda attack, turn, w: attack.weights(turn, w), same_tensors
        )

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        return self._make(border.slot, activation_BTD)

    async def after_backward(self, border: Border, gradient_BTD: Tensor) -> Tensor:
        return self._make(border.slot, gradient_BTD)

    async def before_sign(self, border: Border, header: Header) -> Header:
        return self._act(self._work(border.slot), header, lambda attack, turn, h: attack.sign(turn, h), Header.__eq__)

    async def before_send(self, border: Border, destination: str, tensor: Tensor) -> Tensor:
        def send(attack: Attack, turn: Turn, tensor_BTD: Tensor) -> Tensor:
            return _fit_to_travel(tensor_BTD, attack.send(turn, destination, tensor_BTD))

        return self._act(self._work(border.slot), tensor, send, self._same_as_sent)

    async def before_post(self, destination: str, message: Message) -> Message | None:
        del destination
        if not isinstance(message, TensorFrame) or message.source != self._host:
            return message
        posted = self._act(self._work(message.slot), message, lambda attack, turn, f: attack.post(turn, f), same_frames)
        if "frames" in self._looks_back:
            self._memory.keep_frame(message)
        return posted

    async def before_check(self, border: Border) -> bool:
        return self._act(self._duty(border.slot), True, lambda attack, turn, _: attack.check(turn), bool.__eq__)

    async def after_check(self, border: Border, agrees: bool) -> bool:
        return self._act(self._duty(border.slot), agrees, lambda attack, turn, a: attack.agree(turn, a), bool.__eq__)

    async def before_hold(self, update: Update, state: StageState, frozen: Mapping[str, Tensor]) -> Held:
        if update.role is Role.STAGE:
            self._holders[update.stage] = self._host
        held = self._act(
            self._updates(update), (state, frozen), lambda attack, turn, pair: attack.hold(turn, *pair), _same_held
        )
        if "states" in self._looks_back and update.role is Role.STAGE:
            self._memory.begin_states(update.stage, held[0])
        return held

    async def before_prepare(self, update: Update, gradients: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self._act(self._updates(update), gradients, lambda attack, turn, g: attack.sum_up(turn, g), same_tensors)

    async def after_prepare(self, update: Update, prepared: StageState) -> StageState:
        return self._act(self._updates(update), prepared, lambda attack, turn, s: attack.prepare(turn, s), same_states)

    async def before_commit(self, update: Update, prepared: StageState) -> StageState:
        return self._act(self._updates(update), prepared, lambda attack, turn, s: attack.commit(turn, s), same_states)

    async def after_commit(self, update: Update, state: StageState) -> None:
        if "states" in self._looks_back and update.role is Role.STAGE:
            self._memory.keep_state(update.stage, state)

    async def before_serve(self, update: Update, state: StageState) -> StageState:
        return self._act(self._updates(update), state, lambda attack, turn, s: attack.serve(turn, s), same_states)

    def _make(self, slot: Slot, tensor_BTD: Tensor) -> Tensor:
        def make(attack: Attack, turn: Turn, tensor: Tensor) -> Tensor:
            return _fit_to_travel(tensor, attack.make(turn, tensor))

        made = self._act(self._work(slot), tensor_BTD, make, self._same_as_sent)
        self._memory.drop_input()
        return made

    def _same_as_sent(self, first_BTD: Tensor, second_BTD: Tensor) -> bool:
        pack = self._compression.pack
        return same_bits(first_BTD, second_BTD) or same_bits(pack(first_BTD), pack(second_BTD))

    def _take_in(self, slot: Slot, tensor_BTD: Tensor) -> Tensor:
        if "inputs" in self._looks_back:
            self._memory.keep_input(slot, tensor_BTD)
        return tensor_BTD

    def _act(
        self, hits: Iterator[Hit], given: T, act: Callable[[Attack, Turn, T], T], same: Callable[[T, T], bool]
    ) -> T:
        """What goes on in the place of `given`: the very object where nothing was changed."""
        for placed, turn in hits:
            returned = act(placed.attack, turn, given)
            if returned is given or same(given, returned):
                continue
            self._log.note(placed.kind, self._host, turn.step)
            given = returned
        return given

    def _work(self, slot: Slot) -> Iterator[Hit]:
        self._attempt = slot.attempt
        for placed in self._attacks:
            if placed.aim.hits_work(self._host, slot):
                yield placed, self._turn(placed, slot.stage, slot.step, slot)

    def _duty(self, slot: Slot) -> Iterator[Hit]:
        for placed in self._attacks:
            if self._misuses(placed, slot):
                yield placed, self._turn(placed, slot.stage, slot.step, slot)

    def _misuses(self, placed: PlacedAttack, slot: Slot) -> bool:
        """Whether this host's check of `slot` is part of the attack: as the attacker's own, or as its accomplice's."""
        if not placed.attack.colludes:
            return placed.aim.hits_duty(self._host, slot, self._holders)
        liar = self._holders.get(slot.stage)
        return liar is not None and liar != self._host and placed.aim.hits_work(liar, slot)

    def _updates(self, update: Update) -> Iterator[Hit]:
        """Only of stages: whoever falsifies a duplicate of its own accuses, and that is a kind of its own."""
        for placed in self._attacks:
            if update.role is Role.STAGE and placed.aim.hits_update(
                self._host, update.step, update.stage, self._attempt
            ):
                yield placed, self._turn(placed, update.stage, update.step, None)

    def _turn(self, placed: PlacedAttack, stage: int, step: int, slot: Slot | None) -> Turn:
        return Turn(
            host=self._host,
            stage=stage,
            step=step,
            seed=placed.aim.seed,
            slot=slot,
            holders=self._holders,
            checkers=self._checkers,
            memory=self._memory,
        )


def _fit_to_travel(given: Tensor, returned: Tensor) -> Tensor:
    return given if returned is given else returned.detach().contiguous()


def _same_held(first: Held, second: Held) -> bool:
    return same_states(first[0], second[0]) and same_tensors(first[1], second[1])
