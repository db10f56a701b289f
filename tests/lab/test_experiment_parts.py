"""The parts of an experiment: grids, stopping, storing, figures, claims, texts, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_grid import MICRO
from typer.testing import CliRunner

from shieldwall import run_experiment
from shieldwall.cli import app
from shieldwall.core.errors import ConfigError
from shieldwall.data import read_corpus
from shieldwall.lab.experiment import defence, detection, vulnerability
from shieldwall.lab.experiment.base import Subject
from shieldwall.lab.experiment.cell import Cell, CellAttack, Finished, Outcome
from shieldwall.lab.experiment.choice import choose
from shieldwall.lab.experiment.claims import at_least, at_most, equal
from shieldwall.lab.experiment.grid import Experiment
from shieldwall.lab.experiment.numbers import Spread, ratio_of
from shieldwall.lab.experiment.plot import Plot, paper_attack
from shieldwall.lab.experiment.results import Results
from shieldwall.lab.experiment.run import EXPERIMENTS, find_experiment
from shieldwall.lab.experiment.scale import SCALES, Scale
from shieldwall.lab.experiment.settings import configure, measured_every
from shieldwall.lab.experiment.stopping import stop_early
from shieldwall.lab.experiment.store import CellStore
from shieldwall.lab.experiment.texts import Texts, find_texts

TEXTS = Texts(name="arxiv", train="pydoc", test="pydoc", root="ab", said="arxiv")
SUBJECT = Subject(family="gpt2", corpus="arxiv", base=Path("base"), texts=TEXTS, layers=6, basis="cd")
CELL = Cell(
    scale="micro",
    family="gpt2",
    corpus="arxiv",
    basis="cd",
    attack=CellAttack(kind="scale", direction="forward", rate=0.5, parameters=(("factor", 2.0),)),
    learning_rate=1e-3,
    steps=10,
    points=2,
    seed=1,
)
OUTCOME = Outcome(
    curve=((5, 30.0), (10, None)),
    stopped_at=5,
    perplexity=31.0,
    last_perplexity=None,
    steps=10,
    train_loss=3.25,
    weights_root="ef",
    attacks_fired=3,
    alerts=2,
    culprits=("worker-2",),
    verdicts=2,
    false_accusations=0,
    struck=(0, 4),
    noticed=(0, 4),
)


def plot(scale: Scale, seeds: tuple[int, ...] = (1, 2)) -> Plot:
    return Plot(scale=scale, subject=SUBJECT, learning_rate=1e-3, tuning_seed=0, seeds=seeds)


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_cell_of_a_grid_is_another_one(name: str, scale: Scale) -> None:
    """No cell is run twice, and none that is reported has the seed that settings are chosen on."""
    cells = find_experiment(name).cells(plot(scale))
    assert len({cell.key for cell in cells}) == len(cells) > 1
    assert all(cell.seed != 0 for cell in cells)
    assert any(cell.attack is None for cell in cells)


def test_a_key_is_of_all_that_a_cell_is() -> None:
    others: dict[str, Any] = {"attack": None, "learning_rate": 2e-3, "steps": 11, "points": 3, "seed": 2}
    for field in fields(Cell):
        changed = replace(CELL, **{field.name: others.get(field.name, "another")})
        assert changed.key != CELL.key, field.name
    assert replace(CELL).key == CELL.key


@given(
    points=st.lists(st.one_of(st.none(), st.floats(1.0, 1e6)), min_size=1, max_size=12),
    patience=st.integers(0, 4),
)
def test_early_stopping_keeps_the_best_before_patience_ends(points: list[float | None], patience: int) -> None:
    """Told again from the definition: walk on until so many points in a row bring nothing; keep the best so far."""
    worth = [math.inf if point is None else point for point in points]
    end = len(worth)
    if patience:
        for last in range(patience, len(worth)):
            before, since = worth[: last - patience + 1], worth[last - patience + 1 : last + 1]
            if min(since) >= min(before):
                end = last + 1
                break
    best = worth.index(min(worth[:end]))
    assert stop_early([(10 * (place + 1), point) for place, point in enumerate(points)], patience) == 10 * (best + 1)


def test_a_stored_cell_comes_back_and_only_as_itself(tmp_path: Path) -> None:
    """What is garbled, or of another cell, counts as missing; another experiment's same cell is taken over."""
    store, other = CellStore(tmp_path, "map"), CellStore(tmp_path, "defence")
    assert store.read(CELL) is None
    store.write(Finished(CELL, OUTCOME, 1.5))
    assert store.read(CELL) == Finished(CELL, OUTCOME, 1.5)
    assert other.read(CELL) == store.read(CELL)
    assert (other.folder / f"{CELL.key}.json").exists()
    path = store.folder / f"{CELL.key}.json"
    later = replace(CELL, seed=9)
    (store.folder / f"{later.key}.json").write_text(path.read_text())
    assert store.read(later) is None
    for folder in (store.folder, other.folder):
        (folder / f"{CELL.key}.json").write_text(path.read_text()[:100] if folder == store.folder else "{}")
    assert store.read(CELL) is None


def test_ratios_are_taken_seed_by_seed() -> None:
    found = ratio_of({1: 20.0, 2: 90.0, 3: None, 4: 5.0}, {1: 10.0, 2: 30.0, 3: 7.0})
    assert found == Spread((2.0, 3.0, math.inf))
    assert found.to_json() == {"mean": None, "least": 2.0, "greatest": None, "values": [2.0, 3.0, None]}
    assert ratio_of({1: 2.0}, {1: None}) is None
    assert str(Spread((2.0, 4.0))) == "3.00 (2.00 to 4.00)"


@pytest.mark.parametrize(
    ("values", "reached", "kept"),
    [
        ((8.0, 9.0), "holds", "does not hold"),
        ((6.0, 9.0), "undecidable at this size", "undecidable at this size"),
        ((1.0,), "does not hold", "holds"),
        ((math.inf,), "holds", "does not hold"),
    ],
)
def test_seeds_that_disagree_decide_nothing(values: tuple[float, ...], reached: str, kept: str) -> None:
    assert at_least(7.0, Spread(values)) == reached
    assert at_most(7.0, Spread(values)) == kept
    assert at_least(7.0, None) == at_most(7.0, None) == equal([]) == "not run"


def made_up(experiment: Experiment, scale: Scale, worth: Any) -> Results:
    """A grid whose cells ended as `worth` says: the perplexity of each, None where it has none."""
    found = []
    for cell in experiment.cells(plot(scale)):
        perplexity = worth(cell)
        clean = not cell.attack or cell.response in ("repair", "restart")
        root = f"{cell.seed}" if clean else "x"
        found.append(
            Finished(cell, replace(OUTCOME, perplexity=perplexity, last_perplexity=perplexity, weights_root=root), 1.0)
        )
    return Results(found)


def verdicts(claims: Any, text: str) -> set[str]:
    return {claim.verdict for claim in claims if text in claim.text}


def test_vulnerability_judges_each_claim_by_its_own_cells() -> None:
    """Backward 0.7 without clipping diverges, with it 2 x; forward 0.7 is 8 x on one seed and 6 x on the other."""

    def worth(cell: Cell) -> float | None:
        if cell.attack == paper_attack("backward", 0.7):
            return None if cell.clipping == "none" else 20.0
        if cell.attack == paper_attack("forward", 0.7):
            return 80.0 if cell.seed == 1 else 60.0
        return 10.0

    scale = replace(MICRO, clippings=("stage", "none"))
    page = vulnerability.page(made_up(find_experiment("vulnerability"), scale, worth), scale)
    by_clipping = {claim.where: claim.verdict for claim in page.claims if claim.text.startswith("backward")}
    assert by_clipping == {
        "gpt2 on arxiv, clipping none": "holds",
        "gpt2 on arxiv, clipping stage": "does not hold",
    }
    assert verdicts(page.claims, "forward 0.7") == {"undecidable at this size"}
    row = page.tables[0].rows[1]
    assert row["forward 0.7 ratio"] == {"mean": 7.0, "least": 6.0, "greatest": 8.0, "values": [8.0, 6.0]}
    assert any("7.00 x clean here, 23.86 x in the paper; less here: " in note for note in page.notes)
    json.dumps([dict(row) for row in page.tables[0].rows], allow_nan=False)


def test_defence_sees_a_repair_that_is_not_the_clean_run() -> None:
    def worth(cell: Cell) -> float:
        return 10.2 if cell.response == "skip" else 90.0 if cell.attack and cell.response == "none" else 10.0

    results = made_up(find_experiment("defence"), MICRO, worth)
    claims = defence.page(results, MICRO).claims
    assert verdicts(claims, "repair ends") == verdicts(claims, "attacked") == {"holds"}
    assert verdicts(claims, "skip close") == verdicts(claims, "restart") == {"holds"}
    broken = Results(
        replace(each, outcome=replace(each.outcome, weights_root="other"))
        if each.cell.response == "repair" and each.cell.seed == 2
        else each
        for each in results
    )
    assert verdicts(defence.page(broken, MICRO).claims, "repair ends") == {"does not hold"}


def test_detection_sees_whoever_gets_away_or_is_blamed_falsely() -> None:
    """A step that nobody noticed, an honest worker that was named, a clean twin that talks: each breaks one claim."""
    cells = detection.cells(plot(MICRO, (1,)))
    honest = replace(OUTCOME, false_accusations=0, alerts=0, verdicts=0, struck=(), noticed=(), culprits=())
    unseen = replace(OUTCOME, noticed=(), culprits=(), alerts=0, verdicts=0, weights_root="theirs")

    def outcome(cell: Cell) -> Outcome:
        if cell.attack is None:
            return honest
        return unseen if cell.attack.kind == "collude" else OUTCOME

    found = [Finished(cell, outcome(cell), 1.0) for cell in cells]
    page = detection.page(Results(found), MICRO)
    assert {claim.verdict for claim in page.claims} == {"holds"}
    seen = [row for row in page.tables[0].rows if row["kind"] != "collude"]
    assert all(row["caught"] == 1.0 and row["steps_to_detection"] == 0 for row in seen)
    at = next(place for place, each in enumerate(found) if each.cell.attack and each.cell.attack.kind == "sign_flip")
    changes: list[tuple[int, dict[str, Any], str]] = [
        (at, {"noticed": (0,)}, "every step"),
        (at, {"culprits": ("worker-1", "worker-2")}, "named"),
        (at, {"false_accusations": 1}, "falsely"),
        (at, {"weights_root": "other"}, "bit for bit"),
        (0, {"alerts": 1}, "silent"),
    ]
    for place, change, text in changes:
        wrong = [*found]
        wrong[place] = replace(wrong[place], outcome=replace(wrong[place].outcome, **change))
        claims = detection.page(Results(wrong), MICRO).claims
        assert [claim.text for claim in claims if claim.verdict == "does not hold" and claim.must] == [
            claim.text for claim in claims if text in claim.text
        ]


def test_a_cell_says_what_its_run_is() -> None:
    config = configure(replace(CELL, response="repair", clipping="none"), SUBJECT, SCALES["small"])
    assert config.attack == [
        {"kind": "scale", "direction": "forward", "rate": 0.5, "stage": "random", "seed": 1, "factor": 2.0}
    ]
    assert (config.verify.policy, config.respond.policy, config.respond.ban) == ("duplicate", "repair", False)
    assert config.optimizer.clip_norm == 0.0
    assert config.pipeline.cut == [1] * 6
    by_stage = configure(replace(CELL, response="none"), SUBJECT, SCALES["small"])
    assert (by_stage.verify.policy, by_stage.optimizer.clip_by) == ("none", "stage")


@given(steps=st.integers(1, 5000), points=st.integers(1, 20))
def test_the_last_step_is_always_measured(steps: int, points: int) -> None:
    every = measured_every(replace(CELL, steps=steps, points=points))
    assert steps % every == 0
    assert steps // every <= points


def test_given_texts_are_used_as_they_are(tmp_path: Path) -> None:
    """Where WikiText's training text is not, its validation text is trained on; another text is another root."""
    folder = tmp_path / "wikitext2"
    folder.mkdir()
    (folder / "valid.raw.txt").write_text("to train on")
    (folder / "test.raw.txt").write_text("to test on")
    first = find_texts("wikitext", tmp_path, tmp_path)
    assert read_corpus(first.train).text == "to train on"
    assert read_corpus(first.test).text == "to test on"
    assert first.pretrained_on == "pydoc"
    (folder / "train.txt").write_text("the official one")
    second = find_texts("wikitext", tmp_path, tmp_path)
    assert read_corpus(second.train).text == "the official one"
    assert first.root != second.root


def test_of_its_own_text_no_document_is_in_both_parts(tmp_path: Path) -> None:
    texts = find_texts("pydoc", None, tmp_path)
    train, test = (read_corpus(spec).documents for spec in (texts.train, texts.test))
    assert (*train, *test) == read_corpus("pydoc").documents
    assert texts.pretrained_on == "stdlib"
    assert find_texts("pydoc", None, tmp_path) == texts


def test_a_part_of_the_grid() -> None:
    choice = choose(("opt", "arxiv"), ("opt", "gpt2"), ("wikitext", "arxiv"))
    assert [(f, c) for f in ("opt", "gpt2") for c in ("wikitext", "arxiv") if choice.takes(f, c)] == [("opt", "arxiv")]
    assert choose((), ("opt",), ("arxiv",)).takes("opt", "arxiv")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["vulnerabilty"], "SW-C121", "did you mean vulnerability?"),
        (["map", "--scale", "huge"], "SW-C121", "one of: tiny, small, gpu"),
        (["map", "--only", "gpt2,arxiv"], "SW-C122", "words out of: gpt2, pydoc"),
        (["map", "--data", "nowhere"], "SW-C123", "no such folder"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_run(
    arguments: list[str], code: str, said: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    refused = CliRunner().invoke(app, ["experiment", *arguments, "--out", str(out)]).exception
    assert isinstance(refused, ConfigError)
    assert refused.exit_code == 2
    assert refused.code == code
    assert said in str(refused)
    assert not list(out.rglob("*.json"))


def test_the_same_is_refused_in_python(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SW-C121"):
        run_experiment("nothing", out=tmp_path)
