"""Whether a verdict is borne out by what others than the run's own key have signed.

Whoever holds the run's key can sign any verdict. It holds only where the culprit had its place at the stage and has
itself signed what the verdict says that it signed; and tensors count as evidence only where their roots are the ones
that were signed for the very slots that the work was made from. The tensors' own part, computing it again, is not here.

What nobody signed cannot be proven so: which state a holder served. That something was never signed is only as good as
the rows are complete, which the others' receipts vouch for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from shieldwall.core.ids import INITIATOR, Direction, Slot
from shieldwall.core.signing import Signed
from shieldwall.core.statements import (
    Alert,
    GradientClaim,
    Halt,
    Header,
    Inquiry,
    Settlement,
    StateOpening,
    StateSeal,
    seal_root,
)
from shieldwall.core.verdicts import CaseDirection
from shieldwall.verify.ledger.cases import Case
from shieldwall.verify.slots import users_of

S = TypeVar("S")
H = TypeVar("H", GradientClaim, StateSeal, StateOpening)

Guilt = tuple[str, Slot]
"""A culprit, and the slot that it was found guilty over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRoots:
    """Roots of what a stage worked on by the evidence: by micro-batch, and of the state that it had."""

    entries: Mapping[int, str]
    """Of the activations that came in."""
    arrived: Mapping[int, str]
    """Of the gradients that came back; empty in forward."""
    state: str


class Proof:
    """The signed part of one case.

    Args:
        case: the verdict with what was signed about it.
        convicted: what everybody is found guilty over in the same ledger.
    """

    def __init__(self, case: Case, convicted: Collection[Guilt] = ()) -> None:
        self._case = case
        self._verdict = case.verdict
        self._convicted = convicted
        view, stage = case.view, case.verdict.stage
        self._maker = self._holder(stage)
        self._checker = view.checkers.get(stage, "") if view else ""

    @property
    def is_signed(self) -> bool:
        """Whether the culprit signed what the verdict holds against it, under the rule that it names."""
        verdict = self._verdict
        if not verdict.direction.is_slot:
            return verdict.culprit in (self._maker, self._checker) and self._signed_state()
        if verdict.rule == 3:
            return self._signed_two()
        if verdict.culprit == self._maker:
            return {2: self._named_input, 4: self._withheld, 5: self._named_state}.get(verdict.rule, self._made)()
        if verdict.culprit == self._checker:
            return {1: self._accused, 2: self._inquired}.get(verdict.rule, lambda: False)()
        return False

    @property
    def rests_on_absence(self) -> bool:
        """Whether the culprit is guilty because of what is not there: whoever takes rows away could make it so.

        An input that its source never signed, a tensor that never came, a checker whom nobody fed something else.
        """
        verdict = self._verdict
        return verdict.direction.is_slot and (verdict.rule in (2, 4) or verdict.culprit == self._checker)

    def binds(self, shown: WorkRoots) -> bool:
        """Whether the evidence is of the work in question: what came in and the state are those that were signed."""
        case, verdict = self._case, self._verdict
        if verdict.direction is CaseDirection.STATE:
            return True
        if not case.state_root or shown.state != case.state_root:
            return False
        if not verdict.direction.is_slot:
            return self._binds_step(shown)
        micro_batch = verdict.micro_batch or 0
        came = (shown.arrived if verdict.direction is CaseDirection.BACKWARD else shown.entries).get(micro_batch, "")
        if set(shown.entries) != {micro_batch} or came not in self._signed_roots(self._source):
            return False
        if verdict.direction is CaseDirection.BACKWARD and not self._binds_entry(shown.entries[micro_batch]):
            return False
        return verdict.rule != 1 or self._named_in_work(came)

    def claims_norms(self, norms: Mapping[str, str]) -> bool:
        """Whether the culprit claimed its gradients with these norms."""
        claims = self._state_statements(GradientClaim)
        return all(dict(claim.norms) == dict(norms) for claim in claims if claim.root == self._verdict.got)

    @property
    def guilt(self) -> Guilt:
        """What the verdict finds its culprit guilty over."""
        return self._verdict.culprit, self.slot

    @property
    def slot(self) -> Slot:
        """The slot of a case about one tensor."""
        verdict = self._verdict
        return Slot(
            run=verdict.run,
            view=verdict.view,
            attempt=verdict.attempt,
            step=verdict.step,
            micro_batch=verdict.micro_batch or 0,
            direction=Direction(verdict.direction.value),
            stage=verdict.stage,
        )

    @property
    def _source(self) -> Slot:
        back = self.slot.direction is Direction.BACKWARD
        return replace(self.slot, stage=self.slot.stage + (1 if back else -1))

    @property
    def _entry(self) -> Slot:
        return replace(self.slot, direction=Direction.FORWARD, stage=self.slot.stage - 1)

    # What the culprit signed

    def _made(self) -> bool:
        """The maker signed the wrong tensor, or the right one misdescribed; or that it had stopped without one."""
        verdict = self._verdict
        if verdict.got == verdict.expected:
            return False
        if not verdict.got:
            return bool(self._said(self._maker, Halt)) and (not self._headers_before() or bool(self._right_headers()))
        if any(header.description == verdict.got and self._misdescribes(header) for header in self._right_headers()):
            return True
        return any(header.root_out == verdict.got for header in self._said(self._maker, Header))

    def _misdescribes(self, header: Header) -> bool:
        """Whether nobody can use a tensor under that header; all tensors of a micro-batch have one shape and type."""
        view = self._case.view
        if view is None:
            return False
        users = users_of(header.slot, view) - {self._maker}
        forms = {(each.shape, each.dtype) for each in self._counting_headers(self._source)}
        fits = (header.arithmetic, header.source) == (view.arithmetic, self._maker) and users <= {*header.destinations}
        return not fits or (header.shape, header.dtype) not in forms

    def _accused(self) -> bool:
        """The checker contradicts a maker that is right, and nobody fed the two of them different tensors."""
        verdict, right = self._verdict, self._right_headers()
        if not right or any(self._holder_signed_two(slot) for slot in (self._source, self._entry)):
            return False
        for claim in (*self._said(self._checker, Alert), *self._said(self._checker, Inquiry)):
            differs = isinstance(claim, Alert) or claim.root_out != verdict.expected
            if claim.root_out == verdict.got and differs:
                return True
        settled = self._said(self._checker, Settlement)
        return any(
            each.root_out == verdict.got and (each.root_in, each.root_out) != (right[0].root_in, verdict.expected)
            for each in settled
        )

    def _named_input(self) -> bool:
        """The maker names an input, or in backward an activation, that its source never signed."""
        verdict = self._verdict
        if verdict.got == verdict.expected:
            return False
        named: list[Header | Halt] = [*self._said(self._maker, Header), *self._said(self._maker, Halt)]
        if any(each.root_in == verdict.got for each in named):
            signed = self._signed_roots(self._source)
            if verdict.expected in signed and verdict.got not in signed:
                return True
        forward = replace(self.slot, direction=Direction.FORWARD)
        signed = self._signed_roots(self._entry)
        if self.slot.direction is not Direction.BACKWARD or verdict.expected not in signed or verdict.got in signed:
            return False
        return any(header.root_in == verdict.got for header in self._headers_of(self._maker, forward))

    def _inquired(self) -> bool:
        """The checker asks after an input that its source never signed, or after one that the maker never named."""
        verdict, signed = self._verdict, self._signed_roots(self._source)
        if verdict.expected not in signed or verdict.got == verdict.expected:
            return False
        inquiries = self._said(self._checker, Inquiry)
        if any((each.root_in, each.claimed) == (verdict.expected, verdict.got) for each in inquiries):
            return all(header.root_in != verdict.got for header in self._said(self._maker, Header))
        return verdict.got not in signed and any(each.root_in == verdict.got for each in inquiries)

    def _signed_two(self) -> bool:
        """Two different headers for the slot, or for one that its input came from.

        Or one header, where the slot was corrected: then its maker must be guilty over that slot by itself.
        """
        verdict = self._verdict
        for slot in (self.slot, self._source, self._entry):
            mine = [each for each in self._headers_of(verdict.culprit, slot) if each.source == verdict.culprit]
            roots = {header.root_out for header in mine}
            named = roots | {root for header in mine for root in (header.root_in, header.state_root)}
            if len(roots) > 1 and verdict.got in named:
                return True
            if len(roots) == 1 and any(header != mine[0] for header in mine):
                return True
            corrected = {header.root_out for header in self._headers_of(INITIATOR, slot)}
            if verdict.got in roots and verdict.expected in corrected - roots:
                return (verdict.culprit, slot) in self._convicted
        return False

    def _withheld(self) -> bool:
        return not self._verdict.got and not self._headers_before() and not self._said(self._maker, Halt)

    def _named_state(self) -> bool:
        verdict = self._verdict
        if verdict.got == verdict.expected or verdict.expected != self._case.state_root:
            return False
        return any(header.state_root == verdict.got for header in self._said(self._maker, Header))

    def _signed_state(self) -> bool:
        """What the culprit claimed of gradients, or put into its envelope; nothing where it did neither."""
        verdict, case = self._verdict, self._case
        if verdict.direction is CaseDirection.STATE:
            return verdict.expected == case.state_root != ""
        if verdict.direction is CaseDirection.GRADIENTS:
            roots = {claim.root for claim in self._state_statements(GradientClaim)}
        else:
            sealed = {seal.sealed for seal in self._state_statements(StateSeal)}
            openings = self._state_statements(StateOpening)
            roots = {each.root for each in openings if seal_root(each.nonce, each.root, verdict.culprit) in sealed}
        return verdict.got in roots or not (verdict.got or roots)

    # What the evidence must be

    def _named_in_work(self, came: str) -> bool:
        """Rule 1: the maker named the very input and state that its work is judged by."""
        verdict = self._verdict
        if verdict.culprit == self._checker:
            judged: list[Any] = list(self._right_headers())
        elif verdict.got:
            signed = self._said(self._maker, Header)
            judged = [header for header in signed if verdict.got in (header.root_out, header.description)]
        else:
            return any(halt.root_in == came for halt in self._said(self._maker, Halt))
        return any((each.root_in, each.state_root) == (came, self._case.state_root) for each in judged)

    def _binds_entry(self, root: str) -> bool:
        """Whether the activation is the one that the maker signed in forward that it worked on."""
        if root not in self._signed_roots(self._entry):
            return False
        forward = replace(self.slot, direction=Direction.FORWARD)
        named = {header.root_in for header in self._headers_of(self._maker, forward)}
        repaired = bool(self._headers_of(INITIATOR, forward))
        return self._verdict.rule != 1 or repaired or not named or root in named

    def _binds_step(self, shown: WorkRoots) -> bool:
        """Gradients and updates: every micro-batch of the step, each as it was in its last attempt."""
        stage, first = self._verdict.stage, Direction.FORWARD
        last: dict[int, Slot] = {}
        for header in self._headers(INITIATOR):
            slot = header.slot
            if (slot.direction, slot.stage) == (first, 0) and slot.attempt >= last.get(slot.micro_batch, slot).attempt:
                last[slot.micro_batch] = slot
        if not last or set(last) != set(shown.entries) or set(last) != set(shown.arrived):
            return False
        return all(
            shown.entries[micro_batch] in self._signed_roots(replace(slot, stage=stage - 1))
            and shown.arrived[micro_batch]
            in self._signed_roots(replace(slot, direction=Direction.BACKWARD, stage=stage + 1))
            for micro_batch, slot in last.items()
        )

    # Looking up

    def _state_statements(self, kind: type[H]) -> list[H]:
        """What the culprit signed of the stage's gradients and state in the step, before the verdict."""
        verdict, case = self._verdict, self._case
        mine = [each.statement for each in case.statements[: case.statements_before] if each.signer == verdict.culprit]
        place = verdict.run, verdict.view
        return [each for each in mine if isinstance(each, kind) and (each.holding.run, each.holding.view) == place]

    def _said(self, signer: str, kind: type[S]) -> list[S]:
        """Statements of a kind that somebody signed about the slot."""
        about = [each.statement for each in self._case.statements if each.signer == signer]
        return [each for each in about if isinstance(each, kind) and getattr(each, "slot", None) == self.slot]

    def _right_headers(self) -> list[Header]:
        return [each for each in self._said(self._maker, Header) if each.root_out == self._verdict.expected]

    def _headers_before(self) -> bool:
        """Whether the maker had signed for the slot when it was judged; what comes later came too late."""
        before = self._case.statements[: self._case.statements_before]
        return any(each.signer == self._maker and isinstance(each.statement, Header) for each in before)

    def _headers(self, signer: str) -> Iterator[Header]:
        said: tuple[Signed[Any], ...] = (*self._case.statements, *self._case.inputs)
        for each in said:
            if each.signer == signer and isinstance(each.statement, Header):
                yield each.statement

    def _headers_of(self, signer: str, slot: Slot) -> list[Header]:
        return [header for header in self._headers(signer) if header.slot == slot]

    def _holder(self, stage: int) -> str:
        return self._case.view.holders.get(stage, "") if self._case.view else ""

    def _counting_headers(self, slot: Slot) -> list[Header]:
        """What its holder and the initiator signed for a slot."""
        names = {self._holder(slot.stage), INITIATOR}
        return [header for name in names for header in self._headers_of(name, slot)]

    def _signed_roots(self, slot: Slot) -> set[str]:
        return {header.root_out for header in self._counting_headers(slot)}

    def _holder_signed_two(self, slot: Slot) -> bool:
        return len({header.root_out for header in self._headers_of(self._holder(slot.stage), slot)}) > 1


def signed_got(case: Case) -> bool:
    """Whether a statement of the culprit carries the root that the verdict holds against it."""
    verdict = case.verdict
    if not verdict.got:
        return False
    fields = ("root_in", "root_out", "state_root", "root")
    return any(
        signed.signer == verdict.culprit and verdict.got in (getattr(signed.statement, name, None) for name in fields)
        for signed in (*case.statements, *case.inputs)
    )
