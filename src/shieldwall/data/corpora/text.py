"""`text:PATH`: a UTF-8 text file, one document."""

from __future__ import annotations

from shieldwall.data.corpora.files import missing_part, read_text


def read(argument: str) -> tuple[str]:
    """The text of the file at the path `argument`.

    Raises:
        CorpusError: SW-D102, no path; SW-D103 to SW-D106, no text can be read there.
    """
    if not argument:
        raise missing_part("text", argument, "text:PATH")
    return (read_text(argument),)
