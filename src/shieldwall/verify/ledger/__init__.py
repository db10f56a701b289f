"""The ledger: what was signed in a run, chained, kept, and verified by anyone (design, G6)."""

from shieldwall.verify.ledger.check import verify_ledger
from shieldwall.verify.ledger.records import ClosingRecord, CommitRecord, ResumeRecord, RunRecord, ViewRecord
from shieldwall.verify.ledger.report import LedgerReport
from shieldwall.verify.ledger.rows import LEDGER_FILE
from shieldwall.verify.ledger.tail import Tail, check_chain, read_tail
from shieldwall.verify.ledger.writer import LedgerWriter

__all__ = [
    "LEDGER_FILE",
    "ClosingRecord",
    "CommitRecord",
    "LedgerReport",
    "LedgerWriter",
    "ResumeRecord",
    "RunRecord",
    "Tail",
    "ViewRecord",
    "check_chain",
    "read_tail",
    "verify_ledger",
]
