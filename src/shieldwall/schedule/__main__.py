"""Draw a plan: `python -m shieldwall.schedule [gpipe|1f1b] [K] [M]`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from shieldwall.core.errors import PlanError
from shieldwall.schedule import bubble, make_plan, render_grid, usual_hosts


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the grid of one training step and its bubble.

    Returns:
        0, or 2 where no such plan can be made; the reason is on standard error.
    """
    parser = ArgumentParser(prog="python -m shieldwall.schedule", description="Draw one training step as a grid.")
    parser.add_argument("schedule", nargs="?", default="gpipe", help="gpipe (default) or 1f1b")
    parser.add_argument("stages", nargs="?", type=int, default=6, help="K, 6 by default")
    parser.add_argument("micro_batches", nargs="?", type=int, default=4, help="M, 4 by default")
    wish = parser.parse_args(arguments)
    try:
        share = bubble(wish.schedule, wish.stages, wish.micro_batches)
        plan = make_plan(wish.schedule, wish.stages, wish.micro_batches, usual_hosts(wish.stages))
    except PlanError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{render_grid(plan)}\n\nbubble {share:.4f} (each stage on a host of its own)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
