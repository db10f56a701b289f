"""A run's record: the court's statements in the ledger, the tensors behind its verdicts sealed beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from torch import Tensor

from shieldwall.core.files import storing
from shieldwall.core.ids import INITIATOR
from shieldwall.core.messages import View
from shieldwall.core.signing import Identity, Signed
from shieldwall.core.statements import Header
from shieldwall.verify.court.record import StepRecord
from shieldwall.verify.ledger import LedgerWriter, ViewRecord
from shieldwall.verify.ledger.evidence import EvidenceStore
from shieldwall.verify.ledger.keys import read_evidence_key, read_run_key, write_key

RUN_KEY = "run.key"
EVIDENCE_KEY = "evidence.key"


class LedgerRecord:
    """Writes what the court wants remembered.

    Args:
        writer: of the run's ledger.
        evidence: where tensors are kept; None where they are not.
        run: the run's name.
        known: parties whose keys are in the first row, or in that of the resumption.
    """

    def __init__(
        self, writer: LedgerWriter, evidence: EvidenceStore | None, run: str, known: Iterable[str] = ()
    ) -> None:
        self.writer = writer
        self._evidence = evidence
        self._run = run
        self._known = set(known)

    def add(self, signed: Signed[Any]) -> None:
        """A statement of the step in work."""
        self.writer.append(signed)

    def correct(self, header: Signed[Header]) -> None:
        """The initiator's header, which stands in the place of a maker's."""
        self.writer.correct(header)

    def add_view(self, view: View, state_roots: Mapping[int, str]) -> None:
        """Who holds what from now on, with the keys of those who have come since the last view."""
        new = {name: key for name, key in view.keys.items() if name not in self._known}
        self._known |= new.keys()
        self.writer.record_view(
            ViewRecord(
                run=self._run,
                view=view.view,
                holders=view.holders,
                checkers=view.checkers,
                arithmetic=view.arithmetic,
                keys=new,
                state_roots=state_roots,
                bypassed=view.bypassed,
                still=view.still,
            )
        )

    def keep_evidence(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
        """Seal tensors behind a case for reviewers; gives their root, empty where none are kept."""
        if self._evidence is None:
            return ""
        return self._evidence.put(dict(tensors), dict(about))

    def commit(self, step: StepRecord) -> str:
        """Make the step durable, closed by the initiator's signature; gives the new head."""
        return self.writer.commit_step(
            attempt=step.attempt,
            micro_batches=step.micro_batches,
            state_roots=step.state_roots,
            clip_coefficients=step.clip_coefficients,
            learning_rate=step.learning_rate,
            norm=step.norm,
        )


class RunKeys:
    """The run's signing key and its reviewers' key, in a folder that only their owner may read.

    Args:
        folder: `private/` of the run.
        begun: whether the run has a ledger. Then both keys must be there: what others were signed or sealed with would
            be of another run. Else those that are not there are made, and their folder.

    Raises:
        LedgerFileError: SW-L204; a key file cannot be used, or is gone; nothing was written then.
        StorageError: SW-S101.
    """

    def __init__(self, folder: Path, *, begun: bool) -> None:
        if not begun:
            _make_keys(folder)
        self.identity = Identity(INITIATOR, read_run_key(folder / RUN_KEY))
        self.evidence = read_evidence_key(folder / EVIDENCE_KEY)

    @property
    def evidence_public(self) -> bytes:
        """Public half of the reviewers' key, 32 bytes."""
        return self.evidence.public_key().public_bytes_raw()


def _make_keys(folder: Path) -> None:
    with storing(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name, make in ((RUN_KEY, Ed25519PrivateKey.generate), (EVIDENCE_KEY, X25519PrivateKey.generate)):
        if not (folder / name).exists():
            write_key(folder / name, make())
