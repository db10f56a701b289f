"""Shared by all tests: quiet libraries, pinned threads, small models on the disk."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # commands that tests start share the cores and must not spin

import pytest
import torch

from shieldwall.models.families import TinyShape
from shieldwall.models.tiny import write_tiny
from warm import programs

MakeModel = Callable[..., Path]

pytest_plugins = ["shared_data"]


@pytest.fixture(scope="session", autouse=True)
def rare_collections() -> None:
    """Models come and go by the thousand here; the collector need not look at the libraries' own objects each time."""
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(autouse=True)
def pinned_threads() -> Iterator[None]:
    """Every test computes in the same arithmetic class, whatever ran before it.

    One thread: the models are so small that a second one would only spin, and starve whatever else runs here.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def warm_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a `shieldwall` and a `python` that need not import anything: tests/warm.py."""
    folder = tmp_path_factory.mktemp("programs")
    with programs(folder, {**os.environ, "OMP_NUM_THREADS": "1"}):
        yield folder


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Writes a small random model of a family, once for each size."""
    made: dict[tuple[str, int, int], Path] = {}

    def make(family: str, layers: int = 6, width: int = 32) -> Path:
        key = (family, layers, width)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{layers}-{width}")
            shape = TinyShape(layers=layers, width=width, heads=4, vocabulary=97, positions=64, end_token=0)
            write_tiny(family, shape, 0, folder)
            made[key] = folder
        return made[key]

    return make
