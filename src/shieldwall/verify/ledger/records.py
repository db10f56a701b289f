"""What the initiator itself writes into the ledger, besides verdicts and corrections.

    RunRecord      the first row: which run this is, whose keys count, from which states it starts
    ViewRecord     who holds and who checks which stage from here on
    CommitRecord   a step is in force: its new states, and the head of the chain so far
    ResumeRecord   the run goes on from an earlier step; what was there from that step on is replaced
    ClosingRecord  the last row: how many rows there are, and the head of the chain

All are signed with the run's key, which is the initiator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

FORM = 1
"""Version of the ledger's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """Which run this is. `keys` are all parties' public keys (32 bytes), the initiator's among them; roots by stage."""

    kind: ClassVar[str] = "run"
    run: str
    config_root: str
    run_key: bytes
    """Public key of the initiator, 32 bytes; people compare its fingerprint."""
    keys: Mapping[str, bytes]
    arithmetic: str
    """The arithmetic class that the run was started in."""
    evidence_key: bytes = b""
    """Public X25519 key (32 bytes) of the reviewers for whom evidence is sealed; empty where none is kept."""
    state_roots: Mapping[int, str]
    """Root of each stage's state before the first step."""

    def to_json(self) -> dict[str, Any]:
        return {
            "form": FORM,
            "run": self.run,
            "config_root": self.config_root,
            "run_key": self.run_key.hex(),
            "keys": _hex(self.keys),
            "arithmetic": self.arithmetic,
            "evidence_key": self.evidence_key.hex(),
            "state_roots": _by_stage(self.state_roots),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRecord:
    """Who holds each stage, and who holds the duplicate of each stage that has a checker.

    `keys` are of parties that the ledger has not met yet; those that it knows keep theirs.
    """

    kind: ClassVar[str] = "view"
    run: str
    view: int
    holders: Mapping[int, str]
    checkers: Mapping[int, str]
    arithmetic: str
    keys: Mapping[str, bytes] = field(default_factory=dict)
    bypassed: tuple[int, ...] = ()
    """Stages that the initiator passes by: what comes in goes on as it is."""
    still: tuple[int, ...] = ()
    """Stages that keep their state while the view lasts."""
    state_roots: Mapping[int, str] = field(default_factory=dict)
    """Of stages that the initiator held alone before, and that others hold from now on."""

    def to_json(self) -> dict[str, Any]:
        data = {
            "run": self.run,
            "view": self.view,
            "holders": _by_stage(self.holders),
            "checkers": _by_stage(self.checkers),
            "arithmetic": self.arithmetic,
            "keys": _hex(self.keys),
        }
        if self.still:
            data |= {"bypassed": list(self.bypassed), "still": list(self.still)}
        if self.state_roots:
            data |= {"state_roots": _by_stage(self.state_roots)}
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRecord:
    """A step is in force (4.7). `head` is the hash of the row before; so the signature covers all rows so far."""

    kind: ClassVar[str] = "commit"
    run: str
    step: int
    attempt: int
    """The highest attempt of any of the step's micro-batches."""
    micro_batches: int
    """How many the step has; they count from 0."""
    state_roots: Mapping[int, str]
    """Root of each stage's new state; at least of those that have a checker."""
    clip_coefficients: Mapping[int, float]
    """Factor on the gradients of each stage; the same for all where the whole model's norm decides."""
    learning_rate: float
    norm: float
    """Of the whole model's gradient, before clipping."""
    head: str

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "step": self.step,
            "attempt": self.attempt,
            "micro_batches": self.micro_batches,
            "state_roots": _by_stage(self.state_roots),
            "clip_coefficients": {str(stage): float(factor) for stage, factor in self.clip_coefficients.items()},
            "learning_rate": float(self.learning_rate),
            "norm": float(self.norm),
            "head": self.head,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRecord:
    """The run goes on from `step`, which is done again if it was there, with attempts from `attempt` on.

    `keys` replace those of the parties that have come back with another key. `state_roots` are computed by the
    initiator; they count for stages that were its own alone before, others keep the root that was signed.
    """

    kind: ClassVar[str] = "resume"
    run: str
    step: int
    attempt: int
    keys: Mapping[str, bytes] = field(default_factory=dict)
    state_roots: Mapping[int, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "run": self.run,
            "step": self.step,
            "attempt": self.attempt,
            "keys": _hex(self.keys),
        }
        return data | ({"state_roots": _by_stage(self.state_roots)} if self.state_roots else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingRecord:
    """Nothing follows: `rows` rows came before this one, `head` is the last one's hash, `steps` steps are in force."""

    kind: ClassVar[str] = "closing"
    run: str
    rows: int
    steps: int
    head: str

    def to_json(self) -> dict[str, Any]:
        return {"run": self.run, "rows": self.rows, "steps": self.steps, "head": self.head}


def _hex(keys: Mapping[str, bytes]) -> dict[str, str]:
    return {name: key.hex() for name, key in keys.items()}


def _by_stage(names: Mapping[int, str]) -> dict[str, str]:
    return {str(stage): name for stage, name in names.items()}
