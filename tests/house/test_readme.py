"""The README's first screen is what the demo really prints, and its Python runs."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import psutil
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


def left_over(folder: Path) -> list[int]:
    """Processes whose files lie in this folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                found.append(process.pid)
    return found


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
    assert re.search(r"\b(?!0 )\d+ lies, 0 false accusations", done.stdout)
    assert re.search(r"^crash: worker-\d, .*; 0 steps lost$", done.stdout, re.MULTILINE)
    assert (tmp_path / "runs" / "demo" / "attacked" / "model" / "config.json").exists()
    assert left_over(tmp_path) == []


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
