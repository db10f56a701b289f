"""The converter's models compute what llama2.c computes, and what cannot be converted is refused."""

from __future__ import annotations

import contextlib
import errno
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from llama2c_files import Sizes, forward, random_weights, small_pieces, write_model, write_tokenizer
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast
from typer.testing import CliRunner

from shieldwall import ModelError
from shieldwall.lab.llama2c.__main__ import app
from shieldwall.lab.llama2c.convert import convert
from shieldwall.lab.llama2c.model_file import read_model_file
from shieldwall.lab.llama2c.tokenizer_file import read_tokenizer_file
from shieldwall.models.source import open_source

SIZES = Sizes()
WEIGHTS = random_weights(SIZES, seed=0)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model and its tokenizer that can be converted."""
    model, tokenizer = tmp_path / "model.bin", tmp_path / "tokenizer.bin"
    write_model(model, SIZES, WEIGHTS)
    write_tokenizer(tokenizer, small_pieces())
    return model, tokenizer


def command(*arguments: Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_the_logits_are_those_of_llama2c(tied: bool, kv_heads: int, tmp_path: Path) -> None:
    """Against run.c's forward pass in float64: every position, tied or not, heads that share keys or not."""
    sizes = replace(SIZES, tied=tied, kv_heads=kv_heads)
    weights = random_weights(sizes, seed=kv_heads)
    write_model(tmp_path / "model.bin", sizes, weights)
    write_tokenizer(tmp_path / "tokenizer.bin", small_pieces())
    convert(tmp_path / "model.bin", tmp_path / "tokenizer.bin", tmp_path / "out")

    tokens = np.random.default_rng(1).integers(sizes.vocabulary, size=sizes.positions).tolist()
    expected_TV = forward(sizes, weights, tokens)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    with torch.no_grad():
        logits_TV = model(input_ids=torch.tensor([tokens])).logits[0].numpy()
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert np.abs(expected_TV).max() > 1
    np.testing.assert_allclose(logits_TV, expected_TV, rtol=1e-5, atol=1e-5)


def test_the_weights_of_the_oracle_show_a_missing_reordering(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Control of the test above: with llama2.c's rows as they are, the logits are far off from the second token on."""
    model_file, tokenizer_file = files
    convert(model_file, tokenizer_file, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    _, tensors = read_model_file(model_file)
    tokens = [1, 260, 265, 270]
    with torch.no_grad():
        for layer in range(SIZES.layers):
            for name in ("q_proj", "k_proj"):
                raw = tensors[f"model.layers.{layer}.self_attn.{name}.weight"]
                getattr(model.model.layers[layer].self_attn, name).weight.copy_(raw)
        wrong_TV = model(input_ids=torch.tensor([tokens])).logits[0].numpy()
    distance_T = np.abs(wrong_TV - forward(SIZES, WEIGHTS, tokens)).max(axis=1)
    assert distance_T[0] < 1e-5
    assert distance_T[1:].min() > 1e-2


def test_the_folder_is_in_hugging_face_layout(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = command(*files, tmp_path / "deep" / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 layers of width 24, 6 heads (2 for keys and values), 276 tokens, 16 positions: ")
    out = tmp_path / "deep" / "out"
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {
        path.name for path in out.iterdir()
    }
    source = open_source(out)
    assert (source.config.model_type, source.layers, source.positions) == ("llama", 2, 16)
    assert source.config.tie_word_embeddings
    assert GenerationConfig.from_pretrained(out).eos_token_id == [1, 2]


def test_the_same_files_give_the_same_bytes(files: tuple[Path, Path], tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    first, second = tmp_path / "first", tmp_path / "second"
    convert(*files, first)
    convert(*files, second)
    assert torch.equal(torch.random.get_rng_state(), before)
    for path in first.iterdir():
        assert (second / path.name).read_bytes() == path.read_bytes()


def test_help_names_the_files_and_an_example() -> None:
    said = CliRunner().invoke(app, ["--help"], terminal_width=120).output
    for word in ("MODEL.bin", "TOKENIZER.bin", "OUT", "export.py --version 0", "tok512.bin", "Exit codes"):
        assert word in said


def header(**changes: int) -> bytes:
    names = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
    return struct.pack("<7i", *({**dict(zip(names, SIZES.header(), strict=True)), **changes}.values()))


def with_header(**changes: int) -> Any:
    return lambda content: header(**changes) + content[28:]


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda content: content[:-1], "SW-M122", "the model file is cut short"),
        (lambda content: content[:28], "SW-M122", "got       28 bytes"),
        (lambda content: content + b"\0", "SW-M122", "the model file goes on after its last tensor"),
        (lambda content: content[:27], "SW-M121", "a file of 27 bytes"),
        (lambda _: b"", "SW-M121", "a file of 0 bytes"),
        (with_header(dim=0x616B3432, hidden_dim=2), "SW-M121", "version 2"),
        (with_header(dim=-24), "SW-M121", "dim of at least 1"),
        (with_header(n_layers=0), "SW-M121", "n_layers of at least 1"),
        (with_header(vocab_size=0), "SW-M121", "vocab_size other than 0"),
        (with_header(n_heads=5), "SW-M121", "n_heads that divides dim = 24 into even widths"),
        (with_header(n_heads=24), "SW-M121", "n_heads = 24"),
        (with_header(n_kv_heads=4), "SW-M121", "n_kv_heads that divides n_heads = 6"),
        (with_header(n_layers=2**31 - 1), "SW-M122", "2147483647 layers"),
        (with_header(vocab_size=-276), "SW-M122", "a classifier of its own"),
        (lambda content: content[:400] + struct.pack("<f", math.nan) + content[404:], "SW-M123", "embed_tokens"),
    ],
)
def test_a_wrong_model_file_is_refused(
    change: Any, code: str, said: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    model, tokenizer = files
    model.write_bytes(change(model.read_bytes()))
    refused(command(model, tokenizer, tmp_path / "out"), code, said, model)
    assert not list(tmp_path.glob("out*"))


def refused(result: Result, code: str, said: str, where: Path) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"ModelError {code}: ")
    for part in (said, str(where), "expected", "got", "do next", f"docs/errors/{code}.md"):
        assert part in result.stderr


def token_row(score: float, length: int, text: bytes) -> bytes:
    return struct.pack("<fi", score, length) + text


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda content: content[:3], "SW-M124", "a file of 3 bytes"),
        (lambda content: content[:-1], "SW-M124", "a piece of 2 bytes"),
        (lambda content: content + b"\0", "SW-M124", "1 bytes and the end of the file"),
        (lambda content: content + token_row(0, 2**31 - 1, b"x"), "SW-M124", "1 to 6 bytes"),
        (lambda content: content + token_row(0, 0, b""), "SW-M124", "1 to 6 bytes"),
        (lambda content: content + token_row(0, -1, b"x"), "SW-M124", "got       -1"),
        (lambda content: content + token_row(math.nan, 1, b"x"), "SW-M124", "a finite score"),
        (lambda content: content + token_row(0, 1, b"\xff"), "SW-M124", "a piece in UTF-8"),
        (lambda content: content[:-10] + token_row(0, 2, b"aa"), "SW-M124", "'aa', which is token 267 too"),
        (lambda content: content.replace(b"<0x07>", b"<0x7_>"), "SW-M124", "'<0x7_>'"),
        (lambda content: content + token_row(0, 1, b"x"), "SW-M125", "277 tokens"),
        (lambda content: content[:-10], "SW-M125", "275 tokens"),
    ],
)
def test_a_wrong_tokenizer_file_is_refused(
    change: Any, code: str, said: str, files: tuple[Path, Path], tmp_path: Path
) -> None:
    model, tokenizer = files
    tokenizer.write_bytes(change(tokenizer.read_bytes()))
    refused(command(model, tokenizer, tmp_path / "out"), code, said, tokenizer)
    assert not list(tmp_path.glob("out*"))


def test_a_vocabulary_without_room_for_the_bytes_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.bin", small_pieces()[:258])
    with pytest.raises(ModelError, match=r"SW-M124: [^$]*at least 259 tokens: <unk>, <s>, </s> and 256 bytes"):
        read_tokenizer_file(tmp_path / "tokenizer.bin", 258)


def test_files_in_the_wrong_order_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, tokenizer = files
    refused(command(tokenizer, model, tmp_path / "out"), "SW-M121", "hidden_dim of at least 1", tokenizer)


def test_what_is_no_file_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    absent = tmp_path / "absent.bin"
    refused(command(absent, files[1], tmp_path / "out"), "SW-M120", "No such file or directory", absent)
    refused(command(files[0], tmp_path, tmp_path / "out"), "SW-M120", "a folder", tmp_path)
    refused(command(Path("/dev/null"), files[1], tmp_path / "out"), "SW-M120", "a device", Path("/dev/null"))


def test_what_exists_is_never_overwritten(files: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for place in (out, files[0], link):
        refused(command(*files, place), "SW-M126", "a folder that is not there yet", place)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert link.is_symlink()


def test_a_full_disk_leaves_nothing_half_written(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the weights are written and the tokenizer is not."""
    met = []

    def full(_: PreTrainedTokenizerFast, folder: Path) -> None:
        met.append(sorted(path.name for path in folder.iterdir()))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", full)
    result = command(*files, tmp_path / "out")
    assert met == [["config.json", "generation_config.json", "model.safetensors"]]
    assert result.exit_code == 1
    assert "SW-S101: could not write out" in result.stderr
    assert not list(tmp_path.glob("out*"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_cut_and_every_changed_header_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Law: whatever the first 28 bytes say, and wherever the file ends, the reader raises ours and nothing else."""
    path = tmp_path_factory.mktemp("cut") / "model.bin"
    write_model(path, SIZES, WEIGHTS)
    content = path.read_bytes()
    if data.draw(st.booleans()):
        changed = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        numbers = data.draw(st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-4, 64), min_size=7, max_size=7))
        changed = struct.pack("<7i", *numbers) + content[28:]
    path.write_bytes(changed)
    if changed != content:
        with pytest.raises(ModelError, match=r"SW-M12[12]: "):
            read_model_file(path)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0), value=st.integers(0, 255), keep=st.integers(0))
def test_a_damaged_tokenizer_is_read_or_refused(
    at: int, value: int, keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Law: with any byte changed and any tail cut, the reader gives all 276 pieces or raises ours."""
    path = tmp_path_factory.mktemp("damaged") / "tokenizer.bin"
    write_tokenizer(path, small_pieces())
    content = bytearray(path.read_bytes())
    content[at % len(content)] = value
    path.write_bytes(content[: len(content) - keep % 20])
    with contextlib.suppress(ModelError):
        assert len({piece.text for piece in read_tokenizer_file(path, 276)}) == 276
