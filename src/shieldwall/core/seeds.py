"""Every random draw of a run is a published function of its seed and of what it is for.

A draw is named by a purpose and integers. Its seed is made of the first eight bytes of SHA-256 over the UTF-8 text
`shieldwall/1|PURPOSE|INTEGER|INTEGER|...`, read as a big-endian integer and shifted right by one bit. Anyone who knows
a run's seed can repeat each draw, so every copy of a stage, on any machine and in any attempt, draws the same masks.

Units of a model are numbered for this: 0 is the embeddings, 1 to L are the layers, L + 1 is the head.
"""

from __future__ import annotations

import hashlib

EMBEDDINGS_UNIT = 0
"""The unit number of the embeddings; layer `j` (from 0) is unit `j + 1`."""


def derive_seed(purpose: str, *parts: int) -> int:
    """The seed of one named draw, in [0, 2**63)."""
    text = "|".join(["shieldwall/1", purpose, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def dropout_seed(seed: int, step: int, micro_batch: int, unit: int) -> int:
    """What torch's generator is seeded with before `unit` runs forward on `micro_batch` of `step`."""
    return derive_seed("dropout", seed, step, micro_batch, unit)


def weights_seed(seed: int) -> int:
    """What torch's generator is seeded with before a `tiny:` model draws its first weights."""
    return derive_seed("weights", seed)


def adapter_seed(seed: int, place: int) -> int:
    """What the generator is seeded with that draws the adapter tensor at `place` among all of the whole model."""
    return derive_seed("adapter", seed, place)


def epoch_seed(seed: int, epoch: int) -> int:
    """What decides the order of the training blocks in `epoch`."""
    return derive_seed("epoch", seed, epoch)
