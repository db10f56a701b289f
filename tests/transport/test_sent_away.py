"""A member that is sent away is told why over the connection that it has, and no other member notices."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from wired import ROOMY_BYTES, Wired, wired

from shieldwall.core.errors import EnrolmentError
from shieldwall.core.messages import SumUp
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.identity.refusals import banned
from shieldwall.transport.remote.dialer import Dialer, RemoteEndpoint
from shieldwall.transport.remote.link import Link
from shieldwall.transport.remote.passport import enter


async def keep_dialling(net: Wired, name: str, lanes: int = 1) -> None:
    """A member that says that it is there, until the run will not have it."""
    ticket = net.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[net.address])
    with open_home(net.folder / name) as home:
        passport = await enter(home, ticket, wish=name)
        link = Link("initiator", lambda _: ROOMY_BYTES)
        await RemoteEndpoint(passport.name, link).send("coordinator", SumUp(step=0))
        await Dialer(
            link=link,
            addresses=[net.address],
            open_channel=passport.open_channel,
            lanes=lanes,
            patience_s=20,
            on_change=net.said.append,
        ).keep()


@pytest.mark.parametrize("lanes", [1, 3])
def test_who_is_sent_away_hears_the_reason_where_it_is_connected(lanes: int) -> None:
    async def play() -> None:
        async with wired() as net, net.dialled("honest") as other:
            coordinator = net.hub.join("coordinator")
            keeping = asyncio.create_task(keep_dialling(net, "liar", lanes))
            await coordinator.receive()
            while len(net.said) < 2:  # both are connected over all their lanes
                await asyncio.sleep(0.01)
            assert set(net.server.addresses) == {"honest", "liar"}
            # nothing is in the book: what the liar is told can only come over the connections that it has
            member = net.gate.book.renew("liar", "0" * 64, utc_now() + timedelta(hours=1))
            await net.server.send_away("liar", banned(member))
            with pytest.raises(EnrolmentError) as told:
                await keeping
            assert told.value.code == "SW-T223"
            assert net.refusals == ["SW-T223"] * lanes
            assert set(net.server.addresses) == set(net.hub.links) == {"honest"}
            await other.send("coordinator", SumUp(step=1))
            assert await coordinator.receive() == SumUp(step=1)
            await coordinator.send("liar", SumUp(step=2))  # nobody waits for it

    asyncio.run(play())


def test_who_is_not_there_can_be_sent_away() -> None:
    async def play() -> None:
        async with wired() as net, net.dialled("honest") as other:
            coordinator = net.hub.join("coordinator")
            await other.send("coordinator", SumUp(step=1))
            assert await coordinator.receive() == SumUp(step=1)
            member = net.gate.book.members()[0]
            await net.server.send_away("nobody", banned(member))
            assert set(net.hub.links) == {"honest"}

    asyncio.run(play())
