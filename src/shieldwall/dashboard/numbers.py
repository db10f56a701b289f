"""The numbers of a report: what its pictures, its page and `--json` show."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from shieldwall.dashboard.recorded import SavedState


@dataclass(frozen=True, slots=True, kw_only=True)
class PassTimes:
    """One stage's forward or backward pass of one micro-batch, or its duplicate's."""

    stage: int
    host: str
    direction: str
    predicted_s: float
    measured_s: float | None
    """Median over the micro-batches of the traced steps; None where no step of this plan was traced."""

    @property
    def ratio(self) -> float | None:
        """Measured over predicted."""
        return self.measured_s / self.predicted_s if self.measured_s is not None and self.predicted_s else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTimes:
    """The plan against what happened."""

    traced_steps: tuple[int, ...]
    """The steps that were compared: traced under the plan in plan.json, and not the first one, which warms up."""
    drawn_step: int | None
    """The one in the picture."""
    passes: tuple[PassTimes, ...]
    predicted_step_s: float
    """From the start of a step to the end of its last pass."""
    measured_step_s: float | None
    """The same, median over the traced steps."""
    predicted_waiting_share: float
    """Share of that time in which processors wait, in [0, 1]."""
    measured_waiting_share: float | None
    whole_step_s: float
    """Whole steps, update included: median over all committed steps."""


@dataclass(frozen=True, slots=True)
class EvaluationPoint:
    """An evaluation of the weights after so many steps."""

    steps: int
    perplexity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNumbers:
    """What is known of a run."""

    name: str
    made_at: str
    """When the report was made, ISO 8601 in UTC."""
    finished: bool
    """Whether the run has come to its end; if not, it is running or was stopped."""
    steps: int
    """Committed steps."""
    steps_wanted: int
    model: str
    corpus: str
    examples: dict[str, int]
    """Found, cut at their end, and left out because nothing was left to predict; empty where the text is one stream."""
    schedule: str
    cut: tuple[int, ...]
    """Layers of each stage."""
    hosts: dict[str, list[int]]
    """Stages of each host."""
    duplicates: dict[str, list[int]]
    """Stages that each host repeats; empty lists where nothing is checked."""
    micro_batches: int
    first_loss: float
    train_loss: float
    """Of the last step, in nats, before its update."""
    eval_perplexity: float | None
    """Of the newest evaluation; of a finished run, of the weights in model/."""
    tokens_per_second: float
    """Training tokens over training time."""
    wall_seconds: float | None
    alerts: int
    """Statements that somebody's work was not what it should be."""
    micro_batches_rerun: int
    verdicts: tuple[dict[str, Any], ...]
    """Rows as `summary.json` holds them."""
    attacks_fired: int | None
    """Things falsified by the run's own attackers; None where its configuration holds none. So below."""
    false_accusations: int | None
    weights_root: str | None
    config_root: str
    arithmetic_class: dict[str, Any]
    plan: PlanTimes
    evaluations: tuple[EvaluationPoint, ...]
    checkpoints: tuple[SavedState, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data under the same names, with the ratio of each pass."""
        plain = asdict(self)
        for done, found in zip(plain["plan"]["passes"], self.plan.passes, strict=True):
            done["ratio"] = found.ratio
        return plain
