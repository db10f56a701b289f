"""Lines are read as far as they are whole: a cut at any byte leaves a beginning of them, and damage is named."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldwall.core.lines import WrittenLines, read_lines

VALUES = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.just("\n\u2028")
OBJECTS = st.lists(st.dictionaries(st.text(), VALUES | st.lists(VALUES), max_size=3), max_size=5)


@settings(derandomize=True, deadline=None)
@given(OBJECTS, st.data())
def test_a_cut_at_any_byte_leaves_the_lines_that_have_their_end(
    objects: list[dict[str, Any]], data: st.DataObject
) -> None:
    written = [json.dumps(each).encode() + b"\n" for each in objects]
    content = b"".join(written)
    cut = data.draw(st.integers(0, len(content)))
    ends = [sum(map(len, written[: count + 1])) for count in range(len(written))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines.jsonl"
        path.write_bytes(content[:cut])
        assert read_lines(path) == WrittenLines(tuple(objects[: sum(end <= cut for end in ends)]))


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (b'{"step" 1}', "line 2: Expecting ':'"),
        (b"[1]", "line 2: list"),
        (b"", "line 2: Expecting value"),
        (b'{"loss": NaN}', "line 2: NaN is no number"),
        (b'{"loss": -Infinity}', "line 2: -Infinity is no number"),
        (b'{"name": "\xff"}', "line 2: 'utf-8' codec"),
        (b"\0\0\0\0", "line 2: "),
    ],
)
def test_what_is_before_damage_is_read_and_the_damage_is_named(tmp_path: Path, damaged: bytes, said: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"step": 0}\n' + damaged + b'\n{"step": 2}\n')
    found = read_lines(path)
    assert found.lines == ({"step": 0},)
    assert found.damage.startswith(said)


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "lines.jsonl") == WrittenLines(())
