"""A step's gradients and new states: stage and duplicate must say the same, and the commit too (design 4.7)."""

from __future__ import annotations

from collections.abc import Mapping

from shieldwall.core.errors import LedgerError
from shieldwall.core.ids import Role
from shieldwall.core.statements import StateOpening, seal_root
from shieldwall.core.verdicts import CaseDirection
from shieldwall.verify.ledger.chain import DISTRUST
from shieldwall.verify.ledger.records import CommitRecord
from shieldwall.verify.ledger.step_book import Assignments, Keeping, Said, StepBook


class StateJoin:
    """Compares what the two holders of each checked stage said at the end of a step with the commit.

    Whoever a verdict of the step finds guilty over a stage's gradients or state is not asked for them.

    Args:
        book: what was said in the step.
        who: who may speak for what; the view in force at the commit names the holders.
        state_roots: root of each stage's state when the step began.
        commit: the row of the commit and its record.
    """

    def __init__(self, book: StepBook, who: Assignments, state_roots: Mapping[int, str], commit: Said) -> None:
        self._book = book
        self._who = who
        self._state_roots = state_roots
        self._commit_said = commit
        self._commit: CommitRecord = commit.statement

    def check(self) -> None:
        """Compare all stages that have a checker.

        Raises:
            LedgerError: SW-L109; names the row that does not fit. Where something is missing, that is the commit.
        """
        for stage in self._who.current.still:
            before, after = self._state_roots.get(stage), self._commit.state_roots.get(stage)
            if before != after:
                what = f"commits another state of stage {stage}, which kept its own"
                raise self._fault(self._commit_said, what, str(before), str(after))
        for stage in sorted(self._who.current.checkers):
            self._check_gradients(stage)
            self._check_states(stage)

    def _parties(self, stage: int) -> dict[Keeping, str]:
        view = self._who.current
        return {(stage, Role.STAGE): view.holders[stage], (stage, Role.DUPLICATE): view.checkers[stage]}

    def _check_gradients(self, stage: int) -> None:
        guilty = self._book.culprits(stage, CaseDirection.GRADIENTS)
        claims = [
            self._last(self._book.claims[keeping], party, "gradients", keeping)
            for keeping, party in self._parties(stage).items()
            if party not in guilty
        ]
        for claim in claims[1:]:
            first, other = claims[0].statement, claim.statement
            if (first.root, first.norms) != (other.root, other.norms):
                raise self._fault(claim, f"claims other gradients of stage {stage}", first.root, other.root)

    def _check_states(self, stage: int) -> None:
        root = self._commit.state_roots.get(stage)
        if root is None:
            raise self._fault(self._commit_said, f"commits no state of stage {stage}", "its root", "none")
        guilty = self._book.culprits(stage, CaseDirection.UPDATE, CaseDirection.STATE)
        parties = {keeping: party for keeping, party in self._parties(stage).items() if party not in guilty}
        seals = [self._last(self._book.seals[keeping], party, "seal", keeping) for keeping, party in parties.items()]
        for (keeping, party), seal in zip(parties.items(), seals, strict=True):
            opened = self._last(self._book.openings[keeping], party, "opening", keeping)
            self._check_opening(opened, seal, root)
            early = next((each for each in seals if each.row.seq > opened.row.seq), None)
            if early is not None:
                raise self._fault(opened, "was opened before both envelopes were in", f"after {early.row}", "before")

    def _check_opening(self, opened: Said, seal: Said, root: str) -> None:
        opening: StateOpening = opened.statement
        sealed = seal_root(opening.nonce, opening.root, opened.row.signer)
        if sealed != seal.statement.sealed:
            raise self._fault(opened, "is not what was in the envelope", seal.statement.sealed, sealed)
        if opening.root != root:
            raise self._fault(opened, "opens another state than was committed", root, opening.root)

    def _last(self, said: list[Said], party: str, kind: str, keeping: Keeping) -> Said:
        """What a party, or the initiator in its place, said last of its copy."""
        own = [each for each in said if each.row.signer in (party, self._who.initiator)]
        if not own:
            stage, role = keeping
            raise self._fault(self._commit_said, f"lacks the {kind} of {role} {stage}", f"one of {party}", "none")
        return own[-1]

    def _fault(self, said: Said, what: str, expected: str, got: str) -> LedgerError:
        row, holding = said.row, getattr(said.statement, "holding", None)
        return LedgerError(
            "SW-L109",
            f"the states of step {self._commit.step} do not agree: row {row.seq} {what}",
            row=row.seq,
            where=f"{row}: {holding}" if holding else str(row),
            expected=expected,
            got=got,
            remedy=DISTRUST,
        )
