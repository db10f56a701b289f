"""Guarantees G2 to G4 as a property: a drawn pipeline, a drawn attacker, and every law of `lab/shield_property` holds.

For each kind of the registry but those that no neighbour can see. Each example is run attacked, clean and without the
shield.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from shieldwall.lab.shield_property.draw import draw, model_folder
from shieldwall.lab.shield_property.laws import examine, promised_kinds
from shieldwall.schedule import TOPOLOGIES

EXAMPLES = 8
"""Of each kind, half of them in each topology: 200 attacked pipelines, each with its clean twin and its twin without
the shield."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.mark.parametrize("kind", promised_kinds())
def test_one_attacker_is_named_and_changes_nothing(kind: str, models: Path) -> None:
    """Weights equal to clean, the attacker and nobody else named in time, the clean twin silent, the attack real."""
    fired = dict.fromkeys(TOPOLOGIES, 0)
    turns = cycle(TOPOLOGIES)

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(random=st.randoms(use_true_random=False))
    def holds(random: Random) -> None:
        drawn = draw(random, kind)
        drawn = replace(drawn, case=replace(drawn.case, topology=next(turns)))
        note(str(drawn))
        examined = examine(drawn, model_folder(drawn.case, models))
        assert examined.broken == ()
        fired[drawn.case.topology] += examined.fired

    holds()
    assert min(fired.values()) > 0
