"""How a culprit leaves a run once others hold what it held: told to end, or over the wire banned and cut off."""

from __future__ import annotations

from dataclasses import dataclass

from shieldwall.pipeline.coordinator import Coordinator
from shieldwall.run.machines.muster import Machines
from shieldwall.verify.court import Court
from shieldwall.verify.court.book import WITHHOLDING
from shieldwall.verify.ledger.show import sentence


@dataclass(frozen=True, slots=True)
class Dismissal:
    """Sends culprits away.

    Args:
        coordinator: gives the order to end.
        court: knows what they were found guilty of; None where nothing is checked.
        machines: workers on other machines; None where all hosts are in this process.
    """

    coordinator: Coordinator
    court: Court | None
    machines: Machines | None

    async def __call__(self, culprit: str) -> None:
        """Send one away, whose duties have gone over.

        Raises:
            StorageError: SW-S101; it could not be banned.
        """
        if self.machines and culprit in self.machines.keys:
            await self.machines.warden.revoke(culprit, self._guilt(culprit))
        else:
            await self.coordinator.stop([culprit])

    def _guilt(self, culprit: str) -> str:
        """The first verdict against a worker, in words."""
        verdicts = self.court.book.verdicts if self.court else []
        found = (verdict for verdict in verdicts if verdict.culprit == culprit and verdict.rule != WITHHOLDING)
        return next(map(sentence, found), "found guilty")
