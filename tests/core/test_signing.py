"""Signatures: remembered answers are those of exactly the same key, bytes and signature."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shieldwall.core.ids import Direction, Slot
from shieldwall.core.signing import Identity, Roster, Signed
from shieldwall.core.statements import Settlement

SLOT = Slot(run="r", view=0, attempt=0, step=3, micro_batch=1, direction=Direction.FORWARD, stage=2)
STATEMENT = Settlement(slot=SLOT, root_in="aa", root_out="bb")


@pytest.fixture
def worker() -> Identity:
    return Identity("worker-1")


def test_a_signature_holds_for_its_statement_signer_and_bytes_alone(worker: Identity) -> None:
    other = Identity("worker-2")
    roster = Roster({"worker-1": worker.public, "worker-2": other.public})
    signed = worker.sign(STATEMENT)
    assert roster.holds(signed)
    assert roster.holds(Signed(STATEMENT, "worker-1", signed.signature)), "an equal statement is the same one"
    for wrong in (
        replace(signed, statement=replace(STATEMENT, root_out="cc")),
        replace(signed, statement=replace(STATEMENT, slot=replace(SLOT, attempt=1))),
        replace(signed, signer="worker-2"),
        replace(signed, signer="nobody"),
        replace(signed, signature=bytes(64)),
        replace(signed, signature=signed.signature[:-1] + bytes([signed.signature[-1] ^ 1])),
    ):
        assert not roster.holds(wrong)
        assert not roster.holds(wrong), "asked again"
    assert roster.holds(signed)


def test_a_changed_key_is_not_covered_by_what_was_remembered(worker: Identity) -> None:
    """After a succession a name may have another key: what the old key signed does not hold any more."""
    signed = worker.sign(STATEMENT)
    assert Roster({"worker-1": worker.public}).holds(signed)
    assert not Roster({"worker-1": Identity("worker-1").public}).holds(signed)


def test_a_signature_for_one_kind_does_not_hold_for_another(worker: Identity) -> None:
    signed = worker.sign(STATEMENT)
    roster = Roster({"worker-1": worker.public})
    assert roster.verifies("worker-1", "settlement", signed.content, signed.signature)
    assert not roster.verifies("worker-1", "header", signed.content, signed.signature)


def test_a_key_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Roster({"worker-1": b"short"})
