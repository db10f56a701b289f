"""An honest ledger holds, whatever happened in its run; one that contradicts itself does not, whoever signed it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_believe import EVENTFUL, QUIET, RUN, Story, Teller, identity, root

from shieldwall.core.errors import LedgerError
from shieldwall.core.ids import INITIATOR, Direction, Role
from shieldwall.core.signing import Signed, fingerprint
from shieldwall.core.statements import Alert, GradientClaim, Header, Receipt, Settlement, StateOpening, StateSeal
from shieldwall.verify.ledger import LedgerReport, LedgerWriter, ViewRecord, read_tail, verify_ledger

Edit = Callable[[Signed[Any]], Iterable[Signed[Any]]]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    stages, micro_batches, steps = draw(st.integers(3, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    step, micro_batch = st.integers(0, steps - 1), st.integers(0, micro_batches - 1)
    middle = st.integers(1, stages - 2)
    slots = st.tuples(step, micro_batch, st.sampled_from([Direction.FORWARD, Direction.BACKWARD]), middle)
    return Story(
        stages=stages,
        micro_batches=micro_batches,
        steps=steps,
        again=draw(st.frozensets(st.tuples(step, micro_batch), max_size=2)),
        corrected=draw(st.frozensets(slots, max_size=2)),
        accused=draw(st.frozensets(slots, max_size=2)),
        wrong_update=draw(st.frozensets(st.tuples(step, middle), max_size=1)),
        new_view_before=draw(st.frozensets(step, max_size=1)),
        resumed_at=draw(st.none() | step),
        closed=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(story=stories())
def test_an_honest_ledger_holds(story: Story) -> None:
    with tempfile.TemporaryDirectory() as name:
        teller = Teller(Path(name), story)
        path = teller.tell()
        report = verify_ledger(path.parent, fingerprint(teller.initiator.public), allow_open=not story.closed)
        tail = read_tail(path, teller.initiator)
    assert (report.run, report.steps, report.closed) == (RUN, story.steps, story.closed)
    assert report.replaced_steps == (0 if story.resumed_at is None else story.steps - story.resumed_at)
    assert bool(report.warnings) is not story.closed
    assert (tail.rows, tail.step, tail.closed) == (report.rows, story.steps, story.closed)
    assert bool(report.verdicts) == bool(story.corrected | story.accused or story.wrong_update)
    assert {verdict.reason for verdict in report.verdicts} <= {
        "What it signed does not follow from the input.",
        "Its new state does not follow from the step's gradients.",
    }


def report_of(folder: Path, edit: Edit, story: Story = QUIET) -> LedgerReport:
    """The report on a ledger in whose work each statement became what `edit` makes of it."""
    teller = Teller(folder, story, edit=edit)
    return verify_ledger(teller.tell(), fingerprint(teller.initiator.public))


def refusal(folder: Path, edit: Edit, story: Story = QUIET) -> LedgerError:
    with pytest.raises(LedgerError) as caught:
        report_of(folder, edit, story)
    return caught.value


def at(signed: Signed[Any], kind: type[Any], stage: int, direction: Direction = Direction.FORWARD) -> bool:
    """Whether that is a statement of step 1, micro-batch 1."""
    if type(signed.statement) is not kind:
        return False
    slot = signed.statement.slot
    return (slot.step, slot.micro_batch, slot.stage, slot.direction) == (1, 1, stage, direction)


def kept_at(signed: Signed[Any], kind: type[Any], role: Role, stage: int = 1) -> bool:
    """Whether that is a statement about what is kept of a stage in step 1."""
    if type(signed.statement) is not kind:
        return False
    holding = signed.statement.holding
    return (holding.step, holding.stage, holding.role) == (1, stage, role)


def resigned(signed: Signed[Any], by: str = "", **changes: Any) -> Signed[Any]:
    """The same with other content, signed by its signer or somebody else."""
    return identity(by or signed.signer).sign(replace(signed.statement, **changes))


Case = tuple[Callable[[Signed[Any]], bool], Callable[[Signed[Any]], Iterable[Signed[Any]]], str, str]

JOINS: dict[str, Case] = {
    "no header": (lambda s: at(s, Header, 1), lambda _: (), "SW-L108", "commits a slot without a header"),
    "no header of the last stage": (
        lambda s: at(s, Header, 3, Direction.BACKWARD),
        lambda _: (),
        "SW-L108",
        "commits a slot without a header",
    ),
    "no settlement": (lambda s: at(s, Settlement, 1), lambda _: (), "SW-L108", "was never settled"),
    "no settlement of a gradient": (
        lambda s: at(s, Settlement, 2, Direction.BACKWARD),
        lambda _: (),
        "SW-L108",
        "was never settled",
    ),
    "an alert in the place of a settlement": (
        lambda s: at(s, Settlement, 1),
        lambda s: [
            identity(s.signer).sign(
                Alert(slot=s.statement.slot, root_in=s.statement.root_in, root_out=root("x"), claimed=root("y"))
            )
        ],
        "SW-L108",
        "was never settled",
    ),
    "settled by the maker itself": (
        lambda s: at(s, Settlement, 1),
        lambda s: [resigned(s, "worker-1")],
        "SW-L108",
        "was never settled",
    ),
    "another tensor settled": (
        lambda s: at(s, Settlement, 1),
        lambda s: [resigned(s, root_out=root("another"))],
        "SW-L108",
        "settles something else than was made",
    ),
    "settled from another input": (
        lambda s: at(s, Settlement, 2),
        lambda s: [resigned(s, root_in=root("another"))],
        "SW-L108",
        "settles something else than was made",
    ),
    "another tensor made": (
        lambda s: at(s, Header, 2),
        lambda s: [resigned(s, root_out=root("another"))],
        "SW-L108",
        "settles something else than was made",
    ),
    "another input used": (
        lambda s: at(s, Header, 2),
        lambda s: [resigned(s, root_in=root("another"))],
        "SW-L108",
        "was made from something else than was made for it",
    ),
    "another gradient used": (
        lambda s: at(s, Header, 1, Direction.BACKWARD),
        lambda s: [resigned(s, root_in=root("another"))],
        "SW-L108",
        "was made from something else than was made for it",
    ),
    "the initiator's last stage used another input": (
        lambda s: at(s, Header, 3, Direction.BACKWARD),
        lambda s: [resigned(s, root_in=root("another"))],
        "SW-L108",
        "was made from something else than was made for it",
    ),
    "another state used": (
        lambda s: at(s, Header, 1),
        lambda s: [resigned(s, state_root=root("state", 0, 1))],
        "SW-L108",
        "was made with another state than was committed",
    ),
    "the state left out": (
        lambda s: at(s, Header, 1),
        lambda s: [resigned(s, state_root="")],
        "SW-L108",
        "was made with another state than was committed",
    ),
    "made by somebody else": (
        lambda s: at(s, Header, 1),
        lambda s: [resigned(s, "worker-3", source="worker-3")],
        "SW-L108",
        "is not of the stage's holder",
    ),
    "two headers": (
        lambda s: at(s, Header, 1),
        lambda s: [s, resigned(s, root_out=root("another"))],
        "SW-L108",
        "is a second, other header of its slot",
    ),
    "no claim": (lambda s: kept_at(s, GradientClaim, Role.DUPLICATE), lambda _: (), "SW-L109", "lacks the gradients"),
    "other gradients": (
        lambda s: kept_at(s, GradientClaim, Role.DUPLICATE),
        lambda s: [resigned(s, root=root("other"))],
        "SW-L109",
        "claims other gradients of stage 1",
    ),
    "other norms": (
        lambda s: kept_at(s, GradientClaim, Role.STAGE),
        lambda s: [resigned(s, norms={"w": "0x1p-2"})],
        "SW-L109",
        "claims other gradients of stage 1",
    ),
    "no seal": (lambda s: kept_at(s, StateSeal, Role.STAGE), lambda _: (), "SW-L109", "lacks the seal of stage 1"),
    "another seal": (
        lambda s: kept_at(s, StateSeal, Role.STAGE),
        lambda s: [resigned(s, sealed=root("other"))],
        "SW-L109",
        "is not what was in the envelope",
    ),
    "no opening": (
        lambda s: kept_at(s, StateOpening, Role.DUPLICATE, 2),
        lambda _: (),
        "SW-L109",
        "lacks the opening of duplicate 2",
    ),
    "another state opened": (
        lambda s: kept_at(s, StateOpening, Role.STAGE),
        lambda s: [resigned(s, root=root("other"))],
        "SW-L109",
        "is not what was in the envelope",
    ),
}


@pytest.mark.parametrize("name", sorted(JOINS))
def test_a_ledger_that_contradicts_itself_does_not_hold(name: str, tmp_path: Path) -> None:
    """Even where every signature is right: the parties, or the initiator, have written what cannot be."""
    applies, change, code, words = JOINS[name]
    changed = 0

    def edit(signed: Signed[Any]) -> Iterable[Signed[Any]]:
        nonlocal changed
        if not applies(signed):
            return [signed]
        changed += 1
        return change(signed)

    error = refusal(tmp_path, edit)
    assert changed == 1
    assert error.code == code
    assert words in str(error)
    assert "step 1" in str(error)


def test_an_envelope_opened_before_the_other_is_in_does_not_hold(tmp_path: Path) -> None:
    """Who opens first can be copied."""
    late: list[Signed[Any]] = []

    def edit(signed: Signed[Any]) -> Iterable[Signed[Any]]:
        if kept_at(signed, StateSeal, Role.DUPLICATE):
            late.append(signed)
            return []
        if kept_at(signed, StateOpening, Role.STAGE):
            return [signed, *late]
        return [signed]

    error = refusal(tmp_path, edit)
    assert error.code == "SW-L109"
    assert "was opened before both envelopes were in" in str(error)


def test_a_header_by_another_hand_beside_the_right_one_changes_nothing(tmp_path: Path) -> None:
    """A worker signs whatever it likes: about slots of others, steps to come, views and runs that do not exist."""

    def edit(signed: Signed[Any]) -> Iterable[Signed[Any]]:
        yield signed
        if at(signed, Header, 1):
            slot = signed.statement.slot
            for changes in (
                {"attempt": 99},
                {"step": 10**30},
                {"step": -1},
                {"view": 7},
                {"run": "another"},
                {"micro_batch": 50},
                {"stage": 40},
            ):
                yield resigned(signed, slot=replace(slot, **changes))
            yield resigned(signed, "worker-2", source="worker-2", root_out=root("slander"))
        if isinstance(signed.statement, Receipt) and signed.statement.step == 0:
            yield resigned(signed, step=10**6)

    report = report_of(tmp_path, edit)
    assert report.steps == QUIET.steps
    assert len(report.disputes) == 3
    assert "worker-1 countersigned a ledger with another head at step 1000000" in report.disputes[0]


def test_a_receipt_for_another_head_is_told(tmp_path: Path) -> None:
    """The worker lies, or somebody has shown it another ledger; the reader must know."""

    def edit(signed: Signed[Any]) -> Iterable[Signed[Any]]:
        return [resigned(signed, head=root("fork")) if isinstance(signed.statement, Receipt) else signed]

    report = report_of(tmp_path, edit)
    assert report.receipts == 0
    assert len(report.disputes) == 3 * QUIET.steps
    assert set(report.disputes) <= set(report.warnings)


def test_whoever_took_a_duty_over_may_settle(tmp_path: Path) -> None:
    """The initiator settles where the checker has gone."""

    def edit(signed: Signed[Any]) -> Iterable[Signed[Any]]:
        return [resigned(signed, INITIATOR) if at(signed, Settlement, 1) else signed]

    assert report_of(tmp_path, edit).closed


def test_what_a_verdict_excuses_is_needed_without_it(tmp_path: Path) -> None:
    """The eventful run holds only because its verdicts and corrections are in it."""

    class Silent(Teller):
        def judge(self, *_: Any) -> None:
            pass

        def judge_update(self, *_: Any) -> None:
            pass

    accused = Silent(tmp_path / "accused", replace(QUIET, accused=EVENTFUL.accused))
    updated = Silent(tmp_path / "updated", replace(QUIET, wrong_update=EVENTFUL.wrong_update))
    for teller, code in ((accused, "SW-L108"), (updated, "SW-L109")):
        teller.folder.mkdir()
        with pytest.raises(LedgerError, match=code):
            verify_ledger(teller.tell())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"view": 0}, "is no later view"),
        ({"view": 1, "holders": {0: INITIATOR, 2: INITIATOR}}, "leaves a stage without a host"),
        ({"view": 1, "checkers": {1: "worker-1"}}, "lets worker-1 check itself on stage 1"),
        ({"view": 1, "checkers": {1: "stranger"}}, "names a host without a key"),
        ({"view": 1, "keys": {"worker-1": bytes(32)}}, "gives worker-1 another key"),
        ({"view": 1, "run": "another"}, "is of another run"),
    ],
)
def test_a_view_that_cannot_be_does_not_hold(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    teller = Teller(tmp_path, Story(stages=3))
    writer = teller.begin()
    view = ViewRecord(run=RUN, view=0, holders=teller.holders, checkers=teller.checkers, arithmetic="")
    writer.record(replace(view, **changes))
    writer.close()
    with pytest.raises(LedgerError, match=words) as caught:
        verify_ledger(writer.path)
    assert (caught.value.code, caught.value.row) == ("SW-L107", 2)


def test_a_resumption_that_uses_attempts_again_does_not_hold(tmp_path: Path) -> None:
    teller = Teller(tmp_path, Story(steps=1))
    writer = teller.begin()
    teller.attempt = 3
    teller.tell_step(writer)
    writer.resume(0, 3)
    writer.close()
    with pytest.raises(LedgerError, match="uses attempts again"):
        verify_ledger(writer.path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"micro_batches": 1}, "commits other micro-batches than were worked on"),
        ({"micro_batches": 3}, "commits other micro-batches than were worked on"),
        ({"attempt": 0}, "names too low an attempt"),
        ({"state_roots": {}}, "commits no state of stage 1"),
    ],
)
def test_a_commit_that_says_something_else_does_not_hold(
    changes: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The initiator's own software is wrong: what it signs is not what was done."""
    plain = LedgerWriter.commit_step
    monkeypatch.setattr(LedgerWriter, "commit_step", lambda writer, **given: plain(writer, **{**given, **changes}))
    teller = Teller(tmp_path, replace(QUIET, again=frozenset({(0, 1)})))
    with pytest.raises(LedgerError, match=words) as caught:
        verify_ledger(teller.tell())
    assert str(caught.value.where).startswith(f"row {caught.value.row} (commit, step 0)")
