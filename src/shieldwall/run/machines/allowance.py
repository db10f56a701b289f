"""How large a message of each kind may be, from what the plan expects: known before memory is taken for one."""

from __future__ import annotations

from shieldwall.pipeline.transfer.chunks import CHUNK_BYTES

_FRAMES = frozenset({"TensorFrame", "Correct", "Shown"})
_STATES = frozenset({"TakeGradients", "TakePrepared"})
_CHUNKS = frozenset({"ChunkSent", "TakeChunk"})
_WORDS_BYTES = 4 << 20
"""Of what a message says beside its tensors: names of parameters, actions of a lane, norms."""


class Allowance:
    """Bytes by kind of message.

    Args:
        frame_bytes: of the largest tensor that crosses a border.
        state_bytes: of the largest state of a stage; 0 until it is known.
    """

    def __init__(self, frame_bytes: int = 0, state_bytes: int = 0) -> None:
        self.frame_bytes = frame_bytes
        self.state_bytes = state_bytes

    def __call__(self, kind: str) -> int:
        """At most so many bytes for a message of this kind."""
        if kind in _FRAMES:
            return self.frame_bytes + _WORDS_BYTES
        if kind in _CHUNKS:
            return CHUNK_BYTES + _WORDS_BYTES
        return (self.state_bytes if kind in _STATES else 0) + _WORDS_BYTES
