"""A worker that cheats because its owner says so, `join --attack FILE`: for tests and research, and loud about it.

The run knows nothing of it. Whom a table means is settled as in one process, when the worker is first told who holds
what: a stage's number is whoever holds that stage then, and a table that means somebody else is left to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shieldwall.attacks import AttackHook, AttackLog, AttackSpec, place_attacks, read_attacks
from shieldwall.attacks.place import RANDOM
from shieldwall.config import Config
from shieldwall.core.compression import PLAIN, Compression
from shieldwall.core.errors import ConfigError
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import Assign, Message, View, Welcome
from shieldwall.run.folder import append_line

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AttackOrder:
    """What a worker is to do, and where it writes down what it did."""

    specs: tuple[AttackSpec, ...]
    log: Path


def read_order(path: Path, log: Path) -> AttackOrder:
    """The `[[attack]]` tables of a TOML file, which may be a whole configuration.

    Args:
        path: of the file.
        log: where a line goes for each thing that is falsified.

    Raises:
        ConfigError: SW-C101 to SW-C105, it is no configuration; SW-A101 to SW-A104 and SW-A108, a table cannot be used;
            SW-A109, it has none.
    """
    tables = Config.load(path).attack
    if not tables:
        raise ConfigError(
            "SW-A109",
            "this file holds no attack",
            where=str(path),
            expected='[[attack]] tables, each with a kind and a stage, such as kind = "sign_flip" and stage = 2',
            got="none",
            remedy="docs/attacks.md shows how one is written; leave --attack out for an honest worker",
        )
    return AttackOrder(read_attacks(tables, str(path)), log)


class Attacker:
    """One worker's bad half.

    Args:
        name: the worker's.
        order: what it is to do.
        welcome: of the run.
        tell: told what it does, in words.
        compression: of what crosses borders.

    Raises by `hear`:
        ConfigError: SW-A105, SW-A106; a table means the initiator, or a stage that the run does not have.
    """

    def __init__(
        self, name: str, order: AttackOrder, welcome: Welcome, tell: Tell, compression: Compression = PLAIN
    ) -> None:
        self._name = name
        self._specs = order.specs
        self._seed = welcome.seed
        self._tell = tell
        self._begun = False
        self.hook = AttackHook(name, (), log=WrittenLog(order.log, welcome.run, tell), compression=compression)
        """To be installed on the worker's host and its guard."""
        tell(f"ATTACK: {name} is going to cheat in the run {welcome.run}; what it falsifies is noted in {order.log}")

    def hear(self, message: Message) -> None:
        """Learn who holds what from what the worker is told, before it obeys."""
        if isinstance(message, View):
            self._begin(max(message.holders) + 1, message.holders)
            self.hook.see_view(message)
        elif isinstance(message, Assign):  # where nothing is checked there is no view, and nobody else to think of
            self._begin(message.stages, dict.fromkeys(range(1, message.stages - 1), self._name))

    def _begin(self, stages: int, holders: Mapping[int, str]) -> None:
        if self._begun:
            return
        self._begun = True
        mine = [spec for spec in self._specs if self._is_of_use(spec, stages, holders)]
        named = [spec.stage for spec in mine if isinstance(spec.stage, str)]
        self.hook.take_up(place_attacks(mine, stages=stages, holders=holders, workers=named, seed=self._seed))

    def _is_of_use(self, spec: AttackSpec, stages: int, holders: Mapping[int, str]) -> bool:
        """Whether this worker has a part in an attack; says so either way."""
        meant = self._meant(spec, stages, holders)
        acts = meant == self._name or (spec.attack.colludes and meant != INITIATOR)
        what = f"{spec.where}, {spec.kind} on stage {spec.stage}, rate {spec.rate:g}, from step {spec.from_step}"
        self._tell(f"ATTACK: {what}" if acts else f"ATTACK: not here but at {meant}: {what}")
        return acts

    def _meant(self, spec: AttackSpec, stages: int, holders: Mapping[int, str]) -> str:
        """The worker that an attack means: this one for a drawn stage, and for what is refused when it is placed."""
        if isinstance(spec.stage, str):
            return self._name if spec.stage in (RANDOM, INITIATOR) else spec.stage
        return holders[spec.stage] if 0 < spec.stage < stages - 1 else self._name


class WrittenLog(AttackLog):
    """The receipt on the worker's side: a line of JSON for each thing that was falsified.

    Args:
        path: of the file, which is added to.
        run: the run's name.
        tell: told once in each step, for each kind.
    """

    def __init__(self, path: Path, run: str, tell: Tell) -> None:
        super().__init__()
        self._path = path
        self._run = run
        self._tell = tell
        self._told: tuple[int, set[str]] = (-1, set())

    def note(self, kind: str, worker: str, step: int) -> None:
        """As `AttackLog.note`.

        Raises:
            StorageError: SW-S101.
        """
        super().note(kind, worker, step)
        append_line(self._path, {"run": self._run, "worker": worker, "step": step, "kind": kind})
        told = self._told[1] if self._told[0] == step else set()
        if kind not in told:
            self._tell(f"ATTACK: {worker} falsifies in step {step}: {kind}")
        self._told = (step, {*told, kind})
