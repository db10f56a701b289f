"""Whole runs in a star: the weights of a chain, a ledger that holds, verdicts that are upheld."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attacked import culprits, run
from commands import shieldwall

from shieldwall import Summary
from shieldwall.run.rejudge import rejudge
from shieldwall.verify.ledger.cases import cases

STAR = "pipeline.topology=star"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return run(tmp_path_factory.mktemp("runs") / "chain", [])


@pytest.mark.parametrize("settings", [[], ["verify.policy=none"], ["verify.when=before_use", "pipeline.schedule=1f1b"]])
def test_a_star_trains_what_a_chain_trains(settings: list[str], chain: Summary, tmp_path: Path) -> None:
    folder = tmp_path / "star"
    star = run(folder, [], STAR, *settings)
    assert star.weights_root == chain.weights_root
    assert star.eval_perplexity == chain.eval_perplexity
    assert (star.alerts, star.verdicts, star.micro_batches_rerun) == (0, [], 0)
    if not settings or settings[0] != "verify.policy=none":
        assert shieldwall("ledger", "verify", folder).code == 0


@pytest.mark.parametrize("when", ["before_use", "auto"])
@pytest.mark.parametrize("attack", [{"kind": "sign_flip"}, {"kind": "equivocate"}], ids=lambda table: table["kind"])
def test_a_liar_in_a_star_is_named_and_every_verdict_is_upheld(
    attack: dict[str, Any], when: str, chain: Summary, tmp_path: Path
) -> None:
    folder = tmp_path / "star"
    attacked = run(folder, [{**attack, "stage": 2}], STAR, "respond.ban=false", f"verify.when={when}")
    assert culprits(attacked) == {"worker-2"}
    assert attacked.false_accusations == 0
    assert attacked.weights_root == chain.weights_root
    assert attacked.eval_perplexity == chain.eval_perplexity
    assert shieldwall("ledger", "verify", folder).code == 0
    assert rejudge(folder, folder / "private" / "evidence.key").upheld == len(list(cases(folder)))


def test_a_frame_that_nobody_can_use_stops_no_star(chain: Summary, tmp_path: Path) -> None:
    attacked = run(tmp_path / "star", [{"kind": "replay", "stage": 2}], STAR)
    assert attacked.verdicts == []
    assert attacked.alerts > 0
    assert attacked.weights_root == chain.weights_root
