"""The README's first screen is what the demo really prints, and its Python runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def masked(text: str) -> list[str]:
    """Lines with figures, roots, paths and the sample's words blotted out: those differ between machines."""
    lines = []
    for line in text.strip().splitlines():
        plain = re.sub(r"^(model|sample|the same weights as the clean twin):.*", r"\1", line)
        lines.append(re.sub(r"[\d.]*\d", "#", plain))
    return lines


@pytest.mark.timeout(900)  # it trains for a minute or two, longer where the machine is busy
def test_the_first_screen_is_what_the_demo_prints(tmp_path: Path) -> None:
    shown = README.split("$ shieldwall demo\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-m", "shieldwall", "demo", "--run", "runs/demo"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert masked(done.stdout) == masked(shown)
    first, last = re.findall(r"loss ([\d.]+) -> ([\d.]+)", done.stdout)[0]
    assert float(first) - float(last) > 1.5
    ours, theirs = re.findall(r"perplexity ([\d.]+) by the pipeline, ([\d.]+) by transformers", done.stdout)[0]
    assert abs(float(ours) / float(theirs) - 1) < 1e-4
    assert "the same weights as the clean twin" in done.stdout
    assert " 0 false accusations, 0 steps lost" in done.stdout
    assert (tmp_path / "runs" / "demo" / "liar" / "model" / "config.json").exists()


def test_the_readmes_python_runs(warm_programs: Path, tmp_path: Path) -> None:
    code = README.split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [warm_programs / "python", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert float(done.stdout) > 1


def test_every_file_that_the_readme_names_exists() -> None:
    names = re.findall(r"`((?:docs|src|tests)/[\w./-]+)`", README)
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []
