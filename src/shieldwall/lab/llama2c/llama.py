"""The tensors of llama2.c as transformers' Llama.

Both turn each head's query and key by the same angles, but pair the numbers differently:

    llama2.c      (0, 1)  (2, 3)  (4, 5)  (6, 7)         neighbours, as in Meta's code
    transformers  (0, 4)  (1, 5)  (2, 6)  (3, 7)         first half with second half

The product of query and key does not care in which order the numbers stand, as long as both have the same. So the rows
of the two projections are put into transformers' order, and nothing else changes.

Source: rotary positions, Su et al., arXiv 2104.09864; grouped heads, Ainslie et al., arXiv 2305.13245.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from shieldwall.lab.llama2c.model_file import Header

UNKNOWN_ID, BEGIN_ID, END_ID = 0, 1, 2
"""The first three tokens of every vocabulary of llama2.c."""

_NORM_EPSILON = 1e-5
_ROTARY_BASE = 10000.0
"""Both are constants in llama2.c's run.c; the file does not hold them."""


def to_llama(header: Header, tensors: Mapping[str, Tensor]) -> LlamaForCausalLM:
    """Transformers' model with these weights, in float32.

    Args:
        header: sizes.
        tensors: as `read_model_file` gives them; the model takes them over without a copy where it can.

    Returns:
        A model that computes what llama2.c computes, up to rounding. Its `generate` stops where run.c does: at the
        end token, and at the begin token, which llama2.c's training puts between texts.
    """
    own = dict(tensors)
    for layer in range(header.layers):
        for projection, heads in (("q_proj", header.heads), ("k_proj", header.kv_heads)):
            name = f"model.layers.{layer}.self_attn.{projection}.weight"
            own[name] = halves_from_pairs(own[name], heads)
    if header.tied:
        own["lm_head.weight"] = own["model.embed_tokens.weight"]
    with torch.device("meta"):
        model = LlamaForCausalLM(llama_config(header))
    model.load_state_dict(own, strict=True, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=BEGIN_ID, eos_token_id=[BEGIN_ID, END_ID])
    return model


def llama_config(header: Header) -> LlamaConfig:
    """The configuration of transformers for these sizes."""
    return LlamaConfig(
        hidden_size=header.width,
        intermediate_size=header.hidden,
        num_hidden_layers=header.layers,
        num_attention_heads=header.heads,
        num_key_value_heads=header.kv_heads,
        vocab_size=header.vocabulary,
        max_position_embeddings=header.positions,
        tie_word_embeddings=header.tied,
        rms_norm_eps=_NORM_EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": _ROTARY_BASE},
        hidden_act="silu",
        bos_token_id=BEGIN_ID,
        eos_token_id=END_ID,
        dtype="float32",
    )


def halves_from_pairs(weight_OD: Tensor, heads: int) -> Tensor:
    """Reorder the rows of a projection to queries or keys: in each head the even ones first, then the odd ones.

    Args:
        weight_OD: (O outputs, D width); O is `heads` times an even number.
        heads: heads in it; for keys those of the keys.

    Returns:
        A new tensor of the same shape.
    """
    outputs, width = weight_OD.shape
    return weight_OD.view(heads, outputs // heads // 2, 2, width).transpose(1, 2).reshape(outputs, width)
