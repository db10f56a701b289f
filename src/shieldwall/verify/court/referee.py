"""The six rules, as a function of evidence: exactly one culprit, or nobody (design 4.6; facts: the six referee rules).

    4 withholding      the stage cannot show what it made                                             the stage
    3 equivocation     one maker signed two different headers for one slot                            that maker
    2 input lie        the stage names an input that its source never signed                          the stage
    5 wrong weights    the stage names another state than the one that was co-signed                  the stage
    1 wrong compute    what the referee computes differs from what the stage signed, or its header    the stage
                       does not describe it
                       it does not differ, and the checker said otherwise                             the checker
    6 garbage passed on: work on a bad but signed input is right work; each slot is judged by the input that was signed
      for it, so the walk upstream ends at the first stage whose input is right and whose output is wrong.

The first rule that fires decides, in the order 4, 3, 2, 5, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shieldwall.core.ids import Slot
from shieldwall.core.signing import Signed
from shieldwall.core.statements import Alert, Halt, Header, Inquiry, Refusal, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything about one slot that was signed, shown or computed."""

    slot: Slot
    maker: str
    checker: str
    headers: Sequence[Signed[Header]]
    """What the maker signed for the slot, as far as anybody has it."""
    source_headers: Sequence[Signed[Header]]
    """What the maker of the input signed for the input's slot, as far as anybody has it."""
    entry_headers: Sequence[Signed[Header]]
    """In backward: what was signed for the activation that stage and duplicate had worked on."""
    entry_root: str
    """In backward: root of that activation as it is in force; else empty."""
    entry_used: str
    """In backward: the activation that the stage named when it signed its own; else empty."""
    root_in: str
    """Root of the input that is in force; empty where that is the initiator's own data."""
    state_root: str
    """The stage's state, as co-signed."""
    computed_root: str
    """What the referee made of that input with that state."""
    complaints: Sequence[Signed[Any]]
    settlements: Sequence[Settlement]
    """What the checker settled, each different word once."""
    form: tuple[str, tuple[int, ...], str]
    """Arithmetic class, shape and type that the tensor must have."""
    users: frozenset[str]
    """Hosts that the tensor is meant for, the maker's own left out."""

    @property
    def halts(self) -> list[Halt]:
        """What the maker said of having stopped."""
        return [each.statement for each in self.complaints if isinstance(each.statement, Halt)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of a case. `culprit` is empty where nobody is guilty: silence, a lost message, a late answer."""

    culprit: str = ""
    rule: int = 0
    accuser: str = ""
    expected: str = ""
    got: str = ""
    reason: str = ""
    tainted: bool = False
    """Whether others may have worked on a wrong tensor of this slot, or on none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A finding with the tensor that is right, as it is sent, and its root."""

    finding: Finding
    tensor: Tensor
    root: str
    root_in: str


def judge(evidence: Evidence) -> Finding:
    """Apply the rules."""
    accuser = _accuser(evidence)
    if not evidence.headers:
        return _halted_at_another_input(evidence, accuser) or _withheld(evidence, accuser)
    if len(evidence.headers) > 1:
        return _equivocated(evidence, accuser)
    header = evidence.headers[0].statement
    if header.root_in != evidence.root_in:
        return _strange_input(evidence, header, accuser)
    if evidence.entry_used != evidence.entry_root:
        return _strange_entry(evidence, accuser)
    if header.state_root != evidence.state_root:
        return Finding(
            culprit=evidence.maker,
            rule=5,
            accuser=accuser,
            expected=evidence.state_root,
            got=header.state_root,
            reason=f"{evidence.maker} worked with another state than the one that was co-signed",
            tainted=True,
        )
    if header.root_out != evidence.computed_root:
        return Finding(
            culprit=evidence.maker,
            rule=1,
            accuser=accuser,
            expected=evidence.computed_root,
            got=header.root_out,
            reason=f"what {evidence.maker} signed does not follow from its signed input and state",
            tainted=True,
        )
    return _misdescribed(evidence, header, accuser) or _maker_is_right(evidence, accuser)


def _equivocated(evidence: Evidence, accuser: str) -> Finding:
    """The maker signed two different headers for one slot; they may differ in more than the tensor's root."""
    roots = _two_roots(evidence.headers)
    first, second = (signed.statement for signed in evidence.headers[:2])
    expected, got = (evidence.computed_root, _other(roots, evidence.computed_root)) if roots else _apart(first, second)
    return Finding(
        culprit=evidence.maker,
        rule=3,
        accuser=accuser,
        expected=expected,
        got=got,
        reason=f"{evidence.maker} signed two different {'tensors' if roots else 'headers'} for one slot",
        tainted=True,
    )


def _apart(first: Header, second: Header) -> tuple[str, str]:
    """Where two headers with one root differ, in words."""
    pairs = zip(first.to_json().items(), second.to_json().items(), strict=True)
    name, mine, other = next((name, mine, other) for (name, mine), (_, other) in pairs if mine != other)
    return f"{name} {mine}", f"{name} {other}"


def _misdescribed(evidence: Evidence, header: Header, accuser: str) -> Finding | None:
    """A right tensor under a header with which nobody can use it: of another form, from or for somebody else."""
    stated = (header.arithmetic, header.shape, header.dtype)
    if (stated, header.source) == (evidence.form, evidence.maker) and evidence.users <= {*header.destinations}:
        return None
    return Finding(
        culprit=evidence.maker,
        rule=1,
        accuser=accuser,
        expected=evidence.computed_root,
        got=header.description,
        reason=f"{evidence.maker} signed a header that does not describe its tensor",
        tainted=True,
    )


def _maker_is_right(evidence: Evidence, accuser: str) -> Finding:
    if evidence.halts:
        return _halted_at_another_input(evidence, accuser) or Finding(
            culprit=evidence.maker,
            rule=1,
            accuser=accuser,
            expected=evidence.computed_root,
            reason=f"{evidence.maker} signed a tensor, and that it had stopped without one",
            tainted=True,
        )
    inquiry = next((each.statement for each in evidence.complaints if isinstance(each.statement, Inquiry)), None)
    if inquiry:
        return _answer(evidence, inquiry, accuser)
    claimed = _claim_against(evidence)
    for headers in (evidence.source_headers, evidence.entry_headers):
        if claimed is not None and _two_roots(headers):
            return _two_faced(evidence, headers, accuser)
    if claimed is None:
        refused = any(not isinstance(complaint.statement, (Alert, Inquiry)) for complaint in evidence.complaints)
        return Finding(expected=evidence.computed_root, reason="a message was lost or late", tainted=refused)
    return Finding(
        culprit=evidence.checker,
        rule=1,
        accuser=accuser,
        expected=evidence.computed_root,
        got=claimed,
        reason=f"{evidence.checker} signed a different result for work that is right",
    )


def _answer(evidence: Evidence, inquiry: Inquiry, accuser: str) -> Finding:
    """The checker was fed something else: did the source sign that, or did the checker make it up?"""
    fed = [signed for signed in evidence.source_headers if signed.statement.root_out == inquiry.root_in]
    if fed and inquiry.root_in != evidence.root_in:
        return _two_faced(evidence, evidence.source_headers, accuser)
    if inquiry.root_in == evidence.root_in:  # had the maker signed that for the checker, the header would be here
        return Finding(
            culprit=evidence.checker,
            rule=2,
            accuser=accuser,
            expected=evidence.root_in,
            got=inquiry.claimed,
            reason=f"{evidence.checker} says of {evidence.maker} what {evidence.maker} never signed",
        )
    return Finding(
        culprit=evidence.checker,
        rule=2,
        accuser=accuser,
        expected=evidence.root_in,
        got=inquiry.root_in,
        reason=f"{evidence.checker} names an input that nobody signed",
    )


def _two_faced(evidence: Evidence, headers: Sequence[Signed[Header]], accuser: str) -> Finding:
    """Stage and duplicate were fed different tensors for one slot: their maker's doing, and the duplicate is spoilt."""
    maker, roots = headers[0].signer, _two_roots(headers)
    return Finding(
        culprit=maker,
        rule=3,
        accuser=accuser,
        expected=_other(roots, roots[1]),
        got=roots[1],
        reason=f"{maker} signed two different tensors for one slot; {evidence.maker} and its checker got one each",
        tainted=True,
    )


def _withheld(evidence: Evidence, accuser: str) -> Finding:
    halted = bool(evidence.halts)
    if not halted and any(isinstance(complaint.statement, Refusal) for complaint in evidence.complaints):
        return Finding(expected=evidence.computed_root, reason="nothing came that can be used", tainted=True)
    what = "stopped at a result that is finite" if halted else "shows nothing for the slot"
    return Finding(
        culprit=evidence.maker,
        rule=1 if halted else 4,
        accuser=accuser,
        expected=evidence.computed_root,
        reason=f"{evidence.maker} {what}",
        tainted=True,
    )


def _halted_at_another_input(evidence: Evidence, accuser: str) -> Finding | None:
    """A stage that stopped says what it had stopped at: as with a tensor that was made, its source may have lied."""
    for halt in evidence.halts:
        if halt.root_in != evidence.root_in:
            return _strange_input(evidence, halt, accuser)
    return _strange_entry(evidence, accuser) if evidence.halts and evidence.entry_used != evidence.entry_root else None


def _strange_input(evidence: Evidence, header: Header | Halt, accuser: str) -> Finding:
    """The stage names an input that is not in force: did its source sign that too, or did the stage make it up?"""
    for signed in evidence.source_headers:
        if signed.statement.root_out == header.root_in:
            return Finding(
                culprit=signed.signer,
                rule=3,
                accuser=accuser,
                expected=evidence.root_in,
                got=header.root_in,
                reason=f"{signed.signer} signed two different tensors for one slot, the input of {evidence.maker}",
                tainted=True,
            )
    return Finding(
        culprit=evidence.maker,
        rule=2,
        accuser=accuser,
        expected=evidence.root_in,
        got=header.root_in,
        reason=f"{evidence.maker} names an input that nobody signed",
        tainted=True,
    )


def _strange_entry(evidence: Evidence, accuser: str) -> Finding:
    """The stage goes back over another activation than the one that is in force: as `_strange_input`, for forward."""
    if _two_roots(evidence.entry_headers):
        return _two_faced(evidence, evidence.entry_headers, accuser)
    return Finding(
        culprit=evidence.maker,
        rule=2,
        accuser=accuser,
        expected=evidence.entry_root,
        got=evidence.entry_used,
        reason=f"{evidence.maker} worked on an activation that nobody signed",
        tainted=True,
    )


def _accuser(evidence: Evidence) -> str:
    """Who signed the differing root."""
    for complaint in evidence.complaints:
        if isinstance(complaint.statement, (Alert, Inquiry)):
            return complaint.signer
    return evidence.checker if _claim_against(evidence) is not None else ""


def _claim_against(evidence: Evidence) -> str | None:
    """The root by which the checker contradicts the maker; None where it does not."""
    for complaint in evidence.complaints:
        if isinstance(complaint.statement, (Alert, Inquiry)):
            return complaint.statement.root_out
    right = (evidence.root_in, evidence.computed_root)
    settled = [each.root_out for each in evidence.settlements if (each.root_in, each.root_out) != right]
    return settled[0] if settled else None


def _two_roots(headers: Sequence[Signed[Header]]) -> tuple[str, ...]:
    roots = tuple(dict.fromkeys(signed.statement.root_out for signed in headers))
    return roots if len(roots) > 1 else ()


def _other(roots: tuple[str, ...], right: str) -> str:
    return next((root for root in roots if root != right), roots[0])
