"""What parties sign: about tensors on their way, about checks, about a step's gradients and its new state.

    Header        the maker:     this is what I made of that, in this slot                 (design 4.2)
    Settlement    the checker:   I get the same                                            (design 4.3)
    Alert         the checker:   I get something else
    Inquiry       the checker:   the maker names an input that I do not know
    Refusal       the receiver:  what came for this slot cannot be used
    Halt          the maker:     what I made is not finite
    GradientClaim a holder:      the step's gradients of this stage and their norms        (design 4.7)
    StateSeal     a holder:      I have a new state, and this is its closed envelope
    StateOpening  a holder:      this is what was in the envelope
    Receipt       a worker:      the ledger stood here when I committed

Roots are hexadecimal. Slots name the stage that made the tensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shieldwall.core.ids import Role, Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The maker's commitment to one tensor, and its shipping note.

    `destinations` are all hosts that are meant to have the tensor. `root_in` is the root of the tensor that it was made
    from (the activation that came in, or in backward the gradient that came in); it is empty where that is the
    initiator's own data. `state_root` is the root of the state that the stage had.
    """

    kind: ClassVar[str] = "header"
    slot: Slot
    source: str
    destinations: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    arithmetic: str
    root_in: str
    root_out: str
    state_root: str

    @property
    def description(self) -> str:
        """What the header says of the tensor beside its roots, in words."""
        form = f"{self.arithmetic}, {self.dtype} {self.shape}"
        return f"{form}, from {self.source}, for {', '.join(self.destinations) or 'nobody'}"

    def to_json(self) -> dict[str, Any]:
        return {
            "slot": self.slot.to_json(),
            "source": self.source,
            "destinations": list(self.destinations),
            "shape": list(self.shape),
            "dtype": self.dtype,
            "arithmetic": self.arithmetic,
            "root_in": self.root_in,
            "root_out": self.root_out,
            "state_root": self.state_root,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A checker's positive statement: from `root_in` it too got `root_out`. Silence settles nothing."""

    kind: ClassVar[str] = "settlement"
    slot: Slot
    root_in: str
    root_out: str

    def to_json(self) -> dict[str, Any]:
        return {"slot": self.slot.to_json(), "root_in": self.root_in, "root_out": self.root_out}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    """A checker's word that a slot is not as the maker says: what it was fed, what it got, what the maker named."""

    slot: Slot
    root_in: str
    root_out: str
    claimed: str

    def to_json(self) -> dict[str, Any]:
        return {
            "slot": self.slot.to_json(),
            "root_in": self.root_in,
            "root_out": self.root_out,
            "claimed": self.claimed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert(_Difference):
    """A checker's claim that the maker is wrong: from `root_in` it got `root_out`, the maker signed `claimed`."""

    kind: ClassVar[str] = "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry(_Difference):
    """A checker's question: the maker names the input `claimed`, what I was sent for it is `root_in`. No accusation."""

    kind: ClassVar[str] = "inquiry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A receiver's note that what `sender` sent for the slot was refused before use."""

    kind: ClassVar[str] = "refusal"
    slot: Slot
    sender: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"slot": self.slot.to_json(), "sender": self.sender, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A maker's note that what it made from `root_in` for the slot is not finite; it was not sent."""

    kind: ClassVar[str] = "halt"
    slot: Slot
    root_in: str
    what: str

    def to_json(self) -> dict[str, Any]:
        return {"slot": self.slot.to_json(), "root_in": self.root_in, "what": self.what}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One copy of one stage's state in one step of a run."""

    run: str
    view: int
    step: int
    stage: int
    role: Role

    def __str__(self) -> str:
        return f"step {self.step}, {self.role} {self.stage}"

    def to_json(self) -> dict[str, Any]:
        """Plain data for signatures and the ledger."""
        return {
            "run": self.run,
            "view": self.view,
            "step": self.step,
            "stage": self.stage,
            "role": self.role.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientClaim:
    """A holder's summed gradients of a step: their root, and the norm of each parameter's, exact as hexadecimal."""

    kind: ClassVar[str] = "gradients"
    holding: Holding
    root: str
    norms: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"holding": self.holding.to_json(), "root": self.root, "norms": dict(self.norms)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeal:
    """A holder's closed envelope: `sealed` is `seal_root` of what is opened later."""

    kind: ClassVar[str] = "seal"
    holding: Holding
    sealed: str

    def to_json(self) -> dict[str, Any]:
        return {"holding": self.holding.to_json(), "sealed": self.sealed}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOpening:
    """What was in the envelope: the nonce and the root of the new state."""

    kind: ClassVar[str] = "opening"
    holding: Holding
    nonce: str
    root: str

    def to_json(self) -> dict[str, Any]:
        return {"holding": self.holding.to_json(), "nonce": self.nonce, "root": self.root}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A worker's countersignature: the ledger's head was `head` when the step was committed."""

    kind: ClassVar[str] = "receipt"
    run: str
    step: int
    head: str

    def to_json(self) -> dict[str, Any]:
        return {"run": self.run, "step": self.step, "head": self.head}


def seal_root(nonce: str, root: str, party: str) -> str:
    """SHA-256 over nonce, root and the party's name, in hexadecimal: the envelope of a `StateSeal`."""
    return hashlib.sha256(f"shieldwall/1|seal|{nonce}|{root}|{party}".encode()).hexdigest()
