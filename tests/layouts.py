"""Layouts within the families that the small default models do not have, written as checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from shieldwall.models.families import TinyShape, find_family
from shieldwall.models.quiet import without_progress_bars


@dataclass(frozen=True)
class Layout:
    """A family and the fields in which its configuration differs from the small default."""

    family: str
    fields: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Three layers, width 32, four heads, unless `fields` says otherwise."""
        shape = TinyShape(layers=3, width=32, heads=4, vocabulary=97, positions=64, end_token=0)
        usual = find_family(self.family, "test").tiny_config(shape)
        config = type(usual)(**{**usual.to_dict(), **self.fields})
        with torch.random.fork_rng(devices=[]), without_progress_bars():
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


WINDOWS = {
    "mistral-window": Layout("mistral", {"sliding_window": 3}),
    "qwen2-window-in-later-layers": Layout(
        "qwen2", {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1, "layer_types": None}
    ),
    "qwen3-window-in-some-layers": Layout(
        "qwen3",
        {
            "use_sliding_window": True,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}
LAYOUTS = {
    **WINDOWS,
    "mistral-no-window": Layout("mistral", {"sliding_window": None}),
    "mistral-tied": Layout("mistral", {"tie_word_embeddings": True}),
    "llama-tied-grouped": Layout("llama", {"tie_word_embeddings": True, "num_key_value_heads": 2}),
    "qwen2-tied": Layout("qwen2", {"tie_word_embeddings": True}),
    "qwen3-tied-wide-heads": Layout("qwen3", {"tie_word_embeddings": True, "head_dim": 16}),
    "gemma-untied-wide-heads": Layout(
        "gemma", {"tie_word_embeddings": False, "head_dim": 16, "num_key_value_heads": 4}
    ),
    "gpt_neox-tied": Layout("gpt_neox", {"tie_word_embeddings": True}),
    "gpt_neox-sequential": Layout("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
    "bloom-untied": Layout("bloom", {"tie_word_embeddings": False}),
    "bloom-residual-after-norm": Layout("bloom", {"apply_residual_connection_post_layernorm": True}),
    "bloom-six-heads": Layout("bloom", {"hidden_size": 48, "n_head": 6}),
    "opt-350m": Layout("opt", {"do_layer_norm_before": False, "word_embed_proj_dim": 16, "ffn_dim": 64}),
}
