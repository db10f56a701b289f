"""What is packed comes back as it was, bit for bit, and what is no message is refused and nothing else happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from messages_drawn import messages
from torch import Tensor

from shieldwall.core.errors import TransportError
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import Message, Note, Played, Prepare, SendState, SumUp, TensorFrame
from shieldwall.core.signing import Identity, Roster, Signed
from shieldwall.core.statements import Settlement
from shieldwall.core.tensor_roots import tensor_root
from shieldwall.transport.codec import MAX_BODY_BYTES, TensorForm, pack, unpack
from shieldwall.transport.codec.message import MESSAGES

SLOT = Slot(run="r", view=1, attempt=0, step=3, micro_batch=2, direction=Direction.FORWARD, stage=1)


def same(left: Any, right: Any) -> bool:
    """Whether two values are of one type and equal, tensors by their exact bytes."""
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and tensor_root(left) == tensor_root(right)
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, Signed):
        return (left.content, left.signer, left.signature) == (right.content, right.signer, right.signature)
    if dataclasses.is_dataclass(left):
        return type(left) is type(right) and all(
            same(getattr(left, field.name), getattr(right, field.name)) for field in dataclasses.fields(left)
        )
    return type(left) is type(right) and left == right


def there_and_back(message: Message) -> Message:
    packed = pack(message)
    return unpack(packed.kind, packed.body, packed.tensors)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(messages())
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    assert same(message, there_and_back(message))


def test_every_kind_of_message_is_drawn_from() -> None:
    assert len(MESSAGES) == len(set(MESSAGES.values())) > 30


def test_a_signature_holds_after_the_way() -> None:
    signer = Identity("worker-1")
    note = Note(signed=signer.sign(Settlement(slot=SLOT, root_in="a", root_out="b")))
    back = there_and_back(note)
    assert isinstance(back, Note)
    assert Roster({"worker-1": signer.public}).holds(back.signed)
    assert not Roster({"worker-1": Identity("other").public}).holds(back.signed)


def test_a_learning_rate_comes_back_to_the_last_bit() -> None:
    rate = math.nextafter(1e-3, 1)
    back = there_and_back(Prepare(step=1, learning_rate=rate, clip_coefficients={0: 1 / 3}))
    assert isinstance(back, Prepare)
    assert (back.learning_rate, back.clip_coefficients) == (rate, {0: 1 / 3})


def _spoil(plain: Any, draw: Any) -> Any:
    """`plain` with one place put to something else."""
    junk = st.sampled_from([None, True, -1, 2**80, 0.5, "x", "", [], {}, [[1]], {"kind": "header"}, "__class__"])
    if isinstance(plain, dict) and plain and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(plain)))
        return {**plain, key: _spoil(plain[key], draw)}
    if isinstance(plain, list) and plain and draw(st.booleans()):
        number = draw(st.integers(0, len(plain) - 1))
        return [*plain[:number], _spoil(plain[number], draw), *plain[number + 1 :]]
    return draw(junk)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(messages(), st.data())
def test_a_spoiled_message_is_read_as_another_or_refused(message: Message, data: st.DataObject) -> None:
    packed = pack(message)
    body = json.dumps(_spoil(json.loads(packed.body), data.draw)).encode()
    kind = data.draw(st.sampled_from([packed.kind, *MESSAGES]))
    with contextlib.suppress(TransportError):
        assert type(unpack(kind, body, packed.tensors)) is MESSAGES[kind]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(MESSAGES)), st.binary(max_size=200))
def test_garbage_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(TransportError, match="SW-T107"):
        unpack(kind, body, ())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("Exec", b"{}"),
        ("SumUp", b"[" * 100_000),
        ("SumUp", b'{"step": ' + b"9" * 10_000 + b', "still": []}'),
        ("SumUp", b'{"step": NaN, "still": []}'),
        ("SumUp", b'{"step": true, "still": []}'),
        ("SumUp", b'{"step": 1, "still": [], "more": 1}'),
        ("SumUp", b'{"step": 1}'),
        ("SumUp", b'{"step": 1, "still": [0.5]}'),
        ("Prepare", b'{"step": 1, "learning_rate": 1e999, "clip_coefficients": {}}'),
        ("Played", b'{"host": "a", "step": 1, "attempt": 0, "losses": [[0, 0]], "work": [], "norms": {}}'),
        ("Note", b'{"signed": {"kind": "run", "statement": {}, "signer": "a", "signature": "00"}}'),
        ("SumUp", b" " * (MAX_BODY_BYTES + 1)),
    ],
    ids=["kind", "deep", "long number", "nan", "true", "more", "less", "half", "infinite", "tensor", "signed", "long"],
)
def test_what_is_no_message_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(TransportError, match="SW-T107"):
        unpack(kind, body, ())


def test_a_key_twice_is_refused() -> None:
    body = b'{"host":"a","step":1,"attempt":0,"losses":[[0,0],[0,0]],"work":[],"norms":{}}'
    with pytest.raises(TransportError, match="each key once"):
        unpack("Played", body, (torch.tensor(1.0),))


@pytest.mark.parametrize(("dtype", "shape"), [("object", (1,)), ("float32", (-1,)), ("float32", (1,) * 9)])
def test_a_tensor_of_no_form_is_refused(dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(TransportError, match="SW-T107"):
        TensorForm(dtype, shape)


def test_a_tensor_is_weighed_before_it_is_made() -> None:
    assert TensorForm("float32", (10**9, 10**9)).nbytes == 4 * 10**18


def test_messages_without_tensors_carry_none() -> None:
    assert pack(SumUp(step=1)).tensors == ()
    assert pack(SendState(stage=1)).nbytes < 64


def test_losses_stay_0_dim() -> None:
    back = there_and_back(Played(host="a", step=1, attempt=0, losses={0: torch.tensor(0.5)}, work=()))
    assert isinstance(back, Played)
    assert back.losses[0].shape == ()


def test_a_tensor_that_belongs_to_a_graph_does_not_arrive() -> None:
    packed = pack(TensorFrame(slot=SLOT, source="a", destination="b", tensor=torch.ones(2)))
    with pytest.raises(TransportError, match="SW-T103"):
        unpack(packed.kind, packed.body, (torch.ones(2, requires_grad=True),))
