"""When, where and by whom an attack is carried out, as a pure function of its seed.

    fixed       `worker` attacks, on its stage `stage` (None: on all of its stages), each piece of work with
                probability `rate`
    transient   the paper's attacker (arXiv 2312.00843, threat model): in each step, with probability `rate`, one
                middle stage 1..K-2, drawn uniformly, is controlled for the whole step, whoever holds it

Neither a slot's view nor the order of calls enters a draw, and its attempt only with `each_attempt`: else a step that
is run again meets the same attack. Attacks of one seed strike together, so that one attacker can be put together of
several kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shieldwall.attacks.base import DIRECTION_NUMBER, Attack
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.seeds import derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """When, where and by whom."""

    worker: str | None
    """The attacker; None for the transient one."""
    stage: int | None
    """The only stage that the worker attacks; None for all of its stages, and for the transient attacker."""
    stages: int
    """K."""
    seed: int
    direction: str | None = "both"
    """`forward`, `backward` or `both`; None where the kind has no direction. Evaluation counts as forward."""
    rate: float = 1.0
    """In [0, 1]."""
    from_step: int = 0
    """First step in which anything happens."""
    each_attempt: bool = False
    """Whether each attempt at a step is drawn by itself."""

    def hits_work(self, host: str, slot: Slot) -> bool:
        """Whether `host` falsifies its own work for `slot`."""
        if self.worker is None:
            return self._faces(slot) and self.drawn_stage(slot.step, slot.attempt) == slot.stage
        return self._owns(host, slot.stage) and self._faces(slot) and self._draws(slot)

    def hits_duty(self, host: str, slot: Slot, holders: Mapping[int, str]) -> bool:
        """Whether `host` neglects or misuses its duty to check `slot`; the checked stage need not be its own."""
        if self.worker is None:
            drawn = self.drawn_stage(slot.step, slot.attempt)
            return self._faces(slot) and drawn is not None and holders.get(drawn) == host
        return self.worker == host and self._faces(slot) and self._draws(slot)

    def hits_update(self, host: str, step: int, stage: int, attempt: int = 0) -> bool:
        """Whether `host` falsifies the state of `stage`, which it holds, in `step`."""
        if self.worker is None:
            return self.drawn_stage(step, attempt) == stage
        drawn = derive_seed("attack fires at an update", self.seed, step, stage, *self._again(attempt))
        return self._owns(host, stage) and step >= self.from_step and self._is_below_rate(drawn)

    def drawn_stage(self, step: int, attempt: int = 0) -> int | None:
        """The stage that the transient attacker controls in an attempt at `step`, or None."""
        which = (self.seed, step, *self._again(attempt))
        if step < self.from_step or not self._is_below_rate(derive_seed("attack fires in a step", *which)):
            return None
        return 1 + derive_seed("attacked stage", *which) % (self.stages - 2)

    def _again(self, attempt: int) -> tuple[int, ...]:
        """What an attempt adds to a draw: nothing where all attempts are drawn alike."""
        return (attempt,) if self.each_attempt else ()

    def _owns(self, host: str, stage: int) -> bool:
        return self.worker == host and self.stage in (None, stage)

    def _faces(self, slot: Slot) -> bool:
        if slot.step < self.from_step:
            return False
        way = "backward" if slot.direction is Direction.BACKWARD else "forward"
        return self.direction in (None, "both", way)

    def _draws(self, slot: Slot) -> bool:
        way = DIRECTION_NUMBER[slot.direction]
        return self._is_below_rate(
            derive_seed(
                "attack fires on a slot",
                self.seed,
                slot.step,
                slot.micro_batch,
                way,
                slot.stage,
                *self._again(slot.attempt),
            )
        )

    def _is_below_rate(self, drawn: int) -> bool:
        # In whole numbers: a quotient would round to 1.0 now and then, and miss at rate 1.
        return drawn < int(self.rate * 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedAttack:
    """An attack that knows its attacker."""

    kind: str
    attack: Attack
    aim: Aim
