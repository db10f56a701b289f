"""Which part of a model a stage is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shieldwall.core.errors import ModelError


@dataclass(frozen=True, slots=True)
class StageSpan:
    """Stage `index` of `stages`: layers `first` to `last - 1`, with the embeddings if first and the head if last."""

    index: int
    stages: int
    first: int
    last: int

    @property
    def embeddings(self) -> bool:
        """Whether the stage turns tokens into the first hidden state."""
        return self.index == 0

    @property
    def head(self) -> bool:
        """Whether the stage turns the last hidden state into logits and the loss."""
        return self.index == self.stages - 1

    @property
    def layers(self) -> range:
        """Global numbers of the layers."""
        return range(self.first, self.last)


def spans_of(cut: Sequence[int]) -> tuple[StageSpan, ...]:
    """The spans of a cut, given as the number of layers of each stage in order."""
    edges = [sum(cut[:index]) for index in range(len(cut) + 1)]
    return tuple(StageSpan(index, len(cut), edges[index], edges[index + 1]) for index in range(len(cut)))


def check_cut(cut: Sequence[int], *, layers: int, stages: int) -> None:
    """Refuse a cut that does not give each stage at least one layer and use each layer once.

    Raises:
        ModelError: SW-M110, more stages than layers; SW-M111, an explicit cut that does not add up.
    """
    if stages > layers:
        raise ModelError(
            "SW-M110",
            f"{layers} layers cannot be cut into {stages} stages",
            where="pipeline.stages",
            expected=f"at most {layers}: each stage holds at least one layer",
            got=str(stages),
            remedy=f"set pipeline.stages to {layers} or fewer, or take a model with more layers",
        )
    if len(cut) != stages or sum(cut) != layers or min(cut) < 1:
        raise ModelError(
            "SW-M111",
            "the cut does not fit the model",
            where="pipeline.cut",
            expected=f"{stages} numbers of at least 1, together {layers} (layers of each stage)",
            got=f"{list(cut)}: {len(cut)} numbers, together {sum(cut)}",
            remedy=f'write for example cut = {even_cut(layers, stages)}, or cut = "auto"',
        )


def even_cut(layers: int, stages: int) -> list[int]:
    """Layers spread as evenly as they go, the spare ones in the middle stages."""
    base, spare = divmod(layers, stages)
    cut = [base] * stages
    start = (stages - spare) // 2
    for index in range(start, start + spare):
        cut[index] += 1
    return cut
