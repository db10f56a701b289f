"""Draw a plan: `python -m shieldwall.schedule [gpipe|1f1b] [K] [M] [--when before_commit|before_use]`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from shieldwall.core.errors import PlanError
from shieldwall.schedule.costs import StageCosts
from shieldwall.schedule.hosts import chain_custody, check_shape, usual_hosts
from shieldwall.schedule.make import make_plan
from shieldwall.schedule.plan import TOPOLOGIES, WHENS, Host
from shieldwall.schedule.render import render_grid
from shieldwall.schedule.simulate import bubble, simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the grid of one training step and its bubble, or, for a checked one, what checking costs.

    Returns:
        0, or 2 where no such plan can be made; the reason is on standard error.
    """
    wish = _parser().parse_args(arguments)
    try:
        text = _checked(wish) if wish.when else _unchecked(wish)
    except PlanError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{text}\n")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m shieldwall.schedule", description="Draw one training step as a grid.")
    parser.add_argument("schedule", nargs="?", default="gpipe", help="gpipe (default) or 1f1b")
    parser.add_argument("stages", nargs="?", type=int, default=6, help="K, 6 by default")
    parser.add_argument("micro_batches", nargs="?", type=int, default=4, help="M, 4 by default")
    parser.add_argument("--when", choices=WHENS, help="check every middle stage, settled by then")
    parser.add_argument("--topology", choices=TOPOLOGIES, default="chain", help="star: all tensors pass a server")
    parser.add_argument("--apart", action="store_true", help="each stage on a host of its own")
    parser.add_argument("--backward", type=float, metavar="SLOTS", help="length of a backward pass; 1 if not given")
    return parser


def _hosts(wish: Namespace) -> tuple[Host, ...]:
    check_shape(wish.stages, wish.micro_batches)
    if not wish.apart:
        return usual_hosts(wish.stages)
    return tuple(Host(f"host-{stage}", (stage,)) for stage in range(wish.stages))


def _costs(wish: Namespace) -> StageCosts | None:
    if wish.backward is None:
        return None
    return StageCosts((1.0,) * wish.stages, (wish.backward,) * wish.stages)


def _unchecked(wish: Namespace) -> str:
    share = bubble(wish.schedule, wish.stages, wish.micro_batches)
    costs = _costs(wish)
    plan = make_plan(wish.schedule, wish.stages, wish.micro_batches, _hosts(wish), costs, topology=wish.topology)
    return f"{render_grid(plan, costs)}\n\nbubble {share:.4f} (each stage on a host of its own)"


def _checked(wish: Namespace) -> str:
    hosts, costs = _hosts(wish), _costs(wish)
    shape = (wish.schedule, wish.stages, wish.micro_batches)
    plan = make_plan(*shape, chain_custody(hosts), costs, when=wish.when, topology=wish.topology)
    bare = make_plan(*shape, hosts, costs, topology=wish.topology)
    prices = costs or StageCosts((1.0,) * wish.stages, (1.0,) * wish.stages)
    checked_s, unchecked_s = simulate(plan, prices).step_s, simulate(bare, prices).step_s
    return f"{render_grid(plan, costs)}\n\n{checked_s / unchecked_s:.4f} times the step without checks"


if __name__ == "__main__":
    sys.exit(main())
