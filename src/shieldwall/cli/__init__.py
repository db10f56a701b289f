"""The program `shieldwall`: thin commands over functions that Python users can call."""

from shieldwall.cli import machines  # noqa: F401  (adds its commands)
from shieldwall.cli.app import app
from shieldwall.cli.commands import main

__all__ = ["app", "main"]
