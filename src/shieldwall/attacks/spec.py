"""One `[[attack]]` table of a configuration, checked.

kind       which attack (docs/attacks.md)
stage      whom: a middle stage's number (the worker that holds it when the run starts), a worker's name (all of its
           stages), or "random" (the paper's transient attacker)
direction  forward, backward or both, where the kind acts on micro-batches
rate       probability: of each piece of work, or of each step under "random"
from_step  first step in which anything happens
seed       of all draws; the run's where none is given
...        the kind's own parameters
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, ValidationError

from shieldwall.attacks.base import Attack
from shieldwall.attacks.kinds import find_attack
from shieldwall.core.errors import ConfigError


class AttackSpec(BaseModel):
    """A kind with its parameters, and whom, when and how often; not yet held against a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str = Field(description="a kind of attack")
    stage: int | str = Field(description="a stage's number, a worker's name, or \"random\"")
    direction: str | None = Field(default=None, description='"forward", "backward" or "both"')
    rate: float = Field(default=1.0, ge=0, le=1, description="a probability in [0, 1]")
    from_step: int = Field(default=0, ge=0, description="a step, from 0")
    each_attempt: bool = Field(default=False, description="true or false: whether what is run again is drawn anew")
    seed: int | None = Field(default=None, description="a whole number; left out, the run's")
    attack: InstanceOf[Attack]
    """The kind with its parameters."""
    where: str
    """Names the table in messages."""


_OUR_OWN = {"attack", "where"}
_EXAMPLES = {"kind": 'add one, such as kind = "sign_flip"', "stage": 'add one, such as stage = "random"'}
COMMON_KEYS = tuple(name for name in AttackSpec.model_fields if name not in _OUR_OWN)
"""The keys of every table, whatever its kind."""


def read_attacks(tables: Iterable[Mapping[str, Any]], source: str) -> tuple[AttackSpec, ...]:
    """All `[[attack]]` tables of `source`, in their order. Raises as `read_attack` does."""
    return tuple(read_attack(table, f"attack {number} in {source}") for number, table in enumerate(tables, start=1))


def read_attack(table: Mapping[str, Any], where: str) -> AttackSpec:
    """One `[[attack]]` table.

    Args:
        table: plain data.
        where: names the table in messages.

    Raises:
        ConfigError: SW-A101, unknown kind; SW-A102, unknown key; SW-A103, missing key; SW-A104, a value that does not
            fit its key; SW-A108, a direction that makes no sense for the kind.
    """
    kind = table.get("kind")
    if not isinstance(kind, str):
        _refuse_kind(kind, where)
    kind_class = find_attack(kind, where)
    own = {key: value for key, value in table.items() if key not in COMMON_KEYS}
    common = {key: value for key, value in table.items() if key in COMMON_KEYS}
    try:
        attack = kind_class(**own)
        spec = AttackSpec(**common, attack=attack, where=where)
    except ValidationError as error:
        raise _explain(error, kind, kind_class, where) from None
    return spec.model_copy(update={"direction": _direction(spec, kind_class)})


def _refuse_kind(kind: Any, where: str) -> NoReturn:
    if kind is None:
        raise _missing("kind", AttackSpec, where)
    raise _misfit("kind", "the name of a kind", kind, where)


def _direction(spec: AttackSpec, kind: type[Attack]) -> str | None:
    if spec.direction is None:
        return ("both" if "both" in kind.directions else kind.directions[0]) if kind.directions else None
    if spec.direction in kind.directions:
        return spec.direction
    allowed = " or ".join(f'"{name}"' for name in kind.directions)
    raise ConfigError(
        "SW-A108",
        f'"{spec.kind}" cannot be aimed in the direction "{spec.direction}"',
        where=f"direction of {spec.where}",
        expected=allowed or "no direction: it acts on a stage's update, not on a micro-batch",
        got=spec.direction,
        remedy="leave the direction out" if not allowed else "take one of these, or leave it out",
    )


def _explain(error: ValidationError, kind: str, kind_class: type[Attack], where: str) -> ConfigError:
    first = error.errors()[0]
    if not first["loc"]:  # a kind whose parameters are checked together
        return _misfit("the table", first["msg"], dict(first["input"]), where)
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return _unknown(key, kind, [*COMMON_KEYS, *kind_class.model_fields], where)
    owner = AttackSpec if key in COMMON_KEYS else kind_class
    if first["type"] == "missing":
        return _missing(key, owner, where)
    wanted = owner.model_fields[key].description or ""
    if first["type"] == "literal_error":
        wanted = f"one of {first['ctx']['expected']}: {wanted}"
    if first["type"] == "finite_number":
        wanted = f"a finite number: {wanted}"
    return _misfit(key, wanted, first["input"], where)


def _unknown(key: str, kind: str, known: list[str], where: str) -> ConfigError:
    near = difflib.get_close_matches(key, known, n=1)
    return ConfigError(
        "SW-A102",
        f'an attack of the kind "{kind}" has no "{key}"',
        where=where,
        expected=f"one of: {', '.join(known)}",
        got=key,
        remedy=f'did you mean "{near[0]}"?' if near else "docs/attacks.md lists the parameters of each kind",
    )


def _missing(key: str, owner: type[BaseModel], where: str) -> ConfigError:
    return ConfigError(
        "SW-A103",
        f"an attack has no {key}",
        where=where,
        expected=f'a key "{key}": {owner.model_fields[key].description}',
        got="none",
        remedy=_EXAMPLES.get(key, "docs/attacks.md lists the parameters of each kind"),
    )


def _misfit(key: str, wanted: str, got: object, where: str) -> ConfigError:
    return ConfigError(
        "SW-A104",
        f"{key} has a value that does not fit",
        where=f"{key} of {where}",
        expected=wanted,
        got=repr(got),
        remedy="docs/attacks.md lists the keys and parameters with their ranges",
    )
