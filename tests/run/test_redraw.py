"""Who checks whom is drawn anew while the run goes on: the bits are the same, and two who agreed are taken apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest
from commands import TINY
from torch import Tensor

from shieldwall import Config, train
from shieldwall.core.hooks import Border, Hook
from shieldwall.run.summary import Summary
from shieldwall.verify.ledger import verify_ledger
from shieldwall.verify.ledger.file import open_ledger

STEPS = ["run.steps=6", "evaluation.every_steps=0", "checkpoint.every_steps=0"]
SEED = 0
DRAWN_IN = 3
"""The step before which it is drawn anew, where it is drawn every three steps."""


class Liar(Hook):
    """Sends on twice what its stage made, in every step, whichever stage it holds."""

    def __init__(self) -> None:
        self.stages: set[int] = set()

    async def after_forward(self, border: Border, activation_BTD: Tensor) -> Tensor:
        self.stages.add(border.slot.stage)
        return activation_BTD * 2


class Accomplice(Hook):
    """Agrees with everything that it checks."""

    async def after_check(self, border: Border, agrees: bool) -> bool:
        return True


@pytest.fixture
def foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws come from a seed, not from the operating system: worker-2 goes to stage 3, and worker-3 to stage 1."""
    monkeypatch.setattr("shieldwall.run.custody.SystemRandom", lambda: Random(SEED))


def run(folder: Path, *settings: str, hooks_of: Mapping[str, Sequence[Hook]] | None = None) -> Summary:
    return train(Config.load(None, [*TINY, *STEPS, *settings]), folder=folder, hooks_of=hooks_of).summary


def holders(folder: Path) -> list[dict[str, str]]:
    """Who held the workers' stages, view by view, as the ledger has it."""
    with open_ledger(folder) as ledger:
        views = [json.loads(row.body)["holders"] for row in ledger.all_of("view")]
    return [{stage: name for stage, name in view.items() if name != "initiator"} for view in views]


@pytest.mark.usefixtures("foreseen")
def test_bits_do_not_depend_on_who_holds_what(tmp_path: Path) -> None:
    """Parameters and moments go over, and the states that both have signed are those that are gone on with."""
    still = run(tmp_path / "still", "pipeline.spares=1")
    moved = run(tmp_path / "moved", "pipeline.spares=1", "verify.redraw_steps=2")
    assert moved.weights_root == still.weights_root
    assert (moved.alerts, moved.verdicts, moved.failures, moved.steps_lost) == (0, [], [], 0)
    assert len(holders(tmp_path / "still")) == 1
    seen = holders(tmp_path / "moved")
    assert len(seen) > 3
    assert "worker-5" in {name for view in seen for name in view.values()}
    assert all(len({*view.values()}) == 4 for view in seen)
    report = verify_ledger(tmp_path / "moved")
    assert (report.steps, report.alerts) == (6, 0)


@pytest.mark.usefixtures("foreseen")
@pytest.mark.parametrize("again", [0, DRAWN_IN], ids=["never", "after three steps"])
def test_two_who_agreed_are_found_once_they_are_taken_apart(again: int, tmp_path: Path) -> None:
    """The same two, with and without a draw; what passed before the draw stays in the model."""
    settings = [f"verify.redraw_steps={again}"]
    liar, clean = Liar(), run(tmp_path / "clean", *settings)
    bad = run(tmp_path / "bad", *settings, hooks_of={"worker-2": [liar], "worker-3": [Accomplice()]})
    assert (clean.alerts, clean.verdicts) == (0, [])
    assert bad.weights_root != clean.weights_root
    lines = [json.loads(line) for line in (tmp_path / "bad" / "metrics.jsonl").read_text().splitlines()]
    assert {line["alerts"] for line in lines[:DRAWN_IN]} == {0}
    if again:
        assert {verdict["culprit"] for verdict in bad.verdicts} == {"worker-2"}
        assert {verdict["step"] for verdict in bad.verdicts} == {DRAWN_IN}
        [stage] = {verdict["stage"] for verdict in bad.verdicts}
        assert liar.stages == {2, stage}
    else:
        assert bad.verdicts == []
        assert liar.stages == {2}
