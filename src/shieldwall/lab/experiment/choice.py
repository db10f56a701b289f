"""Which part of a grid is run: `--only opt,arxiv`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shieldwall.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Families and corpora that are run; all where none is named."""

    families: tuple[str, ...]
    corpora: tuple[str, ...]

    def takes(self, family: str, corpus: str) -> bool:
        """Whether this subject is run."""
        return family in self.families and corpus in self.corpora


def choose(only: Sequence[str], families: Sequence[str], corpora: Sequence[str]) -> Choice:
    """The part of the grid that `only` names: a family restricts families, a corpus restricts corpora.

    Raises:
        ConfigError: SW-C122; a word is neither.
    """
    for word in only:
        if word not in (*families, *corpora):
            raise ConfigError(
                "SW-C122",
                "the grid has no such part",
                where="--only",
                expected=f"words out of: {', '.join([*families, *corpora])}; this scale has these with this data",
                got=word,
                remedy="name families and corpora with commas between them, or take a larger --scale",
            )
    return Choice(
        families=tuple(word for word in families if word in only) or tuple(families),
        corpora=tuple(word for word in corpora if word in only) or tuple(corpora),
    )
