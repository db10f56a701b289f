"""Putting the shield together for one run: keys, guards, court and record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shieldwall.core.compression import PLAIN, Compression
from shieldwall.core.hooks import Hook
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import StageState, View
from shieldwall.core.oversight import Response
from shieldwall.core.signing import Identity
from shieldwall.schedule import Host
from shieldwall.verify.court import Court, DuplicateOversight
from shieldwall.verify.court.recompute import Recompute
from shieldwall.verify.court.record import Record
from shieldwall.verify.duplicate import DuplicateGuard


class Parties:
    """Everybody's keys.

    Args:
        names: of everybody who may take part, spares included.
        initiator: the initiator's key; drawn anew if not given.
        elsewhere: public keys of those whose private keys are on other machines.
    """

    def __init__(
        self,
        names: Iterable[str],
        initiator: Identity | None = None,
        elsewhere: Mapping[str, bytes] | None = None,
    ) -> None:
        self._elsewhere = dict(elsewhere or {})
        here = [name for name in names if name != INITIATOR and name not in self._elsewhere]
        self._identities = {name: Identity(name) for name in here}
        self._identities[INITIATOR] = initiator or Identity(INITIATOR)

    def __getitem__(self, name: str) -> Identity:
        return self._identities[name]

    def admit(self, name: str, key: bytes) -> None:
        """Somebody on another machine has come whose public key (32 bytes) is this.

        Who takes part in this process keeps the key that it has.
        """
        if name not in self._identities:
            self._elsewhere[name] = key

    @property
    def keys(self) -> dict[str, bytes]:
        """Everybody's public key, 32 bytes each."""
        return {name: identity.public for name, identity in self._identities.items()} | self._elsewhere


class Shield:
    """Everybody's guards, and the initiator's court.

    Args:
        parties: everybody's keys.
        arithmetic: root of the run's arithmetic class.
        recompute: the referee's machine.
        record: remembers what was said and found.
        state_roots: root of each checked stage's state at the start, computed by the initiator.
        bans: whether culprits are expelled.
        response: what becomes of a step in which something is wrong.
        first_attempt: number of the first attempt at each step.
        first_view: number of the first view.
        compression: of what crosses a border.
    """

    def __init__(
        self,
        parties: Parties,
        *,
        arithmetic: str,
        recompute: Recompute,
        record: Record,
        state_roots: Mapping[int, str],
        bans: bool = False,
        response: Response = Response.REPAIR,
        first_attempt: int = 0,
        first_view: int = 0,
        compression: Compression = PLAIN,
    ) -> None:
        self._parties = parties
        self._recompute = recompute
        self._arithmetic = arithmetic
        self._next_view = first_view
        self._compression = compression
        self.first_attempt = first_attempt
        self.court = Court(parties[INITIATOR], recompute, record, state_roots, bans=bans, response=response)
        self.oversight = DuplicateOversight(self.court)

    def guard_of(self, host: str, hooks: Sequence[Hook] = ()) -> DuplicateGuard:
        """The guard of one host."""
        return DuplicateGuard(self._parties[host], hooks, self._compression)

    def admit(self, name: str, key: bytes) -> None:
        """Let somebody take part who has come while the run is on; the next view tells everybody its public key."""
        self._parties.admit(name, key)

    def view(
        self,
        hosts: Sequence[Host],
        *,
        bypassed: tuple[int, ...] = (),
        still: tuple[int, ...] = (),
        states: Mapping[int, StageState] | None = None,
    ) -> View:
        """The next view, in which `hosts` hold what they say; the court goes by it from now on.

        Args:
            hosts: who holds what.
            bypassed: stages of the initiator that have no layers in this view.
            still: stages that keep their state.
            states: of stages that are about to change hands; what the initiator held alone is vouched for by it.
        """
        view = View(
            view=self._next_view,
            holders={stage: host.name for host in hosts for stage in host.stages},
            checkers={stage: host.name for host in hosts for stage in host.duplicates},
            keys=self._parties.keys,
            arithmetic=self._arithmetic,
            bypassed=bypassed,
            still=still,
        )
        self._next_view += 1
        known = self.court.hearing.state_roots
        vouched = {
            stage: state for stage, state in (states or {}).items() if stage in view.checkers.keys() - known.keys()
        }
        self.oversight.see_view(view, first_roots(self._recompute, vouched))
        return view


def first_roots(recompute: Recompute, states: Mapping[int, StageState]) -> dict[int, str]:
    """Root 0 of each checked stage."""
    return {stage: recompute.state_root(stage, state) for stage, state in states.items()}
