"""What an experiment found: tables, claims, notes, and a picture."""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.lab.experiment.claims import Claim
from shieldwall.lab.record import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What an experiment found."""

    tables: tuple[Table, ...]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...]
    picture: bytes
