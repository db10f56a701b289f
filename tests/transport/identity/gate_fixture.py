"""The fixture `gate`; a test module that uses it names this one in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest
from gates import make_gate

from shieldwall.transport.identity.gate import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A new run's."""
    return make_gate(tmp_path / "private")
