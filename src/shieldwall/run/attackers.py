"""The attacks of a run's own configuration, put on its workers' hosts."""

from __future__ import annotations

from dataclasses import dataclass, field

from shieldwall.attacks import AttackHook, AttackLog, place_attacks, read_attacks
from shieldwall.attacks.aim import PlacedAttack
from shieldwall.config import Config
from shieldwall.core.compression import Compression
from shieldwall.core.errors import ConfigError
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import View
from shieldwall.schedule import Host


@dataclass(frozen=True, slots=True)
class Attackers:
    """What the workers of a run do to it, and how often they did."""

    log: AttackLog = field(default_factory=AttackLog)
    hooks: dict[str, AttackHook] = field(default_factory=dict)
    """By worker."""

    def see_view(self, view: View) -> None:
        """Who holds what from now on."""
        for hook in self.hooks.values():
            hook.see_view(view)


def check_attacks(config: Config, hosts: tuple[Host, ...], spares: list[str]) -> tuple[PlacedAttack, ...]:
    """The configured attacks with their attackers.

    Raises:
        ConfigError: SW-A101 to SW-A108; a table that cannot be used, or that attacks what is not there.
    """
    return place_attacks(
        read_attacks(config.attack, "the configuration"),
        stages=config.pipeline.stages,
        holders={stage: host.name for host in hosts for stage in host.stages},
        workers=[*(host.name for host in hosts if host.name != INITIATOR), *spares],
        seed=config.run.seed,
    )


def refuse_elsewhere(config: Config) -> None:
    """Refuse attacks in the configuration of a run whose workers are on other machines: nobody here can make them lie.

    Raises:
        ConfigError: SW-A110.
    """
    if config.attack:
        raise ConfigError(
            "SW-A110",
            "a run cannot make workers on other machines attack it",
            where="[[attack]] in the configuration",
            expected="no attack in a run with --listen",
            got=", ".join(str(table.get("kind")) for table in config.attack),
            remedy="take the tables out, put them into a file beside the worker that is to cheat, and start it with"
            " shieldwall join TICKET --attack FILE",
        )


def refuse_idle(config: Config, steps: int) -> None:
    """Refuse an attack that begins when all is trained: the run would look as if it had been attacked.

    Raises:
        ConfigError: SW-C105.
    """
    for spec in read_attacks(config.attack, "the configuration"):
        if spec.from_step >= steps:
            raise ConfigError(
                "SW-C105",
                "an attack begins after the last step",
                where=f"from_step of {spec.where}",
                expected=f"a step from 0 to {steps - 1}: the run has {steps}",
                got=str(spec.from_step),
                remedy="let it begin earlier, or raise run.steps",
            )


def hire_attackers(
    config: Config, hosts: tuple[Host, ...], spares: list[str], compression: Compression
) -> Attackers | None:
    """A hook for each worker where the configuration has attacks; None where it has none.

    Raises:
        ConfigError: as `check_attacks`.
    """
    if not config.attack:
        return None
    placed = check_attacks(config, hosts, spares)
    holders = {stage: host.name for host in hosts for stage in host.stages}
    checkers = {stage: host.name for host in hosts for stage in host.duplicates}
    attackers = Attackers()
    for name in [*(host.name for host in hosts if host.name != INITIATOR), *spares]:
        attackers.hooks[name] = AttackHook(
            name, placed, log=attackers.log, holders=holders, checkers=checkers, compression=compression
        )
    return attackers
