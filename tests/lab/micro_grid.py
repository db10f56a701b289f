"""An experiment of seconds, and a program that runs it, so that a test can kill it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from shieldwall.data import read_corpus
from shieldwall.lab.experiment.run import run_experiment
from shieldwall.lab.experiment.scale import TINY, Scale, Size
from shieldwall.lab.experiment.view import GridView, SilentGrid

MICRO: Scale = replace(
    TINY,
    name="micro",
    size=Size(
        layers=4,
        width=16,
        heads=2,
        vocabulary=300,
        block_tokens=16,
        stages=4,
        micro_batches=2,
        micro_batch_size=1,
    ),
    corpora=("wikitext",),
    pretrain_steps=3,
    steps=4,
    tuning=(1e-3, 3e-3),
    seeds=1,
    clippings=("stage",),
    topologies=("chain",),
    evaluations=2,
    eval_blocks=4,
    test_blocks=4,
    detection_steps=2,
    detection_rates=(1.0,),
    detection_strengths=1,
    map_steps=4,
    map_rates=(("adamw", (1e-3,)),),
    map_clippings=("none",),
)
"""Under `map` three cells: clean, forward, backward."""


def write_texts(folder: Path) -> Path:
    """A folder of data with a few documents in it, so that nothing but the training takes time."""
    documents = read_corpus("pydoc").documents
    (folder / "wikitext2").mkdir(parents=True)
    (folder / "wikitext2" / "train.txt").write_text("\n\n".join(documents[:20]), encoding="utf-8")
    (folder / "wikitext2" / "test.txt").write_text("\n\n".join(documents[20:24]), encoding="utf-8")
    return folder


def run_map(out: Path, data: Path, view: GridView | None = None) -> dict[str, Any]:
    """The micro map."""
    return run_experiment("map", scale=MICRO, out=out, data=data, processes=1, view=view)


class Printed(SilentGrid):
    """A line for each finished cell."""

    def played(self) -> None:
        print("played", flush=True)  # noqa: T201 (who waits for it reads this)


if __name__ == "__main__":
    run_map(Path(sys.argv[1]), Path(sys.argv[2]), Printed())
