"""All pages of the reference at once, in memory."""

from __future__ import annotations

from pathlib import Path

from shieldwall.lab.reference.commands import find_programs, render_commands
from shieldwall.lab.reference.configuration import render_configuration
from shieldwall.lab.reference.error_codes import render_errors
from shieldwall.lab.reference.extensions import render_extensions
from shieldwall.lab.reference.python_names import render_python
from shieldwall.lab.reference.source import Package


def render(error_pages: Path) -> dict[str, str]:
    """Every page by the name of its file.

    Args:
        error_pages: the folder with a page for each error code; their titles are taken.

    Raises:
        LookupError: an error code has no page, or the source has something that the pages cannot tell.
    """
    package = Package.read()
    return {
        "configuration.md": render_configuration(),
        "commands.md": render_commands(package, find_programs(package)),
        "python.md": render_python(package),
        "errors.md": render_errors(package, error_pages),
        "extensions.md": render_extensions(package),
    }
