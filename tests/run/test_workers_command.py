"""`shieldwall workers`: what the run wrote last, corrected by the book of members and by whether the run is on."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from commands import shieldwall

from shieldwall.core.ids import MUSTER
from shieldwall.core.messages import Able, Unable, View
from shieldwall.run.machines.claims import Claim, Claims
from shieldwall.run.machines.register import Register, process_behind
from shieldwall.run.machines.status import STATUS_FILE, RunProcess, RunStatus, WorkerState, table, workers
from shieldwall.transport import MemoryNetwork
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.identity.members import Newcomer

VIEW = View(
    view=0,
    holders={0: "initiator", 1: "worker-1", 2: "worker-2", 3: "worker-1", 4: "initiator"},
    checkers={1: "worker-2", 2: "worker-1", 3: "initiator"},
    keys={},
    arithmetic="",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that eleven workers have joined."""
    private = tmp_path / "run" / "private"
    private.mkdir(mode=0o700, parents=True)
    gate = Gate.create(private, "run")
    now = utc_now()
    gate.invite(uses=11, lasts=timedelta(hours=1), now=now, addresses=["192.0.2.7:1"])
    (invitation,) = gate.book.invitations(now)
    for number in range(11):
        newcomer = Newcomer(
            signing_key=bytes([number + 1] * 32), tls_key=f"{number:064x}", wish="", certified_until=now
        )
        gate.book.enrol(invitation.id, newcomer, now)
    return tmp_path / "run"


def claimed() -> Claims:
    """What worker-1 says of its machine to a run whose own does 1,000 passes a second."""

    async def nobody(name: str, kind: str) -> None:
        raise AssertionError(name, kind)

    async def play() -> Claims:
        network, claims = MemoryNetwork(), Claims(1000.0, nobody)
        worker, listening = network.join("worker-1"), asyncio.create_task(claims.listen(network.join(MUSTER)))
        await worker.send(MUSTER, Able(host="worker-2", passes_per_s=9.0, memory_bytes=9))
        await worker.send(MUSTER, Able(host="worker-1", passes_per_s=512.0, memory_bytes=3 << 30))
        await worker.send(MUSTER, Able(host="worker-1", passes_per_s=-1.0, memory_bytes=9))
        await worker.send(MUSTER, Unable(host="worker-2", kind="memory"))
        await worker.send(MUSTER, Unable(host="worker-1", kind="I was told to"))
        while claims.lacking(["worker-1"]):
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        listening.cancel()
        return claims

    return asyncio.run(play())


def tell(run: Path, addresses: dict[str, str], ways: dict[str, dict[str, str]] | None = None) -> Register:
    """What a run in this process writes while workers are there."""
    register = Register(run / STATUS_FILE, 1.8, lambda _: 12.04)
    register.see_view(VIEW)
    register.see_claims(claimed())
    asyncio.run(register.update(Gate.load(run / "private").book.members(), addresses, ways))
    return register


def test_everybody_is_there_with_what_it_holds(run: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as dialled,
    ):
        here = f"127.0.0.1:{dialled.getsockname()[1]}"
        tell(run, {"worker-1": here, "worker-2": "192.0.2.9:40000", "worker-10": "192.0.2.10:40000"})
    found = {each["name"]: each for each in shieldwall("workers", run, "--json").json()}
    assert list(found) == [f"worker-{number}" for number in range(1, 12)]
    assert found["worker-1"] == {
        "name": "worker-1",
        "stages": [1, 3],
        "duplicates": [2],
        "state": "working",
        "address": here,
        "pid": os.getpid(),
        "speed": 0.512,
        "memory_bytes": 3 << 30,
        "ways": {},
        "deadlines": {"silence_s": 1.8, "answer_s": 12.0},
        "why": "",
    }
    assert (found["worker-2"]["speed"], found["worker-2"]["memory_bytes"]) == (None, None)
    assert (found["worker-2"]["pid"], found["worker-2"]["duplicates"]) == (None, [1])
    assert (found["worker-10"]["state"], found["worker-10"]["stages"]) == ("spare", [])
    assert (found["worker-3"]["state"], found["worker-3"]["address"]) == ("gone", None)


def test_a_ban_counts_at_once_and_a_run_that_is_not_on_has_nobody(run: Path) -> None:
    register = tell(run, {"worker-1": "192.0.2.8:40000", "worker-2": "192.0.2.9:40000"})
    assert shieldwall("ban", run, "worker-2", "--why", "I know him").code == 0
    assert [each.state for each in workers(run)[:3]] == [WorkerState.WORKING, WorkerState.BANNED, WorkerState.GONE]
    assert workers(run)[1].why == "I know him"
    assert "worker-2 is banned: I know him" in shieldwall("workers", run).out
    register.close()
    assert [each.state for each in workers(run)[:3]] == [WorkerState.LEFT, WorkerState.BANNED, WorkerState.GONE]


def test_a_run_that_was_killed_is_not_on(run: Path) -> None:
    tell(run, {"worker-1": "192.0.2.8:40000"})
    written = RunStatus.read(run / STATUS_FILE)
    assert written.process == RunProcess.this()
    earlier = written.process.model_copy(update={"started_s": written.process.started_s - 60})
    written.model_copy(update={"process": earlier}).write(run / STATUS_FILE)
    assert workers(run)[0].state is WorkerState.LEFT


def test_before_anybody_has_dialled_and_beside_no_run(run: Path, tmp_path: Path) -> None:
    assert {each.state for each in workers(run)} == {WorkerState.GONE}
    ended = shieldwall("workers", tmp_path)
    assert (ended.code, "SW-T212" in ended.err) == (2, True)
    (run / STATUS_FILE).write_text("[]")
    ended = shieldwall("workers", run)
    assert (ended.code, "SW-R107" in ended.err) == (2, True)


def test_the_table_has_a_line_for_each_worker(run: Path) -> None:
    ways = {"worker-2": "direct", "worker-3": "relayed: no --listen", "worker-4": "relayed: no answer"}
    tell(run, {"worker-1": "192.0.2.8:40000"}, {"worker-1": ways})
    lines = table(workers(run)).splitlines()
    assert lines[0].split() == ["worker", "state", "stages", "duplicates", "ways", "speed", "memory", "address", "pid"]
    assert lines[1].split() == [
        "worker-1",
        "working",
        "1,",
        "3",
        "2",
        *("1", "direct,", "2", "relayed"),
        *("0.51", "x", "3.0", "GiB"),
        "192.0.2.8:40000",
        "-",
    ]
    assert lines[2].split() == ["worker-2", "gone", *"-------"]
    assert lines[-2] == "a worker that is silent for 1.8 s is gone"
    assert lines[-1] == "one that keeps an answer back for 12.0 s loses what it holds"
    assert shieldwall("workers", run).out.splitlines() == lines


def test_nothing_is_written_where_nothing_has_changed(run: Path) -> None:
    register = tell(run, {})
    (run / STATUS_FILE).unlink()
    asyncio.run(register.update(Gate.load(run / "private").book.members(), {}))
    assert not (run / STATUS_FILE).exists()


def test_a_claim_counts_in_its_own_name_alone_and_where_it_can_be_true() -> None:
    claims = claimed()
    assert dict(claims.made) == {"worker-1": Claim(0.512, 3 << 30)}
    claims.forget("worker-1")
    assert claims.lacking(["worker-1"]) == ["worker-1"]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_process_behind_an_address(family: socket.AddressFamily) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]) as dialled:
            port = dialled.getsockname()[1]
            assert process_behind(f"{host}:{port}" if family == socket.AF_INET else f"[{host}]:{port}") == os.getpid()
            if family == socket.AF_INET:
                assert process_behind(f"[::ffff:127.0.0.1]:{port}") == os.getpid()
    assert process_behind("192.0.2.7:40000") is None
