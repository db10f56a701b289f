"""Right work under a false claim about what it was made from."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from shieldwall.attacks.base import Attack, Turn
from shieldwall.core.statements import Header


class InputLie(Attack):
    """Signs that it was given another input than it was.

    Formula: root_in' = 32 random bytes in place of root_in
    Sees: the header that it is about to sign.
    Source: input lying; rule 2 of the referee. The jumping connection of arXiv 2312.00843 is made against it.
    Caught by: the signed header of the stage before, which names another root.
    """

    row: ClassVar[int | None] = 24

    def sign(self, turn: Turn, header: Header) -> Header:
        claimed = torch.randint(256, (32,), generator=turn.generator(), dtype=torch.uint8)
        return replace(header, root_in=bytes(claimed.tolist()).hex())
