"""`text:PATH`: UTF-8 text files, each one document; PATH may be a pattern such as `books/*.txt`."""

from __future__ import annotations

from collections.abc import Iterator

from shieldwall.data.files import expand_paths, missing_part, read_text


def read(argument: str) -> Iterator[str]:
    """The text of each file that the path or pattern `argument` names.

    Raises:
        CorpusError: SW-D102, no path; SW-D103 to SW-D106, no text can be read there.
    """
    if not argument:
        raise missing_part("text", argument, "text:PATH")
    return (read_text(path) for path in expand_paths(argument))
