"""Plans as data: made, validated, simulated and drawn before a byte is sent. Needs no torch.

    plan = make_plan("gpipe", 6, 4, usual_hosts(6))     who does what, in which order
    validate_plan(plan)                                 can it be played
    simulate(plan, costs).step_s                        how long will it take
    print(render_grid(plan))                            what does it look like

    hosts = chain_custody(usual_hosts(6))               the same, every middle stage checked by its neighbour
    plan = make_plan("gpipe", 6, 4, hosts, when="before_commit")
    plan = make_plan("gpipe", 6, 4, hosts, when="before_commit", topology="star")

`python -m shieldwall.schedule 1f1b 6 4` draws one. Read in this order: `actions`, `plan`, `policies`, `make`,
`arrange`, `validate`, `simulate`.
"""

from __future__ import annotations

from shieldwall.schedule.actions import Action, Kind
from shieldwall.schedule.costs import StageCosts, equal_slots
from shieldwall.schedule.hosts import chain_custody, usual_hosts
from shieldwall.schedule.in_flight import peak_in_flight, peak_in_flight_of_duplicates
from shieldwall.schedule.make import make_plan
from shieldwall.schedule.picture import draw_plan, draw_timelines
from shieldwall.schedule.plan import TOPOLOGIES, Host, Lane, Plan, Topology, When
from shieldwall.schedule.policies import SCHEDULES
from shieldwall.schedule.render import render_grid, render_lanes
from shieldwall.schedule.simulate import Timeline, bubble, simulate, waiting_share
from shieldwall.schedule.timing import TimedAction
from shieldwall.schedule.traffic import Traffic, traffic_of
from shieldwall.schedule.validate import validate_plan

__all__ = [
    "SCHEDULES",
    "TOPOLOGIES",
    "Action",
    "Host",
    "Kind",
    "Lane",
    "Plan",
    "StageCosts",
    "TimedAction",
    "Timeline",
    "Topology",
    "Traffic",
    "When",
    "bubble",
    "chain_custody",
    "draw_plan",
    "draw_timelines",
    "equal_slots",
    "make_plan",
    "peak_in_flight",
    "peak_in_flight_of_duplicates",
    "render_grid",
    "render_lanes",
    "simulate",
    "traffic_of",
    "usual_hosts",
    "validate_plan",
    "waiting_share",
]
