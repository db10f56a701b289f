"""The referee's machine: any stage once more, from the initiator's own frozen base and a state that was shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from shieldwall.core.messages import Assign, StageState
from shieldwall.core.tensor_roots import fixed_roots, listed_root, state_root
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.holdings import Held, HostSettings, build_held, on_device
from shieldwall.pipeline.hosted_stage import HostedStage
from shieldwall.pipeline.update import StageUpdate
from shieldwall.verify.court.recompute import MicroBatchWork

FrozenOf = Callable[[int], Mapping[str, Tensor]]
"""A stage's part of what training leaves alone, as the initiator has it."""


class StageRecompute:
    """Repeats the work of stages in the run's arithmetic; fulfils `verify.court.recompute.Recompute`.

    Args:
        settings: what every host was told.
        spans: the layers of each stage.
        frozen_of: the frozen base of a stage.
    """

    def __init__(self, settings: HostSettings, spans: Sequence[StageSpan], frozen_of: FrozenOf) -> None:
        self._settings = settings
        self._spans = spans
        self._frozen_of = frozen_of
        self._fixed: dict[int, dict[str, str]] = {}
        self._built: dict[int, Held] = {}

    def state_root(self, stage: int, state: StageState) -> str:
        """Root of a stage's whole state; what training never changes is the initiator's own."""
        if stage not in self._fixed:
            model = self._hold(stage, state).stage.model
            self._fixed[stage] = fixed_roots(self._frozen_of(stage), model.buffers)
        return state_root(state, self._fixed[stage])

    def listed_root(self, stage: int, roots: Mapping[str, str]) -> str | None:
        """As `Recompute.listed_root`."""
        fixed = self._fixed.get(stage)
        return None if fixed is None else listed_root(roots, fixed)

    def activation(
        self, stage: int, state: StageState, step: int, micro_batch: int, work: MicroBatchWork, *, training: bool
    ) -> Tensor:
        """Activation that the stage makes, as it is sent."""
        hosted = self._hold(stage, state, training=training).stage
        made = hosted.forward(step, micro_batch, self._given(work.entry_BTD), work.positions_BT, training=False)
        return self._settings.compression.pack(made)

    def gradient(self, stage: int, state: StageState, step: int, micro_batch: int, work: MicroBatchWork) -> Tensor:
        """Gradient that the stage sends back, as it is sent."""
        gradient = self._go_back(self._hold(stage, state).stage, step, micro_batch, work)
        if gradient is None:
            raise LookupError(f"stage {stage} sends no gradient back")
        return self._settings.compression.pack(gradient)

    def is_finite(self, sent: Tensor) -> bool:
        """Whether no NaN and no infinity is in what a receiver of `sent` works with."""
        return bool(torch.isfinite(self._settings.compression.unpack(sent)).all())

    def gradients(
        self, stage: int, state: StageState, step: int, work: Mapping[int, MicroBatchWork]
    ) -> dict[str, Tensor]:
        """Summed gradients of the step by parameter name, before clipping."""
        hosted = self._hold(stage, state).stage
        hosted.hold_apart = True
        for micro_batch, each in sorted(work.items()):
            self._go_back(hosted, step, micro_batch, each)
        hosted.sum_up()
        return {name: gradient.clone() for name, gradient in hosted.gradients().items()}

    def update(
        self,
        stage: int,
        state: StageState,
        gradients: Mapping[str, Tensor],
        *,
        clip_coefficient: float,
        learning_rate: float,
    ) -> StageState:
        """The state after the step."""
        held = self._hold(stage, state)
        held.stage.use_gradients({name: gradient.clone() for name, gradient in gradients.items()})
        held.update.scale_gradients(clip_coefficient)
        return held.update.prepare(held.stage.gradients(), learning_rate)

    def _go_back(self, hosted: HostedStage, step: int, micro_batch: int, work: MicroBatchWork) -> Tensor | None:
        """Both passes of one micro-batch; the gradient (B, T, D) with respect to the stage's input, before packing."""
        hosted.forward(step, micro_batch, self._given(work.entry_BTD), work.positions_BT, training=True)
        return hosted.backward(micro_batch, None if work.arrived_BTD is None else self._given(work.arrived_BTD))

    def _given(self, sent: Tensor) -> Tensor:
        return self._settings.compression.unpack(sent)

    def _hold(self, stage: int, state: StageState, *, training: bool = True) -> Held:
        """The stage, built once, with clones of the given parameters, so that nothing of a holder's is touched."""
        if stage not in self._built:
            self._built[stage] = self._build(stage, state)
        hosted = self._built[stage].stage
        hosted.forget_step()
        hosted.hold_apart = False
        mine = on_device(state, self._settings.device)
        for name, parameter in hosted.model.parameters.items():
            parameter.data = mine.parameters[name].to(parameter.dtype).clone()
        hosted.model.set_training(training)
        return Held(hosted, StageUpdate(hosted, mine.moments, self._settings.optimizer))

    def _build(self, stage: int, state: StageState) -> Held:
        span = self._spans[stage]
        return build_held(
            self._settings,
            Assign(
                stage=span.index,
                stages=span.stages,
                first_layer=span.first,
                last_layer=span.last,
                state=StageState(parameters=state.parameters),
                frozen=self._frozen_of(stage),
            ),
        )


def no_frozen(stage: int) -> Mapping[str, Tensor]:
    """Of a run that trains everything, nothing is frozen."""
    del stage
    return {}
