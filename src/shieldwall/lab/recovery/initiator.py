"""`python -m shieldwall.lab.recovery.initiator MOMENT STEP RUN [SECTION.KEY=VALUE ...]`: the initiator is killed.

It trains in RUN and listens on this machine, and kills its own process with SIGKILL at the moment that was ordered. Who
sends a signal from outside hits whatever the process happens to do; here a hook at the initiator's own host does it.
Without settings a run that is there is resumed.

prepare      stages build their new states, nothing of the step is in the ledger
commit       the step is in the ledger, and no stage of the initiator's has put its new state in force yet
checkpoint   the state after the step is being saved, and what comes before the last stage is written
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from rich.console import Console

from shieldwall.config import Config
from shieldwall.core.hooks import Hook, Update
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import StageState
from shieldwall.dashboard.progress import choose_view
from shieldwall.lab.recovery.faults import Moment
from shieldwall.run.train import train


class KillsItself(Hook):
    """To be installed on the initiator's host.

    Args:
        moment: when: in prepare, commit or checkpoint.
        step: of which step; for a checkpoint the last that it holds.
    """

    def __init__(self, moment: Moment, step: int) -> None:
        self._when = moment, step

    async def after_prepare(self, update: Update, prepared: StageState) -> StageState:
        self._look(Moment.PREPARE, update)
        return prepared

    async def before_commit(self, update: Update, prepared: StageState) -> StageState:
        self._look(Moment.COMMIT, update)
        return prepared

    async def before_serve(self, update: Update, state: StageState) -> StageState:
        if update.stage:  # the initiator holds the first stage and the last
            self._look(Moment.CHECKPOINT, update)
        return state

    def _look(self, moment: Moment, update: Update) -> None:
        if (moment, update.step) == self._when:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """What the module's command does."""
    moment, step, run, *settings = sys.argv[1:]
    train(
        Config.load(None, settings) if settings else None,
        folder=Path(run),
        resume=not settings,
        view=choose_view(Console(stderr=True, soft_wrap=True), quiet=False),
        hooks_of={INITIATOR: [KillsItself(Moment(moment), int(step))]},
        listen="127.0.0.1:0",
    )


if __name__ == "__main__":
    main()
