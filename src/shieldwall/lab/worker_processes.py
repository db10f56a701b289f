"""A benchmark's workers as a run has them: processes that dial over mutual TLS, each over a line of its own if wanted.

bench (initiator, coordinator) <-- port <-- [bad line] <-- `shieldwall join`, one process for each worker

"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from shieldwall.core.errors import ShieldwallError
from shieldwall.core.ids import INITIATOR, MUSTER
from shieldwall.lab.bad_lines import LineTask, bad_lines
from shieldwall.lab.children import QUIET, START_WITHIN, end, not_there
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.pipeline.desk import HostsLost
from shieldwall.pipeline.feed import Feed
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.run.deployment import deploy
from shieldwall.run.machines.allowance import Allowance
from shieldwall.run.machines.doctor.packages import package_versions
from shieldwall.run.machines.sentry import Sentry
from shieldwall.run.machines.welcome import describe
from shieldwall.schedule import Plan, equal_slots
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate
from shieldwall.transport.remote.hub import Hub
from shieldwall.transport.remote.probe import RunFacts
from shieldwall.transport.remote.server import WireServer

_RUN = "benchmark"
_THREADS = 1
_ROOMY_BYTES = 1 << 30
_SILENCE_S = 60.0
"""Longer than in a run: a worker that waits its turn beside others that saturate the cores is not gone."""
_TICKET_LASTS = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker's process."""

    name: str
    process: asyncio.subprocess.Process
    log: Path


@dataclass(frozen=True, slots=True)
class WorkerProcesses:
    """How a benchmark has workers; called as `deploy` is.

    Args:
        folder: for keys and logs; made here.
        line: over which each worker dials; its `port` counts for nothing. None: straight.
    """

    folder: Path
    line: LineTask | None = None

    @asynccontextmanager
    async def __call__(
        self, plan: Plan, settings: HostSettings, feed: Feed, **options: Any
    ) -> AsyncIterator[Coordinator]:
        """The plan's workers as processes, its initiator here.

        Raises:
            BenchmarkError: SW-B103; a worker did not come, or has gone.
        """
        names = [host.name for host in plan.hosts if host.name != INITIATOR]
        async with self._hub(plan, settings, names) as (hub, workers):
            try:
                deployment = deploy(
                    plan, settings, feed, network=hub, elsewhere=names, state_bytes=_ROOMY_BYTES, **options
                )
                async with deployment as coordinator:
                    yield coordinator
            except HostsLost as lost:
                gone = next(worker for worker in workers if worker.name in lost.hosts)
                raise not_there(gone.name, gone.log, f"nothing for {_SILENCE_S:g} s") from lost

    @asynccontextmanager
    async def _hub(
        self, plan: Plan, settings: HostSettings, names: Sequence[str]
    ) -> AsyncIterator[tuple[Hub, list[Worker]]]:
        private = self.folder / "private"
        private.mkdir(mode=0o700, parents=True)
        gate, came = Gate.create(private, _RUN), asyncio.Event()
        sentry = Sentry(_welcome(plan, settings), Deadlines(costs=equal_slots(plan.stages)))

        async def attached(name: str) -> None:
            await sentry.greet(name)
            came.set()

        faults: list[ShieldwallError] = []
        hub = Hub(lambda *_: True, lambda _, error: faults.append(error), attached)
        hub.join(MUSTER)  # what workers say of their speed is nothing here
        facts = RunFacts(versions=package_versions())
        server = WireServer(
            hub, gate, Allowance(_ROOMY_BYTES, _ROOMY_BYTES), lambda _, error: faults.append(error), facts=facts
        )
        port = await server.listen("127.0.0.1:0")
        sentry.stand(hub, server)
        watching = asyncio.create_task(sentry.watch())
        workers: list[Worker] = []
        try:
            async with AsyncExitStack() as standing:
                ports = [port] * len(names)
                if self.line:
                    lines = [replace(self.line, port=port)] * len(names)
                    ports = await standing.enter_async_context(bad_lines(lines, self.folder))
                try:
                    for name, dialled in zip(names, ports, strict=True):
                        workers.append(await self._start(name, gate, dialled))
                        await _arrival(workers, hub, came)
                    yield hub, workers
                    await asyncio.gather(*(end(worker.process) for worker in workers))
                finally:
                    await _kill(workers)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await server.stop()

    async def _start(self, name: str, gate: Gate, port: int) -> Worker:
        """Names are given in the order in which workers enrol, so each comes before the next is started."""
        ticket = gate.invite(uses=1, lasts=_TICKET_LASTS, now=utc_now(), addresses=[f"127.0.0.1:{port}"])
        log = self.folder / f"{name}.log"
        with log.open("wb") as printed:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "shieldwall", "join", ticket.text(), "--home", str(self.folder / name)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={**os.environ, **QUIET, "OMP_NUM_THREADS": str(_THREADS)},
            )
        return Worker(name, process, log)


def _welcome(plan: Plan, settings: HostSettings) -> Any:
    return describe(
        settings,
        run=_RUN,
        topology=plan.topology,
        checked=False,
        threads=_THREADS,
        frame_bytes=_ROOMY_BYTES,
        state_bytes=_ROOMY_BYTES,
        silence_s=_SILENCE_S,
    )


async def _arrival(workers: Sequence[Worker], hub: Hub, came: asyncio.Event) -> None:
    """Wait until the last of the workers is there.

    Raises:
        BenchmarkError: SW-B103; it ended before, or is late.
    """
    worker = workers[-1]
    ending = asyncio.create_task(worker.process.wait())
    try:
        async with asyncio.timeout(START_WITHIN.total_seconds()):
            while worker.name not in hub.links:
                waiting = asyncio.create_task(came.wait())
                await asyncio.wait({waiting, ending}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                came.clear()
                if ending.done():
                    raise not_there(worker.name, worker.log, f"exit code {ending.result()}")
    except TimeoutError as error:
        raise not_there(worker.name, worker.log, f"nothing for {START_WITHIN.total_seconds():g} s") from error
    finally:
        ending.cancel()


async def _kill(workers: Sequence[Worker]) -> None:
    for worker in workers:
        if worker.process.returncode is None:
            worker.process.kill()
            await worker.process.wait()
