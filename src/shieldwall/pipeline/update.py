"""A stage's two-phase update: the new state is built beside the old one, then takes its place or is dropped."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from shieldwall.core.messages import StageState
from shieldwall.pipeline.hosted_stage import HostedStage
from shieldwall.pipeline.optimizer import OptimizerSettings, build_next_state


class StageUpdate:
    """Committed and prepared state of one hosted stage.

    Args:
        stage: whose parameters are updated.
        moments: what the optimizer remembers from earlier steps.
        settings: the optimizer.
    """

    def __init__(
        self, stage: HostedStage, moments: Mapping[str, Mapping[str, Tensor]], settings: OptimizerSettings
    ) -> None:
        self._stage = stage
        self._moments = moments
        self._settings = settings
        self.prepared: StageState | None = None

    @property
    def committed(self) -> StageState:
        """The state in force."""
        in_force = self._stage.weights()
        parameters = {name: in_force[name] for name in self._stage.model.parameters}
        return StageState(parameters=parameters, moments=self._moments)

    def scale_gradients(self, clip_coefficient: float) -> None:
        """Scale the step's gradients in place where the coefficient is below 1."""
        if clip_coefficient < 1.0:
            for gradient in self._stage.gradients().values():
                gradient.mul_(clip_coefficient)

    def prepare(self, gradients: Mapping[str, Tensor], learning_rate: float) -> StageState:
        """Build the new state beside the old one, which stays in force; the gradients are used up.

        Letting them go here and not at the commit keeps the peak down: stages are prepared one after the other, and
        only the last one's gradients are still there when all of the new state is.
        """
        self.prepared = build_next_state(self.committed, gradients, self._settings, learning_rate)
        self._stage.forget_gradients()
        return self.prepared

    def commit(self, state: StageState) -> None:
        """Put `state` in force and forget the step's gradients and the old state."""
        for name, parameter in self._stage.model.parameters.items():
            parameter.data = state.parameters[name]
        self._moments = state.moments
        self.discard()
        if self._stage.tied and self._stage.model.span.embeddings:
            self._stage.tied.share_memory()

    def discard(self) -> None:
        """Drop the prepared state and all of the step."""
        self.prepared = None
        self._stage.forget_step()
