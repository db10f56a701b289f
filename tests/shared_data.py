"""The real data beside the checkout: where it is, and what happens to tests marked `shared` where it is not.

Such tests are deselected, not skipped, and the run says so: nobody can take a run without them for the whole one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

VARIABLE = "SHIELDWALL_SHARED"
"""Names the folder where it lies elsewhere."""

BESIDE = Path(__file__).parents[2] / "shared"
"""`shared/` beside the checkout."""

_deselected = pytest.StashKey[int]()


def find_shared(environment: Mapping[str, str], beside: Path) -> Path | None:
    """The folder of real data: the one that the environment names, else the one beside the checkout, else none.

    Raises:
        pytest.UsageError: the environment names something that is no folder; tests that were meant to run would not.
    """
    named = environment.get(VARIABLE)
    if named and not Path(named).is_dir():
        raise pytest.UsageError(f"{VARIABLE} = {named} is no folder; correct it, or unset it to leave its tests out")
    folder = Path(named) if named else beside
    return folder if folder.is_dir() else None


def pytest_report_header() -> str:
    folder = find_shared(os.environ, BESIDE)
    return f"shared data: {folder or f'not found, tests marked shared do not run ({_way_out()})'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if find_shared(os.environ, BESIDE):
        return
    left_out = [item for item in items if item.get_closest_marker("shared")]
    items[:] = [item for item in items if not item.get_closest_marker("shared")]
    config.stash[_deselected] = len(left_out)
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    count = config.stash.get(_deselected, 0)
    if count:
        terminalreporter.write_line(f"{count} tests marked shared did not run: {_way_out()}", yellow=True)


def _way_out() -> str:
    return f"put the data into {BESIDE.name}/ beside the checkout, or name its folder in {VARIABLE}"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; only for tests with the marker `shared`."""
    folder = find_shared(os.environ, BESIDE)
    if folder is None:
        raise pytest.UsageError('a test that uses the fixture "shared" must carry the marker "shared"')
    return folder
