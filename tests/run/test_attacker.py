"""Whom a file of attacks means, once the worker that it was given to is told who holds what."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from shieldwall.core.errors import ConfigError
from shieldwall.core.hooks import Border
from shieldwall.core.ids import Direction, Slot
from shieldwall.core.messages import Assign, StageState, View, Welcome
from shieldwall.run.machines.attacker import Attacker, read_order

WELCOME = Welcome(
    run="oslo", topology="chain", checked=True, threads=1, seed=7, model="", attention="", dtype="", autocast=False,
    adapter="", optimizer="", gradient_checkpointing=False, frame_bytes=0, state_bytes=0, silence_s=1.8,
    compression="none",
)  # fmt: skip
VIEW = View(
    view=0,
    holders={0: "initiator", 1: "worker-1", 2: "worker-2", 3: "initiator", 4: "initiator"},
    checkers={1: "worker-2", 2: "initiator"},
    keys={},
    arithmetic="",
)


class Said(list[str]):
    """What a worker has said."""

    @property
    def text(self) -> str:
        return "\n".join(self)


def attacker(folder: Path, name: str, *tables: dict[str, Any]) -> tuple[Attacker, Said]:
    path = folder / "cheat.toml"
    path.write_text(tomli_w.dumps({"attack": list(tables)}))
    said = Said()
    return Attacker(name, read_order(path, folder / "attacks.jsonl"), WELCOME, said.append), said


def makes(bad: Attacker, stage: int, step: int = 0) -> bool:
    """Whether what the worker makes for its stage is falsified."""
    slot = Slot(run="oslo", view=0, attempt=0, step=step, micro_batch=0, direction=Direction.FORWARD, stage=stage)
    activation_BTD = torch.ones(1, 2, 3)
    border = Border(host="worker-2", slot=slot)
    return not torch.equal(asyncio.run(bad.hook.after_forward(border, activation_BTD)), activation_BTD)


def agrees(bad: Attacker, stage: int) -> bool:
    slot = Slot(run="oslo", view=0, attempt=0, step=0, micro_batch=0, direction=Direction.FORWARD, stage=stage)
    return asyncio.run(bad.hook.after_check(Border(host="worker-2", slot=slot), True))


@pytest.mark.parametrize("stage", [2, "worker-2", "random"])
def test_it_cheats_where_it_is_meant_and_says_so_once_a_step(stage: int | str, tmp_path: Path) -> None:
    bad, said = attacker(tmp_path, "worker-2", {"kind": "sign_flip", "stage": stage})
    bad.hear(VIEW)
    drawn = [step for step in range(12) for _ in range(2) if makes(bad, 2, step)]
    struck = drawn[::2]
    assert drawn == [step for step in struck for _ in range(2)]
    assert struck == list(range(12)) if stage != "random" else 1 < len(struck) < 12
    lines = [json.loads(line) for line in (tmp_path / "attacks.jsonl").read_text().splitlines()]
    assert lines == [{"run": "oslo", "worker": "worker-2", "step": step, "kind": "sign_flip"} for step in drawn]
    assert [line for line in said if "falsifies in step" in line] == [
        f"ATTACK: worker-2 falsifies in step {step}: sign_flip" for step in struck
    ]
    assert f"attack 1 in {tmp_path / 'cheat.toml'}, sign_flip on stage {stage}" in said.text


@pytest.mark.parametrize(("stage", "meant"), [(1, "worker-1"), ("worker-1", "worker-1"), (3, "initiator")])
def test_what_means_another_is_left_to_it(stage: int | str, meant: str, tmp_path: Path) -> None:
    tables = [{"kind": kind, "stage": stage} for kind in ("sign_flip", "false_accusation")]
    bad, said = attacker(tmp_path, "worker-2", *tables)
    bad.hear(VIEW)
    assert not any(makes(bad, 2, step) for step in range(4))
    assert agrees(bad, 1)
    assert not (tmp_path / "attacks.jsonl").exists()
    assert f"not here but at {meant}" in said.text


def test_a_stage_that_goes_over_later_takes_the_attack_nowhere(tmp_path: Path) -> None:
    bad, _ = attacker(tmp_path, "worker-2", {"kind": "false_accusation", "stage": 1})
    bad.hear(VIEW)
    bad.hear(View(view=1, holders={**VIEW.holders, 1: "worker-2"}, checkers={}, keys={}, arithmetic=""))
    assert agrees(bad, 2)


def test_an_accomplice_settles_what_the_liar_makes(tmp_path: Path) -> None:
    bad, _ = attacker(tmp_path, "worker-2", {"kind": "collude", "stage": 1})
    bad.hear(VIEW)
    slot = Slot(run="oslo", view=0, attempt=0, step=0, micro_batch=0, direction=Direction.FORWARD, stage=1)
    assert asyncio.run(bad.hook.after_check(Border(host="worker-2", slot=slot), False))
    assert not makes(bad, 2)


def test_where_nothing_is_checked_a_stage_that_it_is_given_is_enough(tmp_path: Path) -> None:
    bad, _ = attacker(tmp_path, "worker-2", {"kind": "sign_flip", "stage": 2})
    bad.hear(Assign(stage=2, stages=5, first_layer=1, last_layer=2, state=StageState(parameters={})))
    assert makes(bad, 2)


@pytest.mark.parametrize(("stage", "code"), [(0, "SW-A105"), (4, "SW-A105"), ("initiator", "SW-A105"), (9, "SW-A106")])
def test_what_is_nobodys_is_refused_with_file_and_key(stage: int | str, code: str, tmp_path: Path) -> None:
    bad, _ = attacker(tmp_path, "worker-2", {"kind": "sign_flip", "stage": stage})
    with pytest.raises(ConfigError) as refused:
        bad.hear(VIEW)
    assert refused.value.code == code
    assert refused.value.where == f"stage of attack 1 in {tmp_path / 'cheat.toml'}"
