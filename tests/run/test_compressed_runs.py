"""Whole runs with compressed borders: one set of weights wherever the workers are, verdicts that hold, and the key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from attacked import LIAR, configured, culprits, run
from commands import overrides, shieldwall
from processes import Processes

from conftest import MakeModel
from shieldwall.core.compression import Compression
from shieldwall.core.errors import TransportError
from shieldwall.models.settings import ModelSettings
from shieldwall.models.source import open_source
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.pipeline.optimizer import OptimizerSettings
from shieldwall.run.machines.welcome import describe, settings_of
from shieldwall.run.planning import plan
from shieldwall.run.rejudge import rejudge
from shieldwall.verify.ledger.cases import cases

INT8 = "transport.compression=int8"
TWO_STEPS = ["run.steps=2", "evaluation.every_steps=2"]


@pytest.fixture
def processes(warm_programs: Path, tmp_path: Path) -> Iterator[Processes]:
    """Nothing is left of them afterwards."""
    found = Processes(warm_programs, tmp_path)
    yield found
    found.clear()


def test_worker_processes_train_the_weights_of_one_process(processes: Processes, tmp_path: Path) -> None:
    """And those are not the weights of a run that sends every bit."""
    here = run(tmp_path / "here", [], INT8, *TWO_STEPS)
    plain = run(tmp_path / "plain", [], *TWO_STEPS)
    processes.train(INT8, *TWO_STEPS)
    processes.join(1, 2, 3, 4)
    assert processes.end() == 0, processes.said
    there = json.loads((tmp_path / "train.out").read_text())
    assert (there["weights_root"], there["config_root"]) == (here.weights_root, here.config_root)
    assert (there["alerts"], there["verdicts"]) == (0, [])
    assert plain.weights_root != here.weights_root
    assert plain.config_root != here.config_root


@pytest.mark.parametrize("topology", ["chain", "star"])
def test_a_liar_is_named_repaired_and_judged_again(topology: str, tmp_path: Path) -> None:
    settings = [INT8, *TWO_STEPS, f"pipeline.topology={topology}", "respond.ban=false"]
    clean = run(tmp_path / "clean", [], *settings)
    attacked = run(tmp_path / "attacked", [LIAR], *settings)
    assert culprits(attacked) == {"worker-2"}
    assert attacked.weights_root == clean.weights_root
    assert attacked.eval_perplexity == clean.eval_perplexity
    assert shieldwall("ledger", "verify", tmp_path / "attacked").code == 0
    found = list(cases(tmp_path / "attacked"))
    assert rejudge(tmp_path / "attacked", tmp_path / "attacked" / "private" / "evidence.key").upheld == len(found) > 0


def test_compression_decides_bits_and_so_it_does_not_change_on_resume(tmp_path: Path) -> None:
    run(tmp_path / "run", [], INT8, *TWO_STEPS)
    changed = overrides("transport.compression=bf16", *TWO_STEPS)
    resumed = shieldwall("train", "--run", tmp_path / "run", "--resume", *changed)
    assert (resumed.code, "transport.compression" in resumed.err) == (2, True)


def test_the_plan_and_the_arithmetic_class_say_what_is_sent() -> None:
    """Per tensor of (1, 16, 16) float32: 1,024 bytes; two for one; or 16 integers and a scale for each token."""
    found = {}
    for kind in ("none", "bf16", "int8"):
        config = configured([], f"transport.compression={kind}", "pipeline.micro_batch_size=1")
        found[kind] = plan(config)
    assert {kind: each.border_bytes for kind, each in found.items()} == {"none": 1024, "bf16": 512, "int8": 16 * 20}
    borders = {kind: each.arithmetic.borders for kind, each in found.items()}
    assert borders == {"none": "contiguous", "bf16": "contiguous/bf16", "int8": "contiguous/int8/128"}
    traffic = found["int8"].to_json()["traffic"]
    assert all(each["bytes"] == each["tensors"] * 16 * 20 for each in traffic.values())


def test_a_worker_hears_of_the_compression_and_refuses_one_that_it_does_not_know(make_model: MakeModel) -> None:
    settings = HostSettings(
        model=ModelSettings(config=open_source(make_model("gpt2")).config, attention="sdpa", dtype=torch.bfloat16),
        seed=1,
        device=torch.device("cpu"),
        optimizer=OptimizerSettings(),
        compression=Compression("int8", torch.bfloat16),
    )
    welcome = describe(
        settings, run="r", topology="chain", checked=True, threads=1, frame_bytes=1, state_bytes=1, silence_s=1.8
    )
    assert settings_of(welcome, torch.device("cpu")).compression == settings.compression
    with pytest.raises(TransportError, match="SW-T107") as caught:
        settings_of(replace(welcome, compression="zip"), torch.device("cpu"))
    assert "one of: none, bf16, int8" in str(caught.value)
