"""The doctor on one machine by itself: each fault that it claims to find, and beside it the machine without."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from listening_run import examine, failed, only_failure
from torch import Tensor

from shieldwall.run.machines.doctor import packages
from shieldwall.run.machines.doctor.clock import check_skew
from shieldwall.run.machines.doctor.device import Multiply, check_device, check_devices, multiply
from shieldwall.run.machines.doctor.packages import LEAST, PYTHON, check_python, compare_versions
from shieldwall.run.machines.doctor.storage import LEAST_DISK_BYTES, LEAST_MEMORY_BYTES, check_memory
from shieldwall.transport.identity.home import IDENTITY_KEY, open_home

NOW = datetime.now(UTC)
CPU = torch.device("cpu")
PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def test_a_machine_with_everything_passes_and_is_left_as_it_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found = examine(home)
    assert failed(found) == []
    assert [finding.check for finding in found] == [
        "python", *["package"] * len(LEAST), "device", "home", "keys", "clock", "memory",
    ]  # fmt: skip
    assert not home.exists()


@pytest.mark.parametrize("name", LEAST)
def test_a_package_that_is_too_old_or_absent(name: str, tmp_path: Path) -> None:
    def one(version: str | None) -> packages.Installed:
        def installed(asked: str) -> str:
            if asked == name and version is None:
                raise PackageNotFoundError(name)
            return str(version) if asked == name else "999.1"

        return installed

    for version in ("0.9", None):
        found = only_failure(examine(tmp_path, installed=one(version)))
        assert (found.check, found.about, found.prevents) == ("package", name, True)
        assert f"{name}>={LEAST[name]}" in found.remedy
    for version in (LEAST[name], f"{LEAST[name]}.1+cpu", "1000.dev0"):
        assert failed(examine(tmp_path, installed=one(version))) == []


def test_the_numbers_are_those_of_the_package() -> None:
    wanted = dict(re.findall(r"^([\w-]+)>=([\d.]+)$", "\n".join(PROJECT["dependencies"]), re.MULTILINE))
    assert {name: wanted[name] for name in LEAST} == LEAST
    least, below = (".".join(map(str, each)) for each in PYTHON)
    assert PROJECT["requires-python"] == f">={least},<{below}"


@pytest.mark.parametrize(("running", "passes"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 14, 0), False)])
def test_a_python_that_is_too_old_or_too_new(running: tuple[int, ...], passes: bool) -> None:
    assert check_python(running).passed is passes


def less_precise(left_NN: Tensor, right_NN: Tensor, device: torch.device) -> Tensor:
    return multiply(left_NN.bfloat16(), right_NN.bfloat16(), device).float()


def one_entry_off(left_NN: Tensor, right_NN: Tensor, device: torch.device) -> Tensor:
    product_NN = multiply(left_NN, right_NN, device)
    product_NN[17, 3] += 0.5
    return product_NN


def not_a_number(left_NN: Tensor, right_NN: Tensor, device: torch.device) -> Tensor:
    return multiply(left_NN, right_NN, device) * float("nan")


def refuses(*_: object) -> Tensor:
    raise RuntimeError("CUDA error: out of memory\nand more")


@pytest.mark.parametrize("compute", [less_precise, one_entry_off, not_a_number, refuses])
def test_a_device_that_computes_wrong_or_not_at_all(compute: Multiply, tmp_path: Path) -> None:
    found = only_failure(examine(tmp_path, compute=compute))
    assert (found.check, found.prevents) == ("device", True)
    assert found.about.startswith("cpu (")


def test_every_order_of_the_sums_is_right() -> None:
    """The clean twin is not only torch's own kernel: any order of adding is within the bound."""

    def backwards(left_NN: Tensor, right_NN: Tensor, device: torch.device) -> Tensor:
        return multiply(left_NN.flip(1), right_NN.flip(0), device)

    assert check_device(CPU, multiply).passed
    assert check_device(CPU, backwards).passed


@pytest.mark.parametrize("wish", ["cuda:77", "abacus", "meta"])
def test_a_device_that_is_not_there(wish: str) -> None:
    [found] = check_devices(wish, every=False)
    assert (found.passed, found.about) == (False, wish)
    assert "cpu" in found.remedy


def test_too_little_memory(tmp_path: Path) -> None:
    found = only_failure(examine(tmp_path, free_memory_bytes=lambda _: LEAST_MEMORY_BYTES - 1))
    assert found.check == "memory"
    assert failed(examine(tmp_path, free_memory_bytes=lambda _: LEAST_MEMORY_BYTES)) == []


@given(free_bytes=st.integers(0, 1 << 45), need_bytes=st.integers(1, 1 << 45))
@settings(derandomize=True, deadline=None)
def test_what_a_plan_needs_must_be_there_and_no_more(free_bytes: int, need_bytes: int) -> None:
    found = check_memory(free_bytes, need_bytes)
    assert found.passed is (free_bytes >= need_bytes)
    assert found.prevents is not found.passed


def test_a_full_disk(tmp_path: Path) -> None:
    found = only_failure(examine(tmp_path / "home", free_disk_bytes=lambda _: LEAST_DISK_BYTES - 1))
    assert (found.check, found.prevents) == ("home", True)
    assert failed(examine(tmp_path / "home", free_disk_bytes=lambda _: LEAST_DISK_BYTES)) == []


def test_a_home_that_can_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = only_failure(examine(tmp_path / "file" / "home"))
    assert (found.check, found.about) == ("home", str(tmp_path / "file" / "home"))


@pytest.mark.parametrize("fault", ["readable by others", "cut short"])
def test_a_key_file_that_cannot_be_used(fault: str, tmp_path: Path) -> None:
    with open_home(tmp_path):
        assert failed(examine(tmp_path)) == []  # also while a worker lives there
    key = tmp_path / IDENTITY_KEY
    if fault == "cut short":
        key.write_bytes(key.read_bytes()[:20])
    else:
        key.chmod(0o644)
    found = only_failure(examine(tmp_path))
    assert (found.check, found.about, found.prevents) == ("keys", str(key), True)
    assert fault == "cut short" or "mode 0644" in found.saw


@pytest.mark.parametrize("off", [timedelta(days=-20_000), timedelta(days=40_000)])
def test_a_clock_that_cannot_be_right(off: timedelta, tmp_path: Path) -> None:
    found = only_failure(examine(tmp_path, clock=lambda: NOW + off))
    assert found.check == "clock"
    assert failed(examine(tmp_path, clock=lambda: NOW)) == []


@given(seconds=st.floats(-1e6, 1e6))
@settings(derandomize=True, deadline=None)
def test_clocks_may_be_five_minutes_apart_either_way(seconds: float) -> None:
    apart = timedelta(seconds=seconds)
    assert check_skew(NOW, NOW + apart).passed is (abs(apart) <= timedelta(minutes=5))


def test_versions_that_differ_from_the_run_s() -> None:
    here = {"shieldwall": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"}
    assert failed(compare_versions(here, here)) == []
    for name in here:
        found = only_failure(compare_versions({**here, name: "9.9"}, here))
        assert (found.about, found.prevents) == (name, True)
        assert f"pip install {name}==9.9" in found.remedy
