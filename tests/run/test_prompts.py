"""Prompts, padding, packing and epochs through the command: trained, evaluated, resumed, refused."""

from __future__ import annotations

import csv
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands import TINY, overrides, shieldwall
from transformers import AutoModelForCausalLM, AutoTokenizer

from shieldwall import Config, RunFolderError, Summary, train
from shieldwall.core.lines import read_lines

COUNT = 60

PROMPTED = [
    'data.prompt="Add {one} and {two}.\\n"',
    "data.completion={sum}",
    "data.block_tokens=48",
    "data.eval_blocks=0",
    "model.layers=3",
    "pipeline.stages=3",
]


def records(count: int = COUNT) -> list[dict[str, Any]]:
    """Sums of numbers, some with a prompt that is much longer."""
    return [
        {"one": number, "two": str(number * number) + " slowly" * (number % 4), "sum": f"It is {number + number**2}."}
        for number in range(count)
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"jsonl:{path}"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_lines(tmp_path_factory.mktemp("data") / "sums.jsonl", records())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, lines: str) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    result = shieldwall("train", "--run", folder, *overrides(f"data.corpus={lines}", *PROMPTED))
    assert result.code == 0, result.err
    assert "60 examples: 54 for training in " in result.err
    return folder


def summary_of(folder: Path) -> Summary:
    return Summary.read(folder / "summary.json")


def test_transformers_alone_finds_the_runs_perplexity(finished: Path) -> None:
    """Written from the documentation: begin, prompt, completion, end; the loss on completion and end."""
    model = AutoModelForCausalLM.from_pretrained(finished / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    total, targets = 0.0, 0
    for row in records()[-6:]:
        prompt = tokenizer(f"Add {row['one']} and {row['two']}.\n").input_ids
        completion = [*tokenizer(row["sum"]).input_ids, tokenizer.eos_token_id]
        tokens = torch.tensor([(prompt + completion)[:48]])
        labels = tokens.clone()
        labels[:, : len(prompt)] = -100
        count = tokens.shape[1] - len(prompt)
        with torch.no_grad():
            total += float(model(input_ids=tokens, labels=labels).loss) * count
        targets += count
    assert math.exp(total / targets) == pytest.approx(summary_of(finished).eval_perplexity, rel=1e-4)


def test_eval_repeats_the_reported_perplexity(finished: Path, lines: str) -> None:
    expected = summary_of(finished).eval_perplexity
    for extra in (
        [],
        ["--data", lines],
        ["--data", lines, "--prompt", "Add {one} and {two}.\n", "--completion", "sum"],
    ):
        found = shieldwall("eval", finished, *extra, "--json").json()
        assert found["perplexity"] == pytest.approx(expected, rel=1e-4)
        assert (found["blocks"], found["split"], found["data"]) == (6, "eval", lines)
    other = shieldwall("eval", finished, "--prompt", "{one}", "--completion", "sum", "--json").json()
    assert other["perplexity"] != pytest.approx(expected, rel=1e-2)
    counts = {
        name: shieldwall("eval", finished, "--split", name, "--json").json()["blocks"] for name in ("train", "all")
    }
    assert counts == {"train": 54, "all": 60}


def test_eval_takes_plain_text_where_it_is_given(finished: Path, lines: str) -> None:
    for extra in (["--data", "pydoc"], ["--data", f"{lines}:sum", "--prompt", "", "--completion", ""]):
        found = shieldwall("eval", finished, *extra, "--block-tokens", "16", "--blocks", "2", "--json")
        assert found.code == 0, found.err
        assert found.json()["blocks"] == 2
    both = shieldwall("eval", finished, "--data", lines, "--data", lines, "--split", "all", "--json").json()
    assert both["blocks"] == 120
    assert both["data"] == f"{lines}, {lines}"


def test_eval_refuses_half_a_pair(finished: Path) -> None:
    result = shieldwall("eval", finished, "--data", "pydoc", "--prompt", "question")
    assert result.code == 2
    assert "SW-C105: data.prompt is set and data.completion is not" in result.err


def test_what_was_cut_and_left_out_is_told(tmp_path: Path) -> None:
    rows = records()
    rows[3]["sum"] = "a completion that is much too long " * 9
    rows[5]["two"] = rows[7]["two"] = "a prompt that leaves no room " * 9
    folder = tmp_path / "run"
    settings = [f"data.corpus={write_lines(tmp_path / 'a.jsonl', rows)}", *PROMPTED, "run.steps=1"]
    result = shieldwall("train", "--run", folder, *overrides(*settings))
    assert result.code == 0, result.err
    inputs = json.loads((folder / "inputs.json").read_text())
    counts = {name: inputs[f"examples.{name}"] for name in ("found", "cut", "left_out")}
    assert counts == {"found": "60", "cut": "1", "left_out": "2"}
    assert "60 examples: 52 for training in " in result.err
    assert ", 6 evaluated; 1 cut to 48 tokens; 2 left out, nothing to predict in 48 tokens" in result.err


@pytest.mark.parametrize("packing", ["true", "false"])
def test_resume_and_another_cut_end_with_the_same_weights(packing: str, lines: str, tmp_path: Path) -> None:
    settings = [*TINY, f"data.corpus={lines}", *PROMPTED, f"data.packing={packing}", "run.epochs=1.5"]
    settings.append("verify.policy=none")
    whole = train(Config.load(None, settings), folder=tmp_path / "whole").summary
    other = train(
        Config.load(None, [*settings, "pipeline.stages=2", "pipeline.schedule=1f1b"]), folder=tmp_path / "cut"
    )
    assert other.summary.weights_root == whole.weights_root
    folder = tmp_path / "run"
    train(Config.load(None, settings), folder=folder)
    (folder / "summary.json").unlink()
    saved = sorted((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.removeprefix("step-")))
    assert saved[-1].name == f"step-{whole.steps}" != saved[0].name
    for path in saved[1:]:
        path.rename(path.with_name(path.name + ".partial"))
    assert train(folder=folder, resume=True).summary.weights_root == whole.weights_root


def test_other_examples_are_refused_on_resume(tmp_path: Path) -> None:
    """The same tokens with other labels are another run: the prompt's last word became part of the completion."""
    spec, folder = write_lines(tmp_path / "a.jsonl", records()), tmp_path / "run"
    settings = [*TINY, f"data.corpus={spec}", "data.prompt=one", "data.completion=sum", "run.steps=1"]
    train(Config.load(None, [*settings, "verify.policy=none"]), folder=folder)
    (folder / "summary.json").unlink()
    write_lines(tmp_path / "a.jsonl", [{**row, "one": f"{row['one']}I", "sum": row["sum"][1:]} for row in records()])
    with pytest.raises(RunFolderError, match=r"SW-R106") as caught:
        train(folder=folder, resume=True)
    assert "training_blocks" in str(caught.value)


def test_epochs_decide_the_length_of_a_run(lines: str, tmp_path: Path) -> None:
    """54 rows, 8 to a step: two epochs take 14 steps, whatever run.steps says; the rate falls to its end there."""
    settings = [f"data.corpus={lines}", *PROMPTED, "data.packing=false", "run.epochs=2", "run.steps=3"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 0, result.err
    metrics = read_lines(tmp_path / "run" / "metrics.jsonl").lines
    assert summary_of(tmp_path / "run").steps == len(metrics) == 14
    assert "step 14/14" in result.err
    rates = [line["learning_rate"] for line in metrics]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.2 * max(rates)


def test_tokens_per_second_counts_no_padding(lines: str, tmp_path: Path) -> None:
    settings = [*TINY, f"data.corpus={lines}", *PROMPTED, "run.steps=2"]
    for packing in ("true", "false"):
        folder = tmp_path / packing
        train(Config.load(None, [*settings, f"data.packing={packing}"]), folder=folder)
        tokens = [line["tokens_per_second"] * line["seconds"] for line in read_lines(folder / "metrics.jsonl").lines]
        assert all(0 < count < 8 * 48 for count in tokens)
        assert all(count == pytest.approx(round(count)) for count in tokens)


@pytest.mark.parametrize("packing", ["true", "false"])
def test_training_learns_the_completions(packing: str, tmp_path: Path) -> None:
    """One answer to everything is learnt soon; the prompts are noise and are not."""
    rows = [{"one": (number * 7919) % 1000, "sum": "the same answer"} for number in range(80)]
    spec = write_lines(tmp_path / "a.jsonl", rows)
    settings = [
        *TINY,
        f"data.corpus={spec}",
        "data.prompt=one",
        "data.completion=sum",
        "data.block_tokens=32",
        f"data.packing={packing}",
        "model.layers=2",
        "pipeline.stages=2",
        "run.steps=60",
        "optimizer.learning_rate=0.01",
        "evaluation.every_steps=0",
    ]
    assert train(Config.load(None, settings), folder=tmp_path / "run").summary.eval_perplexity < 1.3


def test_padded_text_is_evaluated_alike_by_transformers(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02d}.txt").write_text(f"document {number}: " + "some words " * (1 + number % 7))
    folder = tmp_path / "run"
    settings = [f"data.corpus=text:{tmp_path}/*.txt", "data.packing=false", "data.block_tokens=32"]
    result = shieldwall("train", "--run", folder, *overrides(*settings))
    assert result.code == 0, result.err
    found = shieldwall("eval", folder, "--json").json()
    assert found["perplexity"] == pytest.approx(summary_of(folder).eval_perplexity, rel=1e-4)


def test_every_table_trains_the_same_model(finished: Path, tmp_path: Path) -> None:
    """The same records from CSV, Parquet, a saved data set, and from two files."""
    rows = [{name: str(value) for name, value in row.items()} for row in records()]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["one", "two", "sum"])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(records()), tmp_path / "a.parquet")
    datasets.DatasetDict({"learn": datasets.Dataset.from_list(records())}).save_to_disk(tmp_path / "saved")
    write_lines(tmp_path / "part-1.jsonl", records()[:20])
    write_lines(tmp_path / "part-2.jsonl", records()[20:])
    listed = json.dumps([f"jsonl:{tmp_path}/part-{number}.jsonl" for number in (1, 2)])
    for spec in (f"csv:{tmp_path}/a.csv", f"parquet:{tmp_path}/a.parquet", f"hf:{tmp_path}/saved", listed):
        folder = tmp_path / f"run-{spec[:4]}"
        settings = [f"data.corpus={spec}", "data.hf_split=learn", *PROMPTED]
        result = shieldwall("train", "--run", folder, *overrides(*settings))
        assert result.code == 0, result.err
        assert summary_of(folder).weights_root == summary_of(finished).weights_root


def test_a_list_of_corpora_is_kept_and_one_stays_one(finished: Path, lines: str, tmp_path: Path) -> None:
    assert tomllib.loads((finished / "config.toml").read_text())["data"]["corpus"] == lines
    texts = [f"text:{tmp_path}/{name}.txt" for name in "ab"]
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"a line of {name}\n" * 100)
    folder = tmp_path / "run"
    result = shieldwall("train", "--run", folder, *overrides(f"data.corpus={json.dumps(texts)}", "run.steps=1"))
    assert result.code == 0, result.err
    assert tomllib.loads((folder / "config.toml").read_text())["data"]["corpus"] == texts
    found = shieldwall("eval", folder, "--json").json()
    assert found["data"] == ", ".join(texts)
    assert found["perplexity"] == pytest.approx(summary_of(folder).eval_perplexity, rel=1e-4)


def seventeen(path: Path) -> str:
    rows = [{"question": f"{number}?", "answer": "yes"} for number in range(16)]
    return write_lines(path, [*rows, {"query": "17?", "answer": "no"}, *rows])


def test_a_prompt_field_missing_in_line_17_is_named(tmp_path: Path) -> None:
    spec = seventeen(tmp_path / "qa.jsonl")
    settings = [f"data.corpus={spec}", "data.prompt=question", "data.completion=answer"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 2
    assert 'CorpusError SW-D109: a record has no text under "question"' in result.err
    assert f"where     {tmp_path}/qa.jsonl, line 17\n" in result.err
    assert 'expected  a string, number or truth value under "question"' in result.err
    assert 'got       fields: "answer", "query"' in result.err
    assert "Traceback" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["qa.jsonl"]


def test_a_parquet_file_without_the_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a", "b"], "title": ["c", "d"]}), tmp_path / "a.parquet")
    result = shieldwall(
        "train", "--run", tmp_path / "run", *overrides(f"data.corpus=parquet:{tmp_path}/a.parquet:text")
    )
    assert result.code == 2
    assert f"where     {tmp_path}/a.parquet, row 1\n" in result.err
    assert 'expected  a string under "text"' in result.err
    assert 'got       fields: "body", "title"' in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        (["data.prompt=question"], "SW-C105", "data.prompt is set and data.completion is not"),
        (["data.completion=answer"], "SW-C105", "data.completion is set and data.prompt is not"),
        (["data.prompt={question", "data.completion=a"], "SW-D120", "data.prompt"),
        (["data.prompt={q.__class__}", "data.completion=a"], "SW-D120", "{q.__class__}"),
        (["data.prompt=q", "data.completion=a"], "SW-D119", "no fields to make prompts of"),
        (["data.corpus=[]"], "SW-C102", "data.corpus has a value that does not fit"),
        (['data.corpus=["pydoc", 3]'], "SW-C102", "data.corpus has a value that does not fit"),
        (["data.corpus=csv:notes.csv"], "SW-D102", "csv:PATH:FIELD"),
        (["data.corpus=text:no-such/*.txt"], "SW-D103", "matches this pattern"),
        (["data.corpus=hf:no-org/no-name"], "SW-D122", "no-org/no-name, split train"),
        (["run.epochs=-1"], "SW-C102", "greater than or equal to 0"),
        (["data.packing=perhaps"], "SW-C102", "data.packing"),
    ],
)
def test_a_wrong_setting_is_refused(settings: list[str], code: str, said: str, tmp_path: Path) -> None:
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 2, result.err
    assert code in result.err
    assert said in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_examples_that_all_have_no_room_are_refused(lines: str, tmp_path: Path) -> None:
    settings = [f"data.corpus={lines}", *PROMPTED, "data.block_tokens=4"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 2
    assert "SW-D124: there are too few examples" in result.err
    assert "of 60 found, 60 were left out" in result.err
    assert not (tmp_path / "run").exists()


def test_a_plan_is_made_for_the_rows_that_there_are(lines: str, tmp_path: Path) -> None:
    """Rows that may be long and are short: what is measured and reserved is what the run will see."""
    plans = []
    for width in (64, 256):
        settings = [
            f"data.corpus={lines}",
            *PROMPTED,
            f"data.block_tokens={width}",
            "data.packing=false",
            "run.steps=1",
        ]
        train(Config.load(None, [*TINY, *settings]), folder=tmp_path / str(width))
        plans.append(json.loads((tmp_path / str(width) / "plan.json").read_text())["memory_bytes"])
    assert plans[0] == plans[1]


def test_losing_much_of_the_text_is_said_loudly(lines: str, tmp_path: Path) -> None:
    short = shieldwall(
        "train", "--run", tmp_path / "run", *overrides(f"data.corpus={lines}", *PROMPTED, "data.block_tokens=16")
    )
    assert short.code == 0, short.err
    assert "warning: much of the text is lost" in short.err
    assert shieldwall("report", tmp_path / "run").code == 0
    assert "| examples | 60 found, " in (tmp_path / "run" / "report" / "report.md").read_text()


def test_a_run_of_epochs_over_several_tables_is_reported(tmp_path: Path) -> None:
    corpora = [write_lines(tmp_path / f"{name}.jsonl", records(20)) for name in ("a", "b")]
    settings = [f"data.corpus={json.dumps(corpora)}", *PROMPTED, "run.epochs=2.0", "data.packing=false"]
    result = shieldwall("train", "--run", tmp_path / "run", *overrides(*settings))
    assert result.code == 0, result.err
    told = shieldwall("report", tmp_path / "run")
    assert "finished after 9 of 9 steps" in told.out
    assert ", ".join(corpora) in (tmp_path / "run" / "report" / "report.md").read_text()


def test_a_field_of_a_table_is_evaluated_as_plain_text(lines: str, finished: Path) -> None:
    """Without saying that the prompts of training do not apply."""
    found = shieldwall("eval", finished, "--data", f"{lines}:sum", "--split", "all", "--json")
    assert found.code == 0, found.err


def test_an_empty_table_among_others_changes_nothing(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"one": str(n), "two": "2", "sum": f"{n + 2}."} for n in range(30)])
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    for corpus, code in ((f"parquet:{tmp_path}/*.parquet", 0), (f"parquet:{tmp_path}/b.parquet", 2)):
        result = shieldwall("train", "--run", tmp_path / f"run-{code}", *overrides(f"data.corpus={corpus}", *PROMPTED))
        assert result.code == code, result.err
    assert "SW-D107" in result.err
