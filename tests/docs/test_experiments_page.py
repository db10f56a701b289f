"""The page on experiments: its commands can be given, its table is the scales', its configuration can be read."""

from __future__ import annotations

import shlex
import tomllib

import pytest
import typer
from pages import DOCS, commands, fences

from shieldwall import Config
from shieldwall.cli import app
from shieldwall.lab.experiment.run import EXPERIMENTS, find_experiment
from shieldwall.lab.experiment.scale import SCALES, Scale

PAGE = DOCS / "experiments.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_it_has_a_command_for_each_experiment_that_the_program_takes() -> None:
    given = [shlex.split(one.text) for fence in fences(PAGE) if fence.kind == "console" for one in commands(fence.body)]
    assert [words[2] for words in given] == list(EXPERIMENTS)
    program = typer.main.get_command(app)
    for words in given:
        context = program.make_context("shieldwall", words[1:])
        assert context.protected_args == ["experiment"] or context.args[0] == "experiment"
        assert find_experiment(words[2]).TITLE


def test_it_names_every_option_of_the_command() -> None:
    command = typer.main.get_command(app).commands["experiment"]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert {option for option in options if option not in TEXT} == {"--json"}


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_its_table_is_the_scales(scale: Scale) -> None:
    corpora = f"{', '.join(scale.corpora)}; {', '.join(scale.own_corpora)}"
    model = f"{scale.size.layers} layers, width {scale.size.width}"
    row = [f"`{scale.name}`", ", ".join(scale.families), corpora, model, str(scale.steps), str(scale.seeds)]
    assert f"| {' | '.join(row)} |" in TEXT


def test_its_configuration_can_be_read() -> None:
    (body,) = [fence.body for fence in fences(PAGE) if fence.kind == "toml"]
    assert Config.parse(tomllib.loads(body), "the page").optimizer.clip_by == "stage"
