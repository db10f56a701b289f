"""One stage on its host: forward, backward, and the sum of its gradients.

Autograd never crosses a border: the activation that comes in becomes a leaf of a graph of the stage's own, and its
gradient is what goes back. Gradients are summed in micro-batch order, as a single process would.

Where steps are checked, a micro-batch's gradients may enter the sum only once the micro-batch is settled everywhere;
until then they are held apart (`hold_apart`, `sum_up`). The additions, and so the bits, are the same.

A head that is tied to the embeddings needs care, because its share of the gradient and the embeddings' share arise in
different stages and at different times. The whole model adds the two within each micro-batch and only then adds the
micro-batch to the sum, and float addition minds the order. So the head's shares wait here until the embeddings' share
of the same micro-batch is there (`TiedGradients`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shieldwall.core.seeds import dropout_seed
from shieldwall.models.stage import StageModel
from shieldwall.pipeline.feed import MicroBatch


@dataclass(slots=True)
class _OpenMicroBatch:
    """What a forward pass leaves for the backward pass."""

    step: int
    micro_batch: int
    entry: Tensor
    positions_BT: Tensor | None  # noqa: N815 (the shape is in the name)
    exit: Tensor | None = None
    """End of the graph: the stage's output, or the last stage's loss. None where it is computed again."""
    batch: MicroBatch | None = None
    """Labels and divisor, at the last stage."""


class TiedGradients:
    """Shares of the gradient of tied weights, kept until both ends of the model have theirs.

    Args:
        handles: name of each shared weight to the head's own handle of it.
        first: the stage that owns the shared weights.
    """

    def __init__(self, handles: dict[str, nn.Parameter], first: StageModel) -> None:
        self._handles = handles
        self._owners = {name: first.parameters[name] for name in handles}
        self._waiting: dict[int, dict[str, Tensor]] = {}

    def keep_head_share(self, micro_batch: int) -> None:
        """Set the head's share of one micro-batch aside."""
        self._waiting[micro_batch] = {name: _take_gradient(handle) for name, handle in self._handles.items()}

    def set_sums_aside(self) -> dict[str, Tensor | None]:
        """The embeddings' sums so far; the next backward pass starts from nothing."""
        sums = {name: owner.grad for name, owner in self._owners.items()}
        for owner in self._owners.values():
            owner.grad = None
        return sums

    def join_shares(self, micro_batch: int) -> None:
        """Add head's and embeddings' shares of one micro-batch."""
        head_shares = self._waiting.pop(micro_batch)
        for name, owner in self._owners.items():
            owner.grad = head_shares[name].add_(_take_gradient(owner))

    def add_to_sums(self, sums: dict[str, Tensor | None]) -> None:
        """Add the micro-batch's joined shares to the sums so far."""
        for name, owner in self._owners.items():
            both, so_far = _take_gradient(owner), sums[name]
            owner.grad = both if so_far is None else so_far.add_(both)

    def share_memory(self) -> None:
        """Point the head at the embeddings' weights again, after these were replaced."""
        for name, handle in self._handles.items():
            handle.data = self._owners[name].data

    def forget(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        for handle in self._handles.values():
            handle.grad = None


def _take_gradient(parameter: nn.Parameter) -> Tensor:
    gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
    parameter.grad = None
    return gradient


class HostedStage:
    """Compute and gradients of one stage.

    Args:
        model: the stage's modules and parameters.
        seed: the run's seed, from which dropout masks are drawn.
        device: where the stage computes.
        recompute: gradient checkpointing: keep only the stage's input between forward and backward, and run the stage
            forward once more before its backward. The bits are the same; time is paid for memory.
            Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """

    def __init__(self, model: StageModel, seed: int, device: torch.device, *, recompute: bool = False) -> None:
        self.model = model
        self.tied: TiedGradients | None = None
        self.hold_apart = False
        """Keep each micro-batch's gradients by themselves until `sum_up`."""
        self._seed = seed
        self._device = device
        self._recompute = recompute
        self._open: dict[int, _OpenMicroBatch] = {}
        self._held: dict[int, dict[str, Tensor]] = {}
        self._set_aside: dict[str, Tensor] = {}
        """The weights in force, while the stage computes with others."""

    def weights(self) -> dict[str, Tensor]:
        """The weights in force by name, a frozen base included, whatever the stage computes with just now."""
        return self._set_aside or {name: held.data for name, held in self._holds_weights().items()}

    @contextmanager
    def computing_with(self, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
        """Let the passes inside use `weights`, which has all names of `weights()`; None lets everything be.

        A pass counts by itself: what a forward pass makes with other weights leaves no graph, and a backward pass with
        other weights uses none, so that each backward pass computes its forward pass again with weights of its own.
        A head that is tied to the embeddings of another stage keeps the weights in force.
        """
        if weights is None:
            yield
            return
        self._set_aside = self.weights()
        try:
            self._use_weights(weights)
            yield
        finally:
            in_force, self._set_aside = self._set_aside, {}
            self._use_weights(in_force)

    def _use_weights(self, weights: Mapping[str, Tensor]) -> None:
        for name, held in self._holds_weights().items():
            held.data = weights[name]

    def _holds_weights(self) -> dict[str, nn.Parameter]:
        return {**self.model.parameters, **self.model.frozen}

    def forward(
        self, step: int, micro_batch: int, value: Tensor, positions_BT: Tensor | None = None, *, training: bool
    ) -> Tensor:
        """Activation (B, T, D), or logits (B, T, V) from the last stage, ready to travel.

        Args:
            step: numbers the dropout masks, as `micro_batch` does.
            micro_batch: which one of the step.
            value: tokens (B, T) or activation (B, T, D).
            positions_BT: within the examples of a row, where rows hold several.
            training: keep what the backward pass needs.
        """
        entry = value.to(self._device).detach()
        if training and not self.model.span.embeddings:
            entry.requires_grad_(True)
        positions_BT = None if positions_BT is None else positions_BT.to(self._device)
        opened = _OpenMicroBatch(step, micro_batch, entry, positions_BT)
        keeps_graph = training and not self._recompute and not self._set_aside
        with torch.set_grad_enabled(keeps_graph):
            output = self._compute(opened)
        if training:
            self._open[micro_batch] = opened
        if keeps_graph:
            opened.exit = output
        return output.detach()

    def loss(self, micro_batch: int, logits_BTV: Tensor, batch: MicroBatch, *, training: bool) -> Tensor:
        """Mean loss (nats, 0-dim) of the last stage's logits; in training it becomes what `backward` starts from."""
        labels_BT = batch.labels_BT.to(self._device)
        opened = self._open[micro_batch] if training else None
        if opened is not None:
            opened.batch = batch
        if opened is None or opened.exit is None:
            with torch.no_grad():
                return self.model.loss(logits_BTV, labels_BT)
        loss = self.model.loss(opened.exit, labels_BT)
        opened.exit = loss / batch.loss_divisor
        return loss.detach()

    def backward(self, micro_batch: int, gradient_BTD: Tensor | None) -> Tensor | None:
        """Compute the micro-batch's weight gradients and add them to the sums, or hold them apart.

        Args:
            micro_batch: which one; micro-batches must come in their order where they are added at once.
            gradient_BTD: of the loss with respect to the stage's output; None at the last stage.

        Returns:
            Gradient (B, T, D) with respect to the stage's input, ready to travel; None at the first stage.
        """
        opened = self._open.pop(micro_batch)
        tied_here = self.tied if self.model.span.embeddings else None
        sums = tied_here.set_sums_aside() if tied_here else {}
        arrived = None if gradient_BTD is None else gradient_BTD.to(self._device)
        end = self._compute_again(opened) if opened.exit is None or self._set_aside else opened.exit
        if end.requires_grad:
            torch.autograd.backward(end, arrived)
        if self.tied and self.model.span.head:
            self.tied.keep_head_share(micro_batch)
        if tied_here:
            tied_here.join_shares(micro_batch)
        if self.hold_apart:
            self._held[micro_batch] = self._take_gradients()
        elif tied_here:
            tied_here.add_to_sums(sums)
        return None if opened.entry.grad is None else opened.entry.grad.contiguous()

    def _compute(self, opened: _OpenMicroBatch) -> Tensor:
        output = self.model.forward(
            opened.entry,
            lambda unit: dropout_seed(self._seed, opened.step, opened.micro_batch, unit),
            opened.positions_BT,
        )
        return output.contiguous()

    def _compute_again(self, opened: _OpenMicroBatch) -> Tensor:
        """The end of the graph, from the stage's input and the same dropout masks."""
        with torch.enable_grad():
            output = self._compute(opened)
            if opened.batch is None:
                return output
            return self.model.loss(output, opened.batch.labels_BT.to(self._device)) / opened.batch.loss_divisor

    def _take_gradients(self) -> dict[str, Tensor]:
        taken = self.gradients()
        self.forget_gradients()
        return taken

    def sum_up(self) -> None:
        """Add up the gradients that are held apart, in micro-batch order."""
        for micro_batch in sorted(self._held):
            for name, share in self._held.pop(micro_batch).items():
                parameter = self.model.parameters[name]
                parameter.grad = share if parameter.grad is None else parameter.grad.add_(share)

    def gradients(self) -> dict[str, Tensor]:
        """The summed gradients by parameter name; parameters that the step did not reach are left out."""
        return {name: parameter.grad for name, parameter in self.model.parameters.items() if parameter.grad is not None}

    def use_gradients(self, gradients: Mapping[str, Tensor]) -> None:
        """Put `gradients` in the place of the summed ones."""
        for name, parameter in self.model.parameters.items():
            given = gradients.get(name)
            parameter.grad = None if given is None else given.to(device=parameter.device, dtype=parameter.dtype)

    def norms(self) -> dict[str, Tensor]:
        """Norm (0-dim, on the CPU) of each parameter's summed gradient."""
        return {name: torch.linalg.vector_norm(gradient).cpu() for name, gradient in self.gradients().items()}

    def forget_gradients(self) -> None:
        """Drop the summed gradients."""
        for parameter in self.model.parameters.values():
            parameter.grad = None

    def forget_step(self) -> None:
        """Drop graphs and gradients of the step in work."""
        self._open.clear()
        self._held.clear()
        self.forget_gradients()
        if self.tied:
            self.tied.forget()
