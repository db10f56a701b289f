"""What cells are trained and tested on.

    --data DIR     DIR/wikitext2, DIR/arxiv, DIR/openwebtext, each with a training and a test file as it is published
    without it     pydoc and stdlib, which every Python carries: the last tenth of the documents is the test text

The end of the training text is the validation text (`data.eval_fraction`). The test text is looked at once, when the
cell is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shieldwall.core.errors import ConfigError
from shieldwall.core.files import write_whole
from shieldwall.data import read_corpus

_ENDINGS = (".jsonl", ".parquet", ".txt")
_TRAINING = ("*train*", "*valid*")
"""WikiText-2 is used as it is given: where its official training text is not, its validation text is trained on."""
_TEST = ("*test*",)
_TEST_SHARE = 0.1

_FOLDERS = {"wikitext": ("wikitext2", "text"), "arxiv": ("arxiv", "abstract"), "openwebtext": ("openwebtext", "text")}
"""Corpus to its folder, and the field that holds its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """One corpus."""

    name: str
    train: str
    """Training and validation text, as `data.corpus`."""
    test: str
    root: str
    """SHA-256 over both, in hexadecimal."""
    said: str
    """What it is, in words."""

    @property
    def pretrained_on(self) -> str:
        """Corpus of the base model: always another one."""
        return "stdlib" if self.name == "pydoc" else "pydoc"


def find_texts(name: str, data: Path | None, out: Path) -> Texts:
    """The corpus of that name.

    Args:
        name: as in a scale.
        data: the folder of data; None where the corpus is one of Python's own.
        out: where texts of Python's own are written, as two files.

    Raises:
        ConfigError: SW-C123; the folder lacks it.
        CorpusError: SW-D1...; its text cannot be read.
        StorageError: SW-S101.
    """
    if data is None:
        return _own(name, out / "texts")
    folder, field = data / _FOLDERS[name][0], _FOLDERS[name][1]
    train, test = _find_file(folder, _TRAINING), _find_file(folder, _TEST)
    root = hashlib.sha256(train.read_bytes() + b"\0" + test.read_bytes()).hexdigest()
    said = f"{name}: trained on {train.name}, tested on {test.name}"
    return Texts(name=name, train=_spec(train, field), test=_spec(test, field), root=root, said=said)


def _find_file(folder: Path, patterns: Sequence[str]) -> Path:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.suffix in _ENDINGS:
                return path
    wanted = " or ".join(pattern.strip("*") for pattern in patterns)
    raise ConfigError(
        "SW-C123",
        "the folder of data lacks a text",
        where=f"--data, {folder}",
        expected=f"a file with {wanted} in its name that ends in {', '.join(_ENDINGS)}",
        got="none" if folder.is_dir() else "no such folder",
        remedy="give the folder that holds wikitext2/, arxiv/ and openwebtext/, or leave --data out: then the text"
        " that Python carries is used",
    )


def _spec(path: Path, field: str) -> str:
    path = path.resolve()
    return f"text:{path}" if path.suffix == ".txt" else f"{path.suffix[1:]}:{path}:{field}"


def _own(name: str, folder: Path) -> Texts:
    """Python's own documents in two files; those that are there already and the same are left alone."""
    documents = read_corpus(name).documents
    cut = len(documents) - max(1, round(len(documents) * _TEST_SHARE))
    parts = {"train": documents[:cut], "test": documents[cut:]}
    folder.mkdir(parents=True, exist_ok=True)
    hashed, specs = hashlib.sha256(), {}
    for part, texts in parts.items():
        content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
        hashed.update(hashlib.sha256(content).digest())
        path = folder / f"{name}-{part}.jsonl"
        if not path.exists() or path.read_bytes() != content:
            write_whole(path, content)
        specs[part] = _spec(path, "text")
    said = f"{name}: trained on its first {cut} documents, tested on its last {len(documents) - cut}"
    return Texts(name=name, train=specs["train"], test=specs["test"], root=hashed.hexdigest(), said=said)
