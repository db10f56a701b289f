"""Reading corpora: what each kind gives, and what holds for every kind."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.core import registry
from shieldwall.data import CORPORA, Corpus, read_corpus
from shieldwall.data.corpora import stdlib
from shieldwall.data.tables import jsonl

texts = st.text(st.characters(exclude_categories=["Cs"]))


def example_specs(folder: Path) -> dict[str, str]:
    """One working spec for each kind; a new kind of corpus adds its own here."""
    (folder / "notes.txt").write_text("A first line.\nA second one.\n", encoding="utf-8")
    return {
        "pydoc": "pydoc",
        "stdlib": "stdlib",
        "text": f"text:{folder}/notes.txt",
    }


@pytest.mark.parametrize("scheme", CORPORA)
def test_every_corpus_gives_the_same_documents_each_time(scheme: str, tmp_path: Path) -> None:
    spec = example_specs(tmp_path)[scheme]
    corpus = read_corpus(spec)
    assert corpus == read_corpus(spec)
    assert corpus.spec == spec
    assert corpus.documents
    assert all(document.strip() for document in corpus.documents)
    assert corpus.text == "\n\n".join(corpus.documents)
    corpus.text.encode("utf-8")


def test_pydoc_holds_every_topic_by_name() -> None:
    assert read_corpus("pydoc").documents == tuple(topics[name] for name in sorted(topics))


def test_stdlib_holds_sources_and_no_packages_or_tests() -> None:
    corpus = read_corpus("stdlib")
    assert any("class JSONDecodeError(ValueError)" in document for document in corpus.documents)
    assert not any("class ShieldwallError" in document for document in corpus.documents)
    assert len(corpus.documents) > 200


def test_stdlib_files_are_chosen_by_name_and_sorted(tmp_path: Path) -> None:
    kept = ["a.py", "json/__init__.py", "json/tool.py", "z.py"]
    dropped = [
        "site-packages/x.py",
        "test/x.py",
        "json/tests/x.py",
        "idlelib/x.py",
        "lib2to3/x.py",
        "ensurepip/x.py",
        "config-3.11-x86_64-linux-gnu/x.py",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
        "notes.txt",
    ]
    for name in kept + dropped:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    assert [path.relative_to(tmp_path).as_posix() for path in stdlib.source_files(tmp_path)] == kept


def test_stdlib_leaves_out_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("good = 1\n")
    (tmp_path / "b.py").write_bytes(b"# latin \xe9\n")
    (tmp_path / "c.py").symlink_to(tmp_path / "absent.py")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    assert read_corpus("stdlib").documents == ("good = 1\n",)


def test_text_is_one_document_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "with:colon.txt"
    file.write_bytes("Zeile eins\r\n\r\nœuvre\u2028twö\n".encode())
    assert read_corpus(f"text:{file}").documents == ("Zeile eins\r\n\r\nœuvre\u2028twö\n",)


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", encoding="utf-8-sig")
    (tmp_path / "a.jsonl").write_text('{"body": "text"}', encoding="utf-8-sig")
    assert read_corpus(f"text:{tmp_path}/a.txt").text == "text"
    assert read_corpus(f"jsonl:{tmp_path}/a.jsonl:body").text == "text"


def test_jsonl_path_may_hold_colons(tmp_path: Path) -> None:
    file = tmp_path / "a:b.jsonl"
    file.write_text('{"the text": "one"}\r\n\n{"the text": " "}\n{"the text": "t\\u00f6\\n"}')
    assert read_corpus(f"jsonl:{file}:the text").documents == ("one", "tö\n")


@settings(deadline=None)
@given(written=st.lists(texts.filter(str.strip), min_size=1, max_size=5), escape=st.booleans())
def test_jsonl_gives_back_what_was_written(
    written: list[str], escape: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    lines = [json.dumps({"id": number, "text": text}, ensure_ascii=escape) for number, text in enumerate(written)]
    file.write_text("\n".join(lines), encoding="utf-8", newline="")
    assert read_corpus(f"jsonl:{file}:text").documents == tuple(written)


def test_another_package_adds_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point's reader gets what stands after the first colon."""
    point = EntryPoint("echo", f"{__name__}:echo", "shieldwall.corpora")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "shieldwall.corpora" else [])
    assert read_corpus("echo:a:b") == Corpus("echo:a:b", ("a:b",))


def echo(argument: str) -> list[str]:
    return [argument]


def test_a_malformed_line_is_met_when_it_is_reached(tmp_path: Path) -> None:
    """Documents are read one by one, so a large file is not held twice."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "one"}\n{')
    assert next(jsonl.read(str(file))).values == {"text": "one"}
