"""Tests marked `shared` run where the real data is, and are left out aloud where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared_data import VARIABLE, find_shared

TESTS = Path(__file__).parents[1]
TWO_TESTS = "import pytest\n\ndef test_a(): pass\n\n@pytest.mark.shared\ndef test_b(shared): assert shared.is_dir()\n"


def test_the_environment_comes_before_the_folder_beside(tmp_path: Path) -> None:
    beside, named = tmp_path / "shared", tmp_path / "elsewhere"
    assert find_shared({}, beside) is None
    beside.mkdir()
    named.mkdir()
    assert find_shared({}, beside) == beside
    assert find_shared({VARIABLE: ""}, beside) == beside
    assert find_shared({VARIABLE: str(named)}, beside) == named


def test_a_variable_that_names_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match=f"{VARIABLE} = .*absent is no folder"):
        find_shared({VARIABLE: str(tmp_path / "absent")}, tmp_path)


def run_in_a_checkout(checkout: Path) -> str:
    """What pytest says in a checkout of two tests, one of them marked."""
    tests = checkout / "tests"
    tests.mkdir(parents=True)
    (tests / "shared_data.py").write_text((TESTS / "shared_data.py").read_text())
    (tests / "test_two.py").write_text(TWO_TESTS)
    (checkout / "pytest.ini").write_text("[pytest]\nmarkers = shared: needs real data\n")
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-m", "pytest", "-p", "shared_data", "-p", "no:cacheprovider", "tests"]
    environment["PYTHONPATH"] = str(tests)
    done = subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_the_data_they_are_deselected_and_the_run_says_so(tmp_path: Path) -> None:
    said = run_in_a_checkout(tmp_path / "checkout")
    assert "shared data: not found, tests marked shared do not run" in said
    assert "1 tests marked shared did not run: put the data into shared/ beside the checkout" in said
    assert "1 passed, 1 deselected" in said


def test_with_the_data_beside_the_checkout_they_run(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    said = run_in_a_checkout(tmp_path / "checkout")
    assert f"shared data: {tmp_path / 'shared'}" in said
    assert "2 passed" in said
    assert "deselected" not in said
