"""LoRA adapters, by peft, on the layers of a stage.

Peft puts a layer of its own around each targeted module and renames what is inside. Everything here that leaves a stage
has the names that others know it by: weights of the base model keep theirs, and an adapter's tensors are named as in
peft's own files, without the prefix that is the same for all (`PEFT_PREFIX`).

    transformer.h.0.attn.c_attn.base_layer.weight         in the injected model
    transformer.h.0.attn.c_attn.weight                    here
    transformer.h.0.attn.c_attn.lora_A.default.weight     in the injected model
    transformer.h.0.attn.c_attn.lora_A.weight             here

Peft is imported where it is used: it takes a second, and most runs train whole weights.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from shieldwall.core.errors import ModelError
from shieldwall.core.seeds import adapter_seed
from shieldwall.models.families import find_family

if TYPE_CHECKING:
    from peft import LoraConfig

PEFT_PREFIX = "base_model.model."
"""What peft's files put before every tensor's name."""

ALL_LINEAR = "all-linear"
"""Peft's word for every linear module but the head."""

_NAME = "default"
_BASE = ".base_layer."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


def make_lora(
    skeleton: PreTrainedModel, *, rank: int, alpha: float, dropout: float, targets: list[str], base: str
) -> LoraConfig:
    """Peft's configuration of new adapters.

    Args:
        skeleton: the whole model without adapters.
        rank: width of the adapters.
        alpha: their output is scaled by `alpha / rank`.
        dropout: before each adapter.
        targets: names of modules, or how they end; empty: what peft takes for the model, else every linear module.
        base: name or folder of the model that they belong to.
    """
    from peft import LoraConfig
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_TARGETS

    wanted = targets or list(PEFT_TARGETS.get(skeleton.config.model_type, [ALL_LINEAR]))
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=ALL_LINEAR if wanted == [ALL_LINEAR] else wanted,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in skeleton.modules()),
        base_model_name_or_path=base,
    )


def inject(skeleton: PreTrainedModel, lora: LoraConfig, origin: str) -> None:
    """Put adapters into `skeleton`, on the meta device, and freeze everything else.

    Args:
        skeleton: the whole model without adapters.
        lora: peft's configuration of them.
        origin: where that comes from, for messages.

    Raises:
        ModelError: SW-M130, no module has a target's name; SW-M131, something else than a layer's plain adapters would
            be trained.
    """
    from peft import inject_adapter_in_model

    try:
        with torch.device("meta"):
            inject_adapter_in_model(copy.deepcopy(lora), skeleton, adapter_name=_NAME)
    except (ValueError, re.error) as error:
        raise _no_place(origin, str(error).strip().splitlines()[0]) from error
    _require_each_target(skeleton, lora, origin)
    layers = f"{find_family(skeleton.config.model_type, 'the model').layers}."
    foreign = [
        name
        for name, parameter in named_parameters(skeleton).items()
        if parameter.requires_grad and not (name.startswith(layers) and name.endswith((_DOWN, _UP)))
    ]
    if foreign:
        raise ModelError(
            "SW-M131",
            "these adapters cannot be trained through the pipeline",
            where=origin,
            expected="plain LoRA on linear modules of the layers: no trained biases, embeddings or head, no DoRA",
            got=f"{len(foreign)} other trained tensors, such as {foreign[0]}",
            remedy="target modules inside the layers",
        )


def _require_each_target(injected: PreTrainedModel, lora: LoraConfig, origin: str) -> None:
    """A target that matches nothing is a slip: adapters that were asked for would be missing."""
    if not isinstance(lora.target_modules, list | set):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [name for name, module in injected.named_modules() if isinstance(module, BaseTunerLayer)]
    for target in sorted(lora.target_modules):
        if not any(name == target or name.endswith(f".{target}") for name in adapted):
            raise _no_place(origin, f'no linear module of that name for the target "{target}"')


def _no_place(origin: str, got: str) -> ModelError:
    return ModelError(
        "SW-M130",
        "the adapters have no place in the model",
        where=origin,
        expected="names of linear modules of the model, or how they end, such as q_proj",
        got=got,
        remedy="leave model.lora_targets empty to take what is usual; adapters that were given belong to another model",
    )


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by the names of this room, in the whole model's order, tied weights once."""
    return {name: parameter for name, (_, parameter) in placed_parameters(model).items()}


def placed_parameters(model: nn.Module) -> dict[str, tuple[str, nn.Parameter]]:
    """`named_parameters`, each with its name in the injected model, which is where to put another in its place."""
    return {public_name(place): (place, parameter) for place, parameter in model.named_parameters()}


def public_name(injected: str) -> str:
    """The name in this room of a parameter of an injected model."""
    return injected.replace(_BASE, ".").replace(f".{_NAME}.", ".")


def is_adapter(name: str) -> bool:
    """Whether a name in this room is that of an adapter's tensor."""
    return name.endswith((_DOWN, _UP))


def draw_adapters(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """The first weights of adapters, float32: the way down drawn as peft draws it, the way up 0.

    Each tensor has a seed of its own, by its place among `shapes`, so that it is the same for every cut.

    Args:
        shapes: name to shape of all adapters of the whole model, in its order.
        seed: the run's.
    """
    drawn = {}
    for place, (name, shape) in enumerate(shapes.items()):
        drawn[name] = torch.zeros(shape)
        if name.endswith(_DOWN):
            generator = torch.Generator().manual_seed(adapter_seed(seed, place))
            nn.init.kaiming_uniform_(drawn[name], a=math.sqrt(5), generator=generator)
    return drawn


def merge(layers: nn.Module) -> None:
    """Add every adapter under `layers` to the module that it belongs to, in place, as peft does."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in layers.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
