"""The wheel: built, installed by pip into a folder of its own, and run from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return done  # type: ignore[no-any-return]


def test_the_wheel_installs_and_trains(tmp_path: Path) -> None:
    """Dependencies come from the environment that runs the test; shieldwall itself only from the wheel."""
    built, installed = tmp_path / "dist", tmp_path / "installed"
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(ROOT))
    (wheel,) = built.glob("shieldwall-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
    assert "shieldwall/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)

    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    where = run(sys.executable, "-c", "import shieldwall; print(shieldwall.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.stdout.strip()).is_relative_to(installed)
    settings = ["run.steps=1", "run.threads=1", "model.width=16", "data.vocabulary=300", "data.eval_blocks=2"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [str(installed / "bin" / "shieldwall"), "train", "--json", "--run", "run", *overrides]
    trained = run(sys.executable, *command, cwd=tmp_path, env=environment)
    assert json.loads(trained.stdout)["steps"] == 1
