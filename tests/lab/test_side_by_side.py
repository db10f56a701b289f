"""Torch's own pipelining as the benchmark runs it: same work as plain training, idle between orders, no hanging."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

import psutil
import pytest

from shieldwall.core.errors import BenchmarkError
from shieldwall.lab.bench import SCALES, Scale
from shieldwall.lab.interleaved import Measured, TimedSteps
from shieldwall.lab.rank_process import Rank
from shieldwall.lab.side_by_side import SCHEDULES, SideBySideSettings, rank_tasks
from shieldwall.lab.side_by_side_report import PLAIN, Pair, section_of
from shieldwall.lab.torch_pipelining import TorchRanks, TorchWay, torch_ranks
from shieldwall.lab.torch_rank import RankTask
from shieldwall.lab.whole import PlainTrainer

SIZE = SCALES[Scale.TINY].side_by_side
SETTINGS = SideBySideSettings(size=SIZE, stages=(2,), repeats=1, steps=4, seed=0, devices=("cpu",))
START = timedelta(seconds=200)


def tasks_in(folder: Path, stages: int, steps: int = 4) -> Sequence[RankTask]:
    SIZE.write_model(0, folder / "model")
    return rank_tasks(replace(SETTINGS, steps=steps), stages, "cpu", folder / "model")


def processor_seconds(ranks: Sequence[Rank]) -> float:
    times = [psutil.Process(rank.process.pid).cpu_times() for rank in ranks]
    return float(sum(each.user + each.system for each in times))


async def wait_for_work(rank: Rank, rested: float, training: asyncio.Task[TimedSteps]) -> None:
    """Wait until `rank` has worked half a second more than `rested`, or all work is done."""
    pause = Event()
    while processor_seconds([rank]) < rested + 0.5 and not training.done():
        await asyncio.to_thread(pause.wait, 0.01)


def test_three_ranks_do_the_work_of_plain_training_and_rest_between_orders(tmp_path: Path) -> None:
    """Embeddings, middle and head in three processes; each schedule has weights of its own and trains eight steps."""
    tasks = tasks_in(tmp_path, 3)
    steps = SIZE.draw_tokens(0, SETTINGS.all_steps)

    async def compare() -> None:
        plain = await PlainTrainer(tmp_path / "model", steps).train(0, 8)
        assert len(set(plain)) == 8
        async with torch_ranks(tasks, tmp_path, START) as ranks:
            for schedule in SCHEDULES:
                way = TorchWay(ranks, schedule)
                chunks = [await way.train_timed(0, 4), await way.train_timed(4, 8)]
                losses = [loss for chunk in chunks for loss in chunk.losses]
                assert losses == pytest.approx(plain, rel=1e-6)
                assert all(chunk.seconds > 0 for chunk in chunks)
            before = processor_seconds(ranks.ranks)
            await asyncio.sleep(2)  # the length of the rest that is measured
            assert processor_seconds(ranks.ranks) - before < 0.1
        assert [rank.process.returncode for rank in ranks.ranks] == [0, 0, 0]

    asyncio.run(compare())


def test_a_killed_rank_ends_the_benchmark_and_is_named(tmp_path: Path) -> None:
    """Killed in the middle of its work; the other rank must not be waited for."""
    tasks = tasks_in(tmp_path, 2, steps=1000)

    async def kill() -> TorchRanks:
        async with torch_ranks(tasks, tmp_path, START) as ranks:
            killed_rank = ranks.ranks[1]
            rested = processor_seconds([killed_rank])
            training = asyncio.create_task(TorchWay(ranks, "gpipe").train_timed(0, 1000))
            await wait_for_work(killed_rank, rested, training)
            assert not training.done()
            killed_rank.process.kill()
            killed = time.monotonic()
            with pytest.raises(BenchmarkError, match="SW-B101") as caught:
                await training
            assert time.monotonic() - killed < 30
        message = str(caught.value)
        assert "rank 1: SIGKILL" in message
        assert "2 ranks, gpipe, steps 0 to 999" in message
        return ranks

    ranks = asyncio.run(kill())
    assert all(rank.process.returncode is not None for rank in ranks.ranks)


def test_a_rank_that_dies_between_two_orders_is_named_at_the_next(tmp_path: Path) -> None:
    async def kill() -> None:
        async with torch_ranks(tasks_in(tmp_path, 2), tmp_path, START) as ranks:
            way = TorchWay(ranks, "1f1b")
            await way.train_timed(0, 1)
            ranks.ranks[0].process.kill()
            await ranks.ranks[0].process.wait()
            await way.train_timed(1, 2)

    with pytest.raises(BenchmarkError, match="rank 0: SIGKILL") as caught:
        asyncio.run(kill())
    assert caught.value.code == "SW-B101"


def test_a_rank_that_hangs_ends_the_benchmark_in_time(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path, 2)

    async def stop() -> TorchRanks:
        async with torch_ranks(tasks, tmp_path, START) as ranks:
            os.kill(ranks.ranks[0].process.pid, signal.SIGSTOP)
            with pytest.raises(BenchmarkError, match="SW-B102") as caught:
                await TorchWay(TorchRanks(ranks.ranks, timedelta(seconds=1)), "1f1b").train_timed(0, 1)
        assert "an answer within 1 s" in str(caught.value)
        assert "none from rank 0, 1" in str(caught.value)
        return ranks

    ranks = asyncio.run(stop())
    assert [rank.process.returncode for rank in ranks.ranks] == [-signal.SIGKILL, -signal.SIGKILL]


def test_a_rank_that_cannot_start_says_why(tmp_path: Path) -> None:
    (task, other) = tasks_in(tmp_path, 2)
    broken = replace(task, device="no such device")

    async def start() -> None:
        async with torch_ranks([broken, other], tmp_path, START):
            pytest.fail("started")

    with pytest.raises(BenchmarkError, match=r"rank 0: exit code 1: .*RuntimeError: .*'no such device'") as caught:
        asyncio.run(start())
    assert caught.value.code == "SW-B101"


def measured(torch_losses: Sequence[float]) -> Measured:
    pair = Pair(2, "gpipe")
    seconds = {PLAIN: [1.0, 2.0, 4.0], pair.ours: [2.0, 2.0, 2.0], pair.torch: [1.0, 4.0, 3.0]}
    losses = {PLAIN: [4.0, 3.0, 2.0], pair.ours: [4.0, 3.0, 2.0], pair.torch: list(torch_losses)}
    return Measured(seconds, losses)


def test_ratios_are_those_within_a_repeat() -> None:
    section = section_of({"cpu": measured([4.0, 3.0, 2.0])}, [Pair(2, "gpipe")], SIZE, 1)
    speed, paired = section.tables
    assert [row["ratio_values"] for row in speed.rows] == [[1.0, 1.0, 1.0], [0.5, 1.0, 2.0], [1.0, 0.5, 4.0 / 3.0]]
    (row,) = paired.rows
    assert row["ours_to_torch_values"] == [0.5, 2.0, 1.5]
    assert (row["ours_to_torch_median"], row["ours_to_torch_min"], row["ours_to_torch_max"]) == (1.5, 0.5, 2.0)


@pytest.mark.parametrize(
    ("losses", "holds"),
    [([4.0, 3.0, 2.0], True), ([4.0, 3.0 + 1e-6, 2.0], True), ([4.0, 3.0 + 1e-5, 2.0], False), ([4.0, 3.0], False)],
    ids=["equal", "close", "far", "missing"],
)
def test_torchs_losses_are_held_to_plains(losses: Sequence[float], holds: bool) -> None:
    """Our own must be equal, torch's close."""
    ours, theirs = section_of({"cpu": measured(losses)}, [Pair(2, "gpipe")], SIZE, 1).receipts
    assert (ours.holds, theirs.holds) == (True, holds)


def test_another_device_has_tables_and_keys_of_its_own() -> None:
    both = {"cpu": measured([4.0, 3.0, 2.0]), "cuda": measured([4.0, 3.0, 2.0])}
    section = section_of(both, [Pair(2, "gpipe")], SIZE, 1)
    names = [table.name for table in section.tables]
    assert names == ["side_by_side", "side_by_side_paired", "side_by_side_cuda", "side_by_side_paired_cuda"]
    assert len(section.receipts) == 4
    assert any("share one GPU" in note for note in section.notes)
