"""The tutorial (docs/tutorial.md) is followed, and ends with what it promises: a model that answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pages import DOCS, follow


def test_the_tutorial_ends_with_a_model_that_answers(warm_programs: Path, tmp_path: Path) -> None:
    """What it answers differs between Pythons, since their texts do; that it answers like the records does not."""
    printed = follow(DOCS / "tutorial.md", tmp_path, warm_programs)
    before, after = (
        float(re.findall(r"perplexity ([\d.]+)", text)[0])
        for command, text in printed.items()
        if command.startswith("shieldwall eval ")
    )
    assert after < before / 4
    taught = {json.loads(line)["answer"] for line in (tmp_path / "questions.jsonl").read_text().splitlines()}
    untaught, answered = (
        {answer for answer in taught if f"-> {answer!r}" in text}
        for command, text in printed.items()
        if command.startswith("python ask.py ")
    )
    assert not untaught
    assert answered
