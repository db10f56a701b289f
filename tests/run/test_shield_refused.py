"""Attacks and checks that cannot be: exit code 2, a way out, and nothing left behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from attacked import LIAR, SMALL
from commands import overrides, shieldwall

from shieldwall import Config

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({**LIAR, "stage": 0}, "SW-A105", "a stage from 1 to 4"),
    ({**LIAR, "stage": 5}, "SW-A105", "a stage from 1 to 4"),
    ({**LIAR, "stage": "initiator"}, "SW-A105", "the initiator is trusted"),
    ({**LIAR, "stage": 9}, "SW-A106", "there is no stage 9"),
    ({**LIAR, "stage": "worker-9"}, "SW-A107", "worker-1, worker-2, worker-3, worker-4"),
    ({**LIAR, "stage": "workr-2"}, "SW-A107", 'did you mean "worker-2"?'),
    ({**LIAR, "rate": 1.5}, "SW-A104", "rate has a value that does not fit"),
    ({**LIAR, "kind": "sign_flop"}, "SW-A101", 'did you mean "sign_flip"?'),
    ({**LIAR, "factor": 3}, "SW-A102", '"factor"'),
    ({"kind": "sign_flip"}, "SW-A103", "no stage"),
    ({"kind": "scale", "stage": 2, "factor": math.inf}, "SW-A104", "a finite number"),
    ({**LIAR, "from_step": 4}, "SW-C105", "a step from 0 to 3: the run has 4"),
    ({"kind": "own_weights", "stage": 2, "direction": "forward"}, "SW-A108", "own_weights"),
]


@pytest.mark.parametrize(("attack", "code", "said"), REFUSED)
def test_an_attack_that_cannot_be_is_refused(attack: dict[str, Any], code: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(tomli_w.dumps({**Config.load(None, SMALL).to_plain(), "attack": [attack]}))
    result = shieldwall("train", config, "--run", tmp_path / "run")
    assert result.code == 2
    assert code in result.err
    assert said in result.err
    assert "Traceback" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_single_brackets_are_told_of_double_ones(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(tomli_w.dumps({"attack": LIAR}))
    result = shieldwall("train", config, "--run", tmp_path / "run")
    assert result.code == 2
    assert "write [[attack]] in double brackets" in result.err


def test_a_worker_that_would_check_itself_is_refused(tmp_path: Path) -> None:
    for command in (["train", "--run", str(tmp_path / "run")], ["plan"]):
        result = shieldwall(*command, *overrides("pipeline.workers=1"))
        assert result.code == 2
        assert "SW-P127: worker-1 would check its own stage 1" in result.err
        assert 'verify.policy = "none"' in result.err
    assert not (tmp_path / "run").exists()


def test_one_worker_is_enough_where_the_initiator_checks_it_or_nobody_does(tmp_path: Path) -> None:
    for name, settings in {"checked": ["pipeline.stages=3"], "free": ["verify.policy=none"]}.items():
        result = shieldwall(
            "train", "--run", tmp_path / name, *overrides("pipeline.workers=1", "run.steps=1", *settings)
        )
        assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("verify.policy=twice", "one of 'duplicate'"),
        ("verify.when=later", "'before_use'"),
        ("verify.careful_steps=0", "greater than or equal to 1"),
        ("respond.policy=shrug", "one of 'repair'"),
        ("respond.ban=perhaps", "respond.ban"),
        ("pipeline.spares=-1", "greater than or equal to 0"),
    ],
)
def test_a_setting_of_the_shield_that_does_not_fit_is_refused(setting: str, said: str, tmp_path: Path) -> None:
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(setting))
    assert result.code == 2
    assert "SW-C102" in result.err
    assert said in result.err
    assert not (tmp_path / "run").exists()
