"""Puts letters together from their pieces, weighs them before taking memory for them, and gives them out in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from shieldwall.core.errors import TransportError
from shieldwall.core.roots import tensor_bytes
from shieldwall.transport.codec import MAX_TENSORS, Packed, TensorForm, empty_like
from shieldwall.transport.codec.garbled import garbled
from shieldwall.transport.remote import wire_pb2 as wire
from shieldwall.transport.remote.letters import Letter, forms_of
from shieldwall.transport.remote.pieces import Part

LEAST_PART_BYTES = 64 << 10
"""A part that does not end its tensor has as many, so that the notes of which have come stay small."""


@dataclass(slots=True)
class _Filling:
    """A tensor's bytes, and which of them have come."""

    target: memoryview
    come: dict[int, int] = field(default_factory=dict)
    """Where each part begins to where it ends."""
    come_bytes: int = 0

    def is_tiled(self) -> bool:
        """Whether the parts cover the tensor, none twice: what they left out would be somebody else's old memory."""
        reached = 0
        for start in sorted(self.come):
            if start != reached:
                return False
            reached = self.come[start]
        return reached == self.target.nbytes


@dataclass(slots=True)
class _Arriving:
    letter: Letter
    missing: dict[int, _Filling] = field(default_factory=dict)
    """Tensors that are not whole yet."""


class Inbox:
    """Letters of one link.

    Args:
        peer: who sends them, for messages.
        allowed_bytes: how much a message of a kind may announce.
        window_bytes: how much may have been announced and not been taken by whom it is for.
    """

    def __init__(self, peer: str, allowed_bytes: Callable[[str], int], window_bytes: int) -> None:
        self._peer = peer
        self._allowed_bytes = allowed_bytes
        self._window_bytes = window_bytes
        self._arriving: dict[int, _Arriving] = {}
        self._whole: dict[int, Letter] = {}
        self.received = 0
        """The last letter that came whole and in order."""
        self.held_bytes = 0
        """Of letters that have begun to arrive and are not taken yet."""

    def knows(self, number: int) -> bool:
        """Whether the head of this letter has come, be it whole by now or not."""
        return number <= self.received or number in self._arriving or number in self._whole

    def take_head(self, head: wire.Head) -> list[Letter]:
        """A letter begins; gives what is whole now, in order.

        Raises:
            TransportError: SW-T107, it makes no sense; SW-T108, it is too large.
        """
        if head.number <= self.received or head.number in self._arriving or head.number in self._whole:
            raise garbled(f"letter {head.number} from {self._peer}", "each letter once", "its head again")
        if len(head.tensors) > MAX_TENSORS:
            what = f"letter {head.number} from {self._peer}"
            raise garbled(what, f"at most {MAX_TENSORS:,} tensors", f"{len(head.tensors):,}")
        forms = forms_of(head)
        self._weigh(head, forms)
        packed = Packed(head.kind, head.body, tuple(empty_like(form) for form in forms))
        missing = {
            place: _Filling(tensor_bytes(packed.tensors[place])) for place, form in enumerate(forms) if form.nbytes
        }
        self._arriving[head.number] = _Arriving(_letter(head, packed), missing)
        self.held_bytes += packed.weight_bytes
        return self._give_out(head.number)

    def take_part(self, part: Part) -> list[Letter]:
        """Some bytes of a letter whose head has come; gives what is whole now, in order.

        Raises:
            TransportError: SW-T107; they do not belong there.
        """
        arriving = self._arriving.get(part.number)
        if arriving is None:
            raise self._misplaced(part, "a letter that is not whole yet")
        if part.tensor not in arriving.missing:
            raise self._misplaced(part, "a tensor that is not whole yet")
        filling = arriving.missing[part.tensor]
        end = part.offset + part.content.nbytes
        if part.content.nbytes < LEAST_PART_BYTES and end != filling.target.nbytes:
            raise self._misplaced(part, f"at least {LEAST_PART_BYTES:,} bytes, or the last ones")
        if not part.content.nbytes or end > filling.target.nbytes or part.offset in filling.come:
            raise self._misplaced(part, f"some of its {filling.target.nbytes:,} bytes, none twice")
        filling.target[part.offset : end] = part.content
        filling.come[part.offset] = end
        filling.come_bytes += part.content.nbytes
        if filling.come_bytes >= filling.target.nbytes:
            if not filling.is_tiled():
                raise self._misplaced(part, "parts side by side")
            del arriving.missing[part.tensor]
        return self._give_out(part.number)

    def release(self, letter: Letter) -> None:
        """The letter has been taken by whom it is for."""
        self.held_bytes -= letter.packed.weight_bytes

    def begin_anew(self) -> None:
        """The link was broken: what has not come whole and in order will come again."""
        for arriving in self._arriving.values():
            self.held_bytes -= arriving.letter.packed.weight_bytes
        for letter in self._whole.values():
            self.held_bytes -= letter.packed.weight_bytes
        self._arriving.clear()
        self._whole.clear()

    def _give_out(self, number: int) -> list[Letter]:
        if not self._arriving[number].missing:
            self._whole[number] = self._arriving.pop(number).letter
        ready = []
        while self.received + 1 in self._whole:
            self.received += 1
            ready.append(self._whole.pop(self.received))
        return ready

    def _weigh(self, head: wire.Head, forms: tuple[TensorForm, ...]) -> None:
        announced = len(head.body) + sum(form.nbytes for form in forms)
        allowed = self._allowed_bytes(head.kind)
        if announced > allowed:
            raise self._too_large(f"{head.kind}, letter {head.number}", f"at most {allowed:,} bytes", announced)
        if self.held_bytes >= self._window_bytes:
            expected = f"no further letter before one of those is taken: {self._window_bytes:,} bytes are allowed"
            raise self._too_large("all letters that wait", expected, self.held_bytes)

    def _misplaced(self, part: Part, expected: str) -> TransportError:
        where = f"letter {part.number} from {self._peer}, tensor {part.tensor}"
        return garbled(where, expected, f"{part.content.nbytes:,} bytes from byte {part.offset:,} on")

    def _too_large(self, what: str, expected: str, got: int) -> TransportError:
        return TransportError(
            "SW-T108",
            "a peer sends more than the plan has use for",
            where=f"{what}, from {self._peer}",
            expected=expected,
            got=f"{got:,} bytes",
            state="no memory was taken for it",
            remedy="nothing, if the peer is a stranger's: the link is ended; else compare the versions at both ends",
        )


def _letter(head: wire.Head, packed: Packed) -> Letter:
    return Letter(head.source, head.destination, packed, head.stream, head.serial)
