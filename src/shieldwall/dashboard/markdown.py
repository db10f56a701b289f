"""A report's page: tables in plain words, pictures beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shieldwall.dashboard.numbers import PlanTimes, RunNumbers

PICTURES = ("loss", "learning_rate", "gradient_norm", "throughput", "plan")
"""Names of a report's PNGs."""


def write_page(numbers: RunNumbers) -> str:
    """The page in Markdown."""
    parts = [
        f"# Run {numbers.name}",
        f"Made at {numbers.made_at} by `shieldwall report`: {tell_progress(numbers)}.",
        _table(("", ""), _summary_rows(numbers)),
        "## Training",
        *(_picture(name) for name in PICTURES[:-1]),
        *_plan_parts(numbers.plan),
        "## Verdicts",
        _verdicts(numbers),
        "## Evaluations",
        _evaluations(numbers),
        "## Checkpoints",
        _checkpoints(numbers),
        "## Arithmetic class",
        "What decides the bits of this run besides its configuration and its text.",
        _table(("", ""), ((key, str(value)) for key, value in numbers.arithmetic_class.items())),
    ]
    return "\n\n".join(parts) + "\n"


def tell_progress(numbers: RunNumbers) -> str:
    """How far the run is, in a few words."""
    if numbers.finished:
        early = " (stopped early)" if numbers.steps < numbers.steps_wanted else ""
        return f"finished after {numbers.steps} of {numbers.steps_wanted} steps{early}"
    return f"{numbers.steps} of {numbers.steps_wanted} steps so far"


def _summary_rows(numbers: RunNumbers) -> list[tuple[str, str]]:
    return [
        ("model", numbers.model),
        ("text", numbers.corpus),
        *_example_rows(numbers),
        ("layers of each stage", ", ".join(map(str, numbers.cut))),
        ("stages of each host", _held(numbers.hosts)),
        ("duplicates on each host", _held(numbers.duplicates) or "none: nothing was checked"),
        ("schedule", f"{numbers.schedule}, {numbers.micro_batches} micro-batches a step"),
        ("training loss (nats)", f"{numbers.first_loss:.4f} in the first step, {numbers.train_loss:.4f} in the last"),
        ("evaluation perplexity", _or_dash(numbers.eval_perplexity, "{:.4f}")),
        ("tokens / s", f"{numbers.tokens_per_second:,.0f}"),
        ("alerts", f"{numbers.alerts:,}"),
        ("micro-batches run again", f"{numbers.micro_batches_rerun:,}"),
        *_attack_rows(numbers),
        ("whole run (s)", _or_dash(numbers.wall_seconds, "{:.1f}")),
        ("weights root", numbers.weights_root or "-"),
        ("configuration root", numbers.config_root),
    ]


def _held(hosts: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{host}: {', '.join(map(str, stages))}" for host, stages in hosts.items() if stages)


def _attack_rows(numbers: RunNumbers) -> list[tuple[str, str]]:
    """What the run's own attackers did, where it had any."""
    if numbers.attacks_fired is None:
        return []
    return [
        ("attacks fired", f"{numbers.attacks_fired:,}"),
        ("false accusations", f"{numbers.false_accusations:,}"),
    ]


def _example_rows(numbers: RunNumbers) -> list[tuple[str, str]]:
    counts = numbers.examples
    if not counts:
        return []
    return [("examples", f"{counts['found']} found, {counts['cut']} cut, {counts['left_out']} left out")]


def _plan_parts(plan: PlanTimes) -> list[str]:
    heads = ("stage", "host", "pass", "predicted (ms)", "measured (ms)", "measured / predicted")
    rows = (
        (
            str(done.stage), done.host, done.direction, f"{1e3 * done.predicted_s:.3f}",
            _or_dash(done.measured_s, "{:.3f}", 1e3), _or_dash(done.ratio, "{:.2f}"),
        )
        for done in plan.passes
    )  # fmt: skip
    return [
        "## The plan against what happened",
        _picture("plan"),
        _tell_traced(plan),
        _table(("", "predicted", "measured", "measured / predicted"), _step_rows(plan)),
        "One pass of one micro-batch; measured is the median.",
        _table(heads, rows),
    ]


def _tell_traced(plan: PlanTimes) -> str:
    if not plan.traced_steps:
        return "No step has been traced yet since the run was cut like this."
    steps = ", ".join(map(str, plan.traced_steps))
    return f"Predicted from costs measured before the run; measured in step {steps}, drawn is step {plan.drawn_step}."


def _step_rows(plan: PlanTimes) -> list[tuple[str, str, str, str]]:
    ratio = plan.measured_step_s / plan.predicted_step_s if plan.measured_step_s is not None else None
    return [
        (
            "passes of a step (ms)",
            f"{1e3 * plan.predicted_step_s:.3f}",
            _or_dash(plan.measured_step_s, "{:.3f}", 1e3),
            _or_dash(ratio, "{:.2f}"),
        ),
        (
            "bubble: share in which processors wait",
            f"{plan.predicted_waiting_share:.1%}",
            _or_dash(plan.measured_waiting_share, "{:.1%}"),
            "",
        ),
        ("whole step with its update (ms), median of all", "", f"{1e3 * plan.whole_step_s:.3f}", ""),
    ]


def _verdicts(numbers: RunNumbers) -> str:
    """A row for each culprit, stage, direction and rule; `shieldwall ledger show RUN --verdicts` tells each verdict."""
    found = Counter((row["culprit"], row["stage"], row["direction"], row["rule"]) for row in numbers.verdicts)
    if not found:
        return "None: nobody was found guilty of anything."
    steps: dict[tuple[Any, ...], list[int]] = {key: [] for key in found}
    for row in numbers.verdicts:
        steps[row["culprit"], row["stage"], row["direction"], row["rule"]].append(row["step"])
    rows = (
        (str(culprit), str(stage), str(direction), str(rule), str(count), _span(steps[culprit, stage, direction, rule]))
        for (culprit, stage, direction, rule), count in found.items()
    )
    return _table(("culprit", "stage", "direction", "rule", "verdicts", "in steps"), rows)


def _span(steps: Sequence[int]) -> str:
    first, last = min(steps), max(steps)
    return str(first) if first == last else f"{first} to {last}"


def _evaluations(numbers: RunNumbers) -> str:
    if not numbers.evaluations:
        return "None yet."
    best = min(point.perplexity for point in numbers.evaluations)
    rows = (
        (str(point.steps), f"{point.perplexity:.4f}", "best" if point.perplexity == best else "")
        for point in numbers.evaluations
    )
    return _table(("after steps", "perplexity", ""), rows)


def _checkpoints(numbers: RunNumbers) -> str:
    if not numbers.checkpoints:
        return "None."
    rows = ((f"step-{state.steps}", f"{state.size_bytes / 2**20:.1f}") for state in numbers.checkpoints)
    return _table(("folder", "size (MiB)"), rows)


def _picture(name: str) -> str:
    return f"![{name.replace('_', ' ')}]({name}.png)"


def _or_dash(value: float | None, form: str, factor: float = 1.0) -> str:
    return "-" if value is None else form.format(factor * value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
