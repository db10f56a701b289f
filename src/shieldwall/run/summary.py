"""What a run leaves behind for whoever reads it: `summary.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from shieldwall.core.errors import RunFolderError
from shieldwall.core.files import write_whole


class Summary(BaseModel):
    """The result of a run. `attacks_fired` and `false_accusations` are None where the run's own config holds none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int
    """Committed steps."""
    train_loss: float
    """Mean loss of the last step, in nats, before its update."""
    eval_perplexity: float
    """Of the weights in `model/`, on the evaluation blocks."""
    tokens_per_second: float
    """Training tokens over training seconds, evaluation and saving left out."""
    wall_seconds: float
    """From the start to the end of the run; of a resumed run, all its parts."""
    weights_root: str
    """Hash over the tensors of `model/`."""
    attacks_fired: int | None
    """How often the attacks of the run's own configuration fired."""
    alerts: int
    """Checks that found a difference."""
    verdicts: list[dict[str, Any]]
    """Who was found guilty of it."""
    false_accusations: int | None
    """Verdicts against a worker that did nothing."""
    steps_lost: int
    """Committed steps that had to be made again."""
    micro_batches_rerun: int
    """Micro-batches that were computed again."""
    failures: list[dict[str, Any]]
    """Workers that were lost."""
    config_root: str
    """Hash over the configuration without what decides nothing."""

    def write(self, path: Path) -> None:
        """Write `summary.json`.

        Raises:
            StorageError: SW-S101.
        """
        write_whole(path, (json.dumps(self.model_dump(), indent=2) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Summary:
        """Read `summary.json` back.

        Raises:
            RunFolderError: SW-R107; it is not what a run wrote.
        """
        try:
            return cls.model_validate_json(path.read_text())
        except ValueError as error:
            raise RunFolderError(
                "SW-R107",
                "a file of the run cannot be read",
                where=str(path),
                expected="what the run wrote",
                got=str(error).splitlines()[0],
                remedy="remove it and resume; the run then ends again from its last checkpoint",
            ) from error
