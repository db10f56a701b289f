"""A ledger for people: a line for each step, or each verdict in plain sentences. Nothing is verified here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shieldwall.core.verdicts import Verdict
from shieldwall.verify.ledger.cases import Case, cases
from shieldwall.verify.ledger.proof import signed_got
from shieldwall.verify.ledger.summary import NOT_VERIFIED, summarize_ledger

_RULES = {
    1: ("wrong compute", "what it made does not follow from the input and the state that it signed for"),
    2: ("input lie", "the input that it names was signed by nobody"),
    3: ("equivocation", "it signed two roots for one slot"),
    4: ("withholding", "it did not show what it had signed for"),
    5: ("wrong weights", "its state is not the result of the step's update"),
    6: ("garbage passed on", "it is the first whose input was right and whose output was wrong"),
}
_FALSE_ACCUSATION = ("false accusation", "what it accused follows from the input")


def show_ledger(path: Path, *, verdicts: bool = False, as_json: bool = False) -> str:
    """The text of `shieldwall ledger show`.

    Args:
        path: the run's folder, or the ledger itself.
        verdicts: each verdict in words in place of a line for each step.
        as_json: the same as JSON for scripts.

    Raises:
        LedgerFileError: SW-L201; there is no ledger.
        LedgerError: SW-L101, SW-L102, SW-L104 or SW-L107; it cannot be read.
    """
    if not verdicts:
        summary = summarize_ledger(path)
        return json.dumps(summary.to_json(), indent=2) if as_json else str(summary)
    found = list(cases(path))
    if as_json:
        return json.dumps([case_json(case) for case in found], indent=2)
    blocks = ["\n".join(case_lines(case)) for case in found] or ["no verdicts: nobody was found guilty of anything"]
    return "\n\n".join([*blocks, NOT_VERIFIED])


def case_json(case: Case) -> dict[str, Any]:
    """A case as plain data: the verdict's own fields, and what the ledger knows besides."""
    return {
        "row": case.row,
        **case.verdict.to_json(),
        "caught_in_step": case.caught_in_step,
        "corrected": case.corrected,
        "sentence": sentence(case.verdict),
    }


def case_lines(case: Case) -> Iterator[str]:
    """A case for people."""
    verdict = case.verdict
    yield sentence(verdict)
    yield f"  expected  {verdict.expected or 'nothing'} (what the referee got)"
    yield f"  got       {verdict.got or 'nothing'}" + (f" (signed by {verdict.culprit})" if signed_got(case) else "")
    yield f"  reason    {verdict.reason}"
    yield f"  accuser   {verdict.accuser or 'none'}"
    yield f"  found     {_when(case)}"
    if case.corrected:
        yield "  repaired  the referee's tensor took its place"
    for root in case.evidence:
        yield f"  evidence  {root}"
    yield f"  ledger    row {case.row}, view {verdict.view}, attempt {verdict.attempt}"


def sentence(verdict: Verdict) -> str:
    """Who did what, when and where, in one sentence or two."""
    name, meaning = rule_in_words(verdict)
    where = f"In step {verdict.step}"
    if verdict.micro_batch is not None:
        where += f", micro-batch {verdict.micro_batch}, {verdict.direction}"
    subject = "" if verdict.micro_batch is not None else f" over its {verdict.direction}"
    return (
        f"{where}, stage {verdict.stage}: {verdict.culprit} is the culprit{subject}. "
        f"Rule {verdict.rule}, {name}: {meaning}."
    )


def rule_in_words(verdict: Verdict) -> tuple[str, str]:
    """The name of the rule that decided, and what it says of the culprit."""
    if verdict.rule == 1 and verdict.culprit == verdict.accuser:
        return _FALSE_ACCUSATION
    return _RULES[verdict.rule]


def _when(case: Case) -> str:
    step = case.verdict.step
    if case.caught_in_step == step:
        return f"in step {step}, before it was committed"
    return f"in step {case.caught_in_step}, after step {step} was committed"
