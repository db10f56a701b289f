"""Who is found guilty goes, and somebody else takes over what it held; the weights do not tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from adapter_runs import LORA
from attacked import LIAR, SMALL, culprits, run, write_config
from commands import shieldwall

from shieldwall import Summary
from shieldwall.core.ids import INITIATOR
from shieldwall.core.statements import Header
from shieldwall.verify.ledger.chain import read_statement
from shieldwall.verify.ledger.file import open_ledger
from shieldwall.verify.ledger.records import ViewRecord


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return run(tmp_path_factory.mktemp("runs") / "clean", [])


def views(folder: Path) -> list[ViewRecord]:
    with open_ledger(folder) as ledger:
        return [read_statement(row) for row in ledger.all_of(ViewRecord.kind)]


def makers(folder: Path, step: int) -> set[str]:
    """Who signed for tensors in a step."""
    with open_ledger(folder) as ledger:
        return {row.signer for row in ledger.all_of(Header.kind) if row.step == step}


THIRD: dict[str, Any] = {"kind": "scale", "stage": 3, "from_step": 2}
"""Worker-3, too, but later."""

CASES: list[tuple[list[dict[str, Any]], int, list[str]]] = [
    ([LIAR], 1, ["worker-2 is expelled; worker-5 takes over what it held"]),
    ([LIAR], 0, ["worker-2 is expelled; initiator takes over what it held"]),
    (
        [LIAR, THIRD],
        1,
        [
            "worker-2 is expelled; worker-5 takes over what it held",
            "worker-3 is expelled; initiator takes over what it held",
        ],
    ),
    (
        [LIAR, {**LIAR, "stage": "worker-5", "from_step": 2}],
        2,
        [
            "worker-2 is expelled; worker-5 takes over what it held",
            "worker-5 is expelled; worker-6 takes over what it held",
        ],
    ),
    (
        [{**LIAR, "stage": stage, "from_step": stage - 1} for stage in (1, 2, 3)],
        0,
        [f"worker-{number} is expelled; initiator takes over what it held" for number in (1, 2, 3)],
    ),
]


@pytest.mark.parametrize(
    ("attacks", "spares", "told", "topology"), [*((*case, "chain") for case in CASES), (*CASES[2], "star")]
)
def test_a_successor_takes_over_and_the_weights_are_the_clean_ones(
    attacks: list[dict[str, Any]], spares: int, told: list[str], topology: str, clean: Summary, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    config = write_config(tmp_path / "run.toml", attacks, f"pipeline.spares={spares}", f"pipeline.topology={topology}")
    result = shieldwall("train", config, "--run", folder)
    assert result.code == 0, result.err
    assert [line for line in result.err.splitlines() if "is expelled" in line] == told
    summary = Summary.read(folder / "summary.json")
    gone = {line.split()[0] for line in told}
    assert culprits(summary) == gone
    assert summary.false_accusations == 0
    assert summary.weights_root == clean.weights_root
    assert summary.eval_perplexity == clean.eval_perplexity
    last = views(folder)[-1]
    assert gone.isdisjoint({*last.holders.values(), *last.checkers.values()})
    assert gone.isdisjoint(makers(folder, 3))
    assert all(last.holders[stage] != checker for stage, checker in last.checkers.items())
    assert set(last.checkers) == {stage for stage, holder in last.holders.items() if holder != INITIATOR}
    assert shieldwall("ledger", "verify", folder).code == 0


def test_verdicts_are_told_before_the_expulsion_that_follows(tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.toml", [LIAR], "run.steps=1")
    lines = shieldwall("train", config, "--run", tmp_path / "run").err.splitlines()
    verdict = next(number for number, line in enumerate(lines) if "worker-2 is the culprit. Rule 1" in line)
    more = next(number for number, line in enumerate(lines) if line.startswith("and ") and "more verdicts" in line)
    expelled = next(number for number, line in enumerate(lines) if line.startswith("worker-2 is expelled"))
    step = next(number for number, line in enumerate(lines) if line.startswith("step 1/1"))
    assert verdict < more < expelled < step


def test_workers_with_several_stages_are_expelled_whole(tmp_path: Path, clean: Summary) -> None:
    attacked = run(tmp_path / "run", [{**LIAR, "stage": "worker-1"}], "pipeline.workers=2", "pipeline.spares=1")
    assert culprits(attacked) == {"worker-1"}
    assert {row["stage"] for row in attacked.verdicts} <= {1, 3}
    assert attacked.weights_root == clean.weights_root
    assert views(tmp_path / "run")[-1].holders == {
        0: INITIATOR, 1: "worker-3", 2: "worker-2", 3: "worker-3", 4: "worker-2", 5: INITIATOR
    }  # fmt: skip


ADAPTED = [*SMALL, *LORA, "pipeline.stages=4"]


@pytest.mark.parametrize(
    "attack",
    [{"kind": "own_weights", "target": "frozen", "stage": 1}, {"kind": "own_weights", "target": "served", "stage": 2}],
    ids=["frozen base", "served adapters"],
)
def test_adapters_on_a_poisoned_base_are_the_clean_ones(attack: dict[str, Any], tmp_path: Path) -> None:
    honest = run(tmp_path / "clean", [], base=ADAPTED)
    for name, settings in (("expelled", ["pipeline.spares=1"]), ("kept", ["respond.ban=false"])):
        attacked = run(tmp_path / name, [attack], *settings, base=ADAPTED)
        assert attacked.attacks_fired
        assert culprits(attacked) == {f"worker-{attack['stage']}"}
        assert attacked.false_accusations == 0
        assert attacked.weights_root == honest.weights_root
        first, second = (tmp_path / run / "adapter" / "adapter_model.safetensors" for run in ("clean", name))
        assert first.read_bytes() == second.read_bytes()
