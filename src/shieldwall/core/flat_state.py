"""A stage's state as tensors by one name each, for files, and back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from shieldwall.core.messages import StageState

_PARAMETER, _MOMENT = "parameter/", "moment/"


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
