"""Three steps in the life of a worker, hook call by hook call, as a host would make them.

    initiator  stages 0 and 4      checker of 3
    worker-1   stage 1
    worker-2   stage 2             checker of 1      <-- the one whose day it is
    worker-3   stage 3             checker of 2

Everything is honest and seeded; what a hook makes of it is recorded beside what it was given. Fingerprints are made
here from bytes, so that nothing of the room helps it to the right answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from shieldwall.attacks import Aim, AttackHook, AttackLog, PlacedAttack, read_attack
from shieldwall.core.hooks import Border, Hook, Update
from shieldwall.core.ids import Direction, Role, Slot
from shieldwall.core.messages import StageState, TensorFrame
from shieldwall.core.signing import Identity
from shieldwall.core.statements import Header
from shieldwall.core.tensor_roots import tensor_root

HOST, STAGE, CHECKED, STAGES, STEPS, MICRO_BATCHES = "worker-2", 2, 1, 5, 3, 2
HOLDERS = {0: "initiator", 1: "worker-1", 2: "worker-2", 3: "worker-3", 4: "initiator"}
CHECKERS = {1: "worker-2", 2: "worker-3", 3: "initiator"}
FORWARD_TO = {"worker-3": "consumer", "initiator": "checker"}
BACKWARD_TO = {"worker-1": "consumer", "worker-3": "checker"}
KEY = Identity(HOST, Ed25519PrivateKey.from_private_bytes(bytes(32)))


@dataclass(frozen=True, slots=True)
class Event:
    """One call of a hook."""

    point: str
    step: int
    slot: Slot | None
    stage: int
    role: Role
    to: str
    given: Any
    returned: Any

    @property
    def changed(self) -> bool:
        return fingerprint(self.given) != fingerprint(self.returned)


def fingerprint(value: object) -> object:
    """Equal where two values are equal bit for bit."""
    if isinstance(value, Tensor):
        flat = value.detach().contiguous().reshape(-1)
        return str(value.dtype), tuple(value.shape), flat.view(torch.uint8).numpy().tobytes()
    if isinstance(value, StageState):
        return fingerprint(value.parameters), fingerprint(value.moments)
    if isinstance(value, TensorFrame):
        return str(value.slot), value.slot.attempt, value.destination, str(value.header), fingerprint(value.tensor)
    if isinstance(value, Mapping):
        return tuple((name, fingerprint(value[name])) for name in sorted(value))
    if isinstance(value, tuple):
        return tuple(fingerprint(part) for part in value)
    return repr(value)


def random_tensor(*numbers: int, shape: tuple[int, ...] = (2, 12, 8)) -> Tensor:
    generator = torch.Generator().manual_seed(hash(numbers) % 2**31)
    return torch.randn(shape, generator=generator)


def state_of(stage: int) -> StageState:
    parameters = {"weight": random_tensor(stage, 1, shape=(4, 4)), "bias": random_tensor(stage, 2, shape=(4,))}
    moments = {
        name: {"step": torch.tensor(3.0), "exp_avg": value / 7, "exp_avg_sq": value.square() / 11}
        for name, value in parameters.items()
    }
    return StageState(parameters=parameters, moments=moments)


def slot_of(step: int, micro_batch: int, direction: Direction, *, stage: int = STAGE, attempt: int = 0) -> Slot:
    return Slot(
        run="test", view=0, attempt=attempt, step=step, micro_batch=micro_batch, direction=direction, stage=stage
    )


def placed(kind: str, *, worker: str | None = HOST, stage: int | None = STAGE, **table: Any) -> PlacedAttack:
    """An attack of `worker`, or of the transient attacker where it is None."""
    spec = read_attack({"kind": kind, "stage": "random", "seed": 5, **table}, "a test")
    seed = 5 if spec.seed is None else spec.seed
    aim = Aim(
        worker=worker,
        stage=stage,
        stages=STAGES,
        seed=seed,
        direction=spec.direction,
        rate=spec.rate,
        from_step=spec.from_step,
    )
    return PlacedAttack(kind=kind, attack=spec.attack, aim=aim)


def hook_of(*attacks: PlacedAttack, host: str = HOST) -> tuple[AttackHook, AttackLog]:
    log = AttackLog()
    return AttackHook(host, attacks, log=log, holders=HOLDERS, checkers=CHECKERS), log


def live(hook: Hook) -> list[Event]:
    """The day under `hook`: three steps, the second of which is run twice.

    Raises:
        AssertionError: the hook wrote to what it was given, or gave a copy where it changed nothing.
    """
    day = _Day(hook)
    asyncio.run(day.live())
    return day.events


def day(kind: str, **table: Any) -> list[Event]:
    """The day under one attack."""
    return live(hook_of(placed(kind, **table))[0])


def at(events: list[Event], point: str) -> list[Event]:
    """What was changed there; there is something."""
    found = [event for event in events if event.point == point and event.changed]
    assert found
    return found


def made(kind: str, **table: Any) -> list[tuple[Tensor, Tensor]]:
    """What was honest and what went on, for each tensor that the stage made and that was changed."""
    events = day(kind, **table)
    return [(each.given, each.returned) for point in ("after_forward", "after_backward") for each in at(events, point)]


class _Day:
    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._states: dict[tuple[Role, int], StageState] = {}
        self.events: list[Event] = []

    async def live(self) -> None:
        for role, stage in ((Role.STAGE, STAGE), (Role.DUPLICATE, CHECKED)):
            await self._hold(role, stage)
        for step in range(STEPS):
            for attempt in range(2 if step == 1 else 1):
                for direction in (Direction.FORWARD, Direction.BACKWARD):
                    for micro_batch in range(MICRO_BATCHES):
                        await self._work(slot_of(step, micro_batch, direction, attempt=attempt))
                        await self._check(slot_of(step, micro_batch, direction, stage=CHECKED, attempt=attempt))
            for role, stage in self._states:
                await self._update(Update(host=HOST, stage=stage, step=step, role=role))
        await self._work(slot_of(STEPS, 0, Direction.EVALUATION))

    async def _work(self, slot: Slot) -> None:
        backward = slot.direction is Direction.BACKWARD
        border = Border(host=HOST, slot=slot)
        way = "backward" if backward else "forward"
        await self._call(f"before_{way}", border, random_tensor(slot.step, slot.micro_batch, backward, 5))
        in_force = dict(self._states[Role.STAGE, slot.stage].parameters)
        await self._call("before_compute", border, {**in_force, "base": random_tensor(slot.stage, 3, shape=(4, 4))})
        made = random_tensor(slot.step, slot.micro_batch, backward)
        point = f"after_{way}"
        sent_by_all = await self._call(point, border, made)
        header = Header(
            slot=slot,
            source=HOST,
            destinations=tuple(BACKWARD_TO if backward else FORWARD_TO),
            shape=tuple(made.shape),
            dtype="float32",
            arithmetic="class",
            root_in="aa" * 32,
            root_out=tensor_root(sent_by_all),
            state_root="bb" * 32,
        )
        signed = KEY.sign(await self._call("before_sign", border, header))
        for destination in header.destinations:
            tensor = await self._call("before_send", border, sent_by_all, to=destination)
            frame = TensorFrame(slot=slot, source=HOST, destination=destination, tensor=tensor, header=signed)
            await self._call("before_post", border, frame, to=destination)

    async def _check(self, slot: Slot) -> None:
        border = Border(host=HOST, slot=slot)
        await self._call("before_check", border, True)
        await self._call("after_check", border, True)

    async def _hold(self, role: Role, stage: int) -> None:
        update = Update(host=HOST, stage=stage, step=0, role=role)
        given = (state_of(stage), {"base": random_tensor(stage, 3, shape=(4, 4))})
        self._states[role, stage] = (await self._call("before_hold", update, given))[0]

    async def _update(self, update: Update) -> None:
        old = self._states[update.role, update.stage]
        gradients = {name: random_tensor(update.step, 4, shape=tuple(v.shape)) for name, v in old.parameters.items()}
        await self._call("before_prepare", update, gradients)
        new = replace(old, parameters={name: value - gradients[name] / 8 for name, value in old.parameters.items()})
        prepared = await self._call("after_prepare", update, new)
        committed = await self._call("before_commit", update, prepared)
        await self._hook.after_commit(update, committed)
        self._states[update.role, update.stage] = committed
        await self._call("before_serve", update, committed)

    async def _call(self, point: str, at: Border | Update, given: Any, to: str = "") -> Any:
        before = fingerprint(given)
        returned = await self._ask(point, at, given, to)
        assert fingerprint(given) == before, f"{point} wrote to what it was given"
        slot = at.slot if isinstance(at, Border) else None
        stage = at.slot.stage if isinstance(at, Border) else at.stage
        role = at.role if isinstance(at, Update) else Role.STAGE
        step = at.slot.step if isinstance(at, Border) else at.step
        event = Event(point, step, slot, stage, role, to, given, returned)
        assert event.changed or _is(given, returned), f"{point} copied what it did not change"
        self.events.append(event)
        return returned

    async def _ask(self, point: str, at: Border | Update, given: Any, to: str) -> Any:
        call = getattr(self._hook, point)
        if point == "before_post":
            return await call(to, given)
        if point == "before_send":
            return await call(at, to, given)
        if point == "before_check":
            return await call(at)
        return await (call(at, *given) if point == "before_hold" else call(at, given))


def _is(given: object, returned: object) -> bool:
    if isinstance(given, tuple) and isinstance(returned, tuple):
        return all(first is second for first, second in zip(given, returned, strict=True))
    return given is returned
