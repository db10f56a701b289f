"""A report counts once, from the host that was asked for it; orders come from the coordinator alone."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
import torch

from shieldwall.core.ids import COORDINATOR, Direction, Role, Slot
from shieldwall.core.messages import (
    Assign,
    Assigned,
    ChunkSent,
    ChunkTaken,
    Commit,
    Committed,
    Correct,
    Corrected,
    Discard,
    Discarded,
    Gone,
    KeptListed,
    ListKept,
    ListState,
    Message,
    NonFinite,
    Note,
    Open,
    Opened,
    Order,
    Outline,
    Play,
    Played,
    Prepare,
    Prepared,
    Release,
    Released,
    Report,
    Route,
    SendChunk,
    SendState,
    Show,
    Shown,
    StageState,
    StateListed,
    StateReport,
    Stop,
    SummedUp,
    SumUp,
    TakeChunk,
    TakeGradients,
    Taken,
    TakePrepared,
    TensorFrame,
    View,
    Viewed,
    Void,
    Welcome,
)
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Header, Settlement
from shieldwall.pipeline.desk import Desk, HostsLost
from shieldwall.pipeline.mailbox import Mailbox
from shieldwall.transport import MemoryNetwork

SLOT = Slot(run="test", view=0, attempt=1, step=3, micro_batch=0, direction=Direction.FORWARD, stage=2)
STATE = StageState(parameters={})
BYTES = torch.zeros(4, dtype=torch.uint8)
STAGE = Role.STAGE
HEADER = Signed(
    statement=Header(
        slot=SLOT,
        source="initiator",
        destinations=(),
        shape=(1,),
        dtype="float32",
        arithmetic="",
        root_in="",
        root_out="",
        state_root="",
    ),
    signer="initiator",
    signature=b"",
)
NOTE = Note(signed=Signed(statement=Settlement(slot=SLOT, root_in="", root_out=""), signer="ash", signature=b""))
PLAY = Play(run="test", view=0, attempt=1, step=3, training=True, stages=4, actions=())

ASKED: list[tuple[Message, Message]] = [
    (
        Assign(stage=2, stages=4, first_layer=1, last_layer=2, state=STATE),
        Assigned(host="ash", stage=2),
    ),
    (Release(stage=2, role=STAGE), Released(host="ash", stage=2, role=STAGE)),
    (View(view=4, holders={}, checkers={}, keys={}, arithmetic=""), Viewed(host="ash", view=4)),
    (PLAY, Played(host="ash", step=3, attempt=1, losses={}, work=())),
    (PLAY, NonFinite(host="ash", slot=SLOT, what="an activation")),
    (Correct(header=HEADER, tensor=torch.zeros(1)), Corrected(host="ash", slot=SLOT)),
    (Show(slot=SLOT), Shown(host="ash", slot=SLOT, tensor=None, header=None)),
    (SumUp(step=3), SummedUp(host="ash", step=3, norms={})),
    (TakeGradients(step=3, stage=2, role=STAGE, gradients={}), Taken(host="ash", step=3, stage=2, role=STAGE)),
    (Prepare(step=3, learning_rate=0.1, clip_coefficients={}), Prepared(host="ash", step=3)),
    (Open(step=3), Opened(host="ash", step=3, openings=())),
    (TakePrepared(step=3, stage=2, role=STAGE, state=STATE), Taken(host="ash", step=3, stage=2, role=STAGE)),
    (Commit(step=3), Committed(host="ash", step=3)),
    (Discard(step=3), Discarded(host="ash", step=3)),
    (SendState(stage=2), StateReport(host="ash", stage=2, state=STATE)),
    (ListState(stage=2), StateListed(host="ash", stage=2, role=STAGE, tensors={})),
    (
        SendChunk(stage=2, role=STAGE, name="parameter/w", offset=8, size_bytes=4),
        ChunkSent(host="ash", stage=2, role=STAGE, name="parameter/w", offset=8, content=BYTES),
    ),
    (ListKept(stage=2), KeptListed(host="ash", stage=2, roots={}, begun={})),
    (
        TakeChunk(stage=2, name="parameter/w", outline=Outline("", "uint8", (4,)), offset=8, content=BYTES),
        ChunkTaken(host="ash", stage=2, name="parameter/w", offset=8),
    ),
]
ROUTE = Route(run="test", view=0, attempt=1, step=3, hosts=(), ways={})
WELCOME = Welcome(
    run="test",
    topology="chain",
    checked=True,
    threads=1,
    seed=0,
    model="{}",
    attention="sdpa",
    dtype="float32",
    autocast=False,
    adapter="",
    optimizer="{}",
    gradient_checkpointing=False,
    compression="none",
    frame_bytes=1,
    state_bytes=1,
    silence_s=1.0,
)
UNANSWERED: list[Message] = [WELCOME, ROUTE, Void(step=3, attempt=1, micro_batches=(0,)), Stop()]
OTHERS: dict[str, Any] = {
    "host": "birch",
    "step": 77,
    "attempt": 9,
    "stage": 1,
    "role": Role.DUPLICATE,
    "view": 5,
    "slot": replace(SLOT, step=77, attempt=9),
    "name": "parameter/v",
    "offset": 0,
}
FRAME = TensorFrame(slot=SLOT, source="birch", destination="ash", tensor=torch.zeros(1))


def test_every_order_and_report_is_here() -> None:
    assert {type(order) for order, _ in ASKED} | {type(order) for order in UNANSWERED} == set(get_args(Order))
    assert {type(report) for _, report in ASKED} == set(get_args(Report))


def test_only_the_coordinators_own_transport_says_who_is_gone() -> None:
    async def play() -> None:
        network = MemoryNetwork()
        ash, own = network.join("ash"), network.join(COORDINATOR)
        desk = Desk(own, lambda _: None)
        await desk.send("ash", Discard(step=3))
        await ash.send(COORDINATOR, Gone(host="birch", silent_s=9.0))
        await ash.send(COORDINATOR, Discarded(host="ash", step=3))
        await desk.take(Discarded)
        assert (desk.gone, desk.dropped.counts) == ({}, {("ash", "Gone"): 1})
        await own.send(COORDINATOR, Gone(host="birch", silent_s=2.0, kind="memory"))
        with pytest.raises(HostsLost, match="birch"):
            await desk.take(Discarded)
        assert (desk.gone, desk.why) == ({"birch": 2.0}, {"birch": "memory"})
        with pytest.raises(HostsLost, match="birch"):
            await desk.send("birch", Discard(step=3))

    asyncio.run(play())


def changed(message: Message, **fields_of_it: object) -> Message:
    return replace(message, **fields_of_it)  # type: ignore[arg-type]


async def _hear(order: Message, answer: Message) -> tuple[list[Message], dict[tuple[str, str], int], list[Note]]:
    """What counts of much that comes after an order to ash, what does not, and the statements."""
    network, filed = MemoryNetwork(), list[Note]()
    ash, birch, desk = network.join("ash"), network.join("birch"), Desk(network.join(COORDINATOR), filed.append)
    await ash.send(COORDINATOR, answer)  # not asked for yet
    await birch.send(COORDINATOR, NOTE)
    assert await desk.next() is None
    await desk.send("ash", order)
    await birch.send(COORDINATOR, answer)  # in another's name
    await birch.send(COORDINATOR, changed(answer, host="birch"))  # in its own, but it was not asked
    await birch.send(COORDINATOR, FRAME)
    await birch.send(COORDINATOR, order)
    for field in fields(answer):
        if field.name in OTHERS:
            await ash.send(COORDINATOR, changed(answer, **{field.name: OTHERS[field.name]}))
    await ash.send(COORDINATOR, answer)
    await ash.send(COORDINATOR, answer)  # twice
    await birch.send(COORDINATOR, NOTE)
    counted = list[Message]()
    while (report := await desk.next(*get_args(Report))) is not None:
        counted.append(report)
    return counted, dict(desk.dropped.counts), filed


@pytest.mark.parametrize(("order", "answer"), ASKED, ids=[type(answer).__name__ for _, answer in ASKED])
def test_a_report_counts_once_from_whom_it_was_asked(order: Message, answer: Message) -> None:
    counted, dropped, filed = asyncio.run(_hear(order, answer))
    assert counted == [answer]
    assert counted[0] is answer
    kind = type(answer).__name__
    wrong = sum(field.name in OTHERS for field in fields(answer))
    assert dropped == {
        ("birch", kind): 2,
        ("birch", "TensorFrame"): 1,
        ("birch", type(order).__name__): 1,
        ("ash", kind): 2 + wrong,
    }
    assert filed == [NOTE, NOTE]


def test_what_was_given_up_is_not_asked_for_any_more() -> None:
    async def hear() -> Message | None:
        network = MemoryNetwork()
        ash, desk = network.join("ash"), Desk(network.join(COORDINATOR), lambda _: None)
        await desk.send("ash", PLAY)
        desk.forget()
        await ash.send(COORDINATOR, Played(host="ash", step=3, attempt=1, losses={}, work=()))
        await ash.send(COORDINATOR, NOTE)
        return await desk.next(Played)

    assert asyncio.run(hear()) is None


@pytest.mark.parametrize(
    "message",
    [*(order for order, _ in ASKED), *UNANSWERED, *(report for _, report in ASKED)],
    ids=lambda m: type(m).__name__,
)
def test_a_host_takes_orders_from_the_coordinator_alone(message: Message) -> None:
    attended = list[Message]()

    async def attend(order: Message) -> bool:
        attended.append(order)
        return False

    async def take() -> tuple[Message, dict[tuple[str, str], int]]:
        network = MemoryNetwork()
        mailbox, birch, coordinator = (
            Mailbox(network.join("ash"), attend=attend),
            network.join("birch"),
            network.join(COORDINATOR),
        )
        await birch.send("ash", message)
        await coordinator.send("ash", Commit(step=5))
        return await mailbox.take_order(), dict(mailbox.dropped.counts)

    order, dropped = asyncio.run(take())
    assert attended == [order] == [Commit(step=5)]
    assert dropped == {("birch", type(message).__name__): 1}
