"""What was said in a step, filed by slot. Only what is rightly signed, by one who may say it, counts."""

from __future__ import annotations

from typing import Any

from shieldwall.core.ids import Slot
from shieldwall.core.messages import View
from shieldwall.core.signing import Roster, Signed
from shieldwall.core.statements import Alert, Halt, Header, Inquiry, Refusal, Settlement
from shieldwall.verify.slots import users_of

Accusation = Alert | Inquiry
Complaint = Alert | Inquiry | Refusal | Halt
"""Statements after which a slot cannot settle by itself."""


class Records:
    """Statements by slot."""

    def __init__(self) -> None:
        self._roster = Roster({})
        self._view = View(view=-1, holders={}, checkers={}, keys={}, arithmetic="")
        self._headers: dict[Slot, dict[bytes, Signed[Header]]] = {}
        self._settlements: dict[Slot, dict[bytes, Signed[Settlement]]] = {}
        self._complaints: dict[Slot, list[Signed[Any]]] = {}

    def see_view(self, view: View) -> None:
        """Who may say what from now on."""
        if view is not self._view:
            self._view, self._roster = view, Roster(view.keys)

    def holds(self, signed: Signed[Any]) -> bool:
        """Whether a signature is its signer's."""
        return self._roster.holds(signed)

    def file(self, signed: Signed[Any]) -> bool:
        """File a statement; False where it is none that counts."""
        statement = signed.statement
        if not isinstance(statement, (Header, Settlement, Alert, Inquiry, Refusal, Halt)):
            return False
        slot, view = statement.slot, self._view
        holder, checker = view.holders.get(slot.stage), view.checkers.get(slot.stage)
        may = {
            Header: (holder,),
            Halt: (holder,),
            Settlement: (checker,),
            Alert: (checker,),
            Inquiry: (checker,),
            Refusal: users_of(slot, view),  # only they can have been sent something else
        }[type(statement)]
        if signed.signer not in may or not self._roster.holds(signed):
            return False
        if isinstance(statement, Header):
            self._headers.setdefault(slot, {}).setdefault(signed.content, signed)
        elif isinstance(statement, Settlement):
            self._settlements.setdefault(slot, {}).setdefault(signed.content, signed)
        else:
            self._complaints.setdefault(slot, []).append(signed)
        return True

    def headers(self, slot: Slot) -> list[Signed[Header]]:
        """The maker's headers for a slot, each different one once, in the order in which they came."""
        return list(self._headers.get(slot, {}).values())

    def settlements(self, slot: Slot) -> list[Settlement]:
        """What the checker settled, each different word once."""
        return [signed.statement for signed in self._settlements.get(slot, {}).values()]

    def complaints(self, slot: Slot, kind: Any = Complaint) -> list[Signed[Any]]:
        """Alerts, inquiries, refusals and halts about a slot, or those of one kind."""
        return [signed for signed in self._complaints.get(slot, ()) if isinstance(signed.statement, kind)]

    def words(self, slot: Slot) -> list[Signed[Any]]:
        """All that was filed about a slot."""
        headers, settlements = self._headers.get(slot, {}), self._settlements.get(slot, {})
        return [*headers.values(), *settlements.values(), *self._complaints.get(slot, ())]

    def is_trusted(self, stage: int) -> bool:
        """Whether a stage has no checker because it is the initiator's own."""
        return stage not in self._view.checkers

    def forget(self) -> None:
        """Drop everything; the step is over."""
        self._headers.clear()
        self._settlements.clear()
        self._complaints.clear()
