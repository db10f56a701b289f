"""What the referee needs done: the work of a stage once more, on a machine that is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from torch import Tensor

from shieldwall.core.messages import StageState


class MicroBatchWork(NamedTuple):
    """What one stage worked on in one micro-batch, as it was sent: its input, and the gradient that came back.

    Each (B, T, D) in a run that does not compress.
    """

    entry_BTD: Tensor  # noqa: N815 (the shape is in the name)
    arrived_BTD: Tensor | None  # noqa: N815
    positions_BT: Tensor | None  # noqa: N815


class Recompute(Protocol):
    """Repeats a stage's work in the run's arithmetic class; nothing of the run is changed by it.

    Activations and gradients that cross a border are given and taken as they are sent.
    """

    def state_root(self, stage: int, state: StageState) -> str:
        """Root of a stage's whole state; what training never changes is the initiator's own."""

    def listed_root(self, stage: int, roots: Mapping[str, str]) -> str | None:
        """`state_root` of a state whose tensors, by the names of `core.flat_state`, have these roots; None where no
        state of the stage was here before."""

    def activation(
        self, stage: int, state: StageState, step: int, micro_batch: int, work: MicroBatchWork, *, training: bool
    ) -> Tensor:
        """Activation (B, T, D) that the stage makes."""

    def gradient(self, stage: int, state: StageState, step: int, micro_batch: int, work: MicroBatchWork) -> Tensor:
        """Gradient (B, T, D) that the stage sends back."""

    def is_finite(self, sent: Tensor) -> bool:
        """Whether no NaN and no infinity is in what a receiver of `sent` works with."""

    def gradients(
        self, stage: int, state: StageState, step: int, work: Mapping[int, MicroBatchWork]
    ) -> dict[str, Tensor]:
        """Summed gradients of the step by parameter name, before clipping."""

    def update(
        self,
        stage: int,
        state: StageState,
        gradients: Mapping[str, Tensor],
        *,
        clip_coefficient: float,
        learning_rate: float,
    ) -> StageState:
        """The state after the step."""
