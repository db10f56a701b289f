"""A plan: who holds which stage, and one lane of actions for each host. Plain data, compared by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from shieldwall.core.errors import PlanError
from shieldwall.schedule.actions import Action

When = Literal["before_use", "before_commit"]
"""When checks must be settled: before anybody computes on the tensor, or only before the step's update."""

WHENS: tuple[When, ...] = get_args(When)

Topology = Literal["chain", "star"]
"""Who talks to whom: hosts to each other, or every host to the initiator's central server alone."""

TOPOLOGIES: tuple[Topology, ...] = get_args(Topology)


@dataclass(frozen=True, slots=True)
class Host:
    """A party that plays one lane.

    Args:
        name: unique in a plan.
        stages: the stages that it holds, from 0.
        speed: how many times faster than the host that the costs were measured on; above 0.
        processor: hosts that name the same processor share it in time; None is a processor of its own.
        duplicates: the stages that it checks, each with a copy of its own.
    """

    name: str
    stages: tuple[int, ...]
    speed: float = 1.0
    processor: str | None = None
    duplicates: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """What one host does in one step, in this order."""

    host: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that every host does in one step. Made by `make_plan`, checked by `validate_plan`.

    Args:
        schedule: name of the policy that ordered it.
        stages: K, at least 1.
        micro_batches: M, at least 1.
        training: False for evaluation, which only runs forward.
        hosts: every stage is on exactly one of them, its duplicate on another one or nowhere.
        lanes: one for each host.
        when: checks must be settled; None where nothing is checked.
        only: the micro-batches that run, in this order; None for all.
        topology: in a chain a tensor is sent to each host that needs it, in a star once, to the server; receives name
            its maker in both.
    """

    schedule: str
    stages: int
    micro_batches: int
    training: bool
    hosts: tuple[Host, ...]
    lanes: tuple[Lane, ...]
    when: When | None = None
    only: tuple[int, ...] | None = None
    topology: Topology = "chain"

    @property
    def chosen(self) -> tuple[int, ...]:
        """The micro-batches that run, in this order."""
        return tuple(range(self.micro_batches)) if self.only is None else self.only

    def host_of(self, stage: int) -> str:
        """Name of the host that holds `stage`.

        Raises:
            PlanError: SW-P112, no host of this plan holds it.
        """
        for host in self.hosts:
            if stage in host.stages:
                return host.name
        raise _absent(f"stage {stage}", f"a stage from 0 to {self.stages - 1}")

    def checker_of(self, stage: int) -> str | None:
        """Name of the host that holds the duplicate of `stage`, or None where nobody checks it."""
        return next((host.name for host in self.hosts if stage in host.duplicates), None)

    def lane_of(self, host: str) -> Lane:
        """The lane that `host` plays.

        Raises:
            PlanError: SW-P112, this plan has no lane for it.
        """
        for lane in self.lanes:
            if lane.host == host:
                return lane
        raise _absent(f"host {host!r}", f"one of {', '.join(lane.host for lane in self.lanes)}")

    def to_json(self) -> dict[str, Any]:
        """Plain data that `json.dumps` takes; actions in their text form.

        What only checked or partial plans or stars have (`duplicates`, `when`, `only`, `topology`) is left out of all
        others.
        """
        data: dict[str, Any] = {
            "schedule": self.schedule,
            "stages": self.stages,
            "micro_batches": self.micro_batches,
            "training": self.training,
            "hosts": [_host_data(host) for host in self.hosts],
            "lanes": [{"host": lane.host, "actions": [str(action) for action in lane.actions]} for lane in self.lanes],
        }
        if self.when is not None:
            data["when"] = self.when
        if self.only is not None:
            data["only"] = list(self.only)
        if self.topology != "chain":
            data["topology"] = self.topology
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The plan that `to_json` wrote down. Reads only; `validate_plan` says whether it can be played.

        Raises:
            PlanError: SW-P111, a key is absent, unknown or of the wrong type; SW-P110, a text is no action.
        """
        keys = ("schedule", "stages", "micro_batches", "training", "hosts", "lanes")
        row = _row(data, "plan", keys, ("when", "only", "topology"))
        return cls(
            schedule=_value(row, "schedule", str),
            stages=_value(row, "stages", int),
            micro_batches=_value(row, "micro_batches", int),
            training=_value(row, "training", bool),
            hosts=tuple(_host(item) for item in _value(row, "hosts", list)),
            lanes=tuple(_lane(item) for item in _value(row, "lanes", list)),
            when=_when(row["when"]) if "when" in row else None,
            only=_numbers(row, "only") if "only" in row else None,
            topology=_topology(row["topology"]) if "topology" in row else "chain",
        )


def _host_data(host: Host) -> dict[str, Any]:
    data = {"name": host.name, "stages": list(host.stages), "speed": host.speed, "processor": host.processor}
    return {**data, "duplicates": list(host.duplicates)} if host.duplicates else data


def _host(data: object) -> Host:
    row = _row(data, "host", ("name", "stages", "speed", "processor"), ("duplicates",))
    return Host(
        name=_value(row, "name", str),
        stages=_numbers(row, "stages"),
        speed=float(_value(row, "speed", float, int)),
        processor=_value(row, "processor", str, type(None)),
        duplicates=_numbers(row, "duplicates") if "duplicates" in row else (),
    )


def _lane(data: object) -> Lane:
    row = _row(data, "lane", ("host", "actions"))
    texts = [_item(text, "actions", str) for text in _value(row, "actions", list)]
    return Lane(host=_value(row, "host", str), actions=tuple(Action.parse(text) for text in texts))


def _when(value: Any) -> When:
    for when in WHENS:
        if value == when:
            return when
    raise _unreadable("when", " or ".join(WHENS), repr(value))


def _topology(value: Any) -> Topology:
    for topology in TOPOLOGIES:
        if value == topology:
            return topology
    raise _unreadable("topology", " or ".join(TOPOLOGIES), repr(value))


def _numbers(row: Mapping[str, Any], key: str) -> tuple[int, ...]:
    return tuple(_item(number, key, int) for number in _value(row, key, list))


def _row(data: object, what: str, keys: tuple[str, ...], optional: tuple[str, ...] = ()) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise _unreadable(what, f"an object with the keys {', '.join(keys)}", type(data).__name__)
    if set(data) - set(optional) != set(keys):
        raise _unreadable(what, f"exactly the keys {', '.join(keys)}", ", ".join(map(str, data)) or "no key")
    return data


def _value(row: Mapping[str, Any], key: str, *types: type) -> Any:
    return _item(row[key], key, *types)


def _item(value: Any, key: str, *types: type) -> Any:
    if type(value) not in types:  # a bool is no number here
        raise _unreadable(key, " or ".join(kind.__name__ for kind in types), type(value).__name__)
    return value


def _unreadable(where: str, expected: str, got: str) -> PlanError:
    return PlanError(
        "SW-P111",
        "this is not the data of a plan",
        where=where,
        expected=expected,
        got=got,
        remedy="read only what Plan.to_json wrote, of the same version of shieldwall",
    )


def _absent(got: str, expected: str) -> PlanError:
    return PlanError(
        "SW-P112",
        f"the plan has no {got}",
        expected=expected,
        got=got,
        remedy="ask for a stage or host of this plan, or make a plan that has it",
    )
