"""Which examples share a row: best fit, the longest first.

Each example goes into the row with the least room that is enough for it, a new row where there is none. It is never
cut. The result is at most 11/9 of the fewest rows possible, and 4 more.

Source: best-fit decreasing, Johnson et al., "Worst-case performance bounds for simple one-dimensional packing
algorithms", 1974.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put examples into rows.

    Args:
        lengths: of the examples, each from 1 to `capacity`.
        capacity: tokens in a row.

    Returns:
        For each row the numbers of its examples, in the order in which they were put there: by falling length, the
        earlier one first where two are alike.

    Raises:
        ValueError: an example is longer than a row, or empty; a mistake of the caller.

    Cost: about n log(capacity) for n examples.
    """
    if lengths and not 1 <= min(lengths) <= max(lengths) <= capacity:
        raise ValueError(f"examples of {min(lengths)} to {max(lengths)} tokens in rows of {capacity}")
    rows: list[list[int]] = []
    rooms: list[int] = []
    with_room: dict[int, deque[int]] = {}
    for example in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        length = lengths[example]
        place = bisect_left(rooms, length)
        if place == len(rooms):
            rows.append([])
            row, room = len(rows) - 1, capacity
        else:
            room = rooms[place]
            row = with_room[room].popleft()
            if not with_room[room]:
                del rooms[place], with_room[room]
        rows[row].append(example)
        _offer(row, room - length, rooms, with_room)
    return rows


def _offer(row: int, room: int, rooms: list[int], with_room: dict[int, deque[int]]) -> None:
    """Note that a row has room left; the row that has waited longest with that room is used first."""
    if room not in with_room:
        insort(rooms, room)
        with_room[room] = deque()
    with_room[room].append(row)
