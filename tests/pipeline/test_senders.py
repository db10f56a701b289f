"""Who a message is from is the transport's word: nobody reports or orders in another's name, or unasked.

In each small run worker-2 is bad and sends, from its own end, what it has no business to say. It does all its work
besides, so nothing of it may show: the weights are the clean run's, nobody is named, nothing is run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from conftest import MakeModel
from oracle import Case, Trained, assert_bit_equal, train_pipeline
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import COORDINATOR, INITIATOR, Direction, Role, Slot
from shieldwall.core.messages import (
    Commit,
    Committed,
    Discard,
    Message,
    NonFinite,
    Opened,
    Played,
    Prepared,
    Release,
    SendState,
    StageState,
    StateReport,
    Stop,
    SummedUp,
    TensorFrame,
    Void,
)
from shieldwall.lab.small_run import MemoryRecord
from shieldwall.lab.small_run.train import train_pipeline_within
from shieldwall.run import deployment
from shieldwall.transport import Endpoint, MemoryNetwork
from shieldwall.transport.memory import MemoryEndpoint

BAD, BEFORE, AFTER = "worker-2", "worker-1", "worker-3"
"""The bad host and those who hold the stages before and after its own."""
HANGS_S = 60.0
"""Only a run that hangs comes to it."""
CASE = Case(family="gpt2", stages=5, layers=5, micro_batches=3, steps=3, batch=1, block_tokens=8, when="before_commit")
When = Literal["before_use", "before_commit"]
SETTLES: tuple[When, ...] = ("before_use", "before_commit")

Forge = Callable[[Message], Iterable[tuple[str, Message]]]
"""What to send besides, each with its destination, before an own message leaves."""


class OpenNetwork(MemoryNetwork):
    """Remembers everybody's end, so that the bad host can send past its door."""

    def __init__(self, ends: dict[str, Endpoint]) -> None:
        super().__init__()
        self._ends = ends

    def join(self, name: str) -> MemoryEndpoint:
        end = super().join(name)
        self._ends[name] = end
        return end


class Forger(Hook):
    """Sends forgeries before the host's own messages, or one in the place of each."""

    def __init__(self, ends: dict[str, Endpoint], forge: Forge, instead: bool = False) -> None:
        self._ends, self._forge, self._instead = ends, forge, instead
        self.fired = 0

    async def before_post(self, destination: str, message: Message) -> Message | None:
        forged = list(self._forge(message))
        self.fired += len(forged)
        for receiver, each in forged:
            await self._ends[BAD].send(receiver, each)
        return None if forged and self._instead else message


@dataclass(frozen=True)
class World:
    """Where small runs are made."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    clean: Callable[[Case], Trained]

    def run(self, forge: Forge, when: When | None, *, instead: bool = False) -> Trained:
        ends: dict[str, Endpoint] = {}
        self.monkeypatch.setattr(deployment, "MemoryNetwork", lambda: OpenNetwork(ends))
        hook = Forger(ends, forge, instead)
        case = replace(CASE, when=when, hooks_of={BAD: [hook]})

        async def train() -> Trained:
            async with asyncio.timeout(HANGS_S):
                return await train_pipeline_within(case, self.folder, MemoryRecord())

        trained = asyncio.run(train())
        assert hook.fired > 0
        return trained

    def assert_nothing_shows(self, forge: Forge, when: When | None, *, instead: bool = False) -> None:
        trained, clean = self.run(forge, when, instead=instead), self.clean(replace(CASE, when=when))
        assert_bit_equal(trained.weights, clean.weights)
        assert trained.losses == clean.losses
        assert (trained.verdicts, trained.alerts, trained.refusals, trained.rerun) == ([], 0, [], 0)


@pytest.fixture(scope="module")
def clean(make_model: MakeModel) -> Callable[[Case], Trained]:
    runs: dict[When | None, Trained] = {}

    def run(case: Case) -> Trained:
        if case.when not in runs:
            runs[case.when] = train_pipeline(case, make_model(CASE.family, CASE.layers, 16))
        return runs[case.when]

    return run


@pytest.fixture
def world(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, clean: Callable[[Case], Trained]) -> World:
    return World(make_model(CASE.family, CASE.layers, 16), monkeypatch, clean)


def slot_of(step: int, stage: int, *, attempt: int = 0) -> Slot:
    return Slot(run="test", view=0, attempt=attempt, step=step, micro_batch=0, direction=Direction.FORWARD, stage=stage)


def beside(kind: type[Message], make: Callable[[Message], Iterable[Message]]) -> Forge:
    """More reports to the coordinator, with each own report of a kind."""

    def forge(message: Message) -> Iterable[tuple[str, Message]]:
        return [(COORDINATOR, each) for each in make(message)] if isinstance(message, kind) else []

    return forge


# reports


EMPTY = StageState(parameters={})
POISON = StageState(parameters={"transformer.ln_f.weight": torch.full((16,), 9.0)})
IN_ANOTHERS_NAME: dict[str, Forge] = {
    "poison": beside(StateReport, lambda _: [StateReport(host=INITIATOR, stage=4, state=POISON)]),
    "served": beside(StateReport, lambda _: [StateReport(host=AFTER, stage=3, state=EMPTY)]),
    "played": beside(Played, lambda own: [replace(own, host=AFTER), replace(own, host=INITIATOR)]),  # type: ignore[arg-type]
    "summed up": beside(SummedUp, lambda own: [replace(own, host=AFTER, norms={})]),  # type: ignore[arg-type]
    "prepared": beside(Prepared, lambda own: [replace(own, host=AFTER)]),  # type: ignore[arg-type]
    "opened": beside(Opened, lambda own: [replace(own, host=AFTER)]),  # type: ignore[arg-type]
    "not finite": beside(Played, lambda _: [NonFinite(host=BEFORE, slot=slot_of(1, 1), what="an activation")]),
}
NORMS = beside(Played, lambda own: [replace(own, host=AFTER, norms={})])  # type: ignore[arg-type]
"""Where nothing is checked they come with the report that the lane is done."""
SHOWS_UNCHECKED = sorted(IN_ANOTHERS_NAME.keys() - {"prepared", "opened", "summed up"})
"""What could do harm even where nobody compares what is prepared."""


@pytest.mark.parametrize(
    ("name", "when"),
    [(name, when) for when in SETTLES for name in sorted(IN_ANOTHERS_NAME)]
    + [(name, None) for name in SHOWS_UNCHECKED],
)
def test_nobody_reports_for_another(name: str, when: When | None, world: World) -> None:
    world.assert_nothing_shows(IN_ANOTHERS_NAME[name], when)


def test_nobody_reports_norms_for_another(world: World) -> None:
    world.assert_nothing_shows(NORMS, None)


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("kind", [Played, SummedUp, Prepared, Opened])
def test_a_report_counts_once(kind: type[Message], when: When, world: World) -> None:
    world.assert_nothing_shows(beside(kind, lambda own: [own]), when)


@pytest.mark.parametrize("when", [None, *SETTLES])
@pytest.mark.parametrize("other", [{"step": 77}, {"attempt": 9}])
def test_a_report_of_other_work_does_not_count(other: dict[str, int], when: When | None, world: World) -> None:
    world.assert_nothing_shows(beside(Played, lambda own: [replace(own, **other)]), when)  # type: ignore[arg-type]


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("host", [BAD, BEFORE])
def test_a_number_that_is_not_finite_is_stated_under_signature_or_not_at_all(
    host: str, when: When, world: World
) -> None:
    """In a run that is checked the report ends nothing, in whoever's name; in its own it says that the lane is done."""
    report = NonFinite(host=host, slot=slot_of(1, 1), what="an activation")
    forge = beside(Played, lambda own: [report] if isinstance(own, Played) and own.step == 1 else [])
    world.assert_nothing_shows(forge, when, instead=host == BAD)


@pytest.mark.parametrize("when", [None, *SETTLES])
def test_losses_count_from_the_host_of_the_last_stage(when: When | None, world: World) -> None:
    false = {0: torch.tensor(99.0), 99: torch.tensor(99.0)}
    forge = beside(Played, lambda own: [replace(own, losses=false)])  # type: ignore[arg-type]
    world.assert_nothing_shows(forge, when, instead=True)


# orders and frames


def once_to(receiver: str, message: Message) -> Forge:
    """With the first tensor that the bad host sends in step 1."""
    left = [message]

    def forge(own: Message) -> Iterable[tuple[str, Message]]:
        return [(receiver, left.pop())] if left and isinstance(own, TensorFrame) and own.slot.step == 1 else []

    return forge


ORDERS: dict[str, tuple[str, Message]] = {
    "stop": (AFTER, Stop()),
    "stop the initiator's host": (INITIATOR, Stop()),
    "void": (AFTER, Void(step=1, attempt=0, micro_batches=(0, 1, 2))),
    "release": (AFTER, Release(stage=3, role=Role.STAGE)),
    "state that it holds": (AFTER, SendState(stage=3)),
    "state that it does not hold": (AFTER, SendState(stage=1)),
    "discard": (AFTER, Discard(step=1)),
    "commit": (AFTER, Commit(step=1)),
    "a report": (AFTER, Committed(host=BAD, step=1)),
    "a state": (INITIATOR, StateReport(host=BAD, stage=2, state=EMPTY)),
}


@pytest.mark.parametrize("when", [None, *SETTLES])
@pytest.mark.parametrize("name", sorted(ORDERS))
def test_nobody_but_the_coordinator_gives_orders(name: str, when: When | None, world: World) -> None:
    world.assert_nothing_shows(once_to(*ORDERS[name]), when)


def forge_frames(source: str) -> Forge:
    """Zeros in the place of what worker-1 sends to worker-3, the checker of stage 2."""

    def forge(own: Message) -> Iterable[tuple[str, Message]]:
        if not isinstance(own, TensorFrame) or own.slot.direction is not Direction.FORWARD:
            return []
        slots = [replace(own.slot, stage=1, micro_batch=micro_batch) for micro_batch in range(CASE.micro_batches)]
        zeros = torch.zeros_like(own.tensor)
        frames = [TensorFrame(slot=slot, source=source, destination=AFTER, tensor=zeros) for slot in slots]
        return [(AFTER, frame) for frame in frames]

    return forge


@pytest.mark.parametrize("when", SETTLES)
@pytest.mark.parametrize("source", [BEFORE, BAD])
def test_a_tensor_is_taken_from_whom_the_lane_waits_for_alone(source: str, when: When, world: World) -> None:
    world.assert_nothing_shows(forge_frames(source), when)


@pytest.mark.parametrize("when", SETTLES)
def test_whom_a_frame_names_as_its_source_is_no_matter(when: When, world: World) -> None:
    def forge(own: Message) -> Iterable[tuple[str, Message]]:
        return [(own.destination, replace(own, source=BEFORE))] if isinstance(own, TensorFrame) else []

    world.assert_nothing_shows(forge, when, instead=True)
