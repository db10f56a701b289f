"""Evidence opens for the reviewers, whole and as it was sealed, and for nobody else."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shieldwall.core.errors import LedgerError, LedgerFileError, StorageError
from shieldwall.verify.ledger.evidence import EvidenceStore
from shieldwall.verify.ledger.keys import read_evidence_key, read_run_key, write_key

REVIEWERS = X25519PrivateKey.from_private_bytes(bytes(range(32)))
SECRET = torch.full((4, 16), 1.5)
META = {"slot": {"step": 3, "stage": 1}, "role": "input"}


def store(folder: Path, run: str = "run-7") -> EvidenceStore:
    return EvidenceStore(folder / "evidence", run, REVIEWERS.public_key().public_bytes_raw())


def tensors() -> dict[str, Tensor]:
    return {
        "input": SECRET,
        "bits": torch.tensor([float("nan"), float("inf"), -0.0], dtype=torch.bfloat16),
        "view": torch.arange(12).reshape(3, 4).T,
        "none": torch.zeros(0, 5),
    }


def test_what_was_sealed_comes_back_bit_for_bit(tmp_path: Path) -> None:
    root = store(tmp_path).put(tensors(), META)
    opened = store(tmp_path).read(root, REVIEWERS)
    assert opened.meta == META
    assert set(opened.tensors) == set(tensors())
    for name, tensor in tensors().items():
        assert opened.tensors[name].dtype == tensor.dtype
        assert opened.tensors[name].shape == tensor.shape
        raw = [each.contiguous().view(torch.uint8) for each in (opened.tensors[name], tensor)]
        assert torch.equal(*raw)


def test_the_same_piece_has_one_root_and_one_file(tmp_path: Path) -> None:
    shelf = store(tmp_path)
    root = shelf.put(tensors(), META)
    before = shelf.path(root).read_bytes()
    assert shelf.put(dict(reversed(tensors().items())), dict(reversed(META.items()))) == root
    assert shelf.path(root).read_bytes() == before
    others = {shelf.put(tensors(), {**META, "role": "output"}), shelf.put({"input": SECRET}, META)}
    assert len(others | {root}) == 3


def test_nothing_of_it_can_be_read_without_the_key(tmp_path: Path) -> None:
    shelf = store(tmp_path)
    raw = shelf.path(shelf.put({"input": SECRET}, META)).read_bytes()
    assert SECRET.numpy().tobytes()[:32] not in raw
    assert b"stage" not in raw


def test_another_key_does_not_open_it(tmp_path: Path) -> None:
    root = store(tmp_path).put(tensors(), META)
    with pytest.raises(LedgerFileError, match="SW-L205: this key does not open the evidence") as caught:
        store(tmp_path).read(root, X25519PrivateKey.generate())
    assert caught.value.exit_code == 2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), data=st.data())
def test_a_changed_piece_is_refused(place: float, bit: int, data: st.DataObject) -> None:

    with tempfile.TemporaryDirectory() as name:
        shelf = store(Path(name))
        root = shelf.put({"input": SECRET}, META)
        raw = bytearray(shelf.path(root).read_bytes())
        how = data.draw(st.sampled_from(["flip", "cut", "add"]))
        if how == "flip":
            raw[int(place * len(raw))] ^= 1 << bit
        elif how == "cut":
            del raw[int(place * len(raw)) :]
        else:
            raw += bytes(bit + 1)
        shelf.path(root).write_bytes(raw)
        with pytest.raises((LedgerError, LedgerFileError), match=r"SW-L110|SW-L205"):
            shelf.read(root, REVIEWERS)


def test_a_piece_cannot_be_passed_off_as_another(tmp_path: Path) -> None:
    """Neither under another root nor in another run: both are bound to what was sealed."""
    shelf = store(tmp_path)
    first, second = shelf.put({"input": SECRET}, META), shelf.put({"input": -SECRET}, META)
    shelf.path(second).write_bytes(shelf.path(first).read_bytes())
    with pytest.raises(LedgerError, match="SW-L110") as caught:
        shelf.read(second, REVIEWERS)
    assert caught.value.exit_code == 3
    with pytest.raises(LedgerError, match="SW-L110"):
        store(tmp_path, "another-run").read(first, REVIEWERS)


def test_a_piece_sealed_by_somebody_else_has_another_root(tmp_path: Path) -> None:
    """Anyone can seal for a public key; the root, which the verdict names, tells the pieces apart."""
    shelf = store(tmp_path)
    root = shelf.put({"input": SECRET}, META)
    forged = EvidenceStore(tmp_path / "forged", "run-7", REVIEWERS.public_key().public_bytes_raw())
    assert forged.put({"input": SECRET + 1}, META) != root


@pytest.mark.parametrize("root", ["0" * 64, "../ledger", "", "A" * 64])
def test_a_missing_piece_is_said_to_be_missing(root: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerFileError, match="SW-L203: a piece of evidence is missing"):
        store(tmp_path).read(root, REVIEWERS)


def test_a_piece_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    root = store(tmp_path).put(tensors(), META)
    small = EvidenceStore(tmp_path / "evidence", "run-7", largest_bytes=64)
    with pytest.raises(LedgerError, match="SW-L110"):
        small.read(root, REVIEWERS)


def test_a_store_without_a_key_only_reads(tmp_path: Path) -> None:
    root = store(tmp_path).put(tensors(), META)
    reader = EvidenceStore(tmp_path / "evidence", "run-7")
    assert reader.read(root, REVIEWERS).meta == META
    with pytest.raises(ValueError, match="no key to seal for"):
        reader.put(tensors(), META)


def test_keys_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "reviewers.key"
    write_key(path, REVIEWERS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == bytes(range(32)).hex() + "\n"
    assert read_evidence_key(path).private_bytes_raw() == bytes(range(32))
    with pytest.raises(LedgerFileError, match="never overwritten"):
        write_key(path, X25519PrivateKey.generate())
    assert path.read_text() == bytes(range(32)).hex() + "\n"
    signing = Ed25519PrivateKey.generate()
    write_key(tmp_path / "run.key", signing)
    assert read_run_key(tmp_path / "run.key").private_bytes_raw() == signing.private_bytes_raw()
    with pytest.raises(StorageError, match="SW-S101"):
        write_key(tmp_path / "nowhere" / "run.key", signing)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("00" * 32, 0o644, "others may read it"),
        ("00" * 31, 0o600, "31 bytes"),
        ("00" * 40, 0o600, "something else|33 bytes"),
        ("zz" * 32, 0o600, "something else"),
        ("é" * 32, 0o600, "something else"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_file_that_is_no_key_is_refused(text: str | None, mode: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "reviewers.key"
    if text is not None:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    with pytest.raises(LedgerFileError, match=rf"SW-L204: (.*\n)+.*({words})"):
        read_evidence_key(path)
