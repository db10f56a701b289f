"""Commands without the wait for imports: every job is a fork of one process that has imported the libraries.

A fresh Python takes seconds to import torch and transformers, and a page of the documentation starts a dozen.
`programs` puts a `shieldwall` and a `python` into a folder for the search path. Each asks the warm process for a fork,
which gets the asker's arguments, folder, environment, limit on files and three streams. The asker hands signals on to
the job and ends as the job does; a job whose asker is killed is killed too. Nothing is computed before the fork, so a
job is as new as a fresh process in all but its hash seed.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

PRELOADED = [
    "shieldwall.cli",
    "shieldwall.run.train",
    "shieldwall.run.report",
    "peft",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
]
"""Imported before the first job; what a job needs besides, it imports itself."""

_ASK = """#!{python} -IS
import array, json, os, resource, signal, socket, sys

asked = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
asked.connect({address!r})
job = {{"arguments": {first!r} + sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ),
        "file_bytes": resource.getrlimit(resource.RLIMIT_FSIZE)}}
streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
text = json.dumps(job).encode()
asked.sendmsg([len(text).to_bytes(4, "big")], [streams])
asked.sendall(text)
answer = asked.makefile("r")
pid = int(answer.readline())
def hand_on(number, _):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended, and the answer says how

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, hand_on)
code = int(answer.readline())
if code < 0:
    if -code != signal.SIGKILL:  # whose effect nothing can change
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextlib.contextmanager
def programs(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Write both programs into `folder`; they work as long as the context lasts."""
    address = folder / "asked"
    server = subprocess.Popen(
        [sys.executable, __file__, str(address)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin
    assert server.stdout
    with server:
        assert server.stdout.readline() == b"ready\n"
        for name, first in (("shieldwall", ["-m", "shieldwall"]), ("python", [])):
            (folder / name).write_text(_ASK.format(python=sys.executable, address=str(address), first=first))
            (folder / name).chmod(0o755)
        yield
        server.stdin.close()


def serve(address: str) -> None:
    """Fork a job for whoever asks, until standard input ends; come back only in a job, with all of it set up."""
    for name in PRELOADED:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(address)
        door.listen()
        os.write(1, b"ready\n")
        while True:
            if 0 in _wait_for(door, 0):
                _wait_for_all()
            connection, _ = door.accept()
            if not os.fork():
                door.close()
                return _keep(connection)
            connection.close()


def _wait_for(*places: socket.socket | int) -> list[socket.socket | int]:
    """Until something can be read from one of them, has ended or hung up; those of which that is so."""
    watched: list[Any] = list(places)
    return select.select(watched, [], [])[0]


def _wait_for_all() -> NoReturn:
    """The jobs have ended by now; that their times are collected lets whoever measures the tests see them."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    sys.exit()


def _keep(connection: socket.socket) -> None:
    """Stand between the asker and its job: tell the one the other's number, and how it ended."""
    head, control, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    text = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    streams = array.array("i", control[0][2])
    pid = os.fork()
    if not pid:
        connection.close()
        return _become(json.loads(text), list(streams))
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{pid}\n".encode())
    if connection in _wait_for(connection, os.pidfd_open(pid)):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os._exit(0)
    connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
    os._exit(0)


def _become(job: dict[str, Any], streams: list[int]) -> None:
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    resource.setrlimit(resource.RLIMIT_FSIZE, tuple(job["file_bytes"]))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = job["arguments"]


def _run_as_python() -> None:
    """What `python ARGUMENTS` does."""
    way, *rest = sys.argv
    if way == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102  # the page's own code
    elif way == "-m":
        sys.argv, sys.path[0] = rest, str(Path.cwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(way).resolve().parent)
        runpy.run_path(way, run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
    _run_as_python()
