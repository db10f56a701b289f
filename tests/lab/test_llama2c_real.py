"""A real pretrained model: converted, it speaks as its card says; trained through the pipeline, it learns."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from llama2c_files import encode, plain_texts, read_pieces
from transformers import AutoModelForCausalLM, AutoTokenizer

from shieldwall import Config, evaluate, train
from shieldwall.data import load_tokenizer
from shieldwall.lab.llama2c.convert import convert

pytestmark = pytest.mark.shared

TEXTS = plain_texts("the and toiLS .,\"'\n", longest=60)


@pytest.fixture(scope="module")
def source(shared: Path) -> Path:
    return shared / "data" / "stories260K"


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, converted."""
    folder = tmp_path_factory.mktemp("converted") / "stories260K"
    convert(source / "stories260K.bin", source / "tok512.bin", folder)
    return folder


def test_greedy_text_is_that_of_the_model_card(source: Path, folder: Path) -> None:
    """All of it: a wrong weight or a wrong token would turn the story within a few words."""
    card = (source / "stories260K_modelcard.md").read_text()
    told = card.split("-t 0.0\n")[1].split("\n```")[0]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        ids = model.generate(torch.tensor([[tokenizer.bos_token_id]]), max_new_tokens=256, do_sample=False)[0]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    )
    assert text == told


def test_the_python_of_the_page_prints_what_the_page_shows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to-convert-llama2c.md").read_text()
    code, _, rest = page.split("```python\n")[1].partition("```")
    script = tmp_path / "page.py"
    script.write_text(code)
    monkeypatch.chdir(folder.parent)
    runpy.run_path(str(script))
    assert capsys.readouterr().out == rest.split("```\n")[1]


def test_lines_of_shakespeare_have_the_ids_of_llama2c_and_comes_back(source: Path, folder: Path, shared: Path) -> None:
    tokenizer, pieces = load_tokenizer(folder), read_pieces(source / "tok512.bin")
    for line in (shared / "data" / "tinyshakespeare" / "input.txt").read_text().splitlines()[:2000]:
        ids = tokenizer.encode(line, add_special_tokens=False)
        assert ids == encode(pieces, line)
        assert tokenizer.decode(ids) == line


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_any_text_has_the_ids_of_llama2c_and_comes_back(text: str, source: Path, folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == encode(read_pieces(source / "tok512.bin"), text)
    assert tokenizer.decode(ids) == text


def test_it_learns_shakespeare_through_the_pipeline(folder: Path, shared: Path, tmp_path: Path) -> None:
    """Five layers in five stages, 60 steps: the perplexity falls from that of a stranger to the text to a fraction."""
    corpus = f"text:{shared / 'data' / 'tinyshakespeare' / 'input.txt'}"
    wish = {
        "run": {"steps": 60, "threads": 1},
        "model": {"name": str(folder)},
        "data": {"corpus": corpus, "block_tokens": 128, "eval_blocks": 64},
        "pipeline": {"stages": 5},
        "optimizer": {"learning_rate": 3e-3},
        "evaluation": {"every_steps": 0},
        "checkpoint": {"every_steps": 0},
    }
    before = evaluate(folder, corpus, block_tokens=128, blocks=64)
    summary = train(Config.parse(wish, "the test"), folder=tmp_path / "run").summary
    after = evaluate(tmp_path / "run", corpus)
    assert (before.blocks, before.block_tokens) == (after.blocks, after.block_tokens) == (64, 128)
    assert before.perplexity > 100
    assert after.perplexity < 25
    assert after.perplexity == pytest.approx(summary.eval_perplexity, rel=1e-4)
