"""A named list of modules that users can extend through the package's entry points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any


class Registry(Mapping[str, Any]):
    """What a room offers under a name, ours first, then what other packages add.

    Each name stands for `module:attribute`, imported when it is asked for, so that listing the names costs nothing.

    Args:
        group: entry-point group that other packages add to, such as `shieldwall.families`.
        built_in: name to `module:attribute`.
    """

    def __init__(self, group: str, built_in: Mapping[str, str]) -> None:
        self.group = group
        self._built_in = dict(built_in)

    def _targets(self) -> dict[str, str]:
        added = {point.name: point.value for point in entry_points(group=self.group)}
        return {**added, **self._built_in}

    def __getitem__(self, name: str) -> Any:
        # What other packages add is looked up for names that are not ours alone: asking for it takes milliseconds.
        target = self._built_in[name] if name in self._built_in else self._targets()[name]
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets())

    def __len__(self) -> int:
        return len(self._targets())
