"""The way to a run: each fault of name, port and certificate with real sockets, and the clean way beside it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from listening_run import PATIENT, ListeningRun, examine, failed, listening_run, only_failure

from shieldwall.run.machines.doctor.limits import Limits
from shieldwall.transport.identity.gate import Gate

SHORT = Limits(connect_s=0.5, answer_s=0.5, round_trip_s=20, bandwidth_bytes_s=1)
"""For what never answers."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningRun]:
    with listening_run(tmp_path_factory.mktemp("run")) as found:
        yield found


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


@contextmanager
def listener(backlog: int = 8) -> Iterator[socket.socket]:
    """Takes connections, and nobody answers them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        found.listen(backlog)
        yield found


def test_the_clean_way(run: ListeningRun, tmp_path: Path) -> None:
    ticket = run.ticket(f"localhost:{run.port}")
    found = examine(tmp_path / "home", ticket, thorough=True)
    assert failed(found) == []
    checks = [finding.check for finding in found]
    assert checks[checks.index("ticket") :] == [
        "ticket", "name", "port", "certificate", "ways", "admission", "clock against the run's",
        "same version", "same version", "same version", "memory",
        "round trip", "bandwidth to the run", "bandwidth from the run",
    ]  # fmt: skip
    assert run.refusals == []


def test_looking_changes_nothing_at_either_end(run: ListeningRun, tmp_path: Path) -> None:
    ticket, home = run.ticket(), tmp_path / "home"
    before = run.book()
    for thorough in (True, False):
        examine(home, ticket, thorough=thorough)
    assert run.book() == before
    assert not home.exists()


def test_a_name_that_does_not_resolve(run: ListeningRun, tmp_path: Path) -> None:
    found = only_failure(examine(tmp_path, run.ticket("no-such-host.invalid:7700")))
    assert (found.check, found.about, found.prevents) == ("name", "no-such-host.invalid:7700", True)


def test_a_port_that_nobody_listens_on(run: ListeningRun, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, so that nobody else begins to listen there
        address = f"127.0.0.1:{port_of(silent)}"
        found = only_failure(examine(tmp_path, run.ticket(address)))
    assert (found.check, found.about, found.prevents) == ("port", address, True)
    assert "refused" in found.saw


def test_a_port_from_which_nothing_comes_back(run: ListeningRun, tmp_path: Path) -> None:
    with listener(backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())  # there is room for this one; what knocks now is dropped
        found = only_failure(examine(tmp_path, run.ticket(f"127.0.0.1:{port_of(full)}"), limits=SHORT))
    assert found.check == "port"
    assert "no answer within 0.5 s" in found.saw
    assert "firewall" in found.remedy


def test_no_way_there(run: ListeningRun, tmp_path: Path) -> None:
    found = only_failure(examine(tmp_path, run.ticket("224.0.0.1:7700")))  # of a group, which TCP cannot reach
    assert found.check == "port"
    assert "no way there" in found.saw
    assert "network" in found.remedy


@contextmanager
def web_server() -> Iterator[str]:
    """Something that listens and speaks no TLS."""
    with listener() as heard:

        def serve() -> None:
            while True:
                try:
                    connection, _ = heard.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{port_of(heard)}"
        finally:
            heard.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_listener_that_is_not_tls(run: ListeningRun, tmp_path: Path) -> None:
    with web_server() as address:
        found = only_failure(examine(tmp_path, run.ticket(address)))
    assert (found.check, found.about, found.prevents) == ("certificate", address, True)
    assert "no TLS" in found.saw


def test_a_listener_that_says_nothing(run: ListeningRun, tmp_path: Path) -> None:
    with listener() as mute:
        found = only_failure(examine(tmp_path, run.ticket(f"127.0.0.1:{port_of(mute)}"), limits=SHORT))
    assert found.check == "certificate"
    assert "no TLS" in found.saw


def test_a_foreign_authority(run: ListeningRun, tmp_path: Path) -> None:
    with listening_run(tmp_path / "other") as other:
        found = only_failure(examine(tmp_path, run.ticket(other.address)))
        assert failed(examine(tmp_path, other.ticket())) == []
    assert (found.check, found.about, found.prevents) == ("certificate", other.address, True)
    assert "a foreign certificate" in found.saw
    assert run.gate.authority.fingerprint[:16] in found.saw


def test_an_address_that_leads_nowhere_is_no_fault_where_another_leads_to_the_run(
    run: ListeningRun, tmp_path: Path
) -> None:
    with web_server() as address:
        found = examine(tmp_path, run.ticket("no-such-host.invalid:7700", address, run.address), thorough=True)
    assert failed(found) == []
    beside = [finding for finding in found if f"not needed, {run.address} is the run" in finding.saw]
    assert [finding.about for finding in beside] == ["no-such-host.invalid:7700", address]


def test_a_run_that_stands_still(run: ListeningRun, tmp_path: Path) -> None:
    go_on = threading.Event()
    run.loop.call_soon_threadsafe(go_on.wait)
    try:
        found = only_failure(examine(tmp_path, run.ticket(), limits=SHORT))
    finally:
        go_on.set()
    assert found.check == "admission"
    assert "does not answer within 0.5 s" in found.saw
    assert failed(examine(tmp_path, run.ticket())) == []


@contextmanager
def run_of_another_version(gate: Gate) -> Iterator[str]:
    """The run's port in a version that knows no probe."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        pair = (gate.server.private_key_pem, gate.server.certificate_chain_pem)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=gate.authority.certificate_pem)

    server = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.dynamic_ssl_server_credentials(configuration(), configuration, False)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_a_run_of_a_version_that_knows_no_probe(run: ListeningRun, tmp_path: Path) -> None:
    with run_of_another_version(run.gate) as address:
        found = only_failure(examine(tmp_path, run.ticket(address), limits=PATIENT))
    assert (found.check, found.about, found.prevents) == ("same version", f"at {address}", True)
