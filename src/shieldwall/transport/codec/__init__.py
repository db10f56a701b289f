"""Messages as plain data and raw tensors, and back. What comes back is data of a known form; nothing is executed."""

from shieldwall.transport.codec.message import MAX_BODY_BYTES, MAX_TENSORS, Packed, pack, unpack
from shieldwall.transport.codec.tensor_form import TensorForm, empty_like, form_of

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_TENSORS",
    "Packed",
    "TensorForm",
    "empty_like",
    "form_of",
    "pack",
    "unpack",
]
