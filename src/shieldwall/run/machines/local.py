"""Workers as processes of this machine, for a demo: forks of one process that has imported the libraries.

    who wants them  --- a line of JSON for each --->  python -m shieldwall.run.machines.local  --- forks --->  workers
                    <-- its process's number --------

A fork is there in a second, where a fresh Python takes five to import torch. When the pipe closes, because the block
has ended or because whoever wanted them is dead, whatever still runs is killed: nothing is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from shieldwall.core.errors import ShieldwallError, TransportError

PATIENCE_S = 20.0
"""For so long a worker looks for a run that does not answer."""


class LocalWorkers:
    """Made by `local_workers`.

    Args:
        forge: the process that makes them, with a pipe to it and one from it.
        folder: holds a home for each, and what it said.
    """

    def __init__(self, forge: subprocess.Popen[str], folder: Path) -> None:
        self._folder = folder
        self.forge = forge

    def home(self, number: int) -> Path:
        """A worker's folder."""
        return self._folder / f"worker-{number}"

    def start(self, number: int, ticket: str, attack: Path | None = None) -> int:
        """Start a worker, which cheats by `attack` if that is given; the number of its process.

        Raises:
            TransportError: SW-T130; no process can be made any more.
        """
        order = {"ticket": ticket, "home": str(self.home(number)), "attack": str(attack) if attack else None}
        try:
            print(json.dumps(order), file=self.forge.stdin, flush=True)
            pid = self.forge.stdout.readline() if self.forge.stdout else ""
        except OSError as error:
            raise _no_process(str(error)) from error
        if not pid.strip().isdecimal():
            raise _no_process("the process that makes them has ended")
        return int(pid)


@contextmanager
def local_workers(folder: Path) -> Iterator[LocalWorkers]:
    """Workers of which nothing runs any more when the block ends, however it ends.

    They get no signals from the terminal: Ctrl-C is for the run, which then ends with them.
    """
    command = [sys.executable, "-m", "shieldwall.run.machines.local"]
    pipe = subprocess.PIPE
    forge = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
    try:
        yield LocalWorkers(forge, folder)
    finally:
        for stream in (forge.stdin, forge.stdout):
            with contextlib.suppress(BrokenPipeError):  # it is dead, and what it was told last with it
                if stream:
                    stream.close()
        forge.wait()


def _no_process(got: str) -> TransportError:
    return TransportError(
        "SW-T130",
        "no worker process can be started on this machine",
        expected="a process that makes workers",
        got=got,
        remedy="look at what it said on standard error; memory may be short",
    )


def main() -> None:
    """Fork a worker for each line of standard input; at its end, kill those that are left."""
    from shieldwall.run import train  # noqa: F401
    from shieldwall.run.machines import worker  # noqa: F401

    made: list[int] = []
    try:
        for line in sys.stdin:
            pid = os.fork()
            if not pid:
                _work(json.loads(line))
            made.append(pid)
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
    finally:
        for pid in made:  # none was waited for, so no number can be another's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in made:
            os.waitpid(pid, 0)


def _work(order: dict[str, str | None]) -> NoReturn:
    """In the fork: take part in the run, and end."""
    from shieldwall.run.machines.worker import Joining, join

    home, attack = Path(str(order["home"])), order["attack"]
    home.parent.mkdir(parents=True, exist_ok=True)
    code = 1
    with open(os.devnull) as nothing, home.with_suffix(".log").open("w") as said:  # noqa: PTH123
        for stream, place in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(stream.fileno(), place)
        joining = Joining(
            home=home,
            device="cpu",
            patience_s=PATIENCE_S,
            tell=lambda text: _tell(said, text),
            attack=Path(attack) if attack else None,
        )
        try:
            join(str(order["ticket"]), joining)
            code = 0
        except ShieldwallError as error:
            _tell(said, str(error))
        finally:
            if sys.exc_info()[0]:
                traceback.print_exc(file=said)
            said.flush()
            os._exit(code)  # what the process had to do before the fork is not this one's


def _tell(said: TextIO, text: str) -> None:
    print(text, file=said, flush=True)


if __name__ == "__main__":
    main()
