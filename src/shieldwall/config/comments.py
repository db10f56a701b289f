"""The default configuration as a TOML text in which every key has a comment."""

from __future__ import annotations

import tomli_w
from pydantic import BaseModel

from shieldwall.config.config import Config

_ATTACK = ['# kind = "sign_flip"', '# stage = 2  # a stage, a worker\'s name, or "random"', "# rate = 0.5", ""]


def commented_toml() -> str:
    """The default configuration with a comment for each key."""
    lines = ["# shieldwall configuration: every key with its default. Unknown keys are refused.", ""]
    for section, field in Config.model_fields.items():
        kind = field.annotation
        if section == "attack":
            lines += ["# [[attack]]  # any number of them; `shieldwall attacks` lists the kinds", *_ATTACK]
            continue
        lines += [f"[{section}]  # {(kind.__doc__ or '').strip()}" if kind else f"[{section}]"]
        lines += _commented_keys(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
        lines.append("")
    return "\n".join(lines)


def _commented_keys(section: type[BaseModel]) -> list[str]:
    rows = []
    for key, field in section.model_fields.items():
        if field.default is None:
            rows.append((f"# {key} =", field.description))
        else:
            rows.append((tomli_w.dumps({key: field.default}).strip(), field.description))
    width = max(len(text) for text, _ in rows)
    return [f"{text:<{width}}  # {description}" for text, description in rows]
