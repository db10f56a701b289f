"""Oversight of a run whose middle stages have duplicates: the court and the updates behind one contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from shieldwall.core.ids import Slot
from shieldwall.core.messages import Committed, Note, Opened, Prepared, StageState, StateReport, SummedUp, View
from shieldwall.core.oversight import Assignment, Correspondence, Findings, Response
from shieldwall.core.signing import Signed
from shieldwall.verify.court.court import Court
from shieldwall.verify.court.updates import Updates


class DuplicateOversight:
    """Watches one run; fulfils `core.oversight.Oversight`.

    Args:
        court: judges over the run.
    """

    def __init__(self, court: Court) -> None:
        self.court = court
        self._updates = Updates(court.hearing, court.book, response=court.response)
        self._clip_coefficients: Mapping[int, float] = {}
        self._learning_rate = 0.0

    def see_view(self, view: View, state_roots: Mapping[int, str] | None = None) -> None:
        """Who holds what from now on; `state_roots` are of stages that were the initiator's alone before."""
        self.court.see_view(view, state_roots or {})

    def file(self, note: Note) -> None:
        self.court.file(note)

    def begin(self, assignment: Assignment) -> None:
        self.court.begin(assignment)

    def words(self, slot: Slot) -> Sequence[Signed[Any]]:
        return self.court.hearing.records.words(slot)

    async def attend(self, talk: Correspondence) -> Findings:
        return await self.court.attend(talk)

    async def conclude(self, talk: Correspondence) -> Findings:
        return await self.court.conclude(talk)

    async def join_gradients(self, reports: Sequence[SummedUp], talk: Correspondence) -> dict[str, Tensor]:
        return await self._updates.join_gradients(reports, talk)

    async def join_states(
        self,
        prepared: Sequence[Prepared],
        opened: Sequence[Opened],
        talk: Correspondence,
        *,
        clip_coefficients: Mapping[int, float],
        learning_rate: float,
    ) -> None:
        self._clip_coefficients, self._learning_rate = clip_coefficients, learning_rate
        await self._updates.join_states(
            prepared, opened, talk, clip_coefficients=clip_coefficients, learning_rate=learning_rate
        )

    def seal_step(self, step: int, *, norm: float) -> str:
        del step
        return self.court.end_step(
            dict(self._updates.state_roots),
            clip_coefficients=self._clip_coefficients,
            learning_rate=self._learning_rate,
            norm=norm,
        )

    def take_receipts(self, reports: Sequence[Committed]) -> None:
        self.court.take_receipts(reports)

    def accept_state(self, report: StateReport) -> StageState | None:
        accepted = self.court.accept(report)
        return report.state if accepted or self.court.response is Response.NONE else None

    def fits_state(self, stage: int, roots: Mapping[str, str]) -> bool | None:
        return self.court.fits(stage, roots)
