"""`shieldwall` where a worker keeps its `Played` of one step back: python withholding.py STEP ARGUMENTS..."""

from __future__ import annotations

import sys
from typing import Any

from shieldwall.cli import main
from shieldwall.core.messages import Message, Played
from shieldwall.pipeline import host


def withhold(step: int) -> None:
    """From now on the hosts of this process do."""
    report = host.StageHost._report

    async def report_but_one(self: Any, message: Message) -> None:
        if isinstance(message, Played) and message.step == step:
            sys.stderr.write(f"kept back: {type(message).__name__} of step {step}\n")
            return
        await report(self, message)

    host.StageHost._report = report_but_one  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    withhold(int(sys.argv[1]))
    sys.argv = ["shieldwall", *sys.argv[2:]]
    main()
