"""Ledgers of runs that never were: right in every row, with roots that are hashes of names in place of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shieldwall.core.ids import INITIATOR, Direction, Role, Slot, worker_name
from shieldwall.core.signing import Identity, Signed
from shieldwall.core.statements import (
    Alert,
    GradientClaim,
    Header,
    Holding,
    Receipt,
    Settlement,
    StateOpening,
    StateSeal,
    seal_root,
)
from shieldwall.core.verdicts import CaseDirection, Verdict
from shieldwall.verify.ledger import LedgerWriter, RunRecord, ViewRecord

RUN = "make-believe"


def root(*names: object) -> str:
    return hashlib.sha256("|".join(map(str, names)).encode()).hexdigest()


def identity(name: str) -> Identity:
    """A party whose key is always the same, so that a ledger's bytes are too."""
    return Identity(name, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


@dataclass(frozen=True)
class Story:
    """What happens in a run; the defaults are quiet."""

    stages: int = 4
    micro_batches: int = 2
    steps: int = 2
    again: frozenset[tuple[int, int]] = frozenset()
    """(step, micro-batch) that are run a second time."""
    corrected: frozenset[tuple[int, int, Direction, int]] = frozenset()
    """(step, micro-batch, direction, stage): the stage lies there, is found out, and corrected."""
    accused: frozenset[tuple[int, int, Direction, int]] = frozenset()
    """The checker lies about an honest stage there, and is found out."""
    wrong_update: frozenset[tuple[int, int]] = frozenset()
    """(step, stage): the stage's holder makes a wrong new state there, and is found out."""
    new_view_before: frozenset[int] = frozenset()
    """Steps before which the duties are drawn anew."""
    resumed_at: int | None = None
    """After all steps the run goes on from this one once more."""
    closed: bool = True


QUIET = Story()
EVENTFUL = Story(
    steps=3,
    again=frozenset({(1, 1)}),
    corrected=frozenset({(0, 1, Direction.FORWARD, 1), (1, 0, Direction.BACKWARD, 2)}),
    accused=frozenset({(1, 0, Direction.FORWARD, 1)}),
    wrong_update=frozenset({(0, 2)}),
    new_view_before=frozenset({2}),
    resumed_at=1,
)


@dataclass
class Teller:
    """Writes the ledger of a story."""

    folder: Path
    story: Story
    parties: dict[str, Identity] = field(default_factory=dict)
    attempt: int = 0
    view: int = 0
    edit: Callable[[Signed[Any]], Iterable[Signed[Any]]] = lambda signed: (signed,)
    """What becomes of each statement of the work before it is written; for tests of what must not hold."""

    def __post_init__(self) -> None:
        names = [INITIATOR, *(worker_name(index) for index in range(self.story.stages - 1))]
        self.parties = {name: identity(name) for name in names}
        self.states = {stage: root("state", 0, stage) for stage in range(self.story.stages)}
        self.receipts: list[Signed[Receipt]] = []

    @property
    def initiator(self) -> Identity:
        return self.parties[INITIATOR]

    @property
    def holders(self) -> dict[int, str]:
        """Stage `i` with worker `i`, one further with each view; the initiator has both ends."""
        last = self.story.stages - 1
        names = [name for name in self.parties if name != INITIATOR]
        middle = {stage: names[(stage - 1 + self.view) % len(names)] for stage in range(1, last)}
        return {0: INITIATOR, **middle, last: INITIATOR}

    @property
    def checkers(self) -> dict[int, str]:
        return {stage: self.holders[stage + 1] for stage in range(1, self.story.stages - 1)}

    def tell(self) -> Path:
        """The whole story; returns the file."""
        writer = self.begin()
        for _ in range(self.story.steps):
            self.tell_step(writer)
        if self.story.resumed_at is not None:
            self.go_on(writer, self.story.resumed_at)
            while writer.step < self.story.steps:
                self.tell_step(writer)
        self.keep_receipts(writer)
        if self.story.closed:
            writer.close()
        else:
            writer.release()
        return writer.path

    def begin(self) -> LedgerWriter:
        record = RunRecord(
            run=RUN,
            config_root=root("config"),
            run_key=self.initiator.public,
            keys={name: party.public for name, party in self.parties.items()},
            arithmetic="cpu, one thread",
            evidence_key=bytes(32),
            state_roots=self.states,
        )
        writer = LedgerWriter.create(self.folder, self.initiator, record)
        self.assign(writer)
        return writer

    def assign(self, writer: LedgerWriter) -> None:
        writer.record_view(
            ViewRecord(run=RUN, view=self.view, holders=self.holders, checkers=self.checkers, arithmetic=root("class"))
        )

    def go_on(self, writer: LedgerWriter, step: int) -> None:
        """Go back to a step, as a process that has died and was resumed; one worker comes back with a new key."""
        back = identity("a new key of worker-1")
        self.parties[worker_name(0)] = Identity(worker_name(0), back.key)
        self.keep_receipts(writer)
        self.attempt += 2
        writer.resume(step, self.attempt, {worker_name(0): self.parties[worker_name(0)].public})
        self.states = {stage: root("state", step, stage) for stage in range(self.story.stages)}

    def tell_step(self, writer: LedgerWriter) -> str:
        step, story = writer.step, self.story
        if step in story.new_view_before:
            self.view += 1
            self.assign(writer)
        self.keep_receipts(writer)
        attempts = {}
        for micro_batch in range(story.micro_batches):
            attempts[micro_batch] = self.attempt
            self.tell_micro_batch(writer, step, micro_batch, self.attempt)
            if (step, micro_batch) in story.again:
                attempts[micro_batch] = self.attempt + 1
                self.tell_micro_batch(writer, step, micro_batch, self.attempt + 1)
        new_states = {stage: root("state", step + 1, stage) for stage in range(story.stages)}
        self.tell_states(writer, step, new_states)
        head = writer.commit_step(
            attempt=max(attempts.values()),
            micro_batches=story.micro_batches,
            state_roots=new_states,
            clip_coefficients=dict.fromkeys(new_states, 1.0),
            learning_rate=1e-3 * (step + 1),
            norm=0.1 + step,
        )
        self.attempt = max(attempts.values())
        self.states = new_states
        workers = [party for name, party in self.parties.items() if name != INITIATOR]
        self.receipts = [party.sign(Receipt(run=RUN, step=step, head=head)) for party in workers]
        return head

    def say(self, writer: LedgerWriter, signed: Signed[Any]) -> None:
        for each in self.edit(signed):
            writer.append(each)

    def keep_receipts(self, writer: LedgerWriter) -> None:
        for receipt in self.receipts:
            self.say(writer, receipt)
        self.receipts = []

    def slot(self, step: int, micro_batch: int, attempt: int, direction: Direction, stage: int) -> Slot:
        return Slot(
            run=RUN,
            view=self.view,
            attempt=attempt,
            step=step,
            micro_batch=micro_batch,
            direction=direction,
            stage=stage,
        )

    def tell_micro_batch(self, writer: LedgerWriter, step: int, micro_batch: int, attempt: int) -> None:
        last = self.story.stages - 1
        made = ""
        for stage in range(last):
            made = self.tell_slot(writer, self.slot(step, micro_batch, attempt, Direction.FORWARD, stage), made)
        made = ""
        for stage in range(last, 0, -1):
            made = self.tell_slot(writer, self.slot(step, micro_batch, attempt, Direction.BACKWARD, stage), made)

    def tell_slot(self, writer: LedgerWriter, slot: Slot, made_from: str) -> str:
        """What is said about one tensor; returns its root."""
        key = (slot.step, slot.micro_batch, slot.direction, slot.stage)
        right = root("tensor", *key)
        lies = key in self.story.corrected
        holder, checker = self.holders[slot.stage], self.checkers.get(slot.stage)
        header = Header(
            slot=slot,
            source=holder,
            destinations=(INITIATOR,),
            shape=(2, 8, 4),
            dtype="float32",
            arithmetic=root("class"),
            root_in=made_from,
            root_out=root("lie", *key) if lies else right,
            state_root=self.states[slot.stage],
        )
        self.say(writer, self.parties[holder].sign(header))
        if checker is None:
            return right
        if lies or key in self.story.accused:
            mine = right if lies else root("false", *key)
            alert = Alert(slot=slot, root_in=made_from, root_out=mine, claimed=header.root_out)
            self.say(writer, self.parties[checker].sign(alert))
            self.judge(writer, slot, (holder, header.root_out) if lies else (checker, mine), checker, right)
            if lies:
                writer.correct(self.initiator.sign(replace(header, source=INITIATOR, root_out=right)))
        else:
            settlement = Settlement(slot=slot, root_in=made_from, root_out=right)
            self.say(writer, self.parties[checker].sign(settlement))
        return right

    def judge(self, writer: LedgerWriter, slot: Slot, guilty: tuple[str, str], accuser: str, right: str) -> None:
        culprit, got = guilty
        writer.record(
            Verdict(
                run=RUN,
                view=slot.view,
                attempt=slot.attempt,
                step=slot.step,
                micro_batch=slot.micro_batch,
                direction=CaseDirection(slot.direction.value),
                stage=slot.stage,
                culprit=culprit,
                rule=1,
                accuser=accuser,
                expected=right,
                got=got,
                reason="What it signed does not follow from the input.",
                evidence=(root("evidence", slot.step),),
            )
        )

    def tell_states(self, writer: LedgerWriter, step: int, new_states: dict[int, str]) -> None:
        for stage, checker in self.checkers.items():
            parties = {Role.STAGE: self.holders[stage], Role.DUPLICATE: checker}
            holdings = {role: Holding(run=RUN, view=self.view, step=step, stage=stage, role=role) for role in parties}
            lies = (step, stage) in self.story.wrong_update
            roots = {
                role: root("wrong", stage) if lies and role is Role.STAGE else new_states[stage] for role in parties
            }
            for role, name in parties.items():
                claim = GradientClaim(
                    holding=holdings[role], root=root("gradients", step, stage), norms={"w": "0x1p-1"}
                )
                self.say(writer, self.parties[name].sign(claim))
            for role, name in parties.items():
                sealed = seal_root(root("nonce", name), roots[role], name)
                self.say(writer, self.parties[name].sign(StateSeal(holding=holdings[role], sealed=sealed)))
            for role, name in parties.items():
                opening = StateOpening(holding=holdings[role], nonce=root("nonce", name), root=roots[role])
                self.say(writer, self.parties[name].sign(opening))
            if lies:
                self.judge_update(writer, step, stage, roots[Role.STAGE], new_states[stage])

    def judge_update(self, writer: LedgerWriter, step: int, stage: int, got: str, right: str) -> None:
        writer.record(
            Verdict(
                run=RUN,
                view=self.view,
                attempt=self.attempt,
                step=step,
                micro_batch=None,
                direction=CaseDirection.UPDATE,
                stage=stage,
                culprit=self.holders[stage],
                rule=5,
                accuser=self.checkers[stage],
                expected=right,
                got=got,
                reason="Its new state does not follow from the step's gradients.",
            )
        )
