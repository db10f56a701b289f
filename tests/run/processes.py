"""Runs over machines as tests start them: real processes on loopback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from commands import overrides

TICKET = re.compile(r"shieldwall join (sw1\S+)")


@dataclass
class Processes:
    """A run that listens, and its workers.

    Args:
        programs: folder of the `shieldwall` that is started.
        folder: for everything that they write; the run's is `run`.
    """

    programs: Path
    folder: Path
    training: subprocess.Popen[bytes] | None = None
    workers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """What the run has said on standard error."""
        return (self.folder / "train.err").read_text()

    @property
    def steps(self) -> int:
        """Steps that are committed."""
        metrics = self.folder / "run" / "metrics.jsonl"
        return metrics.read_text().count("\n") if metrics.exists() else 0

    def train(self, *settings: str, address: str = "127.0.0.1:0", fresh: bool = False) -> None:
        """Start the run, and wait until it has printed its ticket; `fresh` as for `join`."""
        self.training = self._start("train", *self._train(address), *overrides(*settings), fresh=fresh)
        self.wait_for(lambda: TICKET.search(self.said) is not None)

    def train_until_killed(self, moment: str, step: int, *settings: str) -> None:
        """Start the run, or resume it where no settings are given; its initiator kills itself at that moment."""
        before = len(TICKET.findall(self.said)) if not settings else 0
        arguments = ["-m", "shieldwall.lab.recovery.initiator", moment, str(step), str(self.folder / "run"), *settings]
        self.training = self._spawn("train", [str(self.programs / "python"), *arguments])
        self.wait_for(lambda: len(TICKET.findall(self.said)) > before)

    def kill_training(self) -> None:
        """Kill the initiator, and wait until it is gone."""
        if self.training:
            self.training.kill()
            self.training.wait()

    def resume(self, address: str = "127.0.0.1:0") -> None:
        """Start the run again that was stopped, and wait until it has printed another ticket."""
        before = len(TICKET.findall(self.said))
        self.training = self._start("train", *self._train(address), "--resume")
        self.wait_for(lambda: len(TICKET.findall(self.said)) > before)

    def _train(self, address: str) -> list[str]:
        return ["train", "--run", str(self.folder / "run"), "--listen", address, "--json"]

    @property
    def ticket(self) -> str:
        """The first that the run has printed."""
        found = TICKET.search(self.said)
        if found is None:
            raise LookupError("there is no ticket yet")
        return found[1]

    def join(
        self,
        *numbers: int,
        fresh: bool = False,
        ticket: str = "",
        attack: Path | None = None,
        attack_log: Path | None = None,
        listen: str = "",
        spare: bool = False,
    ) -> None:
        """Start workers, each with a home of its own; a `fresh` one is its Python's own process, not a fork."""
        for number in numbers:
            arguments = ["join", ticket or self.ticket, "--home", str(self.folder / f"home-{number}")]
            arguments += ["--attack", str(attack)] if attack else []
            arguments += ["--attack-log", str(attack_log)] if attack_log else []
            arguments += ["--listen", listen] if listen else []
            arguments += ["--spare"] if spare else []
            self.workers[number] = self._start(f"join-{number}", *arguments, fresh=fresh)

    def join_withholding(self, number: int, step: int) -> None:
        """Start a worker that keeps back its report that it has played `step`."""
        arguments = ["join", self.ticket, "--home", str(self.folder / f"home-{number}")]
        script = str(Path(__file__).with_name("withholding.py"))
        program = [str(self.programs / "python"), script, str(step)]
        self.workers[number] = self._start(f"join-{number}", *arguments, program=program)

    def told(self, number: int) -> str:
        """What a worker has said on standard error, in all its lives."""
        return (self.folder / f"join-{number}.err").read_text()

    def number_of(self, name: str) -> int:
        """Which of the workers the run calls by this name."""
        for number in self.workers:
            if f"{name} in the run" in (self.folder / f"join-{number}.err").read_text():
                return number
        raise LookupError(name)

    def holder(self, stage: int) -> str:
        """Who was drawn to hold a stage; the run draws when everybody has come."""
        path = self.folder / "run" / "custody.json"
        self.wait_for(path.exists)
        return str(json.loads(path.read_text())["holders"][str(stage)])

    def place(self, name: str) -> int:
        """The first of the stages that a worker was drawn to hold."""
        path = self.folder / "run" / "custody.json"
        self.wait_for(path.exists)
        holders = json.loads(path.read_text())["holders"]
        return min(int(stage) for stage, holder in holders.items() if holder == name)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Look until it holds.

        Raises:
            AssertionError: the run has ended before.
        """
        while not condition():
            if self.training and self.training.poll() is not None:
                raise AssertionError(self.said)
            time.sleep(0.01)

    def end(self) -> int:
        """The run's exit code, once it has ended."""
        return self.training.wait() if self.training else 0

    def clear(self) -> None:
        """End whatever still runs."""
        for process in (*self.workers.values(), *([self.training] if self.training else [])):
            if process.poll() is None:
                process.kill()
                process.wait()

    def _start(
        self, log: str, *arguments: str, fresh: bool = False, program: list[str] | None = None
    ) -> subprocess.Popen[bytes]:
        usual = [sys.executable, "-m", "shieldwall"] if fresh else [str(self.programs / "shieldwall")]
        return self._spawn(log, [*(program or usual), *arguments])

    def _spawn(self, log: str, command: list[str]) -> subprocess.Popen[bytes]:
        out, errors = self.folder / f"{log}.out", self.folder / f"{log}.err"
        with out.open("ab") as out_file, errors.open("ab") as errors_file:
            return subprocess.Popen(command, stdout=out_file, stderr=errors_file)
