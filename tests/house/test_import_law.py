"""The house: who may import whom, function-local imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "shieldwall"

ALLOWED = {
    "core": set(),
    "data": {"core"},
    "models": {"core"},
    "schedule": {"core"},
    "transport": {"core"},
    "pipeline": {"core", "models", "schedule", "transport"},
    "verify": {"core"},
    "recovery": {"core", "schedule", "transport"},
    "attacks": {"core"},
    "privacy": {"core", "models"},
    "enclave": {"core"},
    "federated": {"core", "models", "enclave", "transport"},
    "dashboard": {"core", "verify"},
}
"""What a room may import besides itself. `run`, `lab`, `config` and `cli` compose the rooms and may import any."""

COMPOSERS = {"run", "lab", "config", "cli", "__init__", "__main__"}


def imports_of(path: Path) -> set[str]:
    """The rooms that a file imports, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [
                f"{node.module}.{name.name}" if node.module == "shieldwall" else str(node.module) for name in node.names
            ]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("shieldwall.")}
    return rooms


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    if room in COMPOSERS:
        return
    assert imports_of(path) - {room} <= ALLOWED[room]


def test_the_law_sees_local_and_indirect_forms(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("def f():\n    from shieldwall import verify\n    import shieldwall.attacks.sign_flip\n")
    assert imports_of(file) == {"verify", "attacks"}


def test_every_folder_is_a_known_room() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found <= set(ALLOWED) | COMPOSERS


@pytest.mark.parametrize(
    "module", ["shieldwall", "shieldwall.schedule", "shieldwall.cli", "shieldwall.transport.identity.gate"]
)
def test_a_light_import_stays_light(module: str) -> None:
    """Plans, tickets and the command's own help need no torch; importing the package imports nothing else of it."""
    script = f"import sys, {module}; print(sorted({{'torch', 'transformers', 'matplotlib'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
