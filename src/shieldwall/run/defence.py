"""The shield of a run with its ledger: begun with the run, or gone on with when it is resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from shieldwall.config import Config
from shieldwall.core.errors import LedgerFileError
from shieldwall.core.messages import StageState
from shieldwall.core.oversight import Response
from shieldwall.core.signing import fingerprint
from shieldwall.pipeline.holdings import HostSettings
from shieldwall.run.folder import RunFolder
from shieldwall.run.ledger_record import EVIDENCE_KEY, LedgerRecord, RunKeys
from shieldwall.run.planning import RunPlan
from shieldwall.run.recompute import StageRecompute
from shieldwall.run.shield import Parties, Shield, first_roots
from shieldwall.run.states import Holding
from shieldwall.verify.ledger import LedgerWriter, RunRecord, check_chain, read_tail
from shieldwall.verify.ledger.evidence import EvidenceStore

RESPONSES = {
    "repair": Response.REPAIR,
    "skip": Response.ABANDON,
    "restart": Response.ABANDON,
    "none": Response.NONE,
}
"""What the court does with a step, by `respond.policy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defence:
    """A raised shield."""

    shield: Shield
    writer: LedgerWriter
    frozen_of: Callable[[int], Mapping[str, Tensor]]
    """What training leaves alone in a stage, as the initiator has it."""
    fingerprint: str
    """Of the run's key; whoever verifies the ledger compares it."""


def is_over(folder: RunFolder) -> bool:
    """Whether a run was killed after all was done but giving its summary the name that it has at the end.

    With the closing of its ledger a checked run is over; an unchecked one with its sealed summary.

    Raises:
        LedgerFileError, LedgerError: SW-L...; the ledger's end cannot be read.
    """
    if not folder.sealed_summary.exists():
        return False
    if not folder.ledger.exists():
        return True
    return read_tail(folder.path, RunKeys(folder.private, begun=True).identity).closed


def check_record(config: Config, folder: RunFolder) -> None:
    """Before a run goes on: its keys are those that its ledger was begun with, and no row of the ledger was changed.

    Reads and hashes every row once: 1 s for 100,000 rows of 1 kB on one core. Signatures are left to `verify_ledger`.
    Nothing is written.

    Raises:
        LedgerFileError: SW-L202, SW-L204; a key is gone, cannot be used, or is another than the ledger's.
        LedgerError: SW-L101 to SW-L107; the ledger is not what was written.
    """
    if not (config.checks and folder.ledger.exists()):
        return
    keys = RunKeys(folder.private, begun=True)
    tail = read_tail(folder.path, keys.identity)
    if tail.evidence_key and tail.evidence_key != keys.evidence_public:
        raise LedgerFileError(
            "SW-L204",
            "this key file cannot be used",
            where=str(folder.private / EVIDENCE_KEY),
            expected=f"the key whose public half is {tail.evidence_key.hex()}, as the ledger's first row has it",
            got=f"one whose public half is {keys.evidence_public.hex()}",
            remedy="put the file back that was written when the run started; nobody could open evidence of two keys",
        )
    check_chain(folder.path)


def raise_shield(
    config: Config,
    folder: RunFolder,
    settings: HostSettings,
    run_plan: RunPlan,
    holdings: Iterable[Holding],
    *,
    names: Sequence[str],
    step: int,
    elsewhere: Mapping[str, bytes] | None = None,
) -> Defence:
    """Keys, ledger, court and guards for a run that begins or goes on at `step`.

    Args:
        config: of the run.
        folder: where keys, ledger and evidence lie.
        settings: what every host is told.
        run_plan: who holds what.
        holdings: what each stage starts from.
        names: everybody who may take part.
        step: the first step.
        elsewhere: public keys of those who are on other machines.

    Raises:
        LedgerFileError, LedgerError: SW-L...; the ledger that is there cannot be gone on with, or it is lost.
        StorageError: SW-S101.
    """
    begun = folder.ledger.exists()
    if step and not begun:
        raise _lost(folder, step)
    keys = RunKeys(folder.private, begun=begun)
    parties = Parties(names, keys.identity, elsewhere)
    frozen: dict[int, Mapping[str, Tensor]] = {}
    states: dict[int, StageState] = {}
    for holding in holdings:
        frozen[holding.span.index] = holding.frozen
        if run_plan.plan.checker_of(holding.span.index) is not None:
            states[holding.span.index] = holding.state
    recompute = StageRecompute(settings, run_plan.spans, lambda stage: frozen[stage])
    roots = first_roots(recompute, states)
    evidence_key = keys.evidence_public if config.verify.evidence else b""
    attempt = view = 0
    if begun:
        tail = read_tail(folder.path, keys.identity)
        attempt, view = tail.attempt + 1, tail.view + 1
        writer = LedgerWriter.reopen(folder.path, keys.identity)
        others = {name: key for name, key in parties.keys.items() if name != keys.identity.name}
        writer.resume(step, attempt, others, roots)
    else:
        record = RunRecord(
            run=config.run.name,
            config_root=config.root(),
            run_key=keys.identity.public,
            keys=parties.keys,
            arithmetic=str(run_plan.arithmetic),
            evidence_key=evidence_key,
            state_roots=roots,
        )
        writer = LedgerWriter.create(folder.path, keys.identity, record)
    store = EvidenceStore(folder.evidence, config.run.name, evidence_key) if evidence_key else None
    shield = Shield(
        parties,
        arithmetic=run_plan.arithmetic.root(),
        recompute=recompute,
        record=LedgerRecord(writer, store, config.run.name, parties.keys),
        state_roots=roots,
        bans=config.bans,
        response=RESPONSES[config.respond.policy],
        first_attempt=attempt,
        first_view=view,
        compression=settings.compression,
    )
    return Defence(
        shield=shield,
        writer=writer,
        frozen_of=lambda stage: frozen[stage],
        fingerprint=fingerprint(keys.identity.public),
    )


def _lost(folder: RunFolder, step: int) -> LedgerFileError:
    return LedgerFileError(
        "SW-L201",
        "there is no ledger",
        where=str(folder.ledger),
        expected=f"the ledger of the {step} steps that the run has committed",
        got="no such file",
        remedy="put the ledger back; a run that is checked does not go on without what was signed before",
    )
