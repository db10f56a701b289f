"""Runs what is missing of an experiment, several drawn cases at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from shieldwall.lab.shield_property.draw import draw_numbered, model_folder
from shieldwall.lab.shield_property.journal import Journal, Row
from shieldwall.lab.shield_property.laws import examine, promised_kinds
from shieldwall.lab.worker_process import set_up_worker


def run_missing(journal: Journal, seed: int, runs: int, processes: int = 1) -> Iterator[Row]:
    """Examine what is not in the journal yet; each row is in it before it is handed over.

    Args:
        journal: of this seed.
        seed: of all draws.
        runs: how many there are to be in the end.
        processes: how many examine at once; each computes with one thread.
    """
    journal.mend()
    done = journal.rows()
    missing = [number for number in range(runs) if number not in done]
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=set_up_worker)
    with tempfile.TemporaryDirectory() as models:
        try:
            for waiting in [pool.submit(_examine, seed, number, Path(models)) for number in missing]:
                row = waiting.result()
                journal.add(row)
                yield row
        finally:
            pool.shutdown(cancel_futures=True)


def _examine(seed: int, number: int, models: Path) -> Row:
    drawn = draw_numbered(seed, number, promised_kinds())
    examined = examine(drawn, model_folder(drawn.case, models / str(os.getpid())))
    return {"number": number, "attack": dict(drawn.attack), "drawn": str(drawn), **asdict(examined)}
