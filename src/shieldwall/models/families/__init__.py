"""The families of models that can be cut, one module each, and the list of them."""

from __future__ import annotations

import difflib

from shieldwall.core.errors import ModelError
from shieldwall.core.registry import Registry
from shieldwall.models.families.base import Family, TinyShape

FAMILIES = Registry(
    "shieldwall.families",
    {
        "bloom": "shieldwall.models.families.bloom:Bloom",
        "gemma": "shieldwall.models.families.gemma:Gemma",
        "gpt2": "shieldwall.models.families.gpt2:GPT2",
        "gpt_neox": "shieldwall.models.families.gpt_neox:GPTNeoX",
        "llama": "shieldwall.models.families.llama:Llama",
        "mistral": "shieldwall.models.families.mistral:Mistral",
        "opt": "shieldwall.models.families.opt:OPT",
        "qwen2": "shieldwall.models.families.qwen2:Qwen2",
        "qwen3": "shieldwall.models.families.qwen3:Qwen3",
    },
)
"""`model_type` of a model's configuration to a subclass of `Family`; see docs/how-to-add-a-family.md."""


def find_family(model_type: str, where: str) -> Family:
    """The family of a model by the `model_type` of its configuration.

    Raises:
        ModelError: SW-M101; the family is not known.
    """
    if model_type not in FAMILIES:
        near = difflib.get_close_matches(model_type, FAMILIES, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise ModelError(
            "SW-M101",
            f'models of the family "{model_type}" cannot be cut yet',
            where=where,
            expected=f"one of: {', '.join(sorted(FAMILIES))}",
            got=f"{model_type}{hint}",
            remedy="add a module like src/shieldwall/models/families/llama.py and name it in the entry-point group"
            ' "shieldwall.families" (docs/how-to-add-a-family.md)',
        )
    family: Family = FAMILIES[model_type]()
    return family


__all__ = ["FAMILIES", "Family", "TinyShape", "find_family"]
