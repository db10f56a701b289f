"""Read a user's text files whole, or say exactly why they cannot be read."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path

from shieldwall.core.errors import CorpusError

BYTE_ORDER_MARK = "\ufeff"


def missing_part(scheme: str, argument: str, form: str) -> CorpusError:
    """The error SW-D102 for a spec that is not of the given form, such as `text:PATH`."""
    spec = f"{scheme}:{argument}" if argument else scheme
    return CorpusError(
        "SW-D102",
        "the corpus spec does not have the form of its kind",
        where=f'data.corpus = "{spec}"',
        expected=form,
        got=spec,
        remedy=f'write it as data.corpus = "{form}" with your own values for the words in capitals'
        if ":" in form
        else f'write it as data.corpus = "{form}"; this kind takes nothing after its name',
    )


def expand_paths(path: str) -> list[str]:
    """The files that `path` names: itself, or where it is a pattern such as `books/*.txt`, all that match, sorted.

    A file of exactly that name comes first: its brackets or stars are no pattern then. `**` goes into folders.

    Raises:
        CorpusError: SW-D103; the pattern matches no file.
    """
    if not has_magic(path) or Path(path).exists():
        return [path]
    matches = glob(path, recursive=True)  # noqa: PTH207 (Path.glob takes no pattern that starts with /)
    found = sorted(name for name in matches if Path(name).is_file())
    if not found:
        raise CorpusError(
            "SW-D103",
            "the corpus file does not exist",
            where=path,
            expected="at least one file that matches this pattern",
            got="no such file",
            remedy="check it with ls; a pattern that does not start with / is looked up from the folder you are in",
        )
    return found


def read_file(path: str) -> bytes:
    """The bytes of the regular file at `path`.

    Raises:
        CorpusError: SW-D103, absent; SW-D104, a folder or a device; SW-D105, the system refuses to read it.
    """
    with _readable(path):
        return _regular(path).read_bytes()


def check_file(path: str) -> None:
    """Refuse what is no regular file that this user may read; raises as `read_file` does."""
    with _readable(path), _regular(path).open("rb"):
        pass


def _regular(path: str) -> Path:
    file = Path(path)
    if not stat.S_ISREG(file.stat().st_mode):
        raise _not_a_file(file)
    return file


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorpusError(
            "SW-D103",
            "the corpus file does not exist",
            where=path,
            expected="a file to read text from",
            got="no such file",
            remedy="check the path; one that does not start with / is looked up from the folder you are in",
        ) from error
    except (OSError, ValueError) as error:
        raise CorpusError(
            "SW-D105",
            "the corpus file cannot be read",
            where=path,
            expected="a file that this user may read",
            got=getattr(error, "strerror", None) or str(error),
            remedy="check the path and the right to read it (ls -l)",
        ) from error


def _not_a_file(file: Path) -> CorpusError:
    is_folder = file.is_dir()
    return CorpusError(
        "SW-D104",
        "the corpus path is not a file",
        where=str(file),
        expected="one regular file",
        got="a folder" if is_folder else "a device, a pipe or a socket",
        remedy="name one file in that folder" if is_folder else "copy its content to a file and name that",
    )


def read_text(path: str) -> str:
    """The text of the UTF-8 file at `path`, without a byte order mark, line ends as they are.

    Raises:
        CorpusError: SW-D103 to SW-D105 of `read_file`; SW-D106, not text.
    """
    content = read_file(path)
    check_text(content, path)
    return content.decode("utf-8").removeprefix(BYTE_ORDER_MARK)


def check_text(content: bytes, path: str) -> None:
    """Refuse bytes that are not UTF-8 text.

    Raises:
        CorpusError: SW-D106; names the offset of the first byte that is wrong.
    """
    found = []
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        found.append((error.start, f"byte 0x{content[error.start]:02x} is not UTF-8"))
    zero = content.find(0)
    if zero >= 0:
        found.append((zero, "a zero byte, as binary files have"))
    if found:
        offset, reason = min(found)
        raise CorpusError(
            "SW-D106",
            "the corpus file is not UTF-8 text",
            where=f"{path}, byte offset {offset}",
            expected="text in UTF-8",
            got=reason,
            remedy=f"convert it first, for example: iconv -f LATIN1 -t UTF-8 {path} > corpus.txt",
        )
