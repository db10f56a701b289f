"""States in chunks: from both who have one, matched to the root, and nothing twice where somebody is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
import torch

from shieldwall.core.errors import RunError, ShieldwallError, StateLostError, TransportError
from shieldwall.core.flat_state import flatten_state
from shieldwall.core.ids import COORDINATOR, Role
from shieldwall.core.messages import (
    Assign,
    Assigned,
    ChunkSent,
    Gone,
    ListKept,
    ListState,
    Message,
    Outline,
    SendChunk,
    SendState,
    StageState,
    StateListed,
    StateReport,
    TakeChunk,
)
from shieldwall.core.oversight import Oversight
from shieldwall.core.tensor_roots import listed_root, state_root, tensor_root
from shieldwall.pipeline.desk import Desk, HostsLost
from shieldwall.pipeline.transfer.chunks import LEAST_COST_BYTES, outline_of
from shieldwall.pipeline.transfer.fetch import Fetcher
from shieldwall.pipeline.transfer.hand import Hander
from shieldwall.pipeline.transfer.kept import Kept
from shieldwall.pipeline.transfer.served import Served
from shieldwall.pipeline.transfer.transfers import Transfers
from shieldwall.transport import Endpoint, MemoryNetwork

STAGE, CHUNK = 2, 16
HOLDERS = [(Role.STAGE, "ash"), (Role.DUPLICATE, "birch")]
STATE = StageState(
    parameters={
        "w": torch.arange(24.0).reshape(4, 6),
        "b": torch.arange(3, dtype=torch.bfloat16),
        "none": torch.empty(0, 2),
    },
    moments={name: {"exp_avg": torch.full((4, 6), 0.5), "step": torch.tensor(7.0)} for name in ("w", "b")},
)
"""Three tensors of 96 bytes, and small ones."""
OTHER = replace(STATE, parameters={**STATE.parameters, "w": STATE.parameters["w"] + 1})


class Watch:
    """As much of oversight as fetching needs: the state that is in force, and who has served another."""

    def __init__(self) -> None:
        self.expected = state_root(STATE, {})
        self.named: list[str] = []

    def fits_state(self, stage: int, roots: Mapping[str, str]) -> bool | None:
        assert stage == STAGE
        return listed_root(roots, {}) == self.expected

    def accept_state(self, report: StateReport) -> StageState | None:
        if state_root(report.state, {}) == self.expected:
            return report.state
        self.named.append(report.host)
        return None


Forge = Callable[[Message, "Party"], Message | None]
"""What a party says in the place of an answer; None: it is lost instead."""


@dataclass
class Party:
    """A host that has a state and is given one."""

    end: Endpoint
    own: Endpoint
    """The coordinator's."""
    state: StageState = STATE
    forge: Forge = lambda answer, _: answer
    heard: list[Message] = field(default_factory=list)
    answered: list[Message] = field(default_factory=list)
    kept: Kept = field(default_factory=Kept)
    held: Assign | None = None
    most_waiting: int = 0
    """Orders that had come and were not answered, at most."""

    async def serve(self) -> None:
        served, waiting = Served(self.end.name), list[Message]()
        while True:
            if not waiting:
                waiting.append(await self.end.receive())
            await self._let_more_come(waiting)
            order = waiting.pop(0)
            self.heard.append(order)
            answer = self.forge(await self._answer(order, served), self)
            if answer is None:
                await self.own.send(COORDINATOR, Gone(host=self.end.name, silent_s=2.0))
                return
            self.answered.append(answer)
            await self.end.send(COORDINATOR, answer)

    async def _let_more_come(self, waiting: list[Message]) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        while not cast("Any", self.end)._arrived.empty():
            waiting.append(await self.end.receive())
        self.most_waiting = max(self.most_waiting, len(waiting))

    async def _answer(self, order: Message, served: Served) -> Message:
        name = self.end.name
        if isinstance(order, ListState):
            return await served.list(order, self.state)
        if isinstance(order, SendChunk):
            name = order.name.replace("step ", "step/")  # who lies about names knows what it means by them
            return replace(served.send(replace(order, name=name)), name=order.name)
        if isinstance(order, SendState):
            return StateReport(host=name, stage=order.stage, state=self.state, role=order.role)
        if isinstance(order, ListKept):
            return await self.kept.list(order, name, {})
        if isinstance(order, TakeChunk):
            return self.kept.take(order, name)
        assert isinstance(order, Assign)
        self.held = self.kept.resolve(order, name)
        return Assigned(host=name, stage=order.stage, role=order.role)

    def chunks(self, kind: type[Any]) -> list[tuple[str, int]]:
        """Which chunks it was asked for, or sent, in their order."""
        return [(each.name, each.offset) for each in self.heard if isinstance(each, kind)]


class Scene:
    """A coordinator's desk, and parties who are far."""

    def __init__(self, *, watched: bool = True, state_bytes: int = 1 << 20, **settings: Any) -> None:
        self.network = MemoryNetwork()
        self.own = self.network.join(COORDINATOR)
        self.told: list[str] = []
        self.watch = Watch()
        self.transfers = Transfers(
            is_far=lambda host: host != "near",
            state_bytes=state_bytes,
            tell=self.told.append,
            **{"chunk_bytes": CHUNK, "tell_every_s": 0.0, **settings},
        )
        self.desk = Desk(self.own, lambda _: None)
        self.fetcher = Fetcher(self.desk, cast("Oversight", self.watch) if watched else None, self.transfers)
        self.hander = Hander(self.desk, self.transfers)
        self.parties: dict[str, Party] = {}
        self._serving: list[asyncio.Task[None]] = []

    def party(self, name: str, **settings: Any) -> Party:
        party = self.parties[name] = Party(self.network.join(name), self.own, **settings)
        self._serving.append(asyncio.create_task(party.serve()))
        return party

    def back(self, party: Party) -> None:
        """Who was lost is there again, as if anew, with what it had put by."""
        self.desk.forget()
        self.desk.gone.pop(party.end.name)
        party.heard.clear()
        party.forge = lambda answer, _: answer
        self._serving.append(asyncio.create_task(party.serve()))

    async def fetch(self) -> StageState:
        return await self.fetcher.committed(STAGE, [each for each in HOLDERS if each[1] in self.parties])

    def end(self) -> None:
        for task in self._serving:
            if task.done() and not task.cancelled():
                task.result()
            task.cancel()


def play(act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(act(), 30))


def assert_same(got: StageState, expected: StageState = STATE) -> None:
    mine, right = flatten_state(got), flatten_state(expected)
    assert {name: outline_of(each) for name, each in mine.items()} == {
        name: outline_of(each) for name, each in right.items()
    }


def all_chunks(state: StageState = STATE) -> set[tuple[str, int]]:
    return {
        (name, offset) for name, tensor in flatten_state(state).items() for offset in range(0, tensor.nbytes, CHUNK)
    }


def dies_after(count: int, kind: type[Any] = ChunkSent) -> Forge:
    """Lost in the place of the next answer of a kind after so many."""
    left = [count]

    def forge(answer: Message, _: Party) -> Message | None:
        left[0] -= isinstance(answer, kind)
        return answer if left[0] >= 0 else None

    return forge


def spoil(answer: Message, _: Party) -> Message:
    """Another byte at the beginning of each tensor than the list says."""
    if not isinstance(answer, ChunkSent) or answer.offset or answer.content.numel() != CHUNK:
        return answer
    content = answer.content.clone()
    content[0] += 1
    return replace(answer, content=content)


def test_a_list_of_roots_stands_for_the_state() -> None:
    fixed = {"frozen f": "0" * 64}
    roots = {name: tensor_root(tensor) for name, tensor in flatten_state(STATE).items()}
    assert listed_root(roots, fixed) == state_root(STATE, fixed)
    assert listed_root({**roots, "parameter/w": "1" * 64}, fixed) != state_root(STATE, fixed)


def test_both_give_their_part_within_the_window() -> None:
    async def act() -> None:
        scene = Scene(window_bytes=2 * LEAST_COST_BYTES)
        parties = [scene.party(name) for _, name in HOLDERS]
        assert_same(await scene.fetch())
        asked = [chunk for party in parties for chunk in party.chunks(SendChunk)]
        assert sorted(asked) == sorted(all_chunks())
        assert all(len(party.chunks(SendChunk)) > len(all_chunks()) // 4 for party in parties)
        assert [party.most_waiting for party in parties] == [2, 2]
        sizes = [order.size_bytes for party in parties for order in party.heard if isinstance(order, SendChunk)]
        assert max(sizes) == CHUNK
        assert scene.watch.named == []
        assert any(text.startswith("stage 2 comes from ash and birch: 0.0 of 0.0 MB") for text in scene.told)
        scene.end()

    play(act)


@pytest.mark.parametrize("bad", ["ash", "birch"])
@pytest.mark.parametrize("lie", ["a tensor", "the list", "no bytes", "an absurd list", "names"])
def test_who_serves_another_state_is_named_and_the_others_is_taken(bad: str, lie: str) -> None:
    def forge(answer: Message, party: Party) -> Message:
        if lie == "a tensor":
            return spoil(answer, party)
        if lie == "no bytes" and isinstance(answer, ChunkSent):
            return replace(answer, content=torch.zeros(1))
        if lie == "an absurd list" and isinstance(answer, StateListed):
            return replace(answer, tensors={"parameter/w": Outline("", "float32", (1 << 40,))})
        if lie == "names" and isinstance(answer, StateListed):  # other tensors behind a list of the same root
            return replace(
                answer,
                tensors={name.replace("moment/step/", "moment/step "): each for name, each in answer.tensors.items()},
            )
        return answer

    async def act() -> None:
        scene = Scene()
        for _, name in HOLDERS:
            scene.party(name)
        scene.parties[bad].forge = forge
        if lie == "the list":
            scene.parties[bad].state = OTHER
        assert_same(await scene.fetch())
        assert set(scene.watch.named) == {bad}
        scene.end()

    play(act)


def test_where_both_lie_there_is_no_state_and_both_are_named() -> None:
    async def act() -> None:
        scene = Scene()
        scene.party("ash", forge=spoil)
        scene.party("birch", state=OTHER)
        with pytest.raises(RunError, match="SW-V202"):
            await scene.fetch()
        assert set(scene.watch.named) == {"ash", "birch"}
        scene.end()

    play(act)


@pytest.mark.parametrize("spoils", [False, True])
def test_a_holder_is_lost_in_the_middle_and_the_other_goes_on(spoils: bool) -> None:
    """What the lost one has sent is not asked for again, but where it was wrong; then that is seen afterwards."""

    async def act() -> None:
        scene = Scene(window_bytes=LEAST_COST_BYTES)
        dies = dies_after(4)
        ash = scene.party("ash", forge=lambda answer, party: dies(spoil(answer, party) if spoils else answer, party))
        birch = scene.party("birch")
        assert_same(await scene.fetch())
        assert set(scene.desk.gone) == {"ash"}
        came = {(each.name, each.offset) for each in ash.answered if isinstance(each, ChunkSent)}
        assert len(came) == 4
        twice = came & set(birch.chunks(SendChunk))
        assert twice == (came if spoils else set())
        assert scene.watch.named == (["ash"] if spoils else [])
        assert set(birch.chunks(SendChunk)) == (all_chunks() if spoils else all_chunks() - came)
        scene.end()

    play(act)


def test_with_both_lost_the_state_is_gone() -> None:
    async def act() -> None:
        scene = Scene(window_bytes=LEAST_COST_BYTES)
        scene.party("ash", forge=dies_after(3))
        scene.party("birch", forge=dies_after(5))
        with pytest.raises(StateLostError, match="SW-V302"):
            await scene.fetch()
        scene.end()

    play(act)


def test_a_transfer_that_was_broken_off_goes_on_where_it_was() -> None:
    """Somebody else is lost in the middle, which has to be seen to first."""

    async def act() -> None:
        scene = Scene(window_bytes=LEAST_COST_BYTES)
        sent = [0]

        def forge(answer: Message, _: Party) -> Message:
            sent[0] += isinstance(answer, ChunkSent)
            if sent[0] == 6:
                cast("Any", scene.own)._network.deliver(COORDINATOR, COORDINATOR, Gone(host="cedar", silent_s=2.0))
            return answer

        parties = [scene.party(name, forge=forge) for _, name in HOLDERS]
        with pytest.raises(HostsLost, match="cedar"):
            await scene.fetch()
        scene.desk.forget()
        before = [chunk for party in parties for chunk in party.chunks(SendChunk)]
        for party in parties:
            party.heard.clear()
        assert_same(await scene.fetch())
        after = [chunk for party in parties for chunk in party.chunks(SendChunk)]
        assert len(before) + len(after) <= len(all_chunks()) + 2  # but for what was under way
        assert set(before) | set(after) == all_chunks()
        scene.end()

    play(act)


def test_a_state_within_the_process_goes_by_reference() -> None:
    async def act() -> None:
        scene = Scene()
        near = scene.party("near")
        got = await scene.fetcher.committed(STAGE, [(Role.STAGE, "near")])
        assert got.parameters["w"] is STATE.parameters["w"]
        order = assignment()
        await scene.hander.hand("near", order)
        assert near.held is order
        assert [type(each) for each in near.heard] == [SendState, Assign]
        scene.end()

    play(act)


def test_where_nothing_is_checked_one_holder_gives_all() -> None:
    async def act() -> None:
        scene = Scene(watched=False)
        scene.party("ash")
        assert_same(await scene.fetch())
        scene.parties["ash"].forge = lambda answer, _: (
            replace(answer, content=torch.zeros(1)) if isinstance(answer, ChunkSent) else answer
        )
        with pytest.raises(TransportError, match="SW-T107"):
            await scene.fetch()
        scene.end()
        scene = Scene(watched=False, state_bytes=100)
        scene.party("ash")
        with pytest.raises(TransportError, match=r"SW-T108(.|\n)*at most 100 bytes"):
            await scene.fetch()
        scene.end()

    play(act)


# out


FROZEN = {"base": torch.arange(10.0)}


def assignment(state: StageState = STATE, role: Role = Role.STAGE) -> Assign:
    return Assign(stage=STAGE, stages=4, first_layer=1, last_layer=2, role=role, state=state, frozen=FROZEN)


def assert_holds(party: Party, state: StageState = STATE) -> None:
    assert party.held
    assert_same(party.held.state, state)
    assert torch.equal(party.held.frozen["base"], FROZEN["base"])


def test_a_host_is_sent_what_it_has_not() -> None:
    async def act() -> None:
        scene = Scene(window_bytes=2 * LEAST_COST_BYTES)
        ash = scene.party("ash")
        await scene.hander.hand("ash", assignment())
        assert_holds(ash)
        assert len(ash.chunks(TakeChunk)) == len(all_chunks()) + 4  # the base, and a tensor without bytes
        assert ash.most_waiting == 2
        assert any(text.startswith("ash receives stage 2: ") for text in scene.told)
        scene.told.clear()

        ash.kept.put_away(STAGE, {**flatten_state(STATE), "frozen/base": FROZEN["base"]})
        ash.heard.clear()
        await scene.hander.hand("ash", assignment(OTHER, Role.DUPLICATE))
        assert_holds(ash, OTHER)
        assert {name for name, _ in ash.chunks(TakeChunk)} == {"parameter/w"}
        scene.hander.tell_still_there()
        assert not any("still" in text for text in scene.told)

        ash.kept.put_away(STAGE, {**flatten_state(OTHER), "frozen/base": FROZEN["base"]})
        ash.heard.clear()
        await scene.hander.hand("ash", assignment(OTHER))
        assert_holds(ash, OTHER)
        assert ash.chunks(TakeChunk) == []
        scene.hander.tell_still_there()
        assert scene.told[-1] == "ash still has stage 2: nothing sent (0.0 MB)"
        scene.end()

    play(act)


def test_a_receiver_that_is_lost_in_the_middle_and_comes_back_is_sent_the_rest() -> None:
    async def act() -> None:
        scene = Scene(window_bytes=LEAST_COST_BYTES)
        ash = scene.party("ash", forge=dies_after(3, kind=object))
        with pytest.raises(HostsLost, match="ash"):
            await scene.hander.hand("ash", assignment())
        assert ash.chunks(TakeChunk) == [("parameter/w", 0), ("parameter/w", 16), ("parameter/w", 32)]
        scene.back(ash)
        await scene.hander.hand("ash", assignment())
        assert_holds(ash)
        assert ash.chunks(TakeChunk)[0] == ("parameter/w", 48)

        ash.forge = dies_after(3, kind=object)
        with pytest.raises(HostsLost, match="ash"):
            await scene.hander.hand("ash", assignment())
        scene.back(ash)
        await scene.hander.hand("ash", assignment(OTHER))  # the run has gone on meanwhile
        assert_holds(ash, OTHER)
        assert ash.chunks(TakeChunk)[0] == ("parameter/w", 0)
        scene.end()

    play(act)


def chunk(**changed: Any) -> TakeChunk:
    content = torch.arange(16, dtype=torch.uint8)
    order = TakeChunk(
        stage=STAGE,
        name="parameter/w",
        outline=Outline(tensor_root(content), "uint8", (16,)),
        offset=0,
        content=content,
    )
    return replace(order, **changed)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (chunk(offset=8), "SW-T107"),
        (chunk(content=torch.zeros(17, dtype=torch.uint8)), "SW-T107"),
        (chunk(content=torch.zeros(4)), "SW-T107"),
        (chunk(content=torch.zeros(16, dtype=torch.uint8)), "SW-T107"),
        (chunk(outline=Outline("", "object", (16,))), "SW-T107"),
        (chunk(outline=Outline("", "uint8", (1 << 40,))), "SW-T108"),
    ],
)
def test_a_host_puts_by_nothing_that_does_not_belong_there(order: TakeChunk, code: str) -> None:
    kept = Kept()
    kept.limit_bytes = 1000
    with pytest.raises(TransportError) as error:
        kept.take(order, "ash")
    assert error.value.code == code
    kept.take(chunk(), "ash")  # and goes on
    listed = asyncio.run(kept.list(ListKept(stage=STAGE), "ash", {}))
    assert listed.roots == {"parameter/w": chunk().outline.root}


def test_what_was_never_sent_is_not_held() -> None:
    with pytest.raises(ShieldwallError, match=r"SW-T105(.|\n)*parameter/w"):
        Kept().resolve(replace(assignment(), roots={"parameter/w": "0" * 64}), "ash")
    with pytest.raises(ShieldwallError, match=r"SW-T105(.|\n)*ListState before SendChunk"):
        Served("ash").send(SendChunk(stage=STAGE, role=Role.STAGE, name="parameter/w", offset=0, size_bytes=1))
