"""TensorBoard shows what `metrics.jsonl` says, also of a run that was stopped and went on."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from attacked import LIAR, run
from commands import TINY, overrides, shieldwall, start
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shieldwall import Config, ConfigError, Hook, NonFiniteError, StorageError, train
from shieldwall.core.errors import ShieldwallError
from shieldwall.core.hooks import Border
from shieldwall.core.lines import read_lines

PLAIN = [*TINY, "verify.policy=none"]
"""Nothing is repaired, so that a worker can break the run."""

BOARD = [*PLAIN, "run.tensorboard=true"]
TAGS = {"loss", "learning_rate", "gradient_norm", "tokens_per_second", "alerts", "eval_perplexity"}


class Breaks(Hook):
    """From one step on, a worker's activations are NaN."""

    def __init__(self, step: int) -> None:
        self._step = step

    async def after_forward(self, border: Border, activation_BTD: Any) -> Any:
        return activation_BTD * float("nan") if border.slot.step >= self._step else activation_BTD


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "board"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_board_is_what_the_metrics_say(folder: Path, steps: range) -> None:
    lines, found = read_lines(folder / "metrics.jsonl").lines, shown(folder)
    assert [line["step"] for line in lines] == list(steps)
    assert set(found) == TAGS
    for tag in TAGS:
        expected = [(line["step"], line[tag]) for line in lines if tag in line]
        assert [step for step, _ in found[tag]] == [step for step, _ in expected]
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in expected], rel=1e-6)


def test_the_board_is_what_the_metrics_say(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(Config.load(None, BOARD), folder=folder)
    assert_board_is_what_the_metrics_say(folder, range(6))


def test_the_board_shows_alerts(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, [{**LIAR, "from_step": 1}], "run.tensorboard=true", "run.steps=3")
    alerts = [value for _, value in shown(folder)["alerts"]]
    assert [value > 0 for value in alerts] == [False, True, False]
    assert alerts == [line["alerts"] for line in read_lines(folder / "metrics.jsonl").lines]


def test_after_a_stop_no_step_is_shown_twice(tmp_path: Path) -> None:
    """The run breaks in step 5; step 4 came after the last checkpoint and is run again."""
    folder = tmp_path / "run"
    config = Config.load(None, [*BOARD, "checkpoint.every_steps=4", "run.steps=9"])
    with pytest.raises(NonFiniteError):
        train(config, folder=folder, hooks_of={"worker-1": [Breaks(5)]})
    assert_board_is_what_the_metrics_say(folder, range(5))
    train(folder=folder, resume=True)
    assert_board_is_what_the_metrics_say(folder, range(9))
    assert len(list((folder / "board").iterdir())) == 2


def test_events_are_closed_however_the_run_ends(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        train(Config.load(None, BOARD), folder=tmp_path / "run", hooks_of={"worker-1": [Breaks(1)]})
    assert [thread.name for thread in threading.enumerate() if "Writer" in type(thread).__name__] == []


def test_the_board_decides_nothing_and_may_be_asked_for_on_resume(tmp_path: Path) -> None:
    """Then it shows the whole run, also the steps before."""
    plain, folder = Config.load(None, [*PLAIN, "run.steps=9"]), tmp_path / "run"
    with_board = Config.load(None, [*BOARD, "run.steps=9"])
    assert plain.root() == with_board.root()
    assert plain.root() != Config.load(None, PLAIN).root()
    with pytest.raises(NonFiniteError):
        train(plain, folder=folder, hooks_of={"worker-1": [Breaks(5)]})
    assert not (folder / "board").exists()
    train(with_board, folder=folder, resume=True)
    assert_board_is_what_the_metrics_say(folder, range(9))


def test_a_running_run_is_seen_as_it_goes(warm_programs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = overrides("run.tensorboard=true", "run.steps=100000")
    process = start("train", "--run", folder, *settings, warm=warm_programs)
    pause = threading.Event()
    try:
        while len(read_lines(folder / "metrics.jsonl").lines) < 6 and process.poll() is None:
            pause.wait(0.01)
        seen = shown(folder)
    finally:
        process.kill()
        process.communicate()
    assert [step for step, _ in seen["loss"]][:5] == list(range(5))


def test_without_the_extra_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for resume in ([], ["--resume"]):
        result = shieldwall("train", "--run", tmp_path / "run", *resume, *overrides("run.tensorboard=true"))
        assert result.code == 2
        assert "ConfigError SW-C110: TensorBoard is not installed" in result.err
        assert 'pip install "shieldwall[board]"' in result.err
        assert not (tmp_path / "run").exists()


def test_a_stored_wish_for_a_board_is_held_against_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(NonFiniteError):
        train(Config.load(None, BOARD), folder=folder, hooks_of={"worker-1": [Breaks(3)]})
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match="SW-C110: TensorBoard is not installed"):
        train(folder=folder, resume=True)
    assert train(Config.load(None, PLAIN), folder=folder, resume=True).summary.steps == 6


def test_a_board_that_cannot_be_written_ends_with_a_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ShieldwallError):
        train(Config.load(None, PLAIN), folder=folder, hooks_of={"worker-1": [Breaks(3)]})
    (folder / "board").write_text("in the way")
    with pytest.raises(StorageError, match="SW-S101: could not write board"):
        train(Config.load(None, BOARD), folder=folder, resume=True)
