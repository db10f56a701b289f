"""Frames over the run's own wire against asyncio's streams with ssl, over the same lines.

    wire_peer (sends) --> bad_lines (a TCP proxy for each way and delay) --> this process (receives)

Three processes, so that neither end computes in the other's time. Both ways use mutual TLS with the same certificates.
What is measured is the time from the first byte of some frames until the sender knows that the receiver has them all.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.errors import ShieldwallError
from shieldwall.core.messages import Show, TensorFrame
from shieldwall.core.seeds import derive_seed
from shieldwall.lab.bad_lines import LineTask, bad_lines
from shieldwall.lab.charts import Chart, ChartRow
from shieldwall.lab.children import Child, started
from shieldwall.lab.progress import Ticker
from shieldwall.lab.record import Column, Goal, Receipt, Report, Spread, Table
from shieldwall.lab.wire_peer import SINK, WAYS, PeerTask, content, slot_of
from shieldwall.run.allocator import keep_freed_memory
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.remote.hub import Hub, HubEndpoint
from shieldwall.transport.remote.server import WireServer

GOAL = 0.7
OURS, PLAIN = WAYS
_MIB = 2**20
_ROOMY_BYTES = 1 << 30
_TICKET_LASTS = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WireCase:
    """A line and a size of frames."""

    delay_ms: int
    """One way; an answer takes as long again."""
    frame_bytes: int

    @property
    def name(self) -> str:
        return f"{self.frame_bytes / _MIB:g} MiB, {self.delay_ms} ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSettings:
    """How much is measured.

    Args:
        delays_ms: of each line, one way.
        frame_bytes: of a frame; each size is sent over each line.
        all_bytes: of the frames that are sent one behind the other; at least one frame.
        repeats: of every case in both ways.
        seed: of the order.
        answer_within: for the sender to be done with some frames.
    """

    delays_ms: tuple[int, ...]
    frame_bytes: tuple[int, ...]
    all_bytes: int
    repeats: int
    seed: int
    answer_within: timedelta = timedelta(minutes=2)

    @property
    def cases(self) -> tuple[WireCase, ...]:
        """Every size over every line."""
        return tuple(WireCase(delay, size) for delay in self.delays_ms for size in self.frame_bytes)

    def frames(self, case: WireCase) -> int:
        """Frames that are sent one behind the other."""
        return max(1, self.all_bytes // case.frame_bytes)


@dataclass(slots=True)
class _Results:
    seconds: dict[tuple[WireCase, str], list[float]] = field(default_factory=dict)
    """Of a frame, on average."""
    whole: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(WAYS, True))
    """Whether every frame that warmed up came as it was sent."""

    def rates(self, case: WireCase, way: str) -> Spread:
        """MiB in a second."""
        return Spread(tuple(case.frame_bytes / _MIB / each for each in self.seconds[case, way]))

    def ratios(self, case: WireCase) -> Spread:
        """Ours over plain's in the same repeat."""
        pairs = zip(self.seconds[case, OURS], self.seconds[case, PLAIN], strict=True)
        return Spread(tuple(plain / ours for ours, plain in pairs))


async def measure_wire(settings: WireSettings, ticker: Ticker) -> Report:
    """Run the benchmark.

    Raises:
        BenchmarkError: SW-B103; one of the two other processes ended or hung.

    Cost: for every case in both ways `repeats` + 1 times `all_bytes`; two more processes.
    """
    keep_freed_memory()
    rng = random.Random(derive_seed("wire order", settings.seed))
    results = _Results()
    ticker.begin("wire", (settings.repeats + 1) * len(settings.cases))
    with tempfile.TemporaryDirectory() as scratch:
        async with _stand(settings, Path(scratch)) as stand:
            for repeat in range(settings.repeats + 1):
                for case in rng.sample(settings.cases, len(settings.cases)):
                    for way in rng.sample(WAYS, len(WAYS)):
                        seconds, whole = await stand.send(case, way, checked=repeat == 0)
                        results.whole[way] &= whole
                        if repeat:
                            results.seconds.setdefault((case, way), []).append(seconds)
                    ticker.tick()
    return _report(settings, results)


@dataclass(frozen=True, slots=True)
class _Stand:
    """Both ends of all lines."""

    settings: WireSettings
    peer: Child
    ours: HubEndpoint
    plain: asyncio.Queue[bytes]

    async def send(self, case: WireCase, way: str, *, checked: bool) -> tuple[float, bool]:
        """Let the peer send the frames of a case: seconds of each, and whether all came as they were sent."""
        frames = self.settings.frames(case)
        order = {
            "line": self.settings.delays_ms.index(case.delay_ms),
            "way": way,
            "frames": frames,
            "nbytes": case.frame_bytes,
        }
        receive = self._receive_ours if way == OURS else self._receive_plain
        expected = content(case.frame_bytes) if checked else None
        receiving = asyncio.create_task(receive(frames, expected))
        try:
            answer = await self.peer.ask(order, self.settings.answer_within)
            return float(answer["seconds"]) / frames, await receiving
        finally:
            receiving.cancel()

    async def _receive_ours(self, frames: int, expected: torch.Tensor | None) -> bool:
        whole = True
        for _ in range(frames):
            message = await self.ours.receive()
            if expected is not None:
                whole &= isinstance(message, TensorFrame) and torch.equal(message.tensor, expected)
        await self.ours.send(self.ours.sender, Show(slot=slot_of(frames)))
        return whole

    async def _receive_plain(self, frames: int, expected: torch.Tensor | None) -> bool:
        """The server's handler has answered already; here are the frames."""
        came = [await self.plain.get() for _ in range(frames)]
        if expected is None:
            return True
        return all(torch.equal(torch.frombuffer(bytearray(each), dtype=torch.uint8), expected) for each in came)


@asynccontextmanager
async def _stand(settings: WireSettings, folder: Path) -> AsyncIterator[_Stand]:
    """Listen in both ways, lay the lines, start the peer."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    gate = Gate.create(private, "wire")
    faults: list[ShieldwallError] = []
    hub = Hub(lambda *_: True, lambda _, error: faults.append(error))
    server = WireServer(hub, gate, lambda _: _ROOMY_BYTES, lambda _, error: faults.append(error))
    port = await server.listen("127.0.0.1:0")
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    async with AsyncExitStack() as standing:
        standing.push_async_callback(server.stop)
        plain = await _listen_plain(frames, _trust(gate, folder))
        standing.callback(plain.close)
        plain_port = int(plain.sockets[0].getsockname()[1])
        delays = [each / 1e3 for each in settings.delays_ms]
        lines = [LineTask(port=to, delay_s=delay) for to in (port, plain_port) for delay in delays]
        begins = await standing.enter_async_context(bad_lines(lines, folder))
        task = PeerTask(
            tickets=tuple(_ticket(gate, port) for _ in delays),
            wire_ports=tuple(begins[: len(delays)]),
            plain_ports=tuple(begins[len(delays) :]),
            home=str(folder / "peer"),
        )
        module = "shieldwall.lab.wire_peer"
        peer = await standing.enter_async_context(started(module, asdict(task), name="peer", folder=folder))
        yield _Stand(settings, peer, hub.join(SINK), frames)


def _ticket(gate: Gate, port: int) -> str:
    return gate.invite(uses=1, lasts=_TICKET_LASTS, now=utc_now(), addresses=[f"127.0.0.1:{port}"]).text()


async def _listen_plain(frames: asyncio.Queue[bytes], trust: ssl.SSLContext) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readexactly(9)
                frames.put_nowait(await reader.readexactly(int.from_bytes(head[:8], "big")))
                if head[8]:
                    writer.write(b"\x01")
        except asyncio.IncompleteReadError:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=trust, limit=64 * _MIB)


def _trust(gate: Gate, folder: Path) -> ssl.SSLContext:
    """The run's own certificate, and its authority to judge the other end by."""
    shown = gate.server
    file = folder / "server.pem"
    file.touch(mode=0o600)
    file.write_bytes(shown.private_key_pem + shown.certificate_chain_pem)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.verify_mode = ssl.CERT_REQUIRED
    trust.load_verify_locations(cadata=gate.authority.certificate_pem.decode())
    trust.load_cert_chain(file)
    return trust


def _report(settings: WireSettings, results: _Results) -> Report:
    ratios = {case: results.ratios(case) for case in settings.cases}
    return Report(
        name="wire",
        title="Frames over the wire",
        setup={
            "delays_ms": list(settings.delays_ms),
            "frame_bytes": list(settings.frame_bytes),
            "bytes_behind_each_other": settings.all_bytes,
            "repeats": settings.repeats,
        },
        tables=(_table(settings, results, ratios),),
        goals=tuple(
            Goal(
                text=f"{case.name}: share of the rate of asyncio with ssl",
                limit=GOAL,
                measured=spread.median,
                at_least=True,
            )
            for case, spread in ratios.items()
        ),
        receipts=tuple(
            Receipt(f"{way}: every frame that warmed up came as it was sent, byte for byte", whole)
            for way, whole in results.whole.items()
        ),
        notes=_NOTES,
        chart=Chart(
            title="Frames over the wire",
            x_label="rate, asyncio's streams with ssl in the same repeat = 1",
            rows=tuple(ChartRow(case.name, spread.values, True) for case, spread in ratios.items()),
            limits=((GOAL, f"goal: {GOAL:g} or more"),),
            from_zero=True,
        ),
    )


_NOTES = (
    "Three processes on one machine: a sender, the lines, and a receiver. A line is a TCP proxy, which lets each byte"
    " take the delay, one way; an answer takes it again. Each way has a line of its own for each delay.",
    "Time runs in the sender, from the first frame until the receiver has said that it has all of them; frames are sent"
    " one behind the other, as a pipeline sends them. Frames go from a worker to the initiator.",
    "Both ways use mutual TLS with the same certificates. Asyncio's streams send a length and the bytes, with a buffer"
    " of 64 MiB at the receiver. The run's wire numbers its letters and has them acknowledged, so that a connection can"
    " break; it weighs each tensor before it takes memory for it.",
)


def _table(settings: WireSettings, results: _Results, ratios: Mapping[WireCase, Spread]) -> Table:
    rows: Sequence[dict[str, Any]] = [
        {
            "delay_ms": case.delay_ms,
            "frame_mib": case.frame_bytes / _MIB,
            "frames": settings.frames(case),
            **results.rates(case, OURS).to_json("ours_mib_s"),
            **results.rates(case, PLAIN).to_json("plain_mib_s"),
            **ratios[case].to_json("ratio"),
        }
        for case in settings.cases
    ]
    columns = (
        Column("delay_ms", "delay one way, ms"),
        Column("frame_mib", "frame, MiB", "{:g}"),
        Column("frames", "frames"),
        Column("ours_mib_s_median", "shieldwall, MiB/s", "{:,.0f}"),
        Column("plain_mib_s_median", "asyncio with ssl, MiB/s", "{:,.0f}"),
        Column("ratio_median", "ratio, median", "{:.3f}"),
        Column("ratio_min", "least", "{:.3f}"),
        Column("ratio_max", "most", "{:.3f}"),
    )
    return Table("wire", "Rates", columns, rows)
