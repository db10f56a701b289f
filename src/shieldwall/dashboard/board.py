"""The run in TensorBoard: each step's numbers as scalars, under the names that they have in `metrics.jsonl`.

    tensorboard --logdir runs

Events are on the disk when a step is done, so a running run is seen as it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shieldwall.core.errors import ConfigError
from shieldwall.core.files import storing

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_TAGS = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "alerts", "eval_perplexity")


def require_tensorboard() -> None:
    """Refuse where the extra that writes events is not installed.

    Raises:
        ConfigError: SW-C110.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401 (only whether it can be had)
    except ImportError as error:
        raise ConfigError(
            "SW-C110",
            "TensorBoard is not installed",
            where="run.tensorboard = true",
            expected='the package tensorboard, which the extra "board" brings',
            got=str(error),
            remedy='pip install "shieldwall[board]", or set run.tensorboard to false',
        ) from error


class BoardView:
    """Writes events; a `ProgressView` that shows nothing on the screen.

    Args:
        folder: for the events, `board/` of the run.
        earlier: lines of `metrics.jsonl` to show first, where the folder is new but the run is not.
    """

    def __init__(self, folder: Path, earlier: Sequence[dict[str, Any]] = ()) -> None:
        self._folder = folder
        self._earlier = earlier
        self._writer: SummaryWriter | None = None

    def start(self, done: int, steps: int) -> None:
        """Open the events; those of steps from `done` on, which an earlier process wrote, are hidden.

        Raises:
            StorageError: SW-S101.
        """
        del steps
        from torch.utils.tensorboard import SummaryWriter

        again = self._folder.exists()
        with storing(self._folder):
            self._writer = SummaryWriter(str(self._folder), purge_step=done if again else None)
        for line in self._earlier:
            self._add(line)

    def step(self, line: dict[str, Any]) -> None:
        """Write a step's numbers.

        Raises:
            StorageError: SW-S101.
        """
        self._add(line)
        with storing(self._folder):
            self._open.flush()

    def note(self, text: str) -> None: ...

    def stop(self) -> None:
        """Close the events, whatever the run ended with."""
        if self._writer is not None:
            with storing(self._folder):
                self._writer.close()

    def _add(self, line: dict[str, Any]) -> None:
        with storing(self._folder):
            for tag in _TAGS:
                if tag in line:
                    self._open.add_scalar(tag, line[tag], line["step"])

    @property
    def _open(self) -> SummaryWriter:
        if self._writer is None:
            raise RuntimeError("start() comes before step()")
        return self._writer
