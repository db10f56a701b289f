"""How long a single answer may take: from the plan's costs and from what others took, never from one's own times.

    an answer       LEAST + state / TOUCH, or TIMES x (longest pass x pace) or TIMES x what others took for the same
    the first one   FIRST in the place of LEAST: imports, lazy weights and warm-up are nobody's fault
    with bytes      as long as they move at RATE or faster, and at most their size / RATE besides
    in a lane       as an answer, by the passes of that lane; and 4 tensors / RATE for what is on its way

`pace` is the lower median, over everybody else, of what passes took in the last step over what they should take by the
plan. The initiator is one of the others, so it takes half of them to stretch it. Design 4.9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low

from shieldwall.core.messages import PassTime
from shieldwall.pipeline.pace import paces
from shieldwall.pipeline.witness import Witness
from shieldwall.schedule import Lane, Plan, StageCosts

_TENSORS_ON_THE_WAY = 4
"""To two users, with one micro-batch before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The constants of the derivation."""

    least_s: float = 10.0
    """Nothing is due before: machines swap, collect garbage and wait for disks."""
    first_s: float = 60.0
    """The same, before anybody has shown how long it takes."""
    times: float = 10.0
    """So many times what it takes others."""
    bytes_s: float = 1 << 20
    """A line that carries less than that is too thin to be waited for."""
    touched_bytes_s: float = 256 << 20
    """Reading, hashing and rewriting a state is faster than that."""
    held_up_s: float = 120.0
    """For so long somebody is excused because another does not take what is for it."""
    look_s: float = 0.25
    """How often is looked. An interval counts twice that at most, so an initiator that stood still blames nobody."""


@dataclass(slots=True)
class Deadlines:
    """One run's.

    Args:
        costs: what each pass takes by the plan, in seconds.
        border_bytes: of the largest tensor that crosses a border.
        state_bytes: of the largest state of one host.
        witness: what the transport has seen; None where nobody looks.
        terms: the constants.
    """

    costs: StageCosts
    border_bytes: int = 0
    state_bytes: int = 0
    witness: Witness | None = None
    terms: Terms = field(default_factory=Terms)
    _ratios: dict[str, float] = field(default_factory=dict)
    """By host, what its passes took in the last step over what they should take."""
    _took_s: dict[str, dict[str, float]] = field(default_factory=dict)
    """By kind of answer and host, what the last one took, in seconds of waiting."""

    def sentence(self) -> str:
        """How long a worker may keep an answer back, and what that is derived from, in words."""
        terms, slot_s = self.terms, max(*self.costs.forward_s, *self.costs.backward_s)
        return (
            f"a worker that keeps an answer back is lost after {terms.times:g} times what it takes the others, and not"
            f" before {self._at_least(True, slot_s):.1f} s: the longest pass of the plan takes {slot_s:.3g} s;"
            f" before the first step not before {self._at_least(False, slot_s):.1f} s"
        )

    def note_work(self, plan: Plan, work: Mapping[str, Sequence[PassTime]]) -> None:
        """Hear when the passes of a step ran, as their hosts say."""
        found = paces(plan, self.costs, work)
        self._ratios = {host: took_s / wanted_s for host, (wanted_s, took_s) in found.items() if wanted_s > 0}

    def note_answer(self, host: str, kind: str, took_s: float) -> None:
        """Hear how long an answer took that carries no tensors to speak of."""
        self._took_s.setdefault(kind, {})[host] = took_s

    def pace(self, host: str) -> float | None:
        """How many times as long as planned the others take; at least 1. None while nobody has worked yet."""
        others = [ratio for other, ratio in self._ratios.items() if other != host]
        return max(1.0, median_low(others)) if others else None

    def answer_s(self, host: str, kind: str = "", *, carries: bool = True) -> float:
        """Seconds of waiting in which `host` has to give an answer of this kind, without the bytes that it carries.

        Where it carries none to speak of, what others took for the same says how long it takes.
        """
        took_s = [took_s for other, took_s in self._took_s.get(kind, {}).items() if other != host]
        known = self.pace(host) is not None and (carries or bool(took_s))
        slot_s = max(*self.costs.forward_s, *self.costs.backward_s) * (self.pace(host) or 1.0)
        return self._at_least(known, max(slot_s, median_low(took_s) if took_s else 0.0))

    def lane_s(self, lane: Lane, speed: float = 1.0) -> float:
        """Seconds of waiting in which the host of a lane, of this speed by the plan, has to get on with it once it has
        all that it takes."""
        pace = self.pace(lane.host)
        passes_s = [self.costs.seconds(action) for action in lane.actions if action.kind.is_compute]
        carried_s = self.carry_s(_TENSORS_ON_THE_WAY * self.border_bytes)
        return self._at_least(pace is not None, max(passes_s, default=0.0) / speed * (pace or 1.0)) + carried_s

    def carry_s(self, nbytes: int) -> float:
        """Seconds in which so many bytes have to be on the other side."""
        return nbytes / self.terms.bytes_s

    def _at_least(self, known: bool, others_s: float) -> float:
        terms = self.terms
        least_s = terms.least_s if known else max(terms.first_s, terms.least_s)
        return max(least_s + self.state_bytes / terms.touched_bytes_s, terms.times * others_s)
