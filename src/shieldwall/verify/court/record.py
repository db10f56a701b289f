"""What the court wants remembered; the ledger does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from shieldwall.core.messages import View
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A step that is about to be committed: the states that both holders of each stage have, and how they came."""

    step: int
    attempt: int
    """The highest of any of the step's micro-batches."""
    micro_batches: int
    state_roots: Mapping[int, str]
    clip_coefficients: Mapping[int, float]
    """Of each stage; the same for all where the whole model's norm decides."""
    learning_rate: float
    norm: float


class Record(Protocol):
    """Remembers a run, step by step."""

    def add(self, signed: Signed[Any]) -> None:
        """A statement of the step in work."""

    def correct(self, header: Signed[Header]) -> None:
        """The initiator's header, which stands in the place of a maker's."""

    def add_view(self, view: View, state_roots: Mapping[int, str]) -> None:
        """Who holds what from now on; `state_roots` are of stages that were the initiator's alone before."""

    def keep_evidence(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
        """Put tensors behind a case away for reviewers; gives their root, empty where none are kept."""

    def commit(self, step: StepRecord) -> str:
        """Make the step durable, closed by the initiator's signature; gives the new head."""
