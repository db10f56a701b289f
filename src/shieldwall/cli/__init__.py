"""The program `shieldwall`: thin commands over functions that Python users can call."""

from shieldwall.cli import doctor, machines  # noqa: F401  (they add their commands)
from shieldwall.cli.app import app
from shieldwall.cli.commands import main

__all__ = ["app", "main"]
