"""What every kind of attack owes, whoever wrote it: laws over the registry and every choice of parameters."""

from __future__ import annotations

from typing import Any

import pytest
from worker_day import HOST, STAGE, Event, fingerprint, hook_of, live, placed

from shieldwall.attacks import ATTACKS, Attack, describe, find_attack
from shieldwall.attacks.listing import SECTIONS
from shieldwall.attacks.spec import COMMON_KEYS
from shieldwall.core.ids import Direction, Role

POINTS = {
    "weights": {"before_compute"},
    "make": {"after_forward", "after_backward"},
    "sign": {"before_sign"},
    "send": {"before_send"},
    "post": {"before_post"},
    "check": {"before_check"},
    "agree": {"after_check"},
    "hold": {"before_hold"},
    "sum_up": {"before_prepare"},
    "prepare": {"after_prepare"},
    "commit": {"before_commit"},
    "serve": {"before_serve"},
}
"""Method of an attack to the places where it may change something."""

KINDS = sorted(ATTACKS)


def choices() -> list[tuple[str, dict[str, Any]]]:
    """Every kind with its defaults, and with each word that one of its parameters may be."""
    found: list[tuple[str, dict[str, Any]]] = []
    for kind in KINDS:
        found.append((kind, {}))
        for each in describe(kind)["parameters"]:
            words = [not each["default"]] if each["type"] == "boolean" else each["choices"]
            found += [(kind, {each["name"]: word}) for word in words if word != each["default"]]
    return found


EVERY_CHOICE = pytest.mark.parametrize(("kind", "parameters"), choices(), ids=str)


def changed(events: list[Event]) -> list[Event]:
    return [event for event in events if event.changed]


def seen(events: list[Event]) -> list[object]:
    return [(event.point, str(event.slot), fingerprint(event.returned)) for event in events]


@EVERY_CHOICE
def test_it_fires_and_the_log_counts_exactly_what_was_changed(kind: str, parameters: dict[str, Any]) -> None:
    """The day itself asserts that nothing given was written to and that nothing unchanged was copied."""
    hook, log = hook_of(placed(kind, **parameters))
    struck = changed(live(hook))
    assert struck
    assert log.fired == len(struck)
    assert log.by_kind == {kind: len(struck)}
    assert log.struck == {(HOST, event.step) for event in struck}


@EVERY_CHOICE
def test_it_changes_only_what_its_methods_say(kind: str, parameters: dict[str, Any]) -> None:
    own = {name for name in POINTS if getattr(find_attack(kind, ""), name) is not getattr(Attack, name)}
    allowed = set().union(*(POINTS[name] for name in own))
    assert {event.point for event in changed(live(hook_of(placed(kind, **parameters))[0]))} <= allowed


@EVERY_CHOICE
def test_what_it_makes_has_the_honest_form(kind: str, parameters: dict[str, Any]) -> None:
    """Shape, dtype and layout of a tensor that goes on; a frame may be malformed, that is what the door is for."""
    for event in live(hook_of(placed(kind, **parameters))[0]):
        if event.point in ("after_forward", "after_backward", "before_send"):
            assert event.returned.shape == event.given.shape
            assert event.returned.dtype == event.given.dtype
            assert event.returned.is_contiguous()
            assert not event.returned.requires_grad


@EVERY_CHOICE
def test_it_does_the_same_again(kind: str, parameters: dict[str, Any]) -> None:
    first, second = (live(hook_of(placed(kind, rate=0.5, **parameters))[0]) for _ in range(2))
    assert seen(first) == seen(second)


@EVERY_CHOICE
@pytest.mark.parametrize("silent", [{"rate": 0.0}, {"from_step": 9}, {"worker": "worker-1"}], ids=str)
def test_it_is_silent_where_it_is_not_aimed(kind: str, parameters: dict[str, Any], silent: dict[str, Any]) -> None:
    hook, log = hook_of(placed(kind, **parameters, **silent))
    assert changed(live(hook)) == []
    assert log.fired == 0


@EVERY_CHOICE
def test_it_leaves_duplicates_and_other_stages_alone(kind: str, parameters: dict[str, Any]) -> None:
    for event in changed(live(hook_of(placed(kind, **parameters))[0])):
        assert event.role is Role.STAGE
        assert event.stage == STAGE or event.point in ("before_check", "after_check")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "both" in find_attack(kind, "").directions])
def test_its_direction_is_kept(kind: str) -> None:
    both, forward, backward = (
        changed(live(hook_of(placed(kind, direction=way))[0])) for way in ("both", "forward", "backward")
    )
    assert {event.slot.direction for event in backward if event.slot} == {Direction.BACKWARD}
    assert {event.slot.direction for event in forward if event.slot} <= {Direction.FORWARD, Direction.EVALUATION}
    assert len(both) == len(forward) + len(backward)
    assert forward


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_it_is(kind: str) -> None:
    found, about = find_attack(kind, ""), describe(kind)
    assert issubclass(found, Attack)
    found()
    assert found.strength_key is None or found.strength_key in found.model_fields
    for name in ("summary", *SECTIONS.values()):
        assert about[name], f"the docstring of {kind} lacks {name}"
    for each in about["parameters"]:
        assert each["description"]
        assert each["name"] not in COMMON_KEYS
