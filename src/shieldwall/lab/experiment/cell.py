"""A cell: one training of an experiment's grid, as plain data, and what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from shieldwall.core.canonical import canonical_bytes

_KEY_CHARACTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CellAttack:
    """One `[[attack]]` table."""

    kind: str
    direction: str = ""
    """`forward` or `backward`; empty where the kind has no direction."""
    rate: float = 1.0
    stage: int | str = "random"
    parameters: tuple[tuple[str, Any], ...] = ()
    """The kind's own, each with its value."""
    each_attempt: bool = False
    """Whether the transient attacker draws anew in each attempt at a step."""

    def to_table(self, seed: int) -> dict[str, Any]:
        """As a configuration has it; what is left at its default is left out."""
        table: dict[str, Any] = {"kind": self.kind, "stage": self.stage, "rate": self.rate, "seed": seed}
        table |= {"direction": self.direction} if self.direction else {}
        table |= {"each_attempt": True} if self.each_attempt else {}
        return table | dict(self.parameters)

    def __str__(self) -> str:
        strength = " ".join(f"{name}={value}" for name, value in self.parameters)
        return " ".join(part for part in (self.kind, self.direction, f"{self.rate:g}", strength) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training. Its key is a hash over all of it, so that a result is never taken for another's."""

    scale: str
    family: str
    corpus: str
    basis: str
    """Hash over what the cell starts from: sizes, the base model's weights, and the text."""
    attack: CellAttack | None = None
    response: str = "none"
    """`none`: nothing is checked; else `respond.policy` of a run in which everything is."""
    topology: str = "chain"
    optimizer: str = "adamw"
    learning_rate: float
    clipping: str = "stage"
    """`none`, `stage` or `model`."""
    steps: int
    points: int
    """Of the curve: how often its weights are saved and measured, the last step included."""
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The identity as plain data."""
        plain = asdict(self)
        if self.attack:
            plain["attack"]["parameters"] = dict(self.attack.parameters)
        return plain

    @property
    def key(self) -> str:
        """Name of the cell's file."""
        return hashlib.sha256(canonical_bytes(self.to_json())).hexdigest()[:_KEY_CHARACTERS]

    def __str__(self) -> str:
        what = str(self.attack) if self.attack else "clean"
        how = "" if self.response == "none" else f", {self.response} in {self.topology}"
        return (
            f"{self.family} {self.corpus}, {what}{how}, {self.optimizer} {self.learning_rate:g}, clipped by"
            f" {self.clipping}, seed {self.seed}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a cell. A perplexity is None where the loss is NaN, infinite, or 700 nats and more."""

    curve: tuple[tuple[int, float | None], ...]
    """Step and perplexity on the validation text, measured on the saved model itself, out of the attackers' reach."""
    stopped_at: int
    """The step that early stopping takes."""
    perplexity: float | None
    """On the test text, of the weights of that step."""
    last_perplexity: float | None
    """On the test text, of the last weights, as if nothing had been stopped."""
    steps: int
    """Committed steps; fewer than the cell's where a NaN or an infinity ended it."""
    train_loss: float | None
    """Of the last step, in nats."""
    weights_root: str
    """Of the last weights; empty where the run ended early."""
    attacks_fired: int
    alerts: int
    culprits: tuple[str, ...]
    """Everybody who was found guilty, each once, by name."""
    verdicts: int
    false_accusations: int
    struck: tuple[int, ...]
    """Steps in which something was falsified."""
    noticed: tuple[int, ...]
    """Steps with an alert or a verdict."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**plain, "curve": [list(point) for point in self.curve]}

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> Outcome:
        """What `to_json` gave.

        Raises:
            TypeError, ValueError: it is something else.
        """
        fields = dict(plain)
        fields["curve"] = tuple((step, perplexity) for step, perplexity in fields["curve"])
        fields |= {name: tuple(fields[name]) for name in ("culprits", "struck", "noticed")}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Finished:
    """A cell with its outcome and how long it took."""

    cell: Cell
    outcome: Outcome
    seconds: float
