"""Stopping and going on: signals, SIGKILL at any moment, and the same weights in the end."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
from commands import TINY, finish, overrides, shieldwall, start, wait_for

from shieldwall import CheckpointError, Config, RunFolderError, Summary, train
from shieldwall.core.lines import read_lines
from shieldwall.run.folder import RunFolder

FREE = [*TINY, "verify.policy=none"]
"""A finished run can go on when its summary is taken away; a checked run cannot, because its ledger is closed."""

SLOW = ["run.steps=16", "checkpoint.every_steps=1", "model.width=32", "model.heads=4"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    return train(Config.load(None, [*TINY, *SLOW]), folder=folder).summary


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it copy it."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(Config.load(None, FREE), folder=folder)
    return folder


def moments(folder: Path, seed: int) -> list[Callable[[], bool]]:
    """When to kill: while the run is set up, between steps, inside a checkpoint, inside the export."""
    chance = random.Random(seed)
    lines, saving = chance.randint(1, 4), chance.randint(6, 9)

    def has_lines(count: int) -> Callable[[], bool]:
        return lambda: len(read_lines(folder / "metrics.jsonl").lines) >= count

    def exists(*names: str) -> Callable[[], bool]:
        return lambda: any((folder / name).exists() for name in names)

    return [
        exists("config.toml"),
        exists("initial.partial", "initial"),
        has_lines(lines),
        exists(f"checkpoints/step-{saving}.partial/model.safetensors.index.json", f"checkpoints/step-{saving}"),
        has_lines(saving + 3),
        exists("model.partial", "model"),
    ]


def test_killed_at_any_moment_and_resumed_it_ends_with_the_same_weights(
    undisturbed: Summary, warm_programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    killed = 0
    for moment in moments(folder, seed=5):
        process = start("train", "--run", folder, "--resume", *overrides(*SLOW), warm=warm_programs)
        wait_for(process, moment)
        process.send_signal(signal.SIGKILL)
        killed += finish(process).code == -signal.SIGKILL
    assert killed == 6
    last = finish(start("train", "--run", folder, "--resume", *overrides(*SLOW), warm=warm_programs))
    assert last.code == 0, last.err
    summary = Summary.read(folder / "summary.json")
    assert summary.weights_root == undisturbed.weights_root
    assert summary.eval_perplexity == undisturbed.eval_perplexity
    assert [line["step"] for line in read_lines(folder / "metrics.jsonl").lines] == list(range(16))
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_resumed_run_ends_with_the_same_weights(
    number: signal.Signals, undisturbed: Summary, warm_programs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    process = start("train", "--run", folder, *overrides(*SLOW), warm=warm_programs)
    wait_for(process, lambda: len(read_lines(folder / "metrics.jsonl").lines) >= 3)
    process.send_signal(number)
    stopped = finish(process)
    assert stopped.code == 130
    assert "SW-I101: the run was stopped by a signal" in stopped.err
    assert f"shieldwall train --run {folder} --resume" in stopped.err
    assert not (folder / "summary.json").exists()
    resumed = shieldwall("train", "--run", folder, "--resume")
    assert resumed.code == 0, resumed.err
    assert "resuming from step-" in resumed.err
    assert Summary.read(folder / "summary.json").weights_root == undisturbed.weights_root


def test_a_run_may_go_on_with_another_cut_than_it_was_saved_with(tmp_path: Path) -> None:
    """Checkpoints keep tensors by name, so the measured cut may come out differently on resume."""
    whole = train(Config.load(None, TINY), folder=tmp_path / "whole").summary
    folder = tmp_path / "moved"
    train(Config.load(None, [*FREE, "pipeline.cut=[1,1,1,1,1,1]"]), folder=folder)
    text = (folder / "config.toml").read_text().replace("stages = 6", "stages = 3")
    (folder / "config.toml").write_text(
        text[: text.index("cut = [")] + 'cut = "auto"\n' + text[text.index("]\n\n[optimizer]") + 2 :]
    )
    (folder / "summary.json").unlink()
    (folder / "checkpoints" / "step-6").rename(folder / "checkpoints" / "step-6.partial")
    assert train(folder=folder, resume=True).summary.weights_root == whole.weights_root


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = train(Config.load(None, FREE), folder=folder).summary
    assert train(folder=folder, resume=True).summary == first


def test_another_configuration_is_refused_on_resume(ended: Path, tmp_path: Path) -> None:
    folder = copytree(ended, tmp_path / "run")
    result = shieldwall("train", "--run", folder, "--resume", *overrides("optimizer.learning_rate=0.5"))
    assert result.code == 2
    assert "SW-R104: the run was started with another configuration" in result.err
    assert "optimizer.learning_rate: the run has 0.0015, given was 0.5" in result.err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(RunFolderError, match=r"SW-R102: there is no run in this folder"):
        train(Config.load(None, FREE), folder=tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]
    result = shieldwall("train", "--resume")
    assert result.code == 2
    assert "SW-R105: it is not said which run to resume" in result.err
    absent = shieldwall("train", "--run", tmp_path / "typo", "--resume")
    assert absent.code == 2
    assert "SW-R102: there is no run in this folder" in absent.err
    assert not (tmp_path / "typo").exists()


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(Config.load(None, [*FREE, "run.steps=1"]), folder=folder)
    (folder / "summary.json").unlink()
    with RunFolder(folder).locked(), pytest.raises(RunFolderError, match=r"SW-R103: another process is training"):
        train(folder=folder, resume=True)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("pattern", ["model-00003*", "optimizer-00003*"])
@pytest.mark.parametrize(("damage", "code"), [(truncate, "SW-K102"), (flip, "SW-K106"), (Path.unlink, "SW-K10")])
def test_a_damaged_checkpoint_is_refused_by_name(
    damage: Callable[[Path], None], code: str, pattern: str, ended: Path, tmp_path: Path
) -> None:
    folder = copytree(ended, tmp_path / "run")
    (folder / "summary.json").unlink()
    damage(next((folder / "checkpoints" / "step-6").glob(pattern)))
    with pytest.raises(CheckpointError, match=code) as caught:
        train(folder=folder, resume=True)
    assert "step-6" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_changed_state_is_refused(ended: Path, tmp_path: Path) -> None:
    """One step less than was saved would give other weights without anybody noticing."""
    folder = copytree(ended, tmp_path / "run")
    (folder / "summary.json").unlink()
    path = folder / "checkpoints" / "step-6" / "state.json"
    path.write_text(path.read_text().replace('"step": 6', '"step": 5'))
    with pytest.raises(CheckpointError, match=r"SW-K106: a checkpoint does not hold what was saved"):
        train(folder=folder, resume=True)


def test_a_checkpoint_without_its_state_is_refused(ended: Path, tmp_path: Path) -> None:
    folder = copytree(ended, tmp_path / "run")
    (folder / "summary.json").unlink()
    (folder / "checkpoints" / "step-6" / "state.json").write_text(json.dumps({"progress": {}}))
    with pytest.raises(CheckpointError, match=r"SW-K102: state.json of a checkpoint cannot be read"):
        train(folder=folder, resume=True)


def test_another_text_or_arithmetic_is_refused_on_resume(tmp_path: Path) -> None:
    """The configuration names a text and a machine, it does not hold them; the bits would silently differ."""
    corpus, folder = tmp_path / "corpus.txt", tmp_path / "run"
    corpus.write_text("".join(f"line {number} of a text that somebody edits later\n" for number in range(400)))
    train(Config.load(None, [*FREE, f"data.corpus=text:{corpus}"]), folder=folder)
    (folder / "summary.json").unlink()
    corpus.write_text(corpus.read_text().upper())
    with pytest.raises(RunFolderError, match=r"SW-R106: the run cannot go on with the bits") as caught:
        train(folder=folder, resume=True)
    assert "training_blocks" in str(caught.value)
    corpus.write_text(corpus.read_text().lower())
    inputs = (folder / "inputs.json").read_text()
    (folder / "inputs.json").write_text(inputs.replace('"arithmetic.torch": "', '"arithmetic.torch": "1.'))
    with pytest.raises(RunFolderError, match=r"SW-R106") as caught:
        train(folder=folder, resume=True)
    assert "arithmetic.torch" in str(caught.value)
    (folder / "inputs.json").write_text(inputs)
    train(folder=folder, resume=True)


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "my run é"
    train(Config.load(None, [*FREE, "run.steps=2"]), folder=folder)
    (folder / "summary.json").unlink()
    assert train(folder=folder, resume=True).summary.steps == 2


def test_a_refused_first_resume_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert shieldwall("train", "--run", folder, "--resume", *overrides("pipeline.stages=7")).code == 2
    assert not folder.exists()


@pytest.mark.parametrize(("name", "content"), [("summary.json", "{"), ("inputs.json", "[3]")])
def test_a_garbled_file_of_the_run_is_refused(name: str, content: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(Config.load(None, [*FREE, "run.steps=2"]), folder=folder)
    if name != "summary.json":
        (folder / "summary.json").unlink()
    (folder / name).write_text(content)
    with pytest.raises(RunFolderError, match=r"SW-R107: a file of the run cannot be read") as caught:
        train(folder=folder, resume=True)
    assert name in str(caught.value)
