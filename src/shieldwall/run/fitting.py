"""A run over machines and what its workers say of theirs: the plan that follows, kept in the run's folder.

A cut that was made for machines stays when the run goes on: states and roots are of stages. Who holds which stage is
settled anew, because other machines may be there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from shieldwall.core.files import write_whole
from shieldwall.core.ids import INITIATOR
from shieldwall.dashboard.recorded import garbled, read_json
from shieldwall.run.folder import RunFolder
from shieldwall.run.machines.muster import Machines
from shieldwall.run.memory import available_bytes
from shieldwall.run.planning import InFlight, Planner, RunPlan
from shieldwall.run.uneven import Fit, Machinery, fit
from shieldwall.schedule import Host

_JOINED = "joined"
"""In plan.json: what each worker said of its machine."""


def cut_before(folder: RunFolder) -> list[int] | None:
    """The cut that a run which has begun was made with; None where it may be made anew.

    A ledger holds it to its stages; so do machines once there is a checkpoint of what they made.

    Raises:
        RunFolderError: SW-R107; plan.json is not what the run wrote.
    """
    begun = folder.ledger.exists() or (any(folder.checkpoints.glob("step-*")) and _JOINED in _written(folder))
    if not begun:
        return None
    cut = read_json(folder.plan).get("cut")
    if not isinstance(cut, list) or not all(type(layers) is int for layers in cut):
        raise garbled(folder.plan, f"cut: {cut!r}", "the layers of each stage")
    return cut


def joined_before(folder: RunFolder) -> dict[str, Any]:
    """What plan.json says of the machines that the run was cut for last, to be kept in it."""
    written = _written(folder)
    return {key: written[key] for key in (_JOINED, "reasons") if key in written}


def fit_machines(planner: Planner, machines: Machines, folder: RunFolder, workers: list[str], bench: list[str]) -> Fit:
    """Plan for the machines that are there; the initiator's allowance follows.

    Raises:
        PlanError: SW-P202; some machine has too little memory, and there is nobody to do its part.
        RunFolderError: SW-R107; plan.json is not what the run wrote.
    """
    machinery = Machinery(
        workers=workers, bench=bench, claims=machines.claims.made, own_bytes=available_bytes(planner.device)
    )
    found = fit(planner, machinery, cut_before(folder))
    machines.allowance.state_bytes = max(found.run_plan.memory_bytes.values())
    return found


def record_fit(folder: RunFolder, steps: int, found: Fit, machines: Machines) -> None:
    """Write plan.json for the machines that are there.

    Raises:
        StorageError: SW-S101.
    """
    joined = {name: asdict(claim) for name, claim in sorted(machines.claims.made.items())}
    content = {"steps": steps, **found.run_plan.to_json(), _JOINED: joined, "reasons": list(found.reasons)}
    write_whole(folder.plan, (json.dumps(content, indent=2) + "\n").encode())


def room_on(machines: Machines | None, planner: Planner, run_plan: RunPlan) -> Callable[[Host], bool]:
    """Whether a host's memory, as it claims, holds what it is to hold; who has claimed nothing yet is given nothing."""
    in_flight = InFlight.of(run_plan.plan)

    def has_room(host: Host) -> bool:
        if machines is None or host.name == INITIATOR:
            return True
        claim = machines.claims.made.get(host.name)
        need = planner.host_bytes([host], run_plan.spans, in_flight)[host.name]
        return claim is not None and need <= claim.memory_bytes

    return has_room


def _written(folder: RunFolder) -> dict[str, Any]:
    return read_json(folder.plan) if folder.plan.exists() else {}
