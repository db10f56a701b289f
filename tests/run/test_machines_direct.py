"""Runs whose workers listen for each other: the same weights, and what the initiator relays is what it says."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import overrides, shieldwall
from processes import Processes

STEPS = ["run.steps=20", "evaluation.every_steps=10", "checkpoint.every_steps=10"]


@pytest.fixture
def processes(warm_programs: Path, tmp_path: Path) -> Iterator[Processes]:
    """Nothing is left of them afterwards."""
    found = Processes(warm_programs, tmp_path)
    yield found
    found.clear()


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Root of the weights that one process ends with."""
    folder = tmp_path_factory.mktemp("here") / "run"
    root: str = shieldwall("train", "--run", folder, "--json", *overrides(*STEPS)).json()["weights_root"]
    return root


def relayed(processes: Processes) -> set[tuple[str, str]]:
    """Between whom the initiator has passed something on, by its own count."""
    [line] = re.findall(r"relayed between workers: (.*)", processes.said)
    return set(re.findall(r"(\S+) -> (\S+) [\d,]+ bytes", line))


def test_where_all_listen_nothing_is_relayed_and_a_lost_one_is_replaced(processes: Processes, one_process: str) -> None:
    processes.train(*STEPS)
    for number in (1, 2, 3, 4):
        processes.join(number, listen="127.0.0.1:0")
        processes.wait_for(lambda: f"worker-{number} in the run" in processes.told(number))  # noqa: B023
    processes.wait_for(lambda: processes.steps >= 3)
    assert "between workers: all direct" in processes.said
    lost = "worker-2"
    processes.workers[processes.number_of(lost)].send_signal(signal.SIGKILL)
    assert processes.end() == 0, processes.said
    summary = json.loads((processes.folder / "train.out").read_text())
    assert summary["weights_root"] == one_process
    assert (summary["steps_lost"], summary["verdicts"], summary["alerts"]) == (0, [], 0)
    failed = {failure["worker"] for failure in summary["failures"]}  # on a crowded machine others may fall silent, too
    assert lost in failed
    assert all(failed & {*pair} for pair in relayed(processes)), processes.said
    for number in set(processes.workers) - {processes.number_of(lost)}:
        assert processes.workers[number].wait() == 0
        assert f"to {lost}: direct" in processes.told(number)


def test_where_some_listen_the_others_are_relayed_and_both_are_shown(processes: Processes, one_process: str) -> None:
    """And a spare that comes first is not one of those who are waited for."""
    processes.train(*STEPS)
    processes.join(5, ticket=shieldwall("invite", processes.folder / "run").out.strip(), spare=True)
    processes.wait_for(lambda: "spare in the run" in processes.told(5))
    for number in (1, 2, 3, 4):
        processes.join(number, listen="127.0.0.1:0" if number in (2, 3) else "")
        processes.wait_for(lambda: f"worker-{number} in the run" in processes.told(number))  # noqa: B023
    processes.wait_for(lambda: processes.steps >= 1)
    found = {each["name"]: each for each in shieldwall("workers", processes.folder / "run", "--json").json()}
    shown = {name: each["ways"] for name, each in found.items()}
    table = shieldwall("workers", processes.folder / "run").out
    assert processes.end() == 0, processes.said
    assert json.loads((processes.folder / "train.out").read_text())["weights_root"] == one_process
    no_listen = "relayed: no --listen"
    assert sorted(each["state"] for each in found.values()) == ["spare", *["working"] * 4]  # which is drawn
    assert {name: shown["worker-1"][name] for name in ("worker-2", "worker-3", "worker-4")} == {
        "worker-2": "direct",
        "worker-3": "direct",
        "worker-4": no_listen,
    }
    assert shown["worker-3"]["worker-1"] == no_listen
    assert "2 direct, 2 relayed" in table
    assert "worker-1 -> worker-2, worker-3 direct" in processes.said
    assert relayed(processes)
    assert {destination for _, destination in relayed(processes)} <= {"worker-1", "worker-4", "spare"}
