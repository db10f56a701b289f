"""What the coordinator asks of the one who watches a run: file statements, close cases, keep the record.

The engine knows this contract and no defence. Without oversight nothing is asked, and reports are taken as they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from torch import Tensor

from shieldwall.core.errors import RunError, StateLostError
from shieldwall.core.ids import Role, Slot
from shieldwall.core.messages import (
    Committed,
    Message,
    NonFinite,
    Note,
    Opened,
    Prepared,
    Shown,
    StageState,
    StateReport,
    SummedUp,
    View,
)
from shieldwall.core.signing import Signed


class Response(StrEnum):
    """What becomes of a step in which something is not what it should be."""

    REPAIR = "repair"
    """What is wrong is made right, and only what was tainted is run again."""
    ABANDON = "abandon"
    """The step is thrown away, to be run again in another way. Evaluations are repaired."""
    NONE = "none"
    """It stands; there are verdicts alone."""


class StepAbandoned(Exception):  # noqa: N818 (control flow, never shown)
    """A step is thrown away; the state before it stands.

    Args:
        stages: whose tensors, gradients or states were not what their checkers say.
        complainants: who said so.
    """

    def __init__(self, stages: Iterable[int], complainants: Iterable[str] = ()) -> None:
        self.stages = frozenset(stages)
        self.complainants = frozenset(complainants)
        super().__init__(f"stages {sorted(self.stages)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The work of one order to play: what oversight must know of it."""

    run: str
    view: View
    attempt: int = 0
    step: int = 0
    training: bool = True
    stages: int = 0
    micro_batches: tuple[int, ...] = ()
    settles_before_use: bool = False
    positions: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What oversight found while lanes were played, or after."""

    again: tuple[int, ...] = ()
    """Micro-batches that were tainted and have to be run again."""
    broken: NonFinite | None = None
    """A NaN or an infinity that honest work made."""


def lost_state(stage: int, holder: str, checker: str, root: str = "") -> RunError:
    """SW-V202: neither who holds a stage nor who holds its duplicate has the state in force, whose root is `root`."""
    return RunError(
        "SW-V202",
        f"neither holder of stage {stage} has the state that both signed",
        where=f"stage {stage}, held by {holder}, duplicate at {checker or 'nobody'}",
        expected=f"a state with root {root}" if root else "the state in force",
        got="another one from each who was asked",
        state="nothing of the step has changed a weight; the last checkpoint stands",
        remedy="resume from the last checkpoint with other workers: two that check each other have changed it",
    )


def state_gone(stage: int, holders: Sequence[str]) -> StateLostError:
    """SW-V302: everybody who held the state of a stage is gone."""
    return StateLostError(
        "SW-V302",
        f"everybody who had the state of stage {stage} is gone",
        where=f"stage {stage}",
        expected="one of its two holders",
        got=f"{' and '.join(holders)} cannot be reached",
        state="nothing of the step has changed a weight; the last checkpoint stands",
        remedy="go on from the last checkpoint: shieldwall train --run DIR --resume --listen HOST:PORT",
    )


class Correspondence(Protocol):
    """How oversight talks to hosts: an order, and the answer to it. Reports of others wait meanwhile."""

    async def show(self, host: str, slot: Slot) -> Shown:
        """What `host` has of a slot's tensor."""

    async def state(self, host: str, stage: int, role: Role) -> StateReport:
        """The committed state of a stage or duplicate."""

    async def order(self, host: str, order: Message) -> None:
        """Give an order that is acknowledged, and wait for that."""


class Oversight(Protocol):
    """Watches one run. What is asked between the beginning of a step and its sealing may raise `StepAbandoned`."""

    def file(self, note: Note) -> None:
        """A statement has come in."""

    def begin(self, assignment: Assignment) -> None:
        """Lanes are about to be played."""

    def words(self, slot: Slot) -> Sequence[Signed[Any]]:
        """All that was said about a slot so far by those who may, rightly signed."""

    async def attend(self, talk: Correspondence) -> Findings:
        """Do what cannot wait: close cases where a lane waits for it; name micro-batches that cannot go on."""

    async def conclude(self, talk: Correspondence) -> Findings:
        """All lanes are played: join, close what is open; name micro-batches that must be run again."""

    async def join_gradients(self, reports: Sequence[SummedUp], talk: Correspondence) -> dict[str, Tensor]:
        """The norms by parameter name, after stages and duplicates were compared."""

    async def join_states(  # the update is repeated with these two numbers where roots differ
        self,
        prepared: Sequence[Prepared],
        opened: Sequence[Opened],
        talk: Correspondence,
        *,
        clip_coefficients: Mapping[int, float],
        learning_rate: float,
    ) -> None:
        """Compare the roots of the new states of stages and duplicates; afterwards both have the same."""

    def seal_step(self, step: int, *, norm: float) -> str:
        """Make the record of the step durable; gives its head, after which the step may be committed."""

    def take_receipts(self, reports: Sequence[Committed]) -> None:
        """The step is committed everywhere."""

    def accept_state(self, report: StateReport) -> StageState | None:
        """The state that a host has served, or None where it is not the one that is in force; that is a case."""

    def fits_state(self, stage: int, roots: Mapping[str, str]) -> bool | None:
        """Whether tensors with these roots, by the names of `core.flat_state`, are the state that is in force; None
        where nobody has signed one."""
