"""A stage's state as tensors by one name each, for files and for chunks, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from torch import Tensor

from shieldwall.core.messages import StageState

T = TypeVar("T")
_PARAMETER, _MOMENT, _FROZEN = "parameter/", "moment/", "frozen/"


def flatten_state(state: StageState) -> dict[str, Tensor]:
    """`parameter/NAME` and `moment/KEY/NAME`."""
    moments = {f"{_MOMENT}{key}/{name}": moment for name, kept in state.moments.items() for key, moment in kept.items()}
    return {**{f"{_PARAMETER}{name}": tensor for name, tensor in state.parameters.items()}, **moments}


def unflatten_state(tensors: Mapping[str, Tensor]) -> StageState:
    """The state behind the names that `flatten_state` gave; other names are left alone."""
    parameters = {name[len(_PARAMETER) :]: each for name, each in tensors.items() if name.startswith(_PARAMETER)}
    moments: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_MOMENT):
            key, _, owner = name[len(_MOMENT) :].partition("/")
            moments.setdefault(owner, {})[key] = tensor
    return StageState(parameters=parameters, moments=moments)


def flatten_frozen(frozen: Mapping[str, T]) -> dict[str, T]:
    """`frozen/NAME`: what training leaves alone, beside the names of `flatten_state`."""
    return {f"{_FROZEN}{name}": tensor for name, tensor in frozen.items()}


def unflatten_frozen(tensors: Mapping[str, T]) -> dict[str, T]:
    """What training leaves alone behind the names that `flatten_frozen` gave; other names are left alone."""
    return {name[len(_FROZEN) :]: each for name, each in tensors.items() if name.startswith(_FROZEN)}


def is_state(names: Iterable[str]) -> bool:
    """Whether `flatten_state` could have given these names, each of which then stands for one tensor alone."""
    return all(name.startswith((_PARAMETER, _MOMENT)) and " " not in name for name in names)
