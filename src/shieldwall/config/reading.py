"""From a TOML file and `section.key=value` overrides to nested plain data, which nothing has looked at yet."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from shieldwall.core.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        ConfigError: SW-C103.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        got = error.strerror or str(error)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        got = str(error)
    raise ConfigError(
        "SW-C103",
        "the configuration cannot be read",
        where=str(path),
        expected="a readable TOML file",
        got=got,
        remedy="shieldwall config init > run.toml writes one to start from",
    )


def apply_override(values: dict[str, Any], text: str) -> None:
    """Put one `section.key=value` into `values`.

    Raises:
        ConfigError: SW-C104.
    """
    name, equals, raw = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not equals or not dot or not section or not key:
        raise ConfigError(
            "SW-C104",
            "an override cannot be read",
            where=f"--set {text}",
            expected="section.key=value, such as run.steps=100",
            got=text,
        )
    values.setdefault(section, {})
    if isinstance(values[section], dict):
        values[section][key] = _read_value(raw.strip())


def _read_value(raw: str) -> Any:
    """A TOML value; what is none is a text."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw
