"""Worker processes of a demo: none is left behind, however it ends."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from shieldwall.core.errors import TransportError
from shieldwall.run.machines.local import local_workers
from shieldwall.transport.identity.clock import utc_now
from shieldwall.transport.identity.gate import Gate


def is_there(pid: int) -> bool:
    return psutil.pid_exists(pid) and bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def begin_and_be_stopped(folder: Path, ticket: str, silent: socket.socket, pids: list[int]) -> None:
    with local_workers(folder) as workers:
        pids += [workers.start(1, ticket), workers.start(2, "no ticket")]
        with silent.accept()[0]:
            assert is_there(pids[0])
            raise KeyboardInterrupt


def test_whatever_ends_the_block_ends_the_workers(tmp_path: Path) -> None:
    """One waits for a run that takes its call and says nothing; another has no ticket, and says so where it writes."""
    pids: list[int] = []
    gate = Gate.create(tmp_path, "silent")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        gate.book.set_addresses([f"127.0.0.1:{silent.getsockname()[1]}"])
        ticket = gate.invite(uses=1, lasts=timedelta(hours=1), now=utc_now()).text()
        with pytest.raises(KeyboardInterrupt):
            begin_and_be_stopped(tmp_path / "workers", ticket, silent, pids)
    assert len(pids) == 2
    assert not any(map(is_there, pids))
    assert "SW-T20" in (tmp_path / "workers" / "worker-2.log").read_text()


def test_where_none_can_be_made_that_is_said(tmp_path: Path) -> None:
    with local_workers(tmp_path) as workers:
        workers.forge.kill()
        workers.forge.wait()
        with pytest.raises(TransportError, match="SW-T130"):
            workers.start(1, "ticket")
