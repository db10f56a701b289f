"""Joining a step: for every slot, what its maker made is what was settled and what the next one worked on (design 4.3).

For each micro-batch the highest attempt counts. A correction, which is a header of the initiator, stands in for the
maker's header and its settlement; a verdict that finds a tensor right, against its checker, stands in for the
settlement.
"""

from __future__ import annotations

from collections.abc import Mapping

from shieldwall.core.errors import LedgerError
from shieldwall.core.ids import Direction
from shieldwall.core.statements import Header
from shieldwall.verify.ledger.chain import DISTRUST
from shieldwall.verify.ledger.records import CommitRecord
from shieldwall.verify.ledger.step_book import Assignments, Place, Said, StepBook


class StepJoin:
    """Joins one committed step.

    Args:
        book: what was said in the step.
        who: who may speak for what.
        state_roots: root of each stage's state when the step began.
        commit: the row of the commit and its record.
    """

    def __init__(self, book: StepBook, who: Assignments, state_roots: Mapping[int, str], commit: Said) -> None:
        self._book = book
        self._who = who
        self._state_roots = state_roots
        self._commit_said = commit
        self._commit: CommitRecord = commit.statement
        self._final = book.final_attempts(who.initiator)

    def check(self) -> None:
        """Join all slots of all micro-batches.

        Raises:
            LedgerError: SW-L108; names the first row that does not join, or the commit where something is missing.
        """
        count = self._commit.micro_batches
        if len(self._final) != count or any(not 0 <= micro_batch < count for micro_batch in self._final):
            worked = f"micro-batches {sorted(self._final)}"
            raise self._fault(self._commit_said, "commits other micro-batches than were worked on", worked, f"{count}")
        found = [self._trouble(micro_batch, attempt) for micro_batch, attempt in self._final.items()]
        faults = [fault for fault in found if fault]
        if faults:
            raise min(faults, key=lambda fault: fault.row or 0)
        highest = max(self._final.values(), default=0)
        if highest > self._commit.attempt:
            raise self._fault(
                self._commit_said, "names too low an attempt", f"{highest} or above", f"{self._commit.attempt}"
            )

    def _trouble(self, micro_batch: int, attempt: int) -> LedgerError | None:
        """The first slot of a micro-batch that does not join: forward from the first stage, then back from the last."""
        last = self._who.stages - 1
        try:
            made = {""}
            for stage in range(last):
                made = {self._join((micro_batch, attempt, Direction.FORWARD, stage), made)}
            made = {"", *made}
            for stage in range(last, 0, -1):
                made = {self._join((micro_batch, attempt, Direction.BACKWARD, stage), made)}
        except LedgerError as fault:
            return fault
        return None

    def _join(self, place: Place, given: set[str]) -> str:
        """Root of what counts as made in a place; `given` are the roots that may count as what it was made from."""
        correction = self._book.corrections.get(place)
        if correction is not None:
            self._check_input(correction, given)
            self._check_state(correction, needed=False)
            return str(correction.statement.root_out)
        said = self._header(place)
        header: Header = said.statement
        self._check_input(said, given)
        self._check_bypass(said)
        settlers = self._who.settlers(header.slot.view, header.slot.stage)
        self._check_state(said, needed=bool(settlers))
        if settlers and not self._book.finds(place, header.source, header.root_out):
            self._check_settled(place, said, settlers)
        return header.root_out

    def _header(self, place: Place) -> Said:
        """What the holder of the stage has signed for a place; others may have signed anything."""
        everybodys = self._book.headers.get(place, [])
        found = [said for said in everybodys if said.row.signer == said.statement.source == self._holder(said)]
        if everybodys and not found:
            said = everybodys[0]
            raise self._fault(said, "is not of the stage's holder", str(self._holder(said)), said.row.signer)
        if not found:
            raise self._fault(self._commit_said, "commits a slot without a header", "one", f"none: {_named(place)}")
        first = found[0].statement
        for other in found[1:]:
            same = other.statement
            if (same.root_in, same.root_out, same.state_root) != (first.root_in, first.root_out, first.state_root):
                raise self._fault(other, "is a second, other header of its slot", first.root_out, same.root_out)
        return found[0]

    def _holder(self, said: Said) -> str | None:
        return self._who.holder(said.statement.slot.view, said.statement.slot.stage)

    def _check_input(self, said: Said, given: set[str]) -> None:
        if said.statement.root_in not in given:
            wanted = " or ".join(sorted(given - {""})) or "the initiator's own data"
            raise self._fault(said, "was made from something else than was made for it", wanted, said.statement.root_in)

    def _check_bypass(self, said: Said) -> None:
        """A stage that is passed by is the initiator's meanwhile, and changes nothing."""
        header: Header = said.statement
        bypassed = self._who.views[header.slot.view].bypassed
        if header.slot.stage in bypassed and header.root_in and header.root_out != header.root_in:
            raise self._fault(said, "changes what should pass its stage as it is", header.root_in, header.root_out)

    def _check_state(self, said: Said, *, needed: bool) -> None:
        header: Header = said.statement
        wanted = self._state_roots.get(header.slot.stage)
        if header.state_root == wanted or (not needed and not header.state_root):
            return
        raise self._fault(said, "was made with another state than was committed", str(wanted), header.state_root)

    def _check_settled(self, place: Place, said: Said, settlers: set[str]) -> None:
        header: Header = said.statement
        own = [each for each in self._book.settlements.get(place, []) if each.row.signer in settlers]
        if not own:
            raise self._fault(said, "was never settled", f"a settlement by {_one_of(settlers)}", "none")
        for each in own:
            settled = each.statement
            if (settled.root_in, settled.root_out) != (header.root_in, header.root_out):
                raise self._fault(
                    each,
                    "settles something else than was made",
                    f"from {header.root_in} to {header.root_out}",
                    f"from {settled.root_in} to {settled.root_out}",
                )

    def _fault(self, said: Said, what: str, expected: str, got: str) -> LedgerError:
        row, slot = said.row, getattr(said.statement, "slot", None)
        return LedgerError(
            "SW-L108",
            f"step {self._commit.step} does not join: row {row.seq} {what}",
            row=row.seq,
            where=f"{row}: {slot}" if slot else str(row),
            expected=expected,
            got=got or "nothing",
            remedy=DISTRUST,
        )


def _named(place: Place) -> str:
    micro_batch, attempt, direction, stage = place
    return f"micro-batch {micro_batch}, attempt {attempt}, {direction}, stage {stage}"


def _one_of(names: set[str]) -> str:
    return " or ".join(sorted(names))
