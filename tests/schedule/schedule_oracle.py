"""Executors that know nothing of the package's own: one really plays a plan, with texts for tensors, one times it.

A tensor is held from when it is made or received until each computation on this host that needs it has used it and it
was sent to each other host that does, or in a star to the server, which sends it on; making or receiving what is held
already is a mistake, and so is anything left over. The result must be that of one process that runs the stages in
order, and every duplicate must come to the same.
"""

from __future__ import annotations

from collections import defaultdict

from shieldwall.schedule import Action, Plan, StageCosts

Name = tuple[str, int, int]


class BrokenError(Exception):
    """The plan does not do its work."""


class _Machine:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.last = plan.stages - 1
        self.chosen = range(plan.micro_batches) if plan.only is None else plan.only
        self.stages = {host.name: set(host.stages) for host in plan.hosts}
        self.copies = {host.name: set(host.duplicates) for host in plan.hosts}
        self.held: dict[str, dict[Name, list[str]]] = {host.name: {} for host in plan.hosts}
        self.mail: dict[tuple[str, str, Name], list[str]] = defaultdict(list)
        self.inputs: dict[tuple[str, int, int], str] = {}
        self.ran: set[tuple[str, int, int]] = set()
        self.losses: dict[int, str] = {}
        self.outputs: dict[Name, str] = {}
        self.checked: dict[Name, str] = {}
        self.sums: dict[int, list[str]] = defaultdict(list)
        self.copy_sums: dict[int, list[str]] = defaultdict(list)
        self.settled: dict[str, set[Name]] = defaultdict(set)
        self.relied: dict[str, set[Name]] = defaultdict(set)

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
        if self.settled != self.relied:
            raise BrokenError

    def do(self, host: str, action: Action) -> bool:
        """False where the action has to wait."""
        i, m = action.stage, action.micro_batch
        if action.kind in ("F", "D"):
            self.forward(host, action.kind, i, m)
        elif action.kind in ("B", "E"):
            self.backward(host, action.kind, i, m)
        else:
            name = ("a" if action.kind in ("SA", "RA", "WA") else "g", i, m)
            if action.kind in ("WA", "WG"):
                return self.wait(host, action.peer, name)
            if action.kind in ("SA", "SG"):
                self.send(host, action.peer, name)
            elif self.mail[action.peer, host, name]:
                self.put(host, name, self.mail[action.peer, host, name].pop(), made=False)
            else:
                return False
        return True

    def send(self, host: str, to: str, name: Name) -> None:
        value = self.take(host, name)
        if self.plan.topology == "chain":
            self.mail[host, to, name].append(value)
            return
        if to != "server":
            raise BrokenError
        for user in {*self.users(name)} - {host}:
            self.mail[host, user, name].append(value)

    def who(self, kind: str, i: int) -> list[str]:
        """The host of the stage or duplicate that does `kind`, if there is one."""
        held = self.stages if kind in "FB" else self.copies
        return [host for host, mine in held.items() if i in mine]

    def users(self, name: Name) -> list[str]:
        """The host of each computation that needs it."""
        letter, i, _ = name
        if letter == "a":
            return [host for kind in "FD" for host in self.who(kind, i + 1)]
        return [host for kind in "BE" for host in self.who(kind, i - 1)]

    def put(self, host: str, name: Name, value: str, *, made: bool) -> None:
        if name in self.held[host]:
            raise BrokenError
        users = self.users(name)
        others = len({*users} - {host}) if made else 0
        uses = users.count(host) + (others if self.plan.topology == "chain" else min(others, 1))
        if not uses:
            raise BrokenError
        self.held[host][name] = [value] * uses

    def take(self, host: str, name: Name) -> str:
        if name not in self.held[host]:
            raise BrokenError
        value = self.held[host][name].pop()
        if not self.held[host][name]:
            del self.held[host][name]
        return value

    def use(self, host: str, name: Name) -> str:
        if self.plan.when == "before_use" and self.who("D", name[1]):
            if name not in self.settled[host]:
                raise BrokenError
            self.relied[host].add(name)
        return self.take(host, name)

    def wait(self, host: str, checker: str, name: Name) -> bool:
        if self.plan.when != "before_use" or self.who("D", name[1]) != [checker] or name in self.settled[host]:
            raise BrokenError
        if name not in self.outputs or name not in self.checked:
            return False
        self.settled[host].add(name)
        return True

    def begin(self, host: str, kind: str, i: int, m: int) -> None:
        if self.who(kind, i) != [host] or m not in self.chosen or (kind, i, m) in self.ran:
            raise BrokenError
        self.ran.add((kind, i, m))

    def forward(self, host: str, kind: str, i: int, m: int) -> None:
        self.begin(host, kind, i, m)
        value = f"tokens{m}" if i == 0 else self.use(host, ("a", i - 1, m))
        self.inputs[kind, i, m] = value
        output, name = f"f{i}({value})", ("a", i, m)
        (self.outputs if kind == "F" else self.checked)[name] = output
        if i == self.last:
            self.losses[m] = output
        elif kind == "F":
            self.put(host, name, output, made=True)

    def backward(self, host: str, kind: str, i: int, m: int) -> None:
        self.begin(host, kind, i, m)
        forward = "F" if kind == "B" else "D"
        if not self.plan.training or (forward, i, m) not in self.inputs:
            raise BrokenError
        upstream = self.losses[m] if i == self.last else self.use(host, ("g", i + 1, m))
        gradient, name = f"b{i}({upstream}, {self.inputs.pop((forward, i, m))})", ("g", i, m)
        (self.sums if kind == "B" else self.copy_sums)[i].append(gradient)
        (self.outputs if kind == "B" else self.checked)[name] = gradient
        if kind == "B" and i > 0:
            self.put(host, name, gradient, made=True)


def works(plan: Plan) -> bool:
    """Whether playing `plan` gives what one process gives, everything is checked, and nothing is left over."""
    machine = _Machine(plan)
    try:
        machine.play()
    except BrokenError:
        return False
    losses, sums = _one_process(plan)
    copied = {stage for host in plan.hosts for stage in host.duplicates}
    checks = {name: value for name, value in machine.outputs.items() if name[1] in copied}
    copy_sums = {stage: value for stage, value in sums.items() if stage in copied}
    return (machine.losses, machine.sums, machine.checked, machine.copy_sums) == (losses, sums, checks, copy_sums)


def _one_process(plan: Plan) -> tuple[dict[int, str], dict[int, list[str]]]:
    losses: dict[int, str] = {}
    sums: dict[int, list[str]] = {}
    for m in range(plan.micro_batches) if plan.only is None else plan.only:
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


def start_times(plan: Plan, costs: StageCosts) -> dict[Action, float]:
    """When each computation starts, where no two hosts share a processor.

    Longest paths by relaxation: everything starts at 0, then whatever has to wait for something is moved until nothing
    moves any more.
    """
    start: dict[tuple[str, int], float] = {}
    end: dict[Action, float] = {}
    sent: dict[tuple[str, Action], float] = {}
    moved = True
    while moved:
        moved = False
        for lane in plan.lanes:
            clock = 0.0
            for position, action in enumerate(lane.actions):
                clock = max(clock, _earliest(plan, costs, lane.host, action, end, sent))
                moved = moved or start.get((lane.host, position)) != clock
                start[lane.host, position] = clock
                if action.kind in ("F", "B", "D", "E"):
                    speed = next(host.speed for host in plan.hosts if host.name == lane.host)
                    clock += (costs.forward_s if action.kind in ("F", "D") else costs.backward_s)[action.stage] / speed
                    end[action] = clock
                elif action.kind in ("SA", "SG"):
                    twin = Action.parse(f"R{str(action)[1:].split('>')[0]}<{lane.host}")
                    everybody = {host.name for host in plan.hosts} - {lane.host}
                    for to in everybody if action.peer == "server" else {action.peer}:
                        sent[to, twin] = clock + way_s(plan, costs, lane.host, to)
    return {
        action: start[lane.host, position]
        for lane in plan.lanes
        for position, action in enumerate(lane.actions)
        if action.kind in ("F", "B", "D", "E")
    }


def _earliest(
    plan: Plan,
    costs: StageCosts,
    host: str,
    action: Action,
    end: dict[Action, float],
    sent: dict[tuple[str, Action], float],
) -> float:
    if action.kind in ("RA", "RG"):
        return sent.get((host, action), 0.0)
    if action.kind in ("WA", "WG"):
        letters = "FD" if action.kind == "WA" else "BE"
        made, checked = (Action.parse(f"{letter}{action.stage}.{action.micro_batch}") for letter in letters)
        return settled_s(plan, costs, action.stage, host, end.get(made, 0.0), end.get(checked, 0.0))
    return 0.0


def settled_s(plan: Plan, costs: StageCosts, stage: int, host: str, made_s: float, checked_s: float) -> float:
    """When `host` knows that what `stage` made is settled: the checker has result and header, and has said so."""
    checker = plan.checker_of(stage)
    header_s = made_s + way_s(plan, costs, plan.host_of(stage), str(checker))
    return max(header_s, checked_s) + way_s(plan, costs, str(checker), host)


def way_s(plan: Plan, costs: StageCosts, source: str, to: str) -> float:
    """From host to host; in a star the server stands where the initiator is, and all other ways lead over it."""
    if source == to:
        return 0.0
    return costs.transfer_s * (1 if plan.topology == "chain" or "initiator" in (source, to) else 2)
