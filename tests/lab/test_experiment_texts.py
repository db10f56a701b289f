"""The texts that the experiments are meant for are found under the names that they really have."""

from __future__ import annotations

from pathlib import Path

import pytest

from shieldwall.data import read_corpus
from shieldwall.lab.experiment.scale import SMALL
from shieldwall.lab.experiment.texts import find_texts

pytestmark = pytest.mark.shared


@pytest.mark.parametrize("corpus", SMALL.corpora)
def test_each_corpus_is_found_and_is_text(corpus: str, shared: Path, tmp_path: Path) -> None:
    texts = find_texts(corpus, shared / "data", tmp_path)
    trained, tested = read_corpus(texts.train).documents, read_corpus(texts.test).documents
    assert sum(map(len, trained)) > sum(map(len, tested)) / 2 > 100_000
    assert not {document for document in trained if len(document) > 200} & set(tested)
