"""Roots of the states that a host holds, and the sealed envelopes around those that it has prepared (design 4.7)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from torch import Tensor

from shieldwall.core.ids import Role
from shieldwall.core.messages import StageState
from shieldwall.core.statements import Holding, StateOpening, StateSeal, seal_root
from shieldwall.core.tensor_roots import fixed_roots, state_root

Copy = tuple[Role, int]
"""One stage or duplicate on this host."""


class StateRoots:
    """Committed and prepared state roots of one host's stages and duplicates."""

    def __init__(self) -> None:
        self._fixed: dict[Copy, dict[str, str]] = {}
        self._committed: dict[Copy, str] = {}
        self._prepared: dict[Copy, StateOpening] = {}

    def hold(self, copy: Copy, state: StageState, frozen: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
        """A stage or duplicate is held from now on; what training never changes is hashed this once."""
        self._fixed[copy] = fixed_roots(frozen, buffers)
        self._committed[copy] = state_root(state, self._fixed[copy])

    def committed(self, copy: Copy) -> str:
        """Root of the state in force; empty where nothing is held under that name."""
        return self._committed.get(copy, "")

    def close(self, holding: Holding, state: StageState, party: str) -> StateSeal:
        """The closed envelope around the root of a new state."""
        copy = holding.role, holding.stage
        opening = StateOpening(holding=holding, nonce=secrets.token_hex(16), root=state_root(state, self._fixed[copy]))
        self._prepared[copy] = opening
        return StateSeal(holding=holding, sealed=seal_root(opening.nonce, opening.root, party))

    def openings(self) -> list[StateOpening]:
        """What is in the envelopes."""
        return list(self._prepared.values())

    def commit(self) -> None:
        """The prepared states are in force."""
        self._committed.update({copy: opening.root for copy, opening in self._prepared.items()})
        self._prepared.clear()
