"""`shieldwall report`: of finished, running and damaged runs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import statistics
from pathlib import Path

import numpy as np
import pytest
from attacked import LIAR
from attacked import run as run_with_attacks
from commands import TINY, finish, overrides, shieldwall, start, wait_for
from matplotlib.image import imread

from shieldwall import Config, RunFolderError, StorageError, Summary, report, train
from shieldwall.core.lines import read_lines

PICTURES = {"loss.png", "learning_rate.png", "gradient_norm.png", "throughput.png", "plan.png"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    train(Config.load(None, TINY), folder=folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


LETTERS = {"forward": "F", "backward": "B", "check of forward": "D", "check of backward": "E"}


def content_of(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and "report" not in path.parts]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_report_holds_a_page_and_real_pictures_and_only_reads_the_run(run: Path) -> None:
    before = content_of(run)
    result = shieldwall("report", run)
    assert result.code == 0, result.err
    assert "finished after 6 of 6 steps: loss " in result.out
    assert {path.name for path in (run / "report").iterdir()} == {"report.md", *PICTURES}
    for name in PICTURES:
        pixels = imread(run / "report" / name)
        assert pixels.shape[0] > 200
        assert pixels.shape[1] > 800
        colours = np.unique(np.round(pixels[..., :3] * 255).astype(int).reshape(-1, 3), axis=0)
        assert any(colour.max() - colour.min() > 60 for colour in colours), f"{name} is grey all over"
    assert content_of(run) == before


def test_the_page_shows_the_runs_numbers(run: Path) -> None:
    made = report(run)
    page, summary = made.page.read_text(), Summary.read(run / "summary.json")
    assert summary.weights_root in page
    assert summary.config_root in page
    assert f"| evaluation perplexity | {summary.eval_perplexity:.4f} |" in page
    assert f"{summary.train_loss:.4f} in the last" in page
    assert json.loads((run / "plan.json").read_text())["arithmetic_class"]["root"] in page
    for name in PICTURES:
        assert f"]({name})" in page
    for line in read_lines(run / "metrics.jsonl").lines:
        if "eval_perplexity" in line:
            assert f"| {line['step'] + 1} | {line['eval_perplexity']:.4f} |" in page
    assert [state.steps for state in made.numbers.checkpoints] == sorted(
        int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir()
    )
    assert all(f"| step-{state.steps} |" in page for state in made.numbers.checkpoints)


def test_a_program_can_read_the_numbers(run: Path) -> None:
    result = shieldwall("report", run, "--json")
    numbers, summary = result.json(), Summary.read(run / "summary.json")
    assert (numbers["finished"], numbers["steps"], numbers["steps_wanted"]) == (True, 6, 6)
    assert numbers["train_loss"] == summary.train_loss
    assert numbers["eval_perplexity"] == summary.eval_perplexity
    assert numbers["weights_root"] == summary.weights_root
    assert numbers["tokens_per_second"] == pytest.approx(summary.tokens_per_second)
    assert Path(numbers["page"]).read_text().startswith("# Run one\n")


def test_the_plan_is_held_against_the_traced_passes(run: Path) -> None:
    """The medians, computed here from the files alone; step 0 is left out."""
    plan, numbers = json.loads((run / "plan.json").read_text()), report(run).numbers.plan
    traces = [json.loads(text) for text in (run / "trace.jsonl").read_text().splitlines()]
    assert numbers.traced_steps == (1, 2, 4)
    assert numbers.drawn_step == 4
    assert [(done.stage, done.direction) for done in numbers.passes] == [
        (stage, direction) for stage in range(6) for direction in list(LETTERS)[: 4 if 0 < stage < 5 else 2]
    ]
    assert [done.host for done in numbers.passes if done.stage == 4] == ["worker-4", "worker-4", *["initiator"] * 2]
    for done in numbers.passes:
        letter = LETTERS[done.direction]
        seconds = [
            end_s - start_s
            for trace in traces[1:]
            for action, start_s, end_s in trace["work"][done.host]
            if action.startswith(f"{letter}{done.stage}.")
        ]
        assert len(seconds) == 3 * 4
        assert done.measured_s == pytest.approx(statistics.median(seconds))
        assert done.predicted_s == pytest.approx(plan[f"{done.direction.split()[-1]}_seconds"][done.stage])
        assert done.ratio == pytest.approx(statistics.median(seconds) / done.predicted_s)
    assert numbers.predicted_step_s == pytest.approx(plan["step_seconds"])
    assert numbers.predicted_waiting_share == pytest.approx(plan["bubble_predicted"])
    ends = [max(end_s for passes in trace["work"].values() for *_, end_s in passes) for trace in traces[1:]]
    assert numbers.measured_step_s == pytest.approx(statistics.median(ends))
    assert numbers.measured_waiting_share is not None
    assert 0.0 <= numbers.measured_waiting_share < 0.9
    assert numbers.whole_step_s >= min(ends)


def test_traces_of_another_cut_are_not_held_against_the_plan(run: Path) -> None:
    """A resumed run is measured and cut anew; what was traced before was another plan's step."""
    path = run / "trace.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "cut": [2, 0, *line["cut"][2:]]}) + "\n" for line in lines))
    made = report(run)
    assert made.numbers.plan.traced_steps == ()
    assert all(done.measured_s is None for done in made.numbers.plan.passes)
    assert "No step has been traced yet" in made.page.read_text()
    path.unlink()
    assert report(run).numbers.plan == made.numbers.plan


def test_a_run_of_one_step_and_no_evaluation_is_reported(tmp_path: Path) -> None:
    settings = [*TINY, "run.steps=1", "evaluation.every_steps=0", "checkpoint.every_steps=0", "optimizer.clip_norm=0"]
    train(Config.load(None, settings), folder=tmp_path / "run")
    made = report(tmp_path / "run")
    assert made.numbers.plan.traced_steps == (0,)
    assert made.numbers.evaluations == ()
    assert made.numbers.checkpoints == ()
    assert "None yet." in made.page.read_text()


def test_the_page_tells_who_was_found_guilty(run: Path, tmp_path: Path) -> None:
    assert "None: nobody was found guilty of anything." in report(run).page.read_text()
    summary = run_with_attacks(tmp_path / "attacked", [{**LIAR, "from_step": 1}, {**LIAR, "stage": 3, "from_step": 2}])
    result = shieldwall("report", tmp_path / "attacked", "--json")
    assert result.code == 0, result.err
    numbers = result.json()
    for name in ("alerts", "verdicts", "attacks_fired", "false_accusations", "micro_batches_rerun"):
        assert numbers[name] == getattr(summary, name)
    page = Path(numbers["page"]).read_text()
    assert f"| alerts | {summary.alerts} |" in page
    for worker, stage, step in (("worker-2", 2, 1), ("worker-3", 3, 2)):
        found = [row for row in summary.verdicts if row["culprit"] == worker and row["direction"] == "forward"]
        assert f"| {worker} | {stage} | forward | 1 | {len(found)} | {step} |" in page
    (tmp_path / "attacked" / "summary.json").unlink()
    assert report(tmp_path / "attacked").numbers.verdicts == tuple(summary.verdicts)


def test_a_running_run_is_reported_and_goes_on(warm_programs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("train", "--run", folder, *overrides("run.steps=100000"), warm=warm_programs)
    try:
        wait_for(process, lambda: len(read_lines(folder / "metrics.jsonl").lines) >= 4)
        result = shieldwall("report", folder, "--json")
        assert result.code == 0, result.err
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert finish(process).code == 130
    finally:
        process.kill()
    numbers = result.json()
    assert numbers["finished"] is False
    assert 4 <= numbers["steps"] < len(read_lines(folder / "metrics.jsonl").lines)
    assert numbers["weights_root"] is None
    assert "of 100000 steps so far" in (folder / "report" / "report.md").read_text()
    assert numbers["plan"]["traced_steps"][:2] == [1, 2]


def test_a_newer_report_takes_the_older_ones_place(run: Path) -> None:
    report(run)
    (run / "report" / "report.md").write_text("older")
    (run / "report" / "loss.png").write_text("older")
    (run / "report" / "plan.png.partial").write_text("left by a report that was killed")
    made = report(run)
    assert made.page.read_text().startswith("# Run one\n")
    assert (run / "report" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (run / "report").iterdir()} == {"report.md", *PICTURES}


def test_a_report_that_fails_leaves_the_older_page(run: Path) -> None:
    page = report(run).page.read_text()
    (run / "report" / "plan.png").unlink()
    (run / "report" / "plan.png").mkdir()
    with pytest.raises(StorageError, match=r"SW-S101: could not write plan.png"):
        report(run)
    assert (run / "report" / "report.md").read_text() == page


def test_two_reports_do_not_write_at_once(run: Path) -> None:
    report(run)
    handle = os.open(run / "report", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        result = shieldwall("report", run)
    finally:
        os.close(handle)
    assert result.code == 2
    assert "SW-R109: another process is writing a report of this run" in result.err
    assert shieldwall("report", run).code == 0


def test_a_line_that_is_being_written_is_left_out(run: Path) -> None:
    (run / "summary.json").unlink()
    for name in ("metrics.jsonl", "trace.jsonl"):
        text = (run / name).read_text()
        (run / name).write_text(text[:-30])
    numbers = report(run).numbers
    assert (numbers.finished, numbers.steps) == (False, 5)
    assert numbers.plan.traced_steps == (1, 2)


def test_a_run_without_a_step_is_refused(run: Path) -> None:
    (run / "summary.json").unlink()
    for text in ("", '{"step": 0', None):
        if text is None:
            (run / "metrics.jsonl").unlink()
        else:
            (run / "metrics.jsonl").write_text(text)
        result = shieldwall("report", run)
        assert result.code == 2
        assert "SW-R108: the run has not committed a step yet" in result.err
        assert not (run / "report").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    for place in (tmp_path, tmp_path / "absent", tmp_path / "letters.txt"):
        result = shieldwall("report", place)
        assert result.code == 2
        assert "SW-R102: there is no run in this folder" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_traces_of_others_in_the_same_places_are_not_held_against_the_plan(run: Path) -> None:
    """A resumed run begins with what was drawn last; what was traced before was other workers' step."""
    path = run / "trace.jsonl"
    path.write_text(path.read_text().replace('"worker-1"', '"worker-9"'))
    made = report(run)
    assert made.numbers.plan.traced_steps == ()


DAMAGES: list[tuple[str, tuple[str, str] | None, str]] = [
    ("metrics.jsonl", ('{"step": 2', '{"step" 2'), "line 3: "),
    ("metrics.jsonl", ('{"step": 2', '[{"step": 2'), "line 3: "),
    ("metrics.jsonl", ('{"step": 2', '{"step": 7'), "line 3: step 7"),
    ("metrics.jsonl", ('"loss"', '"lost"'), "line 1: loss is None"),
    ("metrics.jsonl", ('"loss": ', '"loss": NaN, "was": '), "NaN is no number"),
    ("metrics.jsonl", ('"eval_perplexity": ', '"eval_perplexity": "?", "was": '), "eval_perplexity is '?'"),
    ("metrics.jsonl", ('"alerts": 0', '"alerts": "many"'), "line 1: alerts or verdicts"),
    ("metrics.jsonl", ('"alerts": 0', '"alerts": 1, "verdicts": [{"step": 0}]'), "line 1: alerts or verdicts"),
    ("trace.jsonl", ('{"step": 2', "["), "line 3: "),
    ("trace.jsonl", ('"F0.1"', "7"), "line 1"),
    ("trace.jsonl", ('"F0.1"', '"F0.0"'), "others in the line of step 0"),
    ("trace.jsonl", ('"worker-1"', '"initiator"'), "others in the line of step 0"),
    ("plan.json", ('"plan"', '"plans"'), "KeyError"),
    ("plan.json", ('"F0.0"', '"Q0.0"'), "SW-P110"),
    ("plan.json", ('"arithmetic_class"', '"class"'), "no arithmetic_class"),
    ("plan.json", ("{", "["), "Expecting"),
    ("plan.json", None, "no such file"),
    ("summary.json", ('"steps"', '"step"'), "validation error"),
]


@pytest.mark.parametrize(("name", "edit", "said"), DAMAGES)
def test_a_damaged_file_is_named(name: str, edit: tuple[str, str] | None, said: str, run: Path) -> None:
    path = run / name
    if edit is None:
        path.unlink()
    else:
        text = path.read_text()
        assert edit[0] in text
        path.write_text(text.replace(*edit, 1))
    with pytest.raises(RunFolderError, match=r"SW-R107: a file of the run cannot be read") as caught:
        report(run)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (run / "report").exists()


def test_a_damaged_configuration_is_named(run: Path) -> None:
    (run / "config.toml").write_text("[run\n")
    result = shieldwall("report", run)
    assert result.code == 2
    assert "SW-C103: the configuration cannot be read" in result.err


def test_a_report_does_not_disturb_resuming(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(Config.load(None, [*TINY, "verify.policy=none"]), folder=run)
    report(run)
    (run / "summary.json").unlink()
    assert train(folder=run, resume=True).summary.weights_root == Summary.read(finished / "summary.json").weights_root
    assert report(run).numbers.finished


@pytest.mark.parametrize("steps", ["abc", None, 0, 2.5])
def test_a_plan_without_a_number_of_steps_is_refused(run: Path, steps: object) -> None:
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps({**plan, "steps": steps}))
    result = shieldwall("report", run)
    assert result.code == 2
    assert "SW-R107" in result.err
    assert "steps" in result.err
