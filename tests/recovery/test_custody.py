"""The draw of who holds what: every order as likely, nobody checks itself, only workers alike change places."""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from random import Random

import pytest

from shieldwall.core.errors import RunFolderError
from shieldwall.core.ids import INITIATOR
from shieldwall.recovery.custody import draw_swaps, exchanged
from shieldwall.recovery.views import with_duplicates
from shieldwall.run.custody import Custody
from shieldwall.schedule import Host

NAMES = ["worker-1", "worker-2", "worker-3", "worker-4"]
DRAWS = 6_000


def placed(*speeds: float) -> tuple[Host, ...]:
    """K = 6 with a worker for each middle stage, in the order in which they came."""
    found = [Host(INITIATOR, (0, 5))]
    found += [Host(name, (1 + index,), speed) for index, (name, speed) in enumerate(zip(NAMES, speeds, strict=True))]
    return with_duplicates(found)


ALIKE = placed(1.0, 1.0, 1.0, 1.0)


def drawn(hosts: tuple[Host, ...], spares: list[str], random: Random) -> tuple[tuple[Host, ...], list[str]]:
    for swap in draw_swaps(hosts, spares, random):
        hosts, spares = exchanged(hosts, spares, swap)
    return hosts, spares


def order(hosts: tuple[Host, ...]) -> tuple[str, ...]:
    """Who holds stages 1, 2, ..."""
    return tuple(host.name for host in hosts if host.name != INITIATOR)


def test_who_join_one_after_the_other_are_neighbours_as_often_as_any_two() -> None:
    """Without a draw worker-2 and worker-3 would always be; of all orders of four it is one half."""
    random = Random(0)
    orders = Counter(order(drawn(ALIKE, [], random)[0]) for _ in range(DRAWS))
    assert set(orders) == set(permutations(NAMES))
    assert max(orders.values()) / min(orders.values()) < 1.5
    beside = sum(
        count for names, count in orders.items() if abs(names.index("worker-2") - names.index("worker-3")) == 1
    )
    assert beside / DRAWS == pytest.approx(1 / 2, abs=0.03)


def test_a_spare_that_is_drawn_too_makes_it_less_likely() -> None:
    """Two of five, and four places side by side: 3 * 2 / (5 * 4)."""
    random, beside = Random(1), 0
    for _ in range(DRAWS):
        hosts, spares = drawn(ALIKE, ["worker-5"], random)
        assert sorted([*order(hosts), *spares]) == [*NAMES, "worker-5"]
        names = order(hosts)
        both = {"worker-2", "worker-3"} <= {*names}
        beside += both and abs(names.index("worker-2") - names.index("worker-3")) == 1
    assert beside / DRAWS == pytest.approx(0.3, abs=0.03)


def test_places_move_as_a_whole_so_nobody_checks_itself() -> None:
    random = Random(2)
    places = {(host.stages, host.duplicates) for host in ALIKE}
    for _ in range(50):
        hosts, _ = drawn(ALIKE, ["worker-5"], random)
        assert {(host.stages, host.duplicates) for host in hosts} == places
        assert hosts[0] == ALIKE[0]
        assert all(not {*host.stages} & {*host.duplicates} for host in hosts)


def test_only_workers_of_like_speed_change_places() -> None:
    random = Random(3)
    mixed = placed(1.0, 4.0, 1.2, 4.0)
    orders = {order(drawn(mixed, [], random)[0]) for _ in range(200)}
    assert orders == {
        (first, second, third, fourth)
        for first, third in permutations(["worker-1", "worker-3"])
        for second, fourth in permutations(["worker-2", "worker-4"])
    }


def test_what_was_drawn_is_there_again_when_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "custody.json"
    first = Custody(path, Random(4)).first(ALIKE, ["worker-5"])
    assert order(first[0]) != order(ALIKE)
    again = Custody(path, Random(5)).first(ALIKE, ["worker-5"])
    assert again == first


def test_places_that_nobody_had_go_to_who_is_left(tmp_path: Path) -> None:
    """The initiator had taken over stage 2, and somebody else who came meanwhile holds stage 3."""
    path = tmp_path / "custody.json"
    hosts = [Host(INITIATOR, (0, 2, 5)), Host("worker-4", (1,)), Host("worker-9", (3,)), Host("worker-1", (4,))]
    Custody(path).note(7, hosts)
    assert json.loads(path.read_text())["step"] == 7
    now, spares = Custody(path).first(ALIKE, [])
    assert (order(now), spares) == (("worker-4", "worker-2", "worker-9", "worker-1"), ["worker-3"])


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"holders": 3}', '{"holders": {"one": "worker-1"}}', '{"holders": {"1": 1}}']
)
def test_a_file_that_no_run_writes_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "custody.json"
    path.write_text(text)
    with pytest.raises(RunFolderError, match="SW-R107"):
        Custody(path).first(ALIKE, [])
