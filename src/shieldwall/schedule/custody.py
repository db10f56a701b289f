"""Who runs what: the host of each stage, and the host of each duplicate, which is the stage's checker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from shieldwall.schedule.actions import Action
from shieldwall.schedule.flow import Parcel
from shieldwall.schedule.plan import Host


@dataclass(frozen=True, slots=True)
class Custody:
    """The assignment of stages and duplicates to hosts.

    Args:
        holders: the host of each stage.
        checkers: the host of each duplicate, by its stage; stages without a duplicate are not in it.
    """

    holders: Mapping[int, Host]
    checkers: Mapping[int, Host]

    @classmethod
    def of(cls, hosts: Sequence[Host]) -> Self:
        """The custody that `hosts` declare."""
        return cls(
            {stage: host for host in hosts for stage in host.stages},
            {stage: host for host in hosts for stage in host.duplicates},
        )

    @property
    def stages(self) -> int:
        """K."""
        return len(self.holders)

    def host_of(self, compute: Action) -> Host:
        """The host that runs `compute`."""
        return (self.checkers if compute.kind.is_check else self.holders)[compute.stage]

    def checker_of(self, parcel: Parcel) -> Host | None:
        """The host whose duplicate settles `parcel`, or None where nobody checks the stage that makes it."""
        return self.checkers.get(parcel.stage)

    def users(self, parcel: Parcel) -> tuple[Action, ...]:
        """The computations that work on `parcel`: of its consumer and, where there is one, of the duplicate."""
        if parcel.consumer in self.checkers:
            return (parcel.user, parcel.second_user)
        return (parcel.user,)

    def destinations(self, parcel: Parcel) -> tuple[str, ...]:
        """The other hosts that need `parcel`, at most two, the consumer's first. It is sent once to each of them."""
        source = self.holders[parcel.stage].name
        names = (self.host_of(user).name for user in self.users(parcel))
        return tuple(name for name in names if name != source)
