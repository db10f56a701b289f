"""Each error of the room, provoked for real; the page of its code shows the very message that comes out here."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from unittest.mock import patch

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from shieldwall.core.errors import CorpusError
from shieldwall.data import (
    BatchOrder,
    Blocks,
    Corpus,
    Pair,
    Pairs,
    Rows,
    check_vocabulary,
    cut_blocks,
    evaluation_batches,
    load_tokenizer,
    make_blocks,
    read_corpus,
    read_pairs,
    split_text,
    train_tokenizer,
)

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "errors"


@dataclass(frozen=True)
class Case:
    """What is done, in an empty folder, and what the message must hold. The first case of a code is on its page."""

    code: str
    act: Callable[[], object]
    says: tuple[str, ...]


def reading(spec: str, **files: bytes | str) -> Callable[[], object]:
    """Write the files (`__` in a name stands for a dot), then read the corpus `spec`."""

    def act() -> object:
        write(files)
        return read_corpus(spec)

    return act


def write(files: Mapping[str, bytes | str]) -> None:
    for name, content in files.items():
        target = Path(name.replace("__", "."))
        target.write_bytes(content if isinstance(content, bytes) else content.encode())


def reading_pipe() -> object:
    os.mkfifo("pipe")
    return read_corpus("text:pipe")


def reading_forbidden() -> object:
    """The right is refused by a stand-in, because the tests may run as a user who may read everything."""
    Path("notes.txt").write_text("text")
    with patch.object(Path, "read_bytes", side_effect=PermissionError(13, "Permission denied")):
        return read_corpus("text:notes.txt")


def reading_folder() -> object:
    Path("books").mkdir()
    return read_corpus("text:books")


def pairing(
    spec: str, prompt: str = "question", completion: str = "answer", **files: bytes | str
) -> Callable[[], object]:
    """Write the files, then make prompts and completions of the tables `spec`."""

    def act() -> object:
        write(files)
        return read_pairs(spec, prompt, completion)

    return act


def seventeen_lines() -> str:
    """Line 17 lacks the question."""
    good = [json.dumps({"question": f"{number}?", "answer": "yes"}) for number in range(16)]
    return "\n".join([*good, '{"query": "17?", "answer": "no"}']) + "\n"


def reading_parquet(field: str, **columns: list[object]) -> Callable[[], object]:
    def act() -> object:
        pq.write_table(pa.table(columns), "table.parquet")
        return read_corpus(f"parquet:table.parquet:{field}")

    return act


def reading_without_the_library() -> object:
    Path("table.parquet").write_bytes(b"PAR1")
    with patch.dict("sys.modules"), patch.object(sys, "meta_path", [NotInstalled(), *sys.meta_path]):
        del sys.modules["datasets"]
        return read_corpus("parquet:table.parquet:text")


class NotInstalled(MetaPathFinder):
    """Stands in for an environment without the extra."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "datasets":
            raise ModuleNotFoundError(f"No module named {fullname!r}")


def reading_saved(split: str) -> object:
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"]})}).save_to_disk("saved")
    return read_corpus("hf:saved", split=split)


def blocks_of_pairs(*pairs: tuple[str, str], block_tokens: int = 4) -> object:
    corpus = Pairs("jsonl:qa.jsonl", tuple(Pair(*pair) for pair in pairs))
    return make_blocks(corpus, train_tokenizer("", 257), block_tokens, 0.5, None)


def loading(**files: str) -> Callable[[], object]:
    def act() -> object:
        folder = Path("model")
        folder.mkdir()
        for name, content in files.items():
            (folder / f"{name}.json").write_text(content)
        return load_tokenizer(folder)

    return act


def loading_damaged_merges() -> object:
    train_tokenizer("a word, a word, a word", 300).save_pretrained("model")
    file = Path("model/tokenizer.json")
    file.write_text(file.read_text().replace('"merges": [', '"merges": [["zz", "qq"], ', 1))
    return load_tokenizer("model")


def loading_own_code() -> object:
    Path("model").mkdir()
    Path("model/tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}})
    )
    Path("model/own.py").write_text("raise SystemExit('this must never run')")
    return load_tokenizer("model")


def blocks_of(text: str, block_tokens: int, eval_fraction: float, eval_blocks: int | None = None) -> object:
    return make_blocks(
        Corpus("text:notes.txt", (text,)), train_tokenizer("", 257), block_tokens, eval_fraction, eval_blocks
    )


BYTE5 = '{"tokenizer_class": "ByT5Tokenizer"}'

CASES = [
    Case(
        "SW-D101",
        lambda: read_corpus("pydocs"),
        ('unknown kind of corpus "pydocs"', "did you mean pydoc?", "jsonl, parquet, pydoc"),
    ),
    Case("SW-D101", lambda: read_corpus("notes.txt"), ('data.corpus = "text:notes.txt"',)),
    Case("SW-D101", lambda: read_corpus("xyzzy"), ("use one of the known kinds",)),
    Case("SW-D101", lambda: read_corpus(""), ('unknown kind of corpus ""',)),
    Case(
        "SW-D102", lambda: read_corpus("jsonl:notes.jsonl"), ('data.corpus = "jsonl:notes.jsonl"', "jsonl:PATH:FIELD")
    ),
    Case("SW-D102", lambda: read_corpus("jsonl:notes.jsonl:"), ("jsonl:PATH:FIELD",)),
    Case("SW-D102", lambda: read_corpus("jsonl::text"), ("jsonl:PATH:FIELD",)),
    Case("SW-D102", lambda: read_corpus("jsonl"), ('data.corpus = "jsonl"',)),
    Case("SW-D102", lambda: read_corpus("text:"), ("expected  text:PATH", 'data.corpus = "text"')),
    Case("SW-D102", lambda: read_corpus("pydoc:lists"), ("takes nothing after its name",)),
    Case("SW-D102", lambda: read_corpus("stdlib:json"), ("takes nothing after its name",)),
    Case("SW-D103", lambda: read_corpus("text:notes.txt"), ("where     notes.txt", "no such file")),
    Case("SW-D103", reading("text:notes.txt/more", notes__txt="a"), ("where     notes.txt/more",)),
    Case("SW-D103", lambda: read_corpus("jsonl:a:b.jsonl:text"), ("where     a:b.jsonl",)),
    Case("SW-D103", lambda: read_corpus("text:books/*.txt"), ("where     books/*.txt", "matches this pattern")),
    Case("SW-D103", lambda: read_corpus("parquet:a.parquet:text"), ("where     a.parquet",)),
    Case("SW-D103", lambda: read_corpus("hf:./data"), ("where     ./data", "a folder with a data set")),
    Case("SW-D102", lambda: read_corpus("hf:"), ("hf:NAME[/CONFIG]",)),
    Case("SW-D102", lambda: read_corpus("hf:a/b/c/d"), ("hf:NAME[/CONFIG]",)),
    Case("SW-D102", lambda: read_corpus("csv:a.csv"), ("csv:PATH:FIELD",)),
    Case("SW-D102", pairing("csv:a.csv:question", a__csv="question,answer\n"), ("expected  csv:PATH\n",)),
    Case("SW-D102", pairing("jsonl"), ("expected  jsonl:PATH\n",)),
    Case("SW-D104", reading_folder, ("where     books", "a folder", "name one file in that folder")),
    Case("SW-D104", reading_pipe, ("a device, a pipe or a socket",)),
    Case("SW-D105", reading_forbidden, ("where     notes.txt", "Permission denied", "ls -l")),
    Case("SW-D105", lambda: read_corpus(f"text:{'n' * 300}"), ("File name too long", "ls -l")),
    Case("SW-D105", lambda: read_corpus("text:a\0b"), ("null",)),
    Case(
        "SW-D106",
        reading("text:notes.txt", notes__txt=b"caf\xe9 au lait"),
        ("byte offset 3", "0xe9 is not UTF-8", "iconv"),
    ),
    Case("SW-D106", reading("text:notes.txt", notes__txt=b"ab\0c\xff"), ("byte offset 2", "a zero byte")),
    Case("SW-D106", reading("jsonl:n:text", n=b'{"text": "\xff"}'), ("byte offset 10",)),
    Case("SW-D107", reading("text:notes.txt", notes__txt=" \n\n"), ('data.corpus = "text:notes.txt"', "white space")),
    Case("SW-D107", reading("text:n", n=""), ("the corpus is empty",)),
    Case("SW-D107", reading("jsonl:n:text", n='{"text": ""}\n\n'), ("the corpus is empty",)),
    Case(
        "SW-D108",
        reading("jsonl:notes.jsonl:text", notes__jsonl='{"text": "one"}\n{"text": "two\n'),
        ("where     notes.jsonl, line 2", "(column 10)"),
    ),
    Case("SW-D108", reading("jsonl:n:text", n='\n["a", "b"]'), ("n, line 2", "a JSON list", "jq")),
    Case("SW-D108", reading("jsonl:n:text", n="7"), ("a JSON number",)),
    Case("SW-D108", reading("jsonl:n:text", n='{"text": ' + "[" * 100_000), ("n, line 1",)),
    Case("SW-D108", reading("jsonl:n:text", n='{"text": "a\\ud800b"}'), ("n, line 1", "half a character")),
    Case("SW-D108", reading("jsonl:n:text", n='{"text": ' + "9" * 5000 + "}"), ("n, line 1", "digits")),
    Case(
        "SW-D109",
        reading("jsonl:notes.jsonl:text", notes__jsonl='{"title": "one", "body": "two"}\n'),
        ("where     notes.jsonl, line 1", 'fields: "body", "title"', "jsonl:PATH:FIELD"),
    ),
    Case("SW-D109", reading("jsonl:n:text", n='{"text": null}'), ('"text" holds a null',)),
    Case("SW-D109", reading("jsonl:n:text", n='{"text": "a"}\n{"text": 1}'), ("n, line 2", '"text" holds a number')),
    Case("SW-D109", reading("jsonl:n:text", n="{}"), ("fields: none",)),
    Case("SW-D109", reading("jsonl:n:text", n=json.dumps(dict.fromkeys("abcdefghijk"))), ("and 3 more",)),
    Case("SW-D107", pairing("jsonl:n", n="\n"), ("at least one record",)),
    Case("SW-D107", pairing("csv:n", n=""), ("at least one record",)),
    Case("SW-D108", pairing("jsonl:n", n='{"question": "\\ud800", "answer": "a"}'), ("n, line 1", "half a character")),
    Case(
        "SW-D109",
        pairing("jsonl:qa.jsonl", qa__jsonl=seventeen_lines()),
        ("where     qa.jsonl, line 17", 'under "question"', 'fields: "answer", "query"', "correct data.prompt"),
    ),
    Case("SW-D109", pairing("jsonl:n", n='{"question": "a", "answer": null}'), ('"answer" holds a null',)),
    Case("SW-D109", pairing("jsonl:n", n='{"question": ["a"], "answer": "b"}'), ('"question" holds a list',)),
    Case("SW-D109", pairing("jsonl:n", n='{"question": NaN, "answer": "b"}'), ("a number that is not finite",)),
    Case("SW-D109", pairing("jsonl:n", "{q}", n='{"question": "a"}'), ('under "q"', 'fields: "question"')),
    Case("SW-D109", pairing("csv:n", n="query,answer\na,b\n"), ("n, line 2", 'fields: "answer", "query"')),
    Case(
        "SW-D109",
        reading_parquet("text", body=["a"], title=["b"]),
        ("where     table.parquet, row 1", 'fields: "body", "title"', "parquet:PATH:FIELD"),
    ),
    Case("SW-D109", reading_parquet("text", text=["a", None]), ("table.parquet, row 2", '"text" holds a null')),
    Case("SW-D109", reading_parquet("text", text=[b"a"]), ('"text" holds a bytes',)),
    Case("SW-D109", reading("csv:n:text", n="body\na\n"), ("n, line 2", "csv:PATH:FIELD")),
    Case(
        "SW-D110",
        lambda: split_text(Corpus("pydoc", ("a",)), 0.9),
        ("data.eval_fraction", "at most 0.5", "got       0.9"),
    ),
    Case("SW-D110", lambda: split_text(Corpus("pydoc", ("a",)), 0.0), ("more than 0",)),
    Case("SW-D110", lambda: split_text(Corpus("pydoc", ("a",)), float("nan")), ("got       nan",)),
    Case("SW-D111", lambda: train_tokenizer("a", 200), ("257 or more", "got       200")),
    Case("SW-D112", loading(config='{"model_type": "gpt2"}'), ("where     model", "no tokenizer file in that folder")),
    Case("SW-D112", lambda: load_tokenizer("model"), ("no such folder",)),
    Case("SW-D113", loading(tokenizer_config=BYTE5), ("ByT5Tokenizer, which has no fast form",)),
    Case("SW-D113", loading_own_code, ("which is never run",)),
    Case(
        "SW-D114",
        loading(tokenizer='{"version": "1.0", "model": '),
        ("where     model", "JSONDecodeError", "cut short"),
    ),
    Case("SW-D114", loading(tokenizer='{"a": 1}'), ("whole tokenizer files",)),
    Case("SW-D114", loading(tokenizer="[]"), ("whole tokenizer files",)),
    Case("SW-D114", loading(tokenizer_config="[]", tokenizer="{}"), ("whole tokenizer files",)),
    Case("SW-D114", loading(tokenizer_config="{", tokenizer="{}"), ("whole tokenizer files",)),
    Case("SW-D114", loading_damaged_merges, ("zz",)),
    Case("SW-D115", lambda: blocks_of("a b c", 1, 0.1), ("data.block_tokens", "2 or more", "got       1")),
    Case("SW-D115", lambda: blocks_of("a b c", 2, 0.1, -1), ("data.eval_blocks", "got       -1")),
    Case("SW-D115", lambda: cut_blocks([1, 2], 0), ("data.block_tokens",)),
    Case(
        "SW-D116",
        lambda: blocks_of("0123456789012345678\n" * 50, 128, 0.1),
        ("the evaluation text is shorter", "900 for training, 100 for evaluation", "block_tokens to 100", "about 0.14"),
    ),
    Case(
        "SW-D116",
        lambda: blocks_of("a\n", 4, 0.5),
        ("the training text is shorter", "found: 1 for training", "give more text"),
    ),
    Case("SW-D116", lambda: blocks_of("a\n" + "b" * 30, 8, 0.5), ("lower data.eval_fraction",)),
    Case(
        "SW-D117",
        lambda: check_vocabulary(Blocks(Rows(torch.tensor([[5, 300]])), Rows(torch.tensor([[1, 2]]))), 257),
        ("token id 300", "a vocabulary of 257"),
    ),
    Case(
        "SW-D117",
        lambda: check_vocabulary(Blocks(Rows(torch.tensor([[1]])), Rows(torch.tensor([[9]]))), 9),
        ("token id 9",),
    ),
    Case("SW-D118", lambda: BatchOrder(100, 4, 0, seed=0), ("micro_batch_size = 0", "pipeline.micro_batch_size")),
    Case("SW-D118", lambda: BatchOrder(0, 4, 2, seed=0), ("blocks_total = 0",)),
    Case("SW-D118", lambda: BatchOrder(100, -1, 2, seed=0), ("micro_batches = -1",)),
    Case("SW-D118", lambda: evaluation_batches(Rows(torch.zeros(3, 2)), 0), ("micro_batch_size = 0",)),
    Case("SW-D119", pairing("text:notes.txt"), ("no fields to make prompts of", "csv, hf, jsonl, parquet", '"text"')),
    Case("SW-D119", pairing("pydoc"), ('data.corpus = "pydoc"',)),
    Case(
        "SW-D120",
        pairing("jsonl:qa.jsonl", "Question: {question"),
        ("where     data.prompt", "expected '}'", "write {{ and }}"),
    ),
    Case("SW-D120", pairing("jsonl:n", "q", "{answer.__class__}"), ("data.completion", "{answer.__class__}")),
    Case("SW-D120", pairing("jsonl:n", "{question!r:>5}"), ("{question!r:>5}",)),
    Case("SW-D120", pairing("jsonl:n", "{{q}}"), ("every example would be the same",)),
    Case(
        "SW-D121",
        pairing("csv:qa.csv", qa__csv="question,answer\none,1\ntwo,2,too many\n"),
        ("where     qa.csv, line 3", "2 values", "got       3 values"),
    ),
    Case("SW-D121", pairing("csv:n", n="question,answer\n\none\n"), ("n, line 3", "got       1 values")),
    Case("SW-D121", pairing("csv:n", n='question,answer\n"one,1\n'), ("n, line 2", "unexpected end of data")),
    Case("SW-D121", pairing("csv:n", n="question,question\n"), ("n, line 1", 'several columns named "question"')),
    Case("SW-D121", pairing("csv:n", n="question,\n"), ("a column without a name",)),
    Case(
        "SW-D122",
        reading("parquet:table.parquet:text", table__parquet=b"PAR1 and nothing else"),
        ("where     table.parquet", "ArrowInvalid", "fetch the file again"),
    ),
    Case("SW-D122", lambda: reading_saved("test"), ("where     saved, split test", "KeyError: 'test'")),
    Case("SW-D123", reading_without_the_library, ('pip install "shieldwall[data]"', "parquet:table.parquet")),
    Case(
        "SW-D124",
        lambda: blocks_of_pairs(("a", "b"), ("too long a prompt", "c")),
        ("1 for training, 0 for evaluation", "of 2 found, 1 were left out", "data.block_tokens"),
    ),
    Case("SW-D124", lambda: blocks_of_pairs(("a", "b")), ("a single record",)),
]

FIRST = {case.code: case for case in reversed(CASES)}


def message(case: Case) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        case.act()
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_the_message_says_what_is_wrong(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = message(case)
    assert error.code == case.code
    assert error.exit_code == 2
    assert error.where
    assert error.expected
    assert error.got
    assert error.remedy
    for fragment in case.says:
        assert fragment in str(error)


@pytest.mark.parametrize("case", FIRST.values(), ids=lambda case: case.code)
def test_the_page_shows_the_message(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = message(case)
    page = (PAGES / f"{case.code}.md").read_text()
    assert page.startswith(f"# {case.code}: ")
    assert f"```\n{error}\n```\n" in page, f"put this into the page:\n{error}"


def test_every_code_has_a_case_and_a_page() -> None:
    sources = (ROOT / "src" / "shieldwall" / "data").rglob("*.py")
    raised = {code for path in sources for code in re.findall(r'"(SW-D\d+)"', path.read_text())}
    assert raised == set(FIRST)
    assert raised == {path.stem for path in PAGES.glob("SW-D*.md")}
