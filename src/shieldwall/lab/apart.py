"""A deployment whose first and last stage may be on different hosts, which no run may have but a benchmark wants.

In a run the initiator holds both ends, so only its host is given tokens. To play a plan in which each stage is on a
host of its own, every host is given them here. The model's head must not be tied to its embeddings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from shieldwall.core.ids import COORDINATOR
from shieldwall.pipeline.clip import Clipping
from shieldwall.pipeline.compute import Compute, InlineCompute
from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.pipeline.feed import Feed
from shieldwall.pipeline.host import HostSettings, StageHost
from shieldwall.run.shield import Shield
from shieldwall.schedule import Plan
from shieldwall.transport import MemoryNetwork


@asynccontextmanager
async def deploy_apart(
    plan: Plan,
    settings: HostSettings,
    feed: Feed,
    *,
    run: str,
    stage_of: Mapping[str, int],
    clipping: Clipping,
    compute_of: Callable[[str], Compute] | None = None,
    shield: Shield | None = None,
) -> AsyncIterator[Coordinator]:
    """As `run.deployment.deploy`, with tokens for every host."""
    network = MemoryNetwork()
    oversight = shield.oversight if shield else None
    coordinator = Coordinator(network.join(COORDINATOR), run, stage_of, clipping, oversight=oversight)
    async with asyncio.TaskGroup() as group:
        for host in plan.hosts:
            compute = compute_of(host.name) if compute_of else InlineCompute()
            guard = shield.guard_of(host.name) if shield else None
            stage_host = StageHost(network.join(host.name), settings, compute=compute, feed=feed, guard=guard)
            group.create_task(stage_host.serve(), name=host.name)
        yield coordinator
        await coordinator.stop(coordinator.hosts)
