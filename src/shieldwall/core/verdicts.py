"""What the referee finds: one case, one culprit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from shieldwall.core.ids import Direction

RULES = range(1, 7)
"""The referee's rules: 1 wrong compute or false accusation, 2 input lie, 3 equivocation, 4 withholding, 5 wrong
weights, 6 garbage passed on."""


class CaseDirection(StrEnum):
    """What a case is about: a tensor on its way in one of the directions, or what a holder keeps of a stage."""

    FORWARD = Direction.FORWARD.value
    BACKWARD = Direction.BACKWARD.value
    EVALUATION = Direction.EVALUATION.value
    GRADIENTS = "gradients"
    """The step's summed gradients of the stage."""
    UPDATE = "update"
    """The new state that was made of them."""
    STATE = "state"
    """The state that was held or served."""

    @property
    def is_slot(self) -> bool:
        """Whether the case is about the tensor of one micro-batch."""
        return self in (CaseDirection.FORWARD, CaseDirection.BACKWARD, CaseDirection.EVALUATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The referee's finding in one case (design 4.6).

    `expected` is the root that the referee got, `got` the root that the culprit signed; a root is empty where there is
    none, as with something withheld. `accuser` signed the differing root; it is empty where nobody did. `evidence`
    names the pieces of evidence by their roots.

    Raises:
        ValueError: the rule is none of the six, or there is a micro-batch where there must be none, or none where there
            must be one.
    """

    kind: ClassVar[str] = "verdict"
    run: str
    view: int
    attempt: int
    step: int
    micro_batch: int | None
    direction: CaseDirection
    stage: int
    culprit: str
    rule: int
    accuser: str
    expected: str
    got: str
    reason: str
    """One sentence."""
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"there is no rule {self.rule}")
        if (self.micro_batch is not None) != self.direction.is_slot:
            raise ValueError(f"micro-batch {self.micro_batch} does not fit direction {self.direction}")

    def __str__(self) -> str:
        micro_batch = "" if self.micro_batch is None else f"micro-batch {self.micro_batch}, "
        return f"step {self.step}, {micro_batch}{self.direction}, stage {self.stage}"

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "view": self.view,
            "attempt": self.attempt,
            "step": self.step,
            "micro_batch": self.micro_batch,
            "direction": self.direction.value,
            "stage": self.stage,
            "culprit": self.culprit,
            "rule": self.rule,
            "accuser": self.accuser,
            "expected": self.expected,
            "got": self.got,
            "reason": self.reason,
            "evidence": list(self.evidence),
        }

    def summary_row(self, caught_in_step: int) -> dict[str, Any]:
        """The verdict's row in `summary.json`.

        Args:
            caught_in_step: the step that was in work when the verdict was found; later than the verdict's own step
                where an audit found out afterwards.
        """
        return {
            "step": self.step,
            "micro_batch": self.micro_batch,
            "direction": self.direction.value,
            "stage": self.stage,
            "culprit": self.culprit,
            "rule": self.rule,
            "caught_in_step": caught_in_step,
        }
