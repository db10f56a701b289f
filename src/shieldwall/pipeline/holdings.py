"""What a host holds: stages and duplicates, each with its compute and its two-phase update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shieldwall.core.compression import PLAIN, Compression
from shieldwall.core.flat_state import flatten_frozen, flatten_state
from shieldwall.core.ids import Role
from shieldwall.core.messages import Assign, StageState
from shieldwall.models.settings import ModelSettings
from shieldwall.models.span import StageSpan
from shieldwall.models.stage import StageModel
from shieldwall.pipeline.hosted_stage import HostedStage, TiedGradients
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.pipeline.update import StageUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What every host of a run is told before it takes a stage."""

    model: ModelSettings
    seed: int
    device: torch.device
    optimizer: OptimizerSettings
    gradient_checkpointing: bool = False
    """Keep only a stage's inputs between forward and backward, and compute the rest again."""
    compression: Compression = PLAIN
    """Of what crosses a border between stages, be they on two hosts or on one."""


@dataclass(frozen=True, slots=True)
class Held:
    """One stage or duplicate on its host."""

    stage: HostedStage
    update: StageUpdate


class Holdings:
    """Stages and duplicates by role and number, in the order in which they came.

    Args:
        settings: of the run.
        hold_apart: keep the gradients of each micro-batch by themselves until they are summed up.
    """

    def __init__(self, settings: HostSettings, *, hold_apart: bool) -> None:
        self._settings = settings
        self._hold_apart = hold_apart
        self._held: dict[tuple[Role, int], Held] = {}

    def take(self, order: Assign) -> Held:
        """Hold what the order hands over, in the place of what was held there before.

        Raises:
            ModelError: SW-M112; the state does not fit the stage.
        """
        held = build_held(self._settings, order)
        held.stage.hold_apart = self._hold_apart
        self._held[order.role, order.stage] = held
        self._tie_ends(order.stages)
        return held

    def release(self, role: Role, stage: int) -> None:
        """Let go of a stage or duplicate."""
        self._held.pop((role, stage), None)

    def get(self, role: Role, stage: int) -> Held:
        """What is held under that role and number.

        Raises:
            KeyError: nothing is.
        """
        return self._held[role, stage]

    def tensors(self, stage: int) -> dict[str, Tensor]:
        """What is held of a stage, be it as the stage or as its duplicate, by the names of `core.flat_state`; the
        committed state and what training leaves alone."""
        for role in Role:
            if held := self._held.get((role, stage)):
                frozen = {name: each.data for name, each in held.stage.model.frozen.items()}
                return {**flatten_state(held.update.committed), **flatten_frozen(frozen)}
        return {}

    @property
    def stages(self) -> set[int]:
        """Of which something is held."""
        return {stage for _, stage in self._held}

    def __iter__(self) -> Iterator[tuple[Role, int, Held]]:
        for (role, stage), held in self._held.items():
            yield role, stage, held

    def _tie_ends(self, stages: int) -> None:
        first, last = self._held.get((Role.STAGE, 0)), self._held.get((Role.STAGE, stages - 1))
        if first is None or last is None or first is last:
            return
        handles = last.stage.model.tie_head(first.stage.model)
        if handles:
            first.stage.tied = last.stage.tied = TiedGradients(handles, first.stage.model)


def build_held(settings: HostSettings, order: Assign) -> Held:
    """The stage that an order hands over, ready to compute.

    Raises:
        ModelError: SW-M112; the state does not fit the stage.
    """
    span = StageSpan(order.stage, order.stages, order.first_layer, order.last_layer)
    model = StageModel(settings.model, span, order.state.parameters, frozen=order.frozen, device=settings.device)
    stage = HostedStage(model, settings.seed, settings.device, recompute=settings.gradient_checkpointing)
    return Held(stage, StageUpdate(stage, on_device(order.state, settings.device).moments, settings.optimizer))


def on_device(state: StageState, device: torch.device) -> StageState:
    """`state` with all tensors on `device`."""

    def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(device) for name, tensor in tensors.items()}

    return StageState(
        parameters=moved(dict(state.parameters)),
        moments={name: moved(dict(kept)) for name, kept in state.moments.items()},
    )
