"""Runs whose workers are processes of their own, over mutual TLS: the same weights as in one process."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import overrides, shieldwall
from processes import Processes

from shieldwall import Config, train
from shieldwall.transport.identity.book import Book
from shieldwall.verify.ledger import verify_ledger

TWO_STEPS = ["run.steps=2", "evaluation.every_steps=2"]


@pytest.fixture
def processes(warm_programs: Path, tmp_path: Path) -> Iterator[Processes]:
    """Nothing is left of them afterwards."""
    found = Processes(warm_programs, tmp_path)
    yield found
    found.clear()


@pytest.mark.parametrize("topology", ["chain", "star"])
@pytest.mark.parametrize("policy", ["duplicate", "none"])
def test_worker_processes_train_the_weights_of_one_process(
    topology: str, policy: str, processes: Processes, tmp_path: Path
) -> None:
    settings = [f"pipeline.topology={topology}", f"verify.policy={policy}", "verify.redraw_steps=1"]
    here = shieldwall("train", "--run", tmp_path / "here", "--json", *overrides(*TWO_STEPS, *settings)).json()
    processes.train(*TWO_STEPS, *settings)
    processes.join(1, 2, 3, 4)
    assert processes.end() == 0, processes.said
    assert [worker.wait() for worker in processes.workers.values()] == [0] * 4
    there = json.loads((tmp_path / "train.out").read_text())
    assert there["weights_root"] == here["weights_root"]
    assert (there["alerts"], there["verdicts"]) == (0, [])
    assert there["config_root"] == here["config_root"]
    assert Config.load(tmp_path / "run" / "config.toml").transport.kind == "grpc"
    members = Book.open(tmp_path / "run" / "private").members()
    assert [member.name for member in members] == [f"worker-{number}" for number in (1, 2, 3, 4)]
    drawn = json.loads((tmp_path / "run" / "custody.json").read_text())["holders"]
    assert {*drawn} == {"1", "2", "3", "4"}
    assert {*drawn.values()} == {member.name for member in members}
    if policy == "duplicate":
        assert verify_ledger(tmp_path / "run").steps == 2


def test_a_port_that_is_taken_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = shieldwall("train", "--run", tmp_path / "run", "--listen", f"127.0.0.1:{port}", *overrides())
    assert "SW-T110" in ended.err
    assert ended.code == 1


@pytest.mark.parametrize("address", ["7700", "host:port", "127.0.0.1:70000", ":1"])
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    ended = shieldwall("train", "--run", tmp_path / "run", "--listen", address, *overrides())
    assert (ended.code, "SW-C131" in ended.err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_from_python_too(tmp_path: Path) -> None:
    from shieldwall.core.errors import ConfigError

    with pytest.raises(ConfigError, match="SW-C131"):
        train(Config(), folder=tmp_path / "run", listen="nowhere")


def test_machines_without_an_address_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    ended = shieldwall("train", "--run", tmp_path / "run", *overrides("transport.kind=grpc"))
    assert (ended.code, "--listen HOST:PORT" in ended.err) == (2, True)
    assert not (tmp_path / "run").exists()
