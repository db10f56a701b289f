"""An executor that knows nothing of the package's checks: it really plays a plan, with texts for tensors.

A tensor is held from when it is made or received until it is used or sent; making or receiving what is held already
is a mistake, and so is anything left over. The result must be that of one process that runs the stages in order.
"""

from __future__ import annotations

from collections import defaultdict

from shieldwall.schedule import Action, Plan

Name = tuple[str, int, int]


class BrokenError(Exception):
    """The plan does not do its work."""


class _Machine:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.last = plan.stages - 1
        self.stages = {host.name: set(host.stages) for host in plan.hosts}
        self.held: dict[str, dict[Name, str]] = {host.name: {} for host in plan.hosts}
        self.mail: dict[tuple[str, str, Name], list[str]] = defaultdict(list)
        self.inputs: dict[tuple[int, int], str] = {}
        self.ran: set[tuple[int, int]] = set()
        self.losses: dict[int, str] = {}
        self.sums: dict[int, list[str]] = defaultdict(list)

    def play(self) -> None:
        rest = {lane.host: list(lane.actions) for lane in self.plan.lanes}
        moved = True
        while moved:
            moved = False
            for host, actions in rest.items():
                while actions and self.do(host, actions[0]):
                    del actions[0]
                    moved = True
        if any(rest.values()) or any(self.held.values()) or any(self.mail.values()):
            raise BrokenError

    def do(self, host: str, action: Action) -> bool:
        """False where the action has to wait."""
        i, m = action.stage, action.micro_batch
        if action.kind == "F":
            self.forward(host, i, m)
        elif action.kind == "B":
            self.backward(host, i, m)
        else:
            name = ("a" if action.kind in ("SA", "RA") else "g", i, m)
            if action.kind in ("SA", "SG"):
                self.mail[host, action.peer, name].append(self.take(host, name))
            elif self.mail[action.peer, host, name]:
                self.put(host, name, self.mail[action.peer, host, name].pop())
            else:
                return False
        return True

    def put(self, host: str, name: Name, value: str) -> None:
        if name in self.held[host]:
            raise BrokenError
        self.held[host][name] = value

    def take(self, host: str, name: Name) -> str:
        if name not in self.held[host]:
            raise BrokenError
        return self.held[host].pop(name)

    def forward(self, host: str, i: int, m: int) -> None:
        if i not in self.stages[host] or m >= self.plan.micro_batches or (i, m) in self.ran:
            raise BrokenError
        self.ran.add((i, m))
        self.inputs[i, m] = f"tokens{m}" if i == 0 else self.take(host, ("a", i - 1, m))
        output = f"f{i}({self.inputs[i, m]})"
        if i == self.last:
            self.losses[m] = output
        else:
            self.put(host, ("a", i, m), output)

    def backward(self, host: str, i: int, m: int) -> None:
        if i not in self.stages[host] or not self.plan.training or (i, m) not in self.inputs:
            raise BrokenError
        upstream = self.losses[m] if i == self.last else self.take(host, ("g", i + 1, m))
        gradient = f"b{i}({upstream}, {self.inputs.pop((i, m))})"
        self.sums[i].append(gradient)
        if i > 0:
            self.put(host, ("g", i, m), gradient)


def works(plan: Plan) -> bool:
    """Whether playing `plan` gives what one process gives, with nothing left over."""
    machine = _Machine(plan)
    try:
        machine.play()
    except BrokenError:
        return False
    losses, sums = _one_process(plan)
    return machine.losses == losses and machine.sums == sums


def _one_process(plan: Plan) -> tuple[dict[int, str], dict[int, list[str]]]:
    losses: dict[int, str] = {}
    sums: dict[int, list[str]] = {}
    for m in range(plan.micro_batches):
        inputs = []
        value = f"tokens{m}"
        for i in range(plan.stages):
            inputs.append(value)
            value = f"f{i}({value})"
        losses[m] = value
        for i in reversed(range(plan.stages)) if plan.training else ():
            value = f"b{i}({value}, {inputs[i]})"
            sums.setdefault(i, []).append(value)
    return losses, sums
