"""Signing keys that strangers bring: 32 bytes that must be able to bind whoever holds them.

A few public keys of Ed25519 are of small order: anybody can write signatures for them, which hold for many statements.
Who enrolled with one could later say that somebody else had signed, and evidence would prove nothing.
"""

from __future__ import annotations

PUBLIC_KEY_BYTES = 32

_PRIME = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = {0, 1, _ORDER_8, _PRIME - _ORDER_8, _PRIME - 1, _PRIME, _PRIME + 1}
"""The y of all points of order 1, 2, 4 and 8, also in the forms that exceed the prime.

Source: the list of libsodium, crypto_core/ed25519/ref10, ge25519_has_small_order.
"""


def is_binding(public: bytes) -> bool:
    """Whether 32 bytes can be a signing key: not of small order, whatever the sign of x."""
    y = int.from_bytes(public, "little") & (2**255 - 1)
    return len(public) == PUBLIC_KEY_BYTES and y not in _SMALL_ORDER
