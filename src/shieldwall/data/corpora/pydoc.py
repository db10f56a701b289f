"""`pydoc`: the language reference that every Python carries for `help()`, one document for each topic.

No download and no file: this is the text of the embedded default. It differs a little from one Python version to
the next.
"""

from __future__ import annotations

from shieldwall.data.files import missing_part


def read(argument: str) -> tuple[str, ...]:
    """The text of every topic, in the order of the topics' names.

    Raises:
        CorpusError: SW-D102, something stands after `pydoc:`.
    """
    if argument:
        raise missing_part("pydoc", argument, "pydoc")
    from pydoc_data.topics import topics

    return tuple(topics[name] for name in sorted(topics))
