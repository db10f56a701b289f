"""The plan of each step: as the dial says, and more careful for a while after an alert."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shieldwall.config import VerifySection
from shieldwall.core.files import write_whole
from shieldwall.recovery.detour import Detour
from shieldwall.run.planning import RunPlan
from shieldwall.schedule import Host, Plan


class Plans:
    """Makes each plan once.

    Args:
        run_plan: of the run.
        verify: the dial.
        evaluation_micro_batches: how many micro-batches an evaluation has.
    """

    def __init__(self, run_plan: RunPlan, verify: VerifySection, evaluation_micro_batches: int) -> None:
        self._run_plan = run_plan
        self._verify = verify
        self._evaluation_micro_batches = evaluation_micro_batches
        self._made: dict[Detour | tuple[int, ...] | str, Plan] = {}
        self._careful = 0

    def training(self) -> Plan:
        """The plan of the next step."""
        if self._careful and self._run_plan.plan.when == "before_commit":
            return self.careful()
        return self._run_plan.plan

    @property
    def usual(self) -> Plan:
        """The plan of a step in which nothing is out of the way, on those who hold the stages now."""
        return self._run_plan.plan

    def careful(self) -> Plan:
        """The plan of a step in which nothing is used before it is settled."""
        return self._keep("careful", lambda: self._run_plan.settled_before_use())

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Who holds what now."""
        return self._run_plan.plan.hosts

    def around(self, found: Detour) -> Plan:
        """The plan of a step around some hosts."""
        return self._keep(found, lambda: self._run_plan.around(found))

    def again(self, micro_batches: tuple[int, ...]) -> Plan:
        """The plan for micro-batches that are run again."""
        return self._keep(micro_batches, lambda: self._run_plan.settled_before_use(micro_batches))

    def evaluation(self) -> Plan:
        """The plan of an evaluation."""
        return self._keep("evaluation", lambda: self._run_plan.evaluation(self._evaluation_micro_batches))

    def heed(self, alerts: int) -> None:
        """A step with so many alerts is over."""
        if self._verify.when == "auto":
            self._careful = self._verify.careful_steps if alerts else max(0, self._careful - 1)

    def move(self, hosts: Sequence[Host]) -> None:
        """Others hold the stages from now on."""
        self._run_plan = self._run_plan.held_by(hosts)
        self._made.clear()

    def _keep(self, name: Detour | tuple[int, ...] | str, make: Callable[[], Plan]) -> Plan:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def write_plan(path: Path, steps: int, run_plan: RunPlan, besides: Mapping[str, Any]) -> dict[str, Any]:
    """Write `plan.json` of a run of so many steps, and what else it is to hold; gives all of it.

    Raises:
        StorageError: SW-S101; what was written before stands.
    """
    numbers = {"steps": steps, **run_plan.to_json(), **besides}
    write_whole(path, (json.dumps(numbers, indent=2) + "\n").encode())
    return numbers
