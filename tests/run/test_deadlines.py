"""A worker that beats and keeps one answer back loses what it holds, without blame; nobody who waits for it does."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from processes import Processes
from withheld import LEAN, Withhold, run_withholding, undisturbed

from shieldwall.core.ids import COORDINATOR, Direction
from shieldwall.core.messages import (
    Committed,
    Message,
    Note,
    Opened,
    Played,
    Prepared,
    Shown,
    StateReport,
    SummedUp,
    TensorFrame,
)
from shieldwall.core.statements import Header, Settlement
from shieldwall.run.machines.status import STATUS_FILE, RunStatus

BAD = "worker-2"
WORKERS = ("worker-1", "worker-2", "worker-3")
Fits = Callable[[str, Message], bool]


def of_kind(*kinds: type[Message]) -> Fits:
    return lambda _, message: isinstance(message, kinds)


def about(kind: type[object], to: str = "") -> Fits:
    """A statement on its way; in a star hooks see it before it is given to the server."""
    return lambda whom, message: (
        isinstance(message, Note) and isinstance(message.signed.statement, kind) and whom == (to or whom)
    )


def tensor(direction: Direction, step: int = 1) -> Fits:
    return lambda _, message: (
        isinstance(message, TensorFrame) and (message.slot.direction, message.slot.step) == (direction, step)
    )


WITHHELD: dict[str, Fits] = {
    "Played": of_kind(Played),
    "SummedUp": of_kind(SummedUp),
    "Prepared": of_kind(Prepared),
    "Opened": of_kind(Opened),
    "Committed": of_kind(Committed),
    "StateReport": of_kind(StateReport),
    "an activation": tensor(Direction.FORWARD),
    "a gradient": tensor(Direction.BACKWARD),
    "a settlement for who waits for it": lambda whom, message: about(Settlement)(whom, message) and whom != COORDINATOR,
}
BY_NAME = ["Played", "SummedUp", "Prepared", "StateReport", "an activation"]
DRAWN = ["a settlement for who waits for it", "a gradient", "Opened", "Committed", "an activation"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    return undisturbed(tmp_path_factory.mktemp("clean") / "run")


@pytest.mark.parametrize("what", BY_NAME)
def test_who_keeps_one_answer_back_is_lost_and_nobody_else(
    what: str, clean: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Withhold(WITHHELD[what])
    summary = run_withholding(monkeypatch, tmp_path / "run", {BAD: [bad]})
    assert len(bad.kept) == 1
    assert [(failure["worker"], failure["kind"]) for failure in summary.failures] == [(BAD, "deadline")]
    assert (summary.steps, summary.steps_lost, summary.verdicts) == (4, 0, [])
    assert summary.weights_root == clean


@pytest.mark.parametrize("kind", [Header, Settlement])
def test_a_statement_that_the_initiator_alone_does_not_get_is_the_referees_business(
    kind: type[object], clean: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No lane waits for it."""
    bad = Withhold(about(kind, COORDINATOR))
    summary = run_withholding(monkeypatch, tmp_path / "run", {BAD: [bad]})
    assert len(bad.kept) == 1
    assert (summary.failures, summary.steps_lost, summary.weights_root) == ([], 0, clean)
    assert {verdict["culprit"] for verdict in summary.verdicts} <= {BAD}


def test_nobody_is_lost_where_nobody_keeps_anything_back(
    clean: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean twin; an evaluation and checkpoints are in it."""
    summary = run_withholding(monkeypatch, tmp_path / "run", {}, "evaluation.every_steps=2")
    assert (summary.failures, summary.verdicts, summary.alerts, summary.weights_root) == ([], [], 0, clean)


@pytest.mark.parametrize("seed", range(len(DRAWN)))
def test_whoever_keeps_back_whatever_it_is_found(
    seed: int, clean: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn hosts, topologies and settlements."""
    random, what = Random(seed), DRAWN[seed]
    topology, when = random.choice(["chain", "star"]), random.choice(["before_use", "before_commit"])
    name = random.choice(WORKERS)
    if "settlement" in what:  # worker-1 checks nobody, and before the commit nobody waits
        name, when = random.choice(WORKERS[1:]), "before_use"
    bad = Withhold(WITHHELD[what])
    summary = run_withholding(
        monkeypatch, tmp_path / "run", {name: [bad]}, f"pipeline.topology={topology}", f"verify.when={when}"
    )
    assert len(bad.kept) == 1, (name, what)
    assert [(failure["worker"], failure["kind"]) for failure in summary.failures] == [(name, "deadline")], what
    assert (summary.steps_lost, summary.verdicts, summary.weights_root) == (0, [], clean)


def test_a_tensor_that_nobody_saw_goes_once_more_through_the_initiator_and_nobody_is_taken_at_its_word(
    clean: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Withhold(WITHHELD["an activation"])
    summary = run_withholding(monkeypatch, tmp_path / "run", {BAD: [bad]}, witness=False)
    assert len(bad.kept) == 1
    assert (summary.failures, summary.verdicts, summary.micro_batches_rerun) == ([], [], 0)
    assert summary.weights_root == clean


def test_who_does_it_again_and_again_is_lost_also_where_nobody_sees_it(
    clean: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Withhold(of_kind(TensorFrame), count=1000)
    summary = run_withholding(monkeypatch, tmp_path / "run", {BAD: [bad]}, witness=False)
    assert bad.kept
    assert [(failure["worker"], failure["kind"]) for failure in summary.failures] == [(BAD, "deadline")]
    assert (summary.steps_lost, summary.verdicts, summary.weights_root) == (0, [], clean)


def test_who_has_signed_for_a_tensor_and_does_not_show_it_is_lost(
    clean: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows = Withhold(of_kind(Shown), count=1000)
    bad = Withhold(WITHHELD["an activation"])
    summary = run_withholding(monkeypatch, tmp_path / "run", {BAD: [bad, shows]}, witness=False)
    assert shows.kept
    assert [(failure["worker"], failure["kind"]) for failure in summary.failures] == [(BAD, "deadline")]
    assert (summary.steps_lost, summary.verdicts, summary.weights_root) == (0, [], clean)


def test_a_process_that_beats_and_withholds_is_replaced_and_a_stopped_initiator_loses_nobody(
    clean: str, warm_programs: Path, tmp_path: Path
) -> None:
    """The initiator is stopped until its workers have given the connection up, and goes on; later a worker keeps the
    report of one step back."""
    processes = Processes(warm_programs, tmp_path)
    try:
        processes.train(*LEAN)
        processes.join(1, 3)
        processes.join_withholding(2, step=3)
        processes.wait_for(lambda: processes.steps >= 1)
        initiator = RunStatus.read(processes.folder / "run" / STATUS_FILE).process.pid
        os.kill(initiator, signal.SIGSTOP)
        processes.wait_for(lambda: all("lost" in processes.told(number) for number in (1, 2, 3)))
        os.kill(initiator, signal.SIGCONT)
        assert processes.end() == 0, processes.said
        summary = json.loads((processes.folder / "train.out").read_text())
        assert "kept back: Played of step 3" in processes.told(2)
        name = next(name for name in WORKERS if processes.number_of(name) == 2)
        assert [(failure["worker"], failure["kind"]) for failure in summary["failures"]] == [(name, "deadline")]
        assert (summary["steps_lost"], summary["verdicts"], summary["weights_root"]) == (0, [], clean)
        assert f"{name} has missed a deadline: the end of the lane was waited for" in processes.said
        assert "a worker that keeps an answer back is lost after 10 times what it takes the others" in processes.said
    finally:
        processes.clear()
