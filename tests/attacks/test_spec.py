"""Attack tables: what is read, and what is refused with which words."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import model_validator

from shieldwall.attacks import ATTACKS, Aim, Attack, PlacedAttack, place_attacks, read_attack, read_attacks
from shieldwall.attacks.scale import Scale
from shieldwall.attacks.sign_flip import SignFlip
from shieldwall.core import registry
from shieldwall.core.errors import ConfigError

HOLDERS = {0: "initiator", 1: "ash", 2: "birch", 3: "cedar", 4: "birch", 5: "initiator"}
WORKERS = ("ash", "birch", "cedar", "spare")


def place(*, stages: int = 6, **table: Any) -> PlacedAttack:
    spec = read_attack({"kind": "sign_flip", **table}, "attack 1 in run.toml")
    (found,) = place_attacks([spec], stages=stages, holders=HOLDERS, workers=WORKERS, seed=7)
    return found


def refused(code: str, **table: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        place(**table)
    assert caught.value.code == code
    assert "attack 1 in run.toml" in caught.value.where
    assert caught.value.remedy
    return str(caught.value)


def test_a_table_with_all_keys() -> None:
    table = {"kind": "scale", "stage": 2, "direction": "backward", "rate": 0.5, "from_step": 3, "seed": 11, "factor": 2}
    (spec,) = read_attacks([table], "run.toml")
    assert spec.attack == Scale(factor=2.0)
    (found,) = place_attacks([spec], stages=6, holders=HOLDERS, workers=WORKERS, seed=7)
    assert found.aim == Aim(worker="birch", stage=2, stages=6, seed=11, direction="backward", rate=0.5, from_step=3)
    assert found.kind == "scale"


def test_what_is_left_out() -> None:
    assert place(stage=1).aim == Aim(worker="ash", stage=1, stages=6, seed=7, direction="both", rate=1.0, from_step=0)
    assert place(stage="birch").aim == Aim(worker="birch", stage=None, stages=6, seed=7)
    assert place(stage="spare").aim.worker == "spare"
    assert place(stage="random").aim == Aim(worker=None, stage=None, stages=6, seed=7)
    assert place(kind="own_weights", stage=1).aim.direction is None


def test_tables_are_named_in_their_order() -> None:
    with pytest.raises(ConfigError, match=r"where +rate of attack 2 in run.toml"):
        read_attacks([{"kind": "scale", "stage": 1}, {"kind": "scale", "stage": 1, "rate": 2}], "run.toml")


def test_an_unknown_kind() -> None:
    assert 'did you mean "sign_flip"?' in refused("SW-A101", kind="sing_flip", stage=1)
    assert "one of: alie, backdoor," in refused("SW-A101", kind="zzz", stage=1)


def test_an_unknown_key() -> None:
    assert 'did you mean "factor"?' in refused("SW-A102", kind="scale", stage=1, facter=2.0)
    assert 'did you mean "from_step"?' in refused("SW-A102", stage=1, from_stp=2)
    assert 'no "factor"' in refused("SW-A102", stage=1, factor=2.0), "another kind's parameter"
    assert 'no "where"' in refused("SW-A102", stage=1, where="x"), "no key of a table"


def test_a_missing_key() -> None:
    assert 'stage = "random"' in refused("SW-A103")
    with pytest.raises(ConfigError, match=r'SW-A103: an attack has no kind[\s\S]+kind = "sign_flip"'):
        read_attack({"stage": 1}, "attack 1 in run.toml")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"rate": 1.5}, "a probability in [0, 1]"),
        ({"rate": -0.1}, "a probability in [0, 1]"),
        ({"rate": float("nan")}, "a probability in [0, 1]"),
        ({"rate": "0.5"}, "a probability in [0, 1]"),
        ({"from_step": -1}, "a step, from 0"),
        ({"from_step": 1.0}, "a step, from 0"),
        ({"seed": "x"}, "a whole number; left out, the run's"),
        ({"stage": True}, "a stage's number, a worker's name, or \"random\""),
        ({"stage": 1.0}, "a stage's number, a worker's name, or \"random\""),
        ({"kind": 3}, "the name of a kind"),
        ({"kind": "scale", "factor": 1.0}, "any number but 1"),
        ({"kind": "scale", "factor": float("inf")}, "any number but 1"),
        ({"kind": "noise", "strength": 0.0}, "above 0"),
        ({"kind": "own_weights", "alpha": -1.0}, "above 0"),
        ({"kind": "own_weights", "target": "all"}, "one of 'parameters', 'moments', 'frozen' or 'served'"),
        ({"kind": "gaussian", "match": 1}, "whether mean and deviation"),
        ({"kind": "malformed", "form": "evil"}, "one of 'unsigned', 'wrong_signature'"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit(table: dict[str, Any], expected: str) -> None:
    text = refused("SW-A104", **{"stage": 1, **table})
    assert expected in text
    key = next(key for key in reversed(table))
    assert f"where     {key} of attack 1" in text
    assert f"got       {table[key]!r}" in text


class Pair(Attack):
    """A kind whose two parameters must fit together."""

    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _is_ordered(self) -> Pair:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self


def test_parameters_that_do_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("pair", f"{__name__}:Pair", ATTACKS.group)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == ATTACKS.group else [])
    assert "low must not be above high" in refused("SW-A104", kind="pair", stage=1, low=2.0)


def test_the_initiator_is_not_attacked() -> None:
    for stage in (0, 5):
        assert f"stage {stage} is the initiator's" in refused("SW-A105", stage=stage)
    assert "never attacks" in refused("SW-A105", stage="initiator")
    spec = read_attack({"kind": "scale", "stage": 1}, "attack 1 in run.toml")
    with pytest.raises(ConfigError, match="SW-A105: stage 1 is held by the initiator in this run"):
        place_attacks([spec], stages=3, holders=dict.fromkeys(range(3), "initiator"), workers=(), seed=0)


def test_a_stage_that_does_not_exist() -> None:
    for stage in (6, 9, -1):
        assert "a stage from 1 to 4: the run has 6" in refused("SW-A106", stage=stage)
    for any_stage in (0, 1, "random"):
        assert "no middle stage" in refused("SW-A106", stage=any_stage, stages=2)


def test_a_worker_that_does_not_exist() -> None:
    assert 'did you mean "birch"?' in refused("SW-A107", stage="brich")
    assert "such as stage = 2" in refused("SW-A107", stage="2")


def test_a_direction_that_makes_no_sense() -> None:
    assert '"forward" or "backward" or "both"' in refused("SW-A108", stage=1, direction="sideways")
    assert "no direction" in refused("SW-A108", stage=1, kind="own_weights", direction="forward")
    assert "no direction" in refused("SW-A108", stage=1, kind="wrong_gradient", direction="both")


def test_a_package_adds_kinds_and_replaces_none(monkeypatch: pytest.MonkeyPatch) -> None:
    target = "shieldwall.attacks.scale:Scale"
    points = [EntryPoint(name, target, ATTACKS.group) for name in ("sign_flip", "shout")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == ATTACKS.group else [])
    assert isinstance(place(stage=1).attack, SignFlip)
    assert place(kind="shout", stage=1, factor=3.0).attack == Scale(factor=3.0)
