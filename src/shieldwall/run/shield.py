"""Putting the shield together for one run: keys, guards, court and record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shieldwall.core.hooks import Hook
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import StageState, View
from shieldwall.core.signing import Identity
from shieldwall.run.recompute import StageRecompute
from shieldwall.schedule import Host
from shieldwall.verify.court import Court, DuplicateOversight
from shieldwall.verify.court.record import Record
from shieldwall.verify.duplicate import DuplicateGuard


class Shield:
    """Everybody's keys and guards, and the initiator's court.

    Args:
        hosts: names of everybody who may take part, spares included.
        arithmetic: root of the run's arithmetic class.
        recompute: the referee's machine.
        record: remembers what was said and found.
        identity: the initiator's key; drawn anew if not given.
        bans: whether culprits are expelled.
        first_attempt: number of the first attempt at each step.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        *,
        arithmetic: str,
        recompute: StageRecompute,
        record: Record,
        identity: Identity | None = None,
        bans: bool = False,
        first_attempt: int = 0,
    ) -> None:
        self._identities = {name: Identity(name) for name in hosts if name != INITIATOR}
        self._identities[INITIATOR] = identity or Identity(INITIATOR)
        self._arithmetic = arithmetic
        self._recompute = recompute
        self.first_attempt = first_attempt
        self.court = Court(self._identities[INITIATOR], recompute, record, {}, bans=bans)
        self.oversight = DuplicateOversight(self.court)

    def guard_of(self, host: str, hooks: Sequence[Hook] = ()) -> DuplicateGuard:
        """The guard of one host."""
        return DuplicateGuard(self._identities[host], hooks)

    @property
    def keys(self) -> dict[str, bytes]:
        """Everybody's public keys."""
        return {name: identity.public for name, identity in self._identities.items()}

    def view(self, number: int, hosts: Sequence[Host]) -> View:
        """The assignment that `hosts` make, ready to be announced; the court goes by it from now on."""
        view = View(
            view=number,
            holders={stage: host.name for host in hosts for stage in host.stages},
            checkers={stage: host.name for host in hosts for stage in host.duplicates},
            keys=self.keys,
            arithmetic=self._arithmetic,
        )
        self.oversight.see_view(view)
        return view

    def take_first_states(self, states: Mapping[int, StageState]) -> None:
        """Root 0 of each checked stage, computed by the initiator."""
        roots = {stage: self._recompute.state_root(stage, state) for stage, state in states.items()}
        self.court.state_roots.update(roots)
