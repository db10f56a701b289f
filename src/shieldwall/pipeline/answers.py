"""Which report answers which order: what was asked of whom, and about what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shieldwall.core.messages import (
    Assign,
    Assigned,
    ChunkSent,
    ChunkTaken,
    Commit,
    Committed,
    Correct,
    Corrected,
    Discard,
    Discarded,
    KeptListed,
    ListKept,
    ListState,
    Message,
    NonFinite,
    Open,
    Opened,
    Play,
    Played,
    Prepare,
    Prepared,
    Release,
    Released,
    SendChunk,
    SendState,
    Show,
    Shown,
    StateListed,
    StateReport,
    SummedUp,
    SumUp,
    TakeChunk,
    TakeGradients,
    Taken,
    TakePrepared,
    View,
    Viewed,
)

Answer = tuple[object, ...]
"""The host that owes it, the report's kind, and everything in which an order and its answer must agree."""

_Read = Callable[[Any], Answer]


def _about(kind: type[Message], *fields: str) -> _Read:
    return lambda message: (kind, *(getattr(message, field) for field in fields))


_ORDERS: Mapping[type[Message], _Read] = {
    Assign: _about(Assigned, "stage", "role"),
    Release: _about(Released, "stage", "role"),
    View: _about(Viewed, "view"),
    Play: _about(Played, "step", "attempt"),
    Correct: lambda order: (Corrected, order.header.statement.slot),
    Show: _about(Shown, "slot"),
    SumUp: _about(SummedUp, "step"),
    TakeGradients: _about(Taken, "step", "stage", "role"),
    Prepare: _about(Prepared, "step"),
    Open: _about(Opened, "step"),
    TakePrepared: _about(Taken, "step", "stage", "role"),
    Commit: _about(Committed, "step"),
    Discard: _about(Discarded, "step"),
    SendState: _about(StateReport, "stage", "role"),
    ListState: _about(StateListed, "stage", "role"),
    SendChunk: _about(ChunkSent, "stage", "role", "name", "offset"),
    ListKept: _about(KeptListed, "stage"),
    TakeChunk: _about(ChunkTaken, "stage", "name", "offset"),
}
_REPORTS: Mapping[type[Message], _Read] = {
    Assigned: _about(Assigned, "stage", "role"),
    Released: _about(Released, "stage", "role"),
    Viewed: _about(Viewed, "view"),
    Played: _about(Played, "step", "attempt"),
    NonFinite: lambda report: (Played, report.slot.step, report.slot.attempt),  # it comes instead
    Corrected: _about(Corrected, "slot"),
    Shown: _about(Shown, "slot"),
    SummedUp: _about(SummedUp, "step"),
    Taken: _about(Taken, "step", "stage", "role"),
    Prepared: _about(Prepared, "step"),
    Opened: _about(Opened, "step"),
    Committed: _about(Committed, "step"),
    Discarded: _about(Discarded, "step"),
    StateReport: _about(StateReport, "stage", "role"),
    StateListed: _about(StateListed, "stage", "role"),
    ChunkSent: _about(ChunkSent, "stage", "role", "name", "offset"),
    KeptListed: _about(KeptListed, "stage"),
    ChunkTaken: _about(ChunkTaken, "stage", "name", "offset"),
}


def asked_of(host: str, order: Message) -> Answer | None:
    """The answer that an order asks of `host`; None for one that is not answered."""
    read = _ORDERS.get(type(order))
    return (host, *read(order)) if read else None


def given_by(sender: str, report: Message) -> Answer | None:
    """The answer that a message is, by whom the transport says it is from.

    None for one that is no report, or one in the name of somebody else.
    """
    read = _REPORTS.get(type(report))
    return (sender, *read(report)) if read and getattr(report, "host", None) == sender else None
