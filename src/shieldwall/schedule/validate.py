"""Say whether a plan can be played, before a byte is sent.

Five questions, each in a file of its own: is all work there, once and in order (`check_work`); does every tensor that
has to travel do so, once (`check_transfers`); is everything there before it is used (`check_inputs`), and settled
where it must be (`check_settlements`); does it all come to an end (`check_progress`).
"""

from __future__ import annotations

from shieldwall.schedule.check_inputs import check_inputs
from shieldwall.schedule.check_progress import check_progress
from shieldwall.schedule.check_settlements import check_settlements
from shieldwall.schedule.check_transfers import check_transfers
from shieldwall.schedule.check_work import check_order, check_work
from shieldwall.schedule.hosts import check_hosts, check_shape
from shieldwall.schedule.plan import Plan
from shieldwall.schedule.trouble import broken_plan
from shieldwall.schedule.wishes import check_chosen, check_topology, check_when


def validate_plan(plan: Plan) -> None:
    """Refuse a plan that cannot be played to its end with the right result.

    A plan passes if and only if playing its lanes terminates, runs each pass of each stage and micro-batch once on
    the host of its stage and each check once on that of the duplicate, adds up the gradients in micro-batch order,
    leaves no tensor unused, and under `before_use` computes on nothing that is not settled. Sends never block;
    receives and waits do.

    Raises:
        PlanError: SW-P102 to SW-P108, its shape or hosts; SW-P114, nobody said when checks are settled; SW-P115 to
            SW-P117, duplicates that check nothing; SW-P118, micro-batches that the step does not have; SW-P119,
            unknown topology; SW-P120, its lanes are not those of its hosts; SW-P121, a pass or check that is absent,
            double or misplaced; SW-P122, passes out of order; SW-P123, a tensor that is not sent once to whom needs it;
            SW-P124, a tensor used before it is there; SW-P125, lanes that wait for ever; SW-P126, waits for settlements
            that are not right. From SW-P120 on the message shows all lanes, with the spot marked.
    """
    check_shape(plan.stages, plan.micro_batches)
    check_hosts(plan.stages, plan.hosts)
    check_when(plan.when, plan.hosts)
    check_topology(plan.topology)
    check_chosen(plan.chosen, plan.micro_batches)
    _check_lanes(plan)
    check_work(plan)
    check_order(plan)
    check_transfers(plan)
    check_inputs(plan)
    check_settlements(plan)
    check_progress(plan)


def _check_lanes(plan: Plan) -> None:
    expected = [host.name for host in plan.hosts]
    got = [lane.host for lane in plan.lanes]
    for name in (*expected, *got):
        if expected.count(name) != 1 or got.count(name) != 1:
            raise broken_plan(
                "SW-P120",
                "the lanes are not those of the hosts",
                plan,
                (name, 0),
                expected=f"one lane for each of {', '.join(expected)}",
                got=f"lanes for {', '.join(got) or 'nobody'}",
            )
