"""Reading tables: what each kind gives, from one file, several, a pattern, a local data set."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.core import registry
from shieldwall.core.errors import CorpusError
from shieldwall.data import TABLES, Pair, Record, read_corpus, read_pairs
from shieldwall.data.tables import read_records

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))

ROWS = [{"q": "one?", "a": "1"}, {"q": 'two,\n"2"?', "a": "2"}, {"q": "drei ö?", "a": "3"}]


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, str]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_saved(path: Path, rows: list[dict[str, str]]) -> None:
    datasets.Dataset.from_list(rows).save_to_disk(path)


WRITERS: dict[str, Callable[[Path, list[dict[str, str]]], None]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
    "hf": write_saved,
}
"""A new kind of table adds its own here."""

FILES = ["jsonl", "csv", "parquet"]


@pytest.mark.parametrize("scheme", TABLES)
def test_every_table_gives_the_same_records_each_time(scheme: str, tmp_path: Path) -> None:
    WRITERS[scheme](tmp_path / "table", ROWS)
    records = list(read_records(scheme, f"{tmp_path}/table", "train"))
    assert [dict(record.values) for record in records] == ROWS
    assert records == list(read_records(scheme, f"{tmp_path}/table", "train"))
    assert all(record.where.startswith(f"{tmp_path}/table, ") for record in records)


@pytest.mark.parametrize("scheme", TABLES)
def test_every_table_gives_documents_and_pairs(scheme: str, tmp_path: Path) -> None:
    WRITERS[scheme](tmp_path / "table", ROWS)
    spec = f"{scheme}:{tmp_path}/table"
    documents = read_corpus(spec if scheme == "hf" else f"{spec}:q", text_field="q").documents
    assert documents == tuple(row["q"] for row in ROWS)
    assert read_pairs(spec, "q", "a").pairs == tuple(Pair(row["q"], row["a"]) for row in ROWS)
    assert read_pairs(spec, "q", "a").spec == spec


@pytest.mark.parametrize(
    ("scheme", "places"),
    [
        ("jsonl", ["line 1", "line 2", "line 3"]),
        ("csv", ["line 2", "line 4", "line 5"]),
        ("parquet", ["row 1", "row 2", "row 3"]),
        ("hf", ["split train, row 1", "split train, row 2", "split train, row 3"]),
    ],
)
def test_a_record_knows_its_place(scheme: str, places: list[str], tmp_path: Path) -> None:
    """A CSV row that holds a line end counts by its last line, as an editor shows it."""
    WRITERS[scheme](tmp_path / "table", ROWS)
    found = [record.where for record in read_records(scheme, f"{tmp_path}/table", "train")]
    assert found == [f"{tmp_path}/table, {place}" for place in places]


@pytest.mark.parametrize("scheme", FILES)
def test_several_files_and_patterns(scheme: str, tmp_path: Path) -> None:
    for name, row in zip(("b", "a", "c"), ROWS, strict=True):
        WRITERS[scheme](tmp_path / f"{name}.t", [row])
    by_name = [ROWS[1], ROWS[0], ROWS[2]]
    pattern = read_pairs(f"{scheme}:{tmp_path}/*.t", "q", "a")
    assert pattern.pairs == tuple(Pair(row["q"], row["a"]) for row in by_name)
    assert read_corpus(f"{scheme}:{tmp_path}/*.t:q").documents == tuple(row["q"] for row in by_name)
    listed = read_pairs([f"{scheme}:{tmp_path}/{name}.t" for name in "cb"], "q", "a")
    assert listed.pairs == (Pair("drei ö?", "3"), Pair("one?", "1"))
    assert listed.spec == f"{scheme}:{tmp_path}/c.t, {scheme}:{tmp_path}/b.t"


def test_text_takes_patterns_and_corpora_mix(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("2.txt", "1.txt", "deep/3.txt", "4.md"):
        (tmp_path / name).write_text(f"text {name}")
    write_jsonl(tmp_path / "x.jsonl", ROWS)
    assert read_corpus(f"text:{tmp_path}/*.txt").documents == ("text 1.txt", "text 2.txt")
    deep = read_corpus(f"text:{tmp_path}/**/*.txt").documents
    assert deep == ("text 1.txt", "text 2.txt", "text deep/3.txt")
    mixed = read_corpus([f"text:{tmp_path}/4.md", f"jsonl:{tmp_path}/x.jsonl:a"])
    assert mixed.documents == ("text 4.md", "1", "2", "3")


@pytest.mark.parametrize("scheme", FILES)
def test_a_name_that_looks_like_a_pattern_is_a_name_where_it_exists(scheme: str, tmp_path: Path) -> None:
    odd = tmp_path / "what[1]*?.t"
    WRITERS[scheme](odd, ROWS[:1])
    (tmp_path / "what1.t").write_text("not this one")
    assert [dict(record.values) for record in read_records(scheme, str(odd), "train")] == ROWS[:1]


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_csv_gives_back_what_was_written(rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Text stays text: digits, dates, blanks and the words null and NA are not read as anything else."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    written = [{"q": f"{one}1", "a": two} for one, two in rows]
    write_csv(path, written)
    assert [dict(record.values) for record in read_records("csv", str(path), "")] == written


def test_csv_keeps_long_and_odd_values(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    limit = csv.field_size_limit()
    path.write_text(f"\ufeffq,a\r\n\r\n007,NA\r\n{'x' * 300_000},1e3\r\n", encoding="utf-8", newline="")
    values = [dict(record.values) for record in read_records("csv", str(path), "")]
    assert values == [{"q": "007", "a": "NA"}, {"q": "x" * 300_000, "a": "1e3"}]
    assert csv.field_size_limit() == limit


def test_hf_reads_splits_and_folders_of_files(tmp_path: Path) -> None:
    both = {name: datasets.Dataset.from_list(ROWS[place : place + 1]) for place, name in enumerate(("train", "test"))}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "saved")
    (tmp_path / "files").mkdir()
    write_parquet(tmp_path / "files" / "train.parquet", ROWS[:1])
    write_parquet(tmp_path / "files" / "test.parquet", ROWS[1:2])
    (tmp_path / "lines").mkdir()
    write_jsonl(tmp_path / "lines" / "train.jsonl", ROWS[:1])
    write_jsonl(tmp_path / "lines" / "test.jsonl", ROWS[1:2])
    for name in ("saved", "files", "lines"):
        assert read_corpus(f"hf:{tmp_path}/{name}", text_field="a").documents == ("1",)
        assert read_corpus(f"hf:{tmp_path}/{name}", text_field="a", split="test").documents == ("2",)


def test_many_rows_come_in_order(tmp_path: Path) -> None:
    """More than are read at once, in row groups of another size."""
    table = pa.table({"text": [f"row {number}" for number in range(2500)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    assert read_corpus(f"parquet:{tmp_path}/a.parquet:text").documents == tuple(f"row {n}" for n in range(2500))


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("imdb", [("imdb", None)]),
        ("org/name", [("org/name", None), ("org", "name")]),
        ("org/name/config", [("org/name", "config")]),
    ],
)
def test_a_hub_name_and_its_configuration(
    name: str, asked: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ORG/NAME` is tried before `NAME/CONFIG`; the hub itself is a stand-in here."""
    calls: list[tuple[str, str | None]] = []

    def load(name: str, config: str | None = None, *, split: str) -> datasets.Dataset:
        calls.append((name, config))
        if len(calls) < len(asked):
            raise datasets.exceptions.DatasetNotFoundError("no such data set")
        return datasets.Dataset.from_list([{"text": split}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read_corpus(f"hf:{name}", split="validation").documents == ("validation",)
    assert calls == asked


def test_the_hub_out_of_reach_is_said_so() -> None:
    with pytest.raises(CorpusError, match=r"SW-D122") as caught:
        read_corpus("hf:no-org/no-name")
    assert "no-org/no-name, split train" in str(caught.value)
    assert "Couldn't reach" in str(caught.value)


def test_code_in_a_data_set_is_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.py").write_text("raise SystemExit('this must never run')")
    write_jsonl(folder / "train.jsonl", ROWS)
    with pytest.raises(CorpusError, match=r"SW-D122") as caught:
        read_corpus(f"hf:{folder}", text_field="q")
    assert "scripts are no longer supported" in str(caught.value)


def test_local_tables_leave_no_cache_and_say_nothing(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ROWS)
    write_saved(tmp_path / "saved", ROWS)
    (tmp_path / "files").mkdir()
    write_csv(tmp_path / "files" / "a.csv", ROWS)
    code = f"""
from shieldwall.data import read_corpus
for spec in ("parquet:{tmp_path}/a.parquet:q", "hf:{tmp_path}/saved", "hf:{tmp_path}/files"):
    print(len(read_corpus(spec, text_field="q").documents))
"""
    home = tmp_path / "home"
    environment = {"PYTHONPATH": ":".join(sys.path), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["3", "3", "3"]
    assert done.stderr == ""
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_progress_bars_come_back(tmp_path: Path) -> None:
    datasets.enable_progress_bars()
    write_parquet(tmp_path / "a.parquet", ROWS)
    read_corpus(f"parquet:{tmp_path}/a.parquet:q")
    assert not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    read_corpus(f"parquet:{tmp_path}/a.parquet:q")
    assert datasets.are_progress_bars_disabled()


def test_another_package_adds_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("echo", f"{__name__}:echo", "shieldwall.tables")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "shieldwall.tables" else [])
    assert read_corpus("echo:a:b").documents == ("a",)
    assert read_pairs("echo:a:c", "b", "{b}!").pairs == (Pair("a:c", "a:c!"),)


def echo(argument: str, split: str) -> list[Record]:
    del split
    return [Record({"b": argument}, "echo")]
