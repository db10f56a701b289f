"""Every error that a user can meet.

    ShieldwallError
    |-- InputError            exit code 2: what was given cannot be used, nothing was changed
    |   |-- ConfigError       SW-C...  configuration file, override or option; SW-A...  an attack in it
    |   |-- CorpusError       SW-D...  text, tokenizer or blocks
    |   |-- ModelError        SW-M...  model folder, family or cut
    |   |-- PlanError         SW-P...  schedule, hosts, memory
    |   |-- CheckpointError   SW-K...  saved state that cannot be used
    |   |-- RunFolderError    SW-R...  the run's folder
    |   |-- LedgerFileError   SW-L2..  no ledger, evidence or key file that can be used
    |   |-- TicketError       SW-T20.  a ticket that does not let anybody in
    |   `-- IdentityError     SW-T21.  keys, certificates, the book of members
    |-- VerificationError     exit code 3: what is recorded does not hold
    |   `-- LedgerError       SW-L1..  the ledger or its evidence is not what was signed
    `-- RunError              exit code 1: it happened on the way, the last whole checkpoint stands
        |-- NonFiniteError    SW-N...  a NaN or an infinity
        |-- StorageError      SW-S1..  the disk refused
        |-- NoMemoryError     SW-S2..  there was not enough memory
        |-- TransportError    SW-T1..  a message that should not be
        |-- EnrolmentError    SW-T22.  the run does not let this machine in
        |-- BenchmarkError    SW-B...  a process that a benchmark needs ended or hung
        `-- Interrupted       SW-I...  a signal stopped the run, its state is saved (exit code 130)

A page for each code lies in `docs/errors/`.
"""

from __future__ import annotations


class ShieldwallError(Exception):
    """What was expected, what was found, where, and what to do about it.

    Args:
        code: `SW-` and a letter and three digits; the name of the page in `docs/errors/`.
        summary: one line that names the trouble.
        expected: what would have been right.
        got: what was found instead; never a tensor, a key or training text.
        where: file, key, step or stage.
        remedy: what to do next, ready to paste where that is possible.
        state: what holds now; leave empty where nothing was touched.
    """

    exit_code = 1

    def __init__(
        self,
        code: str,
        summary: str,
        *,
        expected: str = "",
        got: str = "",
        where: str = "",
        remedy: str = "",
        state: str = "",
    ) -> None:
        self.code = code
        self.summary = summary
        self.expected = expected
        self.got = got
        self.where = where
        self.remedy = remedy
        self.state = state
        super().__init__(self._text())

    def _text(self) -> str:
        rows = [
            ("where", self.where),
            ("expected", self.expected),
            ("got", self.got),
            ("state", self.state),
            ("do next", self.remedy),
            ("page", f"docs/errors/{self.code}.md"),
        ]
        indent = "\n" + " " * 12
        lines = [f"  {label:<9} {text.replace(chr(10), indent)}" for label, text in rows if text]
        return "\n".join([f"{type(self).__name__} {self.code}: {self.summary}", *lines])


class InputError(ShieldwallError):
    """What was given cannot be used; nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file, an override or an option is wrong."""


class CorpusError(InputError):
    """Text, tokenizer or blocks of tokens cannot be used."""


class ModelError(InputError):
    """A model folder, its family or its cut cannot be used."""


class PlanError(InputError):
    """A plan cannot be made, is wrong or does not fit its hosts."""


class CheckpointError(InputError):
    """A saved state is absent, damaged or belongs to something else."""


class RunFolderError(InputError):
    """The run's folder cannot be used."""


class LedgerFileError(InputError):
    """A ledger, a piece of evidence or a key file is absent or cannot be used here."""


class TicketError(InputError):
    """A ticket is none, is damaged, or is not good any more."""


class IdentityError(InputError):
    """A key, a certificate or the book of members is absent or cannot be used here."""


class VerificationError(ShieldwallError):
    """What is recorded of a run does not hold."""

    exit_code = 3


class LedgerError(VerificationError):
    """A ledger or its evidence is not what was signed.

    Args:
        code: as for every error, as are the others that are not named here.
        row: number of the first row that is wrong, from 0; None where the trouble is with the file as a whole.
    """

    def __init__(
        self,
        code: str,
        summary: str,
        *,
        row: int | None = None,
        expected: str = "",
        got: str = "",
        where: str = "",
        remedy: str = "",
        state: str = "",
    ) -> None:
        self.row = row
        super().__init__(code, summary, expected=expected, got=got, where=where, remedy=remedy, state=state)


class RunError(ShieldwallError):
    """It happened on the way; the last whole checkpoint stands."""


class StateLostError(RunError):
    """A state that nobody has any more who can be reached; the last checkpoint has an older one."""


class NonFiniteError(RunError):
    """A loss, an activation or a gradient is NaN or infinite."""


class StorageError(RunError):
    """The disk refused; what was being written is gone, what was there before stands."""


class NoMemoryError(RunError):
    """There was not enough memory for what had to be held or computed."""


class TransportError(RunError):
    """A message arrived that should not be."""


class EnrolmentError(RunError):
    """A run does not let a machine in, or not any more."""


class BenchmarkError(RunError):
    """A process that a benchmark needs ended or hung."""


class Interrupted(RunError):  # noqa: N818 (an interruption is no error of anybody's)
    """The user stopped the run; its state is saved."""

    exit_code = 130
