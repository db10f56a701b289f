"""The six rules over generated evidence: exactly one culprit for each accusation, in the order 4, 3, 2, 5, 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Alert, Halt, Header, Inquiry, Refusal, Settlement
from shieldwall.verify.court.referee import Evidence, Finding, judge

MAKER, CHECKER, SOURCE = "maker", "checker", "source"
SLOT = Slot(run="r", view=0, attempt=0, step=3, micro_batch=1, direction=Direction.FORWARD, stage=2)
INPUT, OTHER_INPUT, UNSIGNED_INPUT = "in", "other in", "unsigned in"
RIGHT, WRONG, ALSO_WRONG = "right", "wrong", "also wrong"
STATE, OTHER_STATE = "state", "other state"


@dataclass(frozen=True)
class Story:
    """What really happened, from which the evidence is made."""

    signed: tuple[str, ...]
    """Roots that the maker signed for the slot."""
    named_input: str
    state: str
    source_lied: bool
    """Whether the source signed another input too."""
    said: Literal["nothing", "alert", "inquiry", "settles right", "settles wrong"]
    refused: bool
    halted: bool

    @property
    def accuses(self) -> bool:
        return self.said in ("alert", "inquiry", "settles wrong")


stories = st.builds(
    Story,
    signed=st.sampled_from([(), (RIGHT,), (WRONG,), (RIGHT, WRONG), (WRONG, ALSO_WRONG)]),
    named_input=st.sampled_from([INPUT, OTHER_INPUT, UNSIGNED_INPUT]),
    state=st.sampled_from([STATE, OTHER_STATE]),
    source_lied=st.booleans(),
    said=st.sampled_from(["nothing", "alert", "inquiry", "settles right", "settles wrong"]),
    refused=st.booleans(),
    halted=st.booleans(),
)


def header(signer: str, root_in: str, root_out: str, state: str) -> Signed[Header]:
    statement = Header(
        slot=SLOT,
        source=signer,
        destinations=(),
        shape=(1, 2, 3),
        dtype="float32",
        arithmetic="class",
        root_in=root_in,
        root_out=root_out,
        state_root=state,
    )
    return Signed(statement, signer, b"")


def evidence_of(story: Story) -> Evidence:
    complaints: list[Signed[Any]] = []
    if story.refused:
        complaints.append(Signed(Refusal(slot=SLOT, sender=MAKER, reason="torn"), "consumer", b""))
    if story.halted:
        complaints.append(Signed(Halt(slot=SLOT, root_in=INPUT, what="a tensor"), MAKER, b""))
    if story.said == "alert":
        complaints.append(Signed(Alert(slot=SLOT, root_in=INPUT, root_out=ALSO_WRONG, claimed=RIGHT), CHECKER, b""))
    if story.said == "inquiry":
        fed = OTHER_INPUT
        complaints.append(Signed(Inquiry(slot=SLOT, root_in=fed, root_out=ALSO_WRONG, claimed=INPUT), CHECKER, b""))
    settled = {"settles right": RIGHT, "settles wrong": ALSO_WRONG}.get(story.said)
    return Evidence(
        slot=SLOT,
        maker=MAKER,
        checker=CHECKER,
        headers=[header(MAKER, story.named_input, root, story.state) for root in story.signed],
        source_headers=[
            header(SOURCE, "", root, STATE) for root in (INPUT, *([OTHER_INPUT] if story.source_lied else []))
        ],
        entry_headers=[],
        entry_root="",
        entry_used="",
        root_in=INPUT,
        state_root=STATE,
        computed_root=RIGHT,
        complaints=complaints,
        settlements=[Settlement(slot=SLOT, root_in=INPUT, root_out=settled)] if settled else [],
        form=("class", (1, 2, 3), "float32"),
        users=frozenset(),
    )


def expected(story: Story) -> tuple[str, int]:
    """Culprit and rule, said once more in the words of the six rules: the first that fires decides."""
    if not story.signed:
        if story.halted:
            return MAKER, 1
        return ("", 0) if story.refused else (MAKER, 4)
    if len(story.signed) == 2:
        return MAKER, 3
    if story.named_input != INPUT:
        return (SOURCE, 3) if story.source_lied and story.named_input == OTHER_INPUT else (MAKER, 2)
    if story.state != STATE:
        return MAKER, 5
    if story.signed != (RIGHT,):
        return MAKER, 1
    if story.halted:
        return MAKER, 1
    if not story.accuses:
        return "", 0
    if story.source_lied:
        return SOURCE, 3
    return (CHECKER, 2) if story.said == "inquiry" else (CHECKER, 1)


laws = settings(max_examples=400, deadline=None, derandomize=True)


@laws
@given(story=stories)
def test_the_first_rule_that_fires_decides(story: Story) -> None:
    finding = judge(evidence_of(story))
    assert (finding.culprit, finding.rule) == expected(story)


@laws
@given(story=stories)
def test_every_accusation_has_exactly_one_culprit(story: Story) -> None:
    """The maker where its work is wrong, else the checker or a source with two faces; never maker and checker both."""
    finding: Finding = judge(evidence_of(story))
    said_right = story.signed == (RIGHT,) and story.named_input == INPUT and story.state == STATE
    maker_is_right = said_right and not story.halted
    if story.accuses and (story.signed or not story.refused):
        assert finding.culprit in {MAKER, CHECKER, SOURCE}
    if maker_is_right:
        assert finding.culprit != MAKER
    else:
        assert finding.culprit != CHECKER
    if finding.culprit == SOURCE:
        assert story.source_lied


@laws
@given(story=stories)
def test_silence_and_lost_messages_are_nobodys_fault(story: Story) -> None:
    """Right work that nobody contradicts names nobody, whatever got lost on the way."""
    honest = Story((RIGHT,), INPUT, STATE, False, "nothing", story.refused, halted=False)
    finding = judge(evidence_of(honest))
    assert finding.culprit == ""
    assert finding.tainted is story.refused
