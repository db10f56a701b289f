"""What an experiment leaves behind: NAME.json, NAME.md and NAME.png, all with the same numbers.

Everything in the JSON is a function of the seed and the machine's arithmetic, but for what stands under `times`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from shieldwall.core.files import write_whole
from shieldwall.lab.experiment.page import Page
from shieldwall.lab.experiment.results import Results
from shieldwall.lab.experiment.scale import Scale
from shieldwall.lab.record import describe_machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An experiment's outcome."""

    name: str
    title: str
    command: str
    scale: Scale
    seed: int
    texts: Mapping[str, str]
    """Corpus to what it is, in words."""
    chosen: Mapping[str, float]
    """Family and corpus to the learning rate that was chosen."""
    page: Page
    results: Results
    tuning: Results
    missing: int
    """Cells of the grid that are not finished."""

    def to_json(self) -> dict[str, Any]:
        """Everything that the page says, as raw numbers."""
        cells = [*self.tuning, *self.results]
        machine = {name: value for name, value in describe_machine().items() if name != "load_at_start"}
        if self.scale.device != "cpu":
            machine["device"] = torch.cuda.get_device_name(self.scale.device)
        return {
            "experiment": self.name,
            "scale": _plain(asdict_scale(self.scale)),
            "seed": self.seed,
            "texts": dict(self.texts),
            "learning_rates": dict(self.chosen),
            "missing_cells": self.missing,
            "claims": [claim.to_json() for claim in self.page.claims],
            "notes": list(self.page.notes),
            **{table.name: [_plain(row) for row in table.rows] for table in self.page.tables},
            "cells": [{"cell": each.cell.to_json(), "outcome": each.outcome.to_json()} for each in cells],
            "machine": machine,
            "times": {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": self.command,
                "seconds": {each.cell.key: round(each.seconds, 1) for each in cells},
                "seconds_of_all_cells": round(sum(each.seconds for each in cells), 1),
            },
        }

    def to_markdown(self, plain: Mapping[str, Any]) -> str:
        """The page."""
        times = plain["times"]
        lines = [f"# {self.title}", "", f"`{self.command}`, {times['date']}", ""]
        lines += [f"- {claim}" for claim in self.page.claims]
        lines += ["", f"![{self.title}]({self.name}.png)", ""]
        for table in self.page.tables:
            lines += table.to_markdown()
        lines += ["## How it was made, and how it differs from the paper", ""]
        lines += [f"- {note}" for note in [*self._made(times), *self.page.notes]]
        machine = plain["machine"]
        lines += [
            f"- Machine: {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, torch"
            f" {machine['torch']}, one thread in each process{', ' + machine['device'] if 'device' in machine else ''}."
        ]
        return "\n".join([*lines, ""])

    def write(self, out: Path) -> dict[str, Any]:
        """Write the three files under `out`; gives the JSON.

        Raises:
            StorageError: SW-S101.
        """
        plain = self.to_json()
        write_whole(out / f"{self.name}.json", (json.dumps(plain, indent=2, allow_nan=False) + "\n").encode())
        write_whole(out / f"{self.name}.md", self.to_markdown(plain).encode())
        write_whole(out / f"{self.name}.png", self.page.picture)
        return plain

    def _made(self, times: Mapping[str, Any]) -> list[str]:
        scale, size = self.scale, self.scale.size
        hours = times["seconds_of_all_cells"] / 3600
        steps = sorted({each.cell.steps for each in self.results})
        seeds = sorted({each.cell.seed for each in self.results})
        made = [
            f"Scale {scale.name}: {size.layers} layers of width {size.width} in {size.stages} stages, vocabulary"
            f" {size.vocabulary}, {size.micro_batches} x {size.micro_batch_size} x {size.block_tokens} tokens a step,"
            f" {' or '.join(map(str, steps))} steps with linear decay; base models pretrained for"
            f" {scale.pretrain_steps} steps. {len(self.results) + len(self.tuning)} cells, {hours:.2f} hours of"
            f" computing, {self.missing} cells of the grid not run.",
            *(f"Text: {said}." for said in self.texts.values()),
            f"Seeds: {', '.join(map(str, seeds))}. Mean over seeds, least and greatest in brackets; ratios are taken"
            " seed by seed.",
            f"Early stopping: of {scale.evaluations} points on the validation text, the end of the training text, the"
            f" best before {scale.patience} without a better one. It is the same for clean and attacked runs. The saved"
            " model itself is measured, not the pipeline with the attackers in it.",
        ]
        rates = [f"{subject}: {rate:g}" for subject, rate in self.chosen.items()]
        if rates:
            among = ", ".join(f"{rate:g}" for rate in scale.tuning)
            made.append(
                f"The learning rate is the clean run's best on validation among {among},"
                f" chosen on seed {self.seed} and reported on others: {'; '.join(rates)}."
            )
        return made


def asdict_scale(scale: Scale) -> dict[str, Any]:
    """A scale as plain data; its mappings are read-only views, which `dataclasses.asdict` cannot copy."""
    plain = {name: getattr(scale, name) for name in scale.__slots__}
    return {name: asdict(value) if name == "size" else value for name, value in plain.items()}


def _plain(value: Any) -> Any:
    """Without tuples and read-only views, and null where a number is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
