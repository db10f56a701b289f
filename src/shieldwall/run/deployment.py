"""Putting hosts, transport and coordinator together for one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from shieldwall.core.hooks import Hook
from shieldwall.core.ids import COORDINATOR, INITIATOR, SERVER
from shieldwall.pipeline.clip import Clipping
from shieldwall.pipeline.compute import Compute, InlineCompute
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.pipeline.feed import Feed
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.pipeline.host import StageHost
from shieldwall.pipeline.server import Server
from shieldwall.pipeline.transfer.transfers import Transfers
from shieldwall.run.shield import Shield
from shieldwall.schedule import Plan
from shieldwall.transport import MemoryNetwork, Network, StarNetwork


@asynccontextmanager
async def deploy(
    plan: Plan,
    settings: HostSettings,
    feed: Feed,
    *,
    run: str,
    stage_of: Mapping[str, int],
    clipping: Clipping,
    hooks_of: Mapping[str, Sequence[Hook]] | None = None,
    compute_of: Callable[[str], Compute] | None = None,
    shield: Shield | None = None,
    spares: Sequence[str] = (),
    network: Network | None = None,
    elsewhere: Collection[str] = (),
    state_bytes: int = 0,
    tell: Callable[[str], None] = lambda _: None,
    deadlines: Deadlines | None = None,
) -> AsyncIterator[Coordinator]:
    """The hosts of `plan` as coroutines of this process, and their coordinator.

    Args:
        plan: who holds which stage, and whether hosts talk to each other or through the server.
        settings: what every host is told.
        feed: tokens for the initiator's host; no other host gets it.
        run: the run's name.
        stage_of: name of each parameter to its stage, in the whole model's order.
        clipping: of the gradients.
        hooks_of: hooks by host name.
        compute_of: compute by host name; at once on the event loop if not given.
        shield: keeps everybody's records and judges over them; None where nothing is checked.
        spares: names of hosts that hold nothing yet.
        network: over which hosts talk; within this process if not given.
        elsewhere: names of hosts that are in other processes and reached over `network`; they are not made here. So is
            whoever comes later.
        state_bytes: the most that a stage's state can have that comes from one of them.
        tell: told in words of states that travel long, or need not.
        deadlines: of answers; None where nobody is in another process.

    Raises:
        PlanError: SW-P112; hooks are given for a host that the plan does not have.

    If it fails: every host is cancelled and the first error is raised as it is.
    """
    names = [*(host.name for host in plan.hosts), *spares]
    for name in hooks_of or {}:
        if name not in spares:
            plan.lane_of(name)
    star = plan.topology == "star"
    network = network or (StarNetwork() if star else MemoryNetwork())
    here = {name for name in names if name not in elsewhere}
    transfers = Transfers(is_far=lambda host: host not in here, state_bytes=state_bytes, tell=tell)
    coordinator = Coordinator(
        network.join(COORDINATOR),
        run,
        stage_of,
        clipping,
        oversight=shield.oversight if shield else None,
        first_attempt=shield.first_attempt if shield else 0,
        transfers=transfers,
        deadlines=deadlines,
    )
    try:
        async with asyncio.TaskGroup() as group:
            for name in names:
                if name in elsewhere:
                    continue
                hooks = (hooks_of or {}).get(name, ())
                stage_host = StageHost(
                    network.join(name),
                    settings,
                    hooks=hooks,
                    compute=compute_of(name) if compute_of else InlineCompute(),
                    feed=feed if name == INITIATOR else None,
                    guard=shield.guard_of(name, hooks) if shield else None,
                    topology=plan.topology,
                )
                group.create_task(stage_host.serve(), name=name)
            if star:
                group.create_task(Server(network.join(SERVER)).serve(), name=SERVER)
            yield coordinator
            await coordinator.stop_all([*names, SERVER] if star else names)
    except BaseExceptionGroup as group_of_errors:
        raise _first(group_of_errors) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
