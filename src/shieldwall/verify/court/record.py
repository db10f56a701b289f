"""What the court wants remembered; the ledger does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from shieldwall.core.messages import View
from shieldwall.core.signing import Signed


class Record(Protocol):
    """Remembers a run, step by step."""

    def add(self, signed: Signed[Any]) -> None:
        """A statement of the step in work."""

    def add_view(self, view: View) -> None:
        """Who holds what from now on."""

    def keep_evidence(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
        """Put tensors behind a case away for reviewers; gives their root, empty where none are kept."""

    def commit(self, content: Mapping[str, Any]) -> str:
        """Make the step durable, closed by the initiator's signature over `content`; gives the new head."""

    def add_receipts(self, receipts: Sequence[Signed[Any]]) -> None:
        """Workers' countersignatures of a head."""
