"""What counts as having passed the initiator: what its receiver could not overlook."""

from __future__ import annotations

from dataclasses import replace

import torch

from shieldwall.core.ids import SERVER, Direction, Slot
from shieldwall.core.messages import Note, Relay, TensorFrame
from shieldwall.core.signing import Identity, Signed
from shieldwall.core.statements import Settlement
from shieldwall.transport.remote.passages import Passages

SLOT = Slot(run="test", view=0, attempt=0, step=3, micro_batch=0, direction=Direction.FORWARD, stage=1)
FRAME = TensorFrame(slot=SLOT, source="ash", destination="birch", tensor=torch.zeros(1))
SIGNED = Identity("ash").sign(Settlement(slot=SLOT, root_in="a", root_out="b"))


def test_a_tensor_has_passed_from_its_sender_to_its_receiver_in_this_attempt_alone() -> None:
    passages = Passages()
    passages.note("ash", "birch", FRAME)
    passages.begin()  # what came before is dropped by its receiver
    assert not passages.passed(SLOT, "ash", "birch", None)
    passages.note("ash", "birch", FRAME)
    assert passages.passed(SLOT, "ash", "birch", None)
    for slot, source, destination in (
        (SLOT, "birch", "ash"),
        (SLOT, "ash", "cedar"),
        (replace(SLOT, attempt=1), "ash", "birch"),
    ):
        assert not passages.passed(slot, source, destination, None)


def test_a_statement_has_passed_if_it_is_the_very_one_that_was_signed() -> None:
    """Story: a note with a signature that was none was ignored by its receiver, who then looked as if it slept."""
    passages = Passages()
    forged = Signed(Settlement(slot=SLOT, root_in="a", root_out="c"), "ash", SIGNED.signature)
    unsigned = Signed(SIGNED.statement, "ash", b"")
    for signed in (forged, unsigned):
        passages.note("ash", "birch", Note(signed=signed))
    assert not passages.passed(SLOT, "ash", "birch", [SIGNED])
    passages.note("ash", SERVER, Relay(destination="birch", note=Note(signed=SIGNED)))
    assert passages.passed(SLOT, "ash", "birch", [SIGNED])
    assert not passages.passed(SLOT, "ash", "birch", [])
    assert not passages.passed(SLOT, "ash", "birch", None)


def test_who_floods_makes_itself_forgotten_and_nobody_else() -> None:
    passages = Passages()
    passages.note("ash", "birch", FRAME)
    passages.note("cedar", "birch", FRAME)
    for step in range(5000):
        passages.note("ash", "birch", replace(FRAME, slot=replace(SLOT, step=100 + step)))
    assert not passages.passed(SLOT, "ash", "birch", None)
    assert passages.passed(SLOT, "cedar", "birch", None)
