"""Cases judged again from a run's ledger and evidence: those of a court are upheld, those of a forger are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attacked import run
from commands import shieldwall
from forging import sign_again

from shieldwall.core.errors import LedgerError
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.run.rejudge import Rejudged, rejudge
from shieldwall.verify.ledger import verify_ledger
from shieldwall.verify.ledger.cases import Case, cases
from shieldwall.verify.ledger.show import show_ledger

ATTACKS: dict[str, tuple[dict[str, Any], int, str]] = {
    "wrong compute": ({"kind": "sign_flip"}, 1, "slot"),
    "false accusation": ({"kind": "false_accusation"}, 1, "slot"),
    "input lie": ({"kind": "input_lie"}, 2, "slot"),
    "equivocation": ({"kind": "equivocate"}, 3, "slot"),
    "wrong gradient": ({"kind": "wrong_gradient"}, 1, "gradients"),
    "wrong update": ({"kind": "wrong_update"}, 5, "update"),
}
"""Attack, and the rule and the kind of case that its verdicts come under."""

OTHERS = ["replay", "own_weights", "lazy_checker", "malformed"]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run under an attack by worker-2; each is trained once."""

    @cache
    def trained(name: str, when: str = "auto") -> Path:
        attack = ATTACKS[name][0] if name in ATTACKS else {"kind": name}
        folder = tmp_path_factory.mktemp("runs") / "run"
        run(folder, [{**attack, "stage": 2}], "run.steps=2", "respond.ban=false", f"verify.when={when}")
        return folder

    return trained


def judged(folder: Path) -> Rejudged:
    return rejudge(folder, folder / "private" / "evidence.key")


def is_kind(verdict: Verdict, name: str) -> bool:
    _, rule, kind = ATTACKS[name]
    return verdict.rule == rule and kind == ("slot" if verdict.direction.is_slot else verdict.direction.value)


@pytest.mark.parametrize("when", ["before_use", "auto"])
@pytest.mark.parametrize("name", [*ATTACKS, *OTHERS])
def test_what_the_court_found_is_upheld(name: str, when: str, attacked: Callable[..., Path]) -> None:
    folder = attacked(name, when)
    found = list(cases(folder))
    again = judged(folder)
    assert again.upheld + again.not_countersigned == len(found)
    assert again.not_countersigned <= sum(case.commit is None for case in found)  # after the last step nobody signs
    if name in ATTACKS:
        assert any(is_kind(case.verdict, name) for case in found)


def test_an_update_clipped_by_stage_is_upheld(tmp_path: Path) -> None:
    """The ledger tells the factor of each stage, and the update is repeated with that of the accused one."""
    folder = tmp_path / "run"
    settings = ("run.steps=2", "respond.ban=false", "optimizer.clip_by=stage", "optimizer.clip_norm=0.1")
    run(folder, [{"kind": "wrong_update", "stage": 2}], *settings)
    verify_ledger(folder)
    found = list(cases(folder))
    assert judged(folder).upheld == len(found) > 0
    factors = [set(case.commit.clip_coefficients.values()) for case in found if case.commit]
    assert all(len(of_a_step) > 1 for of_a_step in factors)


def another_culprit(verdict: Verdict, _: Case) -> Verdict:
    return replace(verdict, culprit="worker-1", accuser="worker-4", reason="made up")


def a_neighbour(verdict: Verdict, case: Case) -> Verdict:
    """The honest one of the two who hold the stage."""
    assert case.view is not None
    holders = {case.view.holders[verdict.stage], case.view.checkers[verdict.stage]}
    (other,) = holders - {verdict.culprit}
    return replace(verdict, culprit=other, accuser=verdict.culprit)


def made_up_root(verdict: Verdict, _: Case) -> Verdict:
    return replace(verdict, got="ab" * 32)


def other_work(verdict: Verdict, other: Case) -> Verdict:
    return replace(verdict, evidence=other.evidence, expected=other.verdict.expected)


def forge(folder: Path, target: Path, name: str, change: Callable[[Verdict, Case], Verdict]) -> None:
    """One verdict of the kind is changed, the others stay."""
    shutil.copytree(folder, target)
    one = next(case for case in cases(folder) if is_kind(case.verdict, name))
    sign_again(target, lambda verdict: change(verdict, one) if verdict == one.verdict else verdict)


@pytest.mark.parametrize("change", [another_culprit, a_neighbour, made_up_root])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_invented_verdict_is_overturned(
    name: str, change: Callable[[Verdict, Case], Verdict], attacked: Callable[..., Path], tmp_path: Path
) -> None:
    forge(attacked(name), tmp_path / "run", name, change)
    with pytest.raises(LedgerError, match="SW-L111"):
        judged(tmp_path / "run")


@pytest.mark.parametrize("name", ["wrong compute", "false accusation"])
def test_evidence_of_other_work_does_not_count(name: str, attacked: Callable[..., Path], tmp_path: Path) -> None:
    """The other case's evidence is sound and comes out as it says; it is of another micro-batch."""
    folder = attacked(name)
    first, *rest = [case for case in cases(folder) if is_kind(case.verdict, name)]
    other = next(
        case
        for case in rest
        if case.verdict.micro_batch != first.verdict.micro_batch and case.verdict.direction is first.verdict.direction
    )
    forge(folder, tmp_path / "run", name, lambda verdict, _: other_work(verdict, other))
    with pytest.raises(LedgerError, match="SW-L111"):
        judged(tmp_path / "run")


@pytest.mark.parametrize("name", ["wrong gradient", "wrong update"])
def test_evidence_of_another_step_does_not_count(name: str, attacked: Callable[..., Path], tmp_path: Path) -> None:
    folder = attacked(name)
    first, *rest = [case for case in cases(folder) if is_kind(case.verdict, name)]
    other = next(case for case in rest if case.verdict.step != first.verdict.step)
    forge(folder, tmp_path / "run", name, lambda verdict, _: other_work(verdict, other))
    with pytest.raises(LedgerError, match="SW-L111"):
        judged(tmp_path / "run")


@pytest.mark.parametrize("name", ["input lie", "false accusation"])
def test_what_is_not_there_proves_nothing_where_rows_may_be_gone(
    name: str, attacked: Callable[..., Path], tmp_path: Path
) -> None:
    """Whoever has the run's key can take the source's true header away; the others' receipts then do not fit."""
    shutil.copytree(attacked(name), tmp_path / "run")
    before = judged(tmp_path / "run")
    assert verify_ledger(tmp_path / "run").steps_not_countersigned == 0
    sign_again(tmp_path / "run", lambda verdict: verdict, without="receipt")
    report = verify_ledger(tmp_path / "run")
    assert report.steps_not_countersigned == report.steps
    assert any("nobody countersigned" in note for note in report.warnings)
    again = judged(tmp_path / "run")
    assert again.upheld == 0
    assert again.not_countersigned == before.upheld + before.not_countersigned
    assert "rest on what was not signed" in str(again)


def test_what_is_signed_needs_no_receipt(attacked: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(attacked("wrong compute"), tmp_path / "run")
    sign_again(tmp_path / "run", lambda verdict: verdict, without="receipt")
    assert judged(tmp_path / "run") == judged(attacked("wrong compute"))


def test_a_verdict_without_evidence_must_be_signed_too(attacked: Callable[..., Path], tmp_path: Path) -> None:
    forge(
        attacked("wrong compute"),
        tmp_path / "bare",
        "wrong compute",
        lambda verdict, _: replace(verdict, evidence=()),
    )
    assert judged(tmp_path / "bare").without_evidence == 1
    forge(
        attacked("wrong compute"),
        tmp_path / "invented",
        "wrong compute",
        lambda verdict, _: replace(verdict, evidence=(), got="ab" * 32),
    )
    with pytest.raises(LedgerError, match="SW-L111"):
        judged(tmp_path / "invented")


def test_the_command_refuses_what_a_sound_chain_carries(attacked: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    forge(attacked("wrong compute"), folder, "wrong compute", made_up_root)
    assert verify_ledger(folder).closed
    result = shieldwall("ledger", "verify", folder, "--reviewer-key", folder / "private" / "evidence.key")
    assert result.code == 3
    assert "SW-L111" in result.err
    assert result.out == ""


def test_only_what_is_signed_is_said_to_be(attacked: Callable[..., Path], tmp_path: Path) -> None:
    folder = attacked("wrong compute")
    whole = show_ledger(folder, verdicts=True)
    assert whole.count("(signed by worker-2)") == len(list(cases(folder)))
    forge(folder, tmp_path / "run", "wrong compute", made_up_root)
    told = show_ledger(tmp_path / "run", verdicts=True)
    assert told.count("(signed by worker-2)") == whole.count("(signed by worker-2)") - 1
    assert f"{'ab' * 32}\n" in told


def test_served_weights_are_held_against_the_state_in_force(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, [{"kind": "own_weights", "target": "served", "stage": 2}], "run.steps=2", "respond.ban=false")
    found = [case.verdict for case in cases(folder)]
    assert CaseDirection.STATE in {verdict.direction for verdict in found}
    assert judged(folder).upheld == len(found)
    sign_again(folder, lambda verdict: replace(verdict, expected="ab" * 32))
    with pytest.raises(LedgerError, match="SW-L111"):
        judged(folder)
