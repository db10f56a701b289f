"""A whole model without memory: Hugging Face's own object on torch's meta device.

It knows every parameter's name, shape and place in the whole model's order and costs nothing; a stage gives memory
only to what it owns.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights

from shieldwall.core.errors import ModelError
from shieldwall.models.adapters import inject, named_parameters
from shieldwall.models.settings import ModelSettings


def build_skeleton(settings: ModelSettings) -> PreTrainedModel:
    """The whole model with every parameter on the meta device, adapters in place.

    Raises:
        ModelError: SW-M105, transformers cannot build a model of that configuration; SW-M130, SW-M131, the adapters do
            not fit it.
    """
    try:
        # Drawing weights that nobody sees is four fifths of the time.
        with torch.device("meta"), no_init_weights():
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                settings.config,
                attn_implementation=settings.attention,
                dtype=settings.dtype,
                trust_remote_code=False,
            )
        model.tie_weights()
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise ModelError(
            "SW-M105",
            "no model can be built from the configuration",
            where=f"config.json of the {settings.config.model_type} model",
            expected="sizes that fit each other",
            got=str(error).strip().splitlines()[0],
            remedy="give the folder that save_pretrained wrote",
        ) from error
    if settings.adapter is not None:
        inject(model, settings.adapter, settings.adapter_origin)
    return model


def stage_skeleton(settings: ModelSettings, layers_path: str, layers: range) -> PreTrainedModel:
    """`build_skeleton` for one stage: what is no layer, and its own `layers`, are new; the other layers are shared.

    Nothing computes with the shared ones, which only hold the place of their names. Copying a skeleton that is there
    already takes a quarter of the time of building one, and a host that holds several stages needs several.

    Raises:
        ModelError: as `build_skeleton`.
    """
    pattern = _pattern_of(settings)
    shared: list[object] = [pattern.config, pattern.generation_config]
    shared += [layer for index, layer in enumerate(pattern.get_submodule(layers_path)) if index not in layers]
    made: PreTrainedModel = copy.deepcopy(pattern, {id(thing): thing for thing in shared})
    # Stages switch the shared layers between training and evaluation with their own; a new one is all in training.
    made.train()
    return made


_patterns: list[tuple[ModelSettings, PreTrainedModel]] = []
"""The skeleton that was copied last, and the settings that it was built from."""


def _pattern_of(settings: ModelSettings) -> PreTrainedModel:
    if not _patterns or _patterns[0][0] is not settings:
        _patterns[:] = [(settings, build_skeleton(settings))]
    return _patterns[0][1]


def parameter_shapes(skeleton: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Name to shape in the whole model's order, tied weights once."""
    return {name: tuple(parameter.shape) for name, parameter in named_parameters(skeleton).items()}


def trained_names(skeleton: PreTrainedModel) -> list[str]:
    """Names of the parameters that training changes, in the whole model's order."""
    return [name for name, parameter in named_parameters(skeleton).items() if parameter.requires_grad]


def tied_names(skeleton: PreTrainedModel) -> dict[str, str]:
    """Name of each tied parameter to the name under which the weights are kept; empty where nothing is tied."""
    if not skeleton.config.tie_word_embeddings:
        return {}
    return dict(skeleton._tied_weights_keys or {})


def place_parameter(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Put `parameter` where the dotted `name` says."""
    parent, _, leaf = name.rpartition(".")
    holder = model.get_submodule(parent)
    setattr(holder, leaf, parameter)
