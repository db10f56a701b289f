"""Going back to the last checkpoint, and what that costs: `returns.jsonl`, a line for each time.

A run goes back when it is resumed after its process died, and by itself when nobody has a state any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from shieldwall.core.lines import read_lines
from shieldwall.recovery.checkpoints import Checkpoint, Checkpoints
from shieldwall.run.folder import RunFolder, append_line, keep_lines_before
from shieldwall.run.ledger_record import RunKeys
from shieldwall.verify.ledger import read_tail

RESUMED = "resumed"
"""Its process died or was stopped."""
STATE_LOST = "state lost"
"""Nobody who had a state could be reached any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Steps `to_step` to `from_step - 1` were committed, and are to be made again."""

    from_step: int
    to_step: int
    attempt: int
    """The highest attempt so far, which tells two returns over the same steps apart; -1 where nothing is checked."""
    why: str
    workers: tuple[str, ...] = ()
    """Who was lost."""

    @property
    def steps_lost(self) -> int:
        """How many steps are to be made again."""
        return self.from_step - self.to_step


def go_back(folder: RunFolder, checkpoints: Checkpoints, why: str, workers: Sequence[str] = ()) -> Checkpoint | None:
    """The last checkpoint, once everything is dropped that tells of later steps; None where there is none.

    What is lost by that is written down first, once, also where it is killed in the middle and started again.

    Raises:
        CheckpointError: SW-K102 or SW-K106; the checkpoint is damaged.
        StorageError: SW-S101.
        LedgerFileError, LedgerError: SW-L...; the ledger's end cannot be read.
    """
    start = checkpoints.latest()
    to_step = start.progress.step if start else 0
    committed, attempt = _committed(folder)
    found = Return(from_step=max(committed, to_step), to_step=to_step, attempt=attempt, why=why, workers=tuple(workers))
    line = json.loads(json.dumps(asdict(found)))
    if found.steps_lost and line not in read_lines(folder.returns).lines[-1:]:
        append_line(folder.returns, line)
    keep_lines_before(folder, to_step)
    return start


def steps_lost(folder: RunFolder) -> int:
    """Committed steps that had to be made again, over the whole run."""
    return sum(line["from_step"] - line["to_step"] for line in read_lines(folder.returns).lines)


def _committed(folder: RunFolder) -> tuple[int, int]:
    """How many steps are committed, and the highest attempt: by the ledger, else by the lines of the steps."""
    if folder.ledger.exists():
        tail = read_tail(folder.path, RunKeys(folder.private, begun=True).identity)
        return tail.step, tail.attempt
    lines = read_lines(folder.metrics).lines
    return max((line["step"] + 1 for line in lines if isinstance(line.get("step"), int)), default=0), -1
