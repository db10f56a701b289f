"""Why somebody does not get in: every error says at which host and port, and what to do."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from wired import wired

from shieldwall.core.errors import ShieldwallError
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.home import open_home
from shieldwall.transport.remote.passport import enter


def test_a_refusal_and_a_silence_name_the_address_and_a_remedy(tmp_path: Path) -> None:
    async def play() -> None:
        async with wired() as net:
            with socket.socket() as silent, open_home(tmp_path / "one") as one, open_home(tmp_path / "two") as two:
                silent.bind(("127.0.0.1", 0))
                nowhere = f"127.0.0.1:{silent.getsockname()[1]}"
                lost = net.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[nowhere])
                with pytest.raises(ShieldwallError, match="SW-T112") as unreached:
                    await enter(one, lost)
                ticket = net.gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now(), addresses=[net.address])
                await enter(one, ticket)
                with pytest.raises(ShieldwallError, match="SW-T205") as refused:
                    await enter(two, ticket)
        for error, address in ((unreached.value, nowhere), (refused.value, net.address)):
            assert error.where == address
            assert error.got
            assert error.remedy

    asyncio.run(play())
