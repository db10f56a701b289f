"""Workers on other machines that cheat: each is named, revoked and told why, and the weights are the clean ones."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w
from commands import overrides, shieldwall
from processes import Processes

from shieldwall.core.roots import weights_root
from shieldwall.verify.ledger import verify_ledger

LEAN = [
    "pipeline.stages=5",
    "pipeline.micro_batches=2",
    "pipeline.speeds=[1.0,1.0,2.0,4.0]",
    "data.eval_blocks=4",
    "evaluation.every_steps=0",
    "checkpoint.every_steps=0",
]
"""Three workers and few messages: each run here is four processes. As no two workers are alike, they hold stages in the
order in which they come: who holds stage 1 checks nobody, so could not accuse anybody."""
STEPS = [*LEAN, "run.steps=3"]
LONG = [*LEAN, "run.steps=24"]
"""Time to stop the run while it is on."""

CHEAT, HONEST = 2, (1, 3)
LIE: dict[str, Any] = {"kind": "sign_flip", "direction": "forward"}
CHEATS: dict[str, dict[str, Any]] = {
    "falsely accusing": {"kind": "false_accusation"},
    "equivocating": {"kind": "equivocate", "from_step": 1},
    "poisoning its state": {"kind": "own_weights", "from_step": 1},
}


@pytest.fixture
def processes(warm_programs: Path, tmp_path: Path) -> Iterator[Processes]:
    """Nothing is left of them afterwards."""
    found = Processes(warm_programs, tmp_path)
    yield found
    found.clear()


def clean_root(folder: Path, steps: list[str]) -> str:
    """Root of the weights that one process ends with."""
    root: str = shieldwall("train", "--run", folder / "run", "--json", *overrides(*steps)).json()["weights_root"]
    return root


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clean_root(tmp_path_factory.mktemp("clean"), STEPS)


@pytest.fixture(scope="module")
def clean_long(tmp_path_factory: pytest.TempPathFactory) -> str:
    return clean_root(tmp_path_factory.mktemp("clean_long"), LONG)


def write_attack(folder: Path, **table: Any) -> Path:
    path = folder / "cheat.toml"
    path.write_text(tomli_w.dumps({"attack": [table]}))
    return path


def begin(processes: Processes, attack: Path | None, *settings: str, address: str = "127.0.0.1:0") -> None:
    """A run with three workers, of whom the second, who is worker-2, holds stage 2 and checks stage 1, cheats."""
    processes.train(*settings, address=address)
    for number in (1, 2):
        processes.join(number, attack=attack if number == CHEAT else None)
        processes.wait_for(lambda name=f"worker-{number}": f"{name} is there" in processes.said)  # type: ignore[misc]
    processes.join(3)


def finished(processes: Processes) -> dict[str, Any]:
    """The run's summary."""
    assert processes.end() == 0, processes.said
    summary: dict[str, Any] = json.loads((processes.folder / "train.out").read_text())
    return summary


def fired(processes: Processes, number: int) -> list[dict[str, Any]]:
    """The receipt that a worker has in its home."""
    path = processes.folder / f"home-{number}" / "attacks.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def seen(processes: Processes) -> dict[str, dict[str, Any]]:
    """What `shieldwall workers` says, by name."""
    return {each["name"]: each for each in shieldwall("workers", processes.folder / "run", "--json").json()}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
def test_a_cheat_is_named_and_revoked_and_nobody_else(cheat: dict[str, Any], processes: Processes, clean: str) -> None:
    attack = write_attack(processes.folder, stage=CHEAT, **cheat)
    begin(processes, attack, *STEPS)
    summary = finished(processes)
    assert [processes.workers[number].wait() for number in (CHEAT, *HONEST)] == [1, 0, 0]

    receipt = fired(processes, CHEAT)
    assert {(line["worker"], line["kind"]) for line in receipt} == {("worker-2", cheat["kind"])}
    assert f"ATTACK: worker-2 falsifies in step {receipt[0]['step']}: {cheat['kind']}" in processes.told(CHEAT)
    for number in HONEST:
        assert fired(processes, number) == []
        assert "ATTACK" not in processes.told(number)

    assert {row["culprit"] for row in summary["verdicts"]} == {"worker-2"}
    assert (summary["steps"], summary["steps_lost"], summary["failures"]) == (3, 0, [])
    assert summary["weights_root"] == clean
    assert "SW-T223" in processes.told(CHEAT)
    assert "worker-2 is the culprit" in processes.told(CHEAT)
    workers = seen(processes)
    assert {name: each["state"] for name, each in workers.items()} == {
        "worker-1": "left", "worker-2": "banned", "worker-3": "left"
    }  # fmt: skip
    assert "worker-2 is the culprit" in workers["worker-2"]["why"]
    assert verify_ledger(processes.folder / "run").steps == 3


def test_without_a_ban_a_cheat_stays(processes: Processes) -> None:
    begin(
        processes,
        write_attack(processes.folder, stage=CHEAT, **LIE),
        *LEAN,
        "run.steps=1",
        "respond.ban=false",
    )
    summary = finished(processes)
    assert [worker.wait() for worker in processes.workers.values()] == [0] * 3
    assert {row["culprit"] for row in summary["verdicts"]} == {"worker-2"}
    assert seen(processes)["worker-2"]["state"] == "left"


def test_a_banned_key_comes_back_with_no_ticket_and_a_used_ticket_lets_nobody_in(
    processes: Processes, clean_long: str
) -> None:
    """The run is stopped once its liar is gone, and waits, resumed, for the others as long as the test likes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    begin(processes, write_attack(processes.folder, stage=CHEAT, **LIE), *LONG, address=address)
    processes.wait_for(lambda: "worker-2 is expelled" in processes.said)
    assert processes.training
    processes.training.send_signal(signal.SIGINT)
    assert processes.training.wait() == 130, processes.said
    assert processes.workers[CHEAT].wait() == 1
    assert {(line["worker"], line["kind"]) for line in fired(processes, CHEAT)} == {("worker-2", "sign_flip")}
    for number in HONEST:
        processes.workers[number].kill()
        processes.workers[number].wait()

    processes.resume(address)
    assert "worker-2 is banned" in processes.said
    new_ticket = shieldwall("invite", processes.folder / "run").out.strip()
    for ticket in (processes.ticket, new_ticket):
        processes.join(CHEAT, ticket=ticket)
        assert processes.workers[CHEAT].wait() == 1
        assert processes.told(CHEAT).splitlines()[-1] == "  page      docs/errors/SW-T223.md"
    processes.join(9)
    assert processes.workers[9].wait() == 2
    assert "SW-T205" in processes.told(9)
    assert {name: each["state"] for name, each in seen(processes).items()} == {
        "worker-1": "gone", "worker-2": "banned", "worker-3": "gone"
    }  # fmt: skip

    processes.join(*HONEST)
    summary = finished(processes)
    assert [processes.workers[number].wait() for number in HONEST] == [0] * 2
    assert {row["culprit"] for row in summary["verdicts"]} == {"worker-2"}
    assert summary["weights_root"] == clean_long
    assert verify_ledger(processes.folder / "run").steps == 24


def test_a_ban_by_hand_takes_effect_while_the_run_is_on(processes: Processes, tmp_path: Path) -> None:
    """The run would go on for as long as the test needs; it is stopped when others have taken over."""
    endless = [*LEAN, "optimizer.schedule=constant"]
    begin(processes, None, *endless, "run.steps=10000")
    processes.wait_for(lambda: {each["state"] for each in seen(processes).values()} == {"working"})
    workers = seen(processes)
    assert {name: (each["stages"], each["duplicates"]) for name, each in workers.items()} == {
        "worker-1": ([1], []), "worker-2": ([2], [1]), "worker-3": ([3], [2])
    }  # fmt: skip
    for name, each in workers.items():
        home = processes.folder / f"home-{processes.number_of(name)}"
        assert str(home / "lock") in {held.path for held in psutil.Process(each["pid"]).open_files()}
        assert each["address"].startswith("127.0.0.1:")
        assert each["deadlines"]["silence_s"] >= 1.8

    assert shieldwall("ban", processes.folder / "run", "worker-2", "--why", "I know him").code == 0
    assert processes.workers[2].wait() == 1
    assert "SW-T223" in processes.told(2)
    assert "I know him" in processes.told(2)
    processes.wait_for(lambda: "worker-2 is gone; initiator takes over what it held" in processes.said)
    committed = processes.steps
    processes.wait_for(lambda: processes.steps > committed + 1)
    assert {name: each["state"] for name, each in seen(processes).items()} == {
        "worker-1": "working", "worker-2": "banned", "worker-3": "working"
    }  # fmt: skip
    assert processes.training
    processes.training.send_signal(signal.SIGINT)
    assert processes.training.wait() == 130, processes.said

    lines = [json.loads(line) for line in (processes.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [failure["worker"] for line in lines for failure in line.get("failures", [])] == ["worker-2"]
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert not any("verdicts" in line for line in lines)
    here = clean_root(tmp_path / "here", [*endless, f"run.steps={len(lines)}"])
    (tmp_path / "kept").mkdir()
    for file in (processes.folder / "run" / "checkpoints" / f"step-{len(lines)}").glob("model-*.safetensors"):
        (tmp_path / "kept" / file.name).symlink_to(file)  # beside them lie the optimizer's
    assert weights_root(tmp_path / "kept") == here


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", "SW-A109", "cheat.toml"),
        ("attack = 3", "SW-C102", "cheat.toml"),
        ("[[attack]]\nkind = 'sign_flop'\nstage = 1", "SW-A101", "attack 1 in "),
        ("[[attack]]\nkind = 'scale'\nstage = 1\nfaktor = 2", "SW-A102", 'did you mean "factor"?'),
        ("[[attack]]\nkind = 'scale'\nstage = 1\nfactor = 'two'", "SW-A104", "factor of attack 1 in "),
        ("[[attack", "SW-C103", "cheat.toml"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_done(
    text: str, code: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "cheat.toml"
    path.write_text(text)
    ended = shieldwall("join", "no ticket", "--home", tmp_path / "home", "--attack", path)
    assert (ended.code, code in ended.err, said in ended.err) == (2, True, True), ended.err
    assert not (tmp_path / "home").exists()


def test_a_run_cannot_hire_attackers_on_other_machines(tmp_path: Path) -> None:
    path = write_attack(tmp_path, kind="sign_flip", stage=CHEAT)
    ended = shieldwall("train", path, "--run", tmp_path / "run", "--listen", "127.0.0.1:0", *overrides())
    assert (ended.code, "SW-A110" in ended.err, "join TICKET --attack FILE" in ended.err) == (2, True, True)
    assert not (tmp_path / "run").exists()
