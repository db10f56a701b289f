"""The initiator's desk: makes a step of what the hosts do.

    play --> all have played --> sum up --> norms --> prepare --> commit --> all report

Before the commit nothing that was computed has changed a weight; `Discard` takes everyone back to the last commit.

Under oversight more happens between the arrows: open cases are closed while lanes are played or right after, tainted
micro-batches are played again, gradients and new states of stages and duplicates are compared before anything is
committed (design 4.3 to 4.7).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from shieldwall.core.ids import SERVER, Direction, Role, Slot
from shieldwall.core.messages import (
    Assign,
    Commit,
    Committed,
    Discard,
    Discarded,
    NonFinite,
    Note,
    Open,
    Opened,
    PassTime,
    Play,
    Played,
    Prepare,
    Prepared,
    Release,
    Released,
    StageState,
    SummedUp,
    SumUp,
    View,
    Viewed,
    Void,
)
from shieldwall.core.oversight import Assignment, Findings, Oversight, StepAbandoned
from shieldwall.models.span import StageSpan
from shieldwall.pipeline.clip import Clipping, global_norm
from shieldwall.pipeline.correspondence import DeskCorrespondence
from shieldwall.pipeline.deadlines import Deadlines
from shieldwall.pipeline.desk import Desk, HostsLost
from shieldwall.pipeline.disputes import Disputes
from shieldwall.pipeline.failures import never_settles, not_finite
from shieldwall.pipeline.lane_watch import LaneWatch, first_slot
from shieldwall.pipeline.played import as_played, losses_of, merge
from shieldwall.pipeline.server import route_of
from shieldwall.pipeline.transfer.fetch import Fetcher
from shieldwall.pipeline.transfer.hand import Hander
from shieldwall.pipeline.transfer.transfers import NEAR, Transfers
from shieldwall.schedule import Lane, Plan
from shieldwall.transport import Endpoint

PlanAgain = Callable[[tuple[int, ...]], Plan]
"""The plan that runs some micro-batches of a step again, each slot settled before it is used."""

ATTEMPTS = 8
"""How often a step is tried. What is run again is corrected in place, so two attempts are the rule; an opponent that
finds a way around that shall not hold the run for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """What a step is made of.

    Args:
        plan: the lanes to play.
        step: its number.
        learning_rate: of this step.
        positions: micro-batch to positions (B, T), where a row holds several examples.
        shapes: micro-batch to the shape (B, T, D) of what crosses borders; needed under oversight alone.
        again: makes the plan for tainted micro-batches; needed under oversight alone.
        attempts: how often the step is tried before it is given up.
    """

    plan: Plan
    step: int
    learning_rate: float
    positions: Mapping[int, Tensor] | None = None
    shapes: Mapping[int, tuple[int, ...]] | None = None
    again: PlanAgain | None = None
    attempts: int = ATTEMPTS


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a committed step reports.

    `losses` holds each micro-batch's mean loss in nats before the update, `gradient_norm` is the global norm before
    clipping. `work` holds for each host when its passes ran, in seconds since its order to play had come to it; of what
    was run again nothing is in it. `rerun` names the micro-batches that were.
    """

    step: int
    losses: Mapping[int, float]
    gradient_norm: float
    learning_rate: float
    work: Mapping[str, tuple[PassTime, ...]]
    rerun: tuple[int, ...] = ()


class Coordinator:
    """Gives the orders of a run.

    Args:
        endpoint: the coordinator's end of the transport.
        run: the run's name, part of every slot.
        stage_of: name of each parameter to the stage that owns it, in the whole model's order.
        clipping: of the gradients.
        oversight: watches the run; None where nothing is checked.
        first_attempt: number of the first attempt at each step; a resumed run counts on from those before it.
        transfers: how states travel; by reference if not given.
        deadlines: of answers; None where all hosts are in this process, and none of them can keep anything back.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        run: str,
        stage_of: Mapping[str, int],
        clipping: Clipping,
        *,
        oversight: Oversight | None = None,
        first_attempt: int = 0,
        transfers: Transfers = NEAR,
        deadlines: Deadlines | None = None,
    ) -> None:
        self._run = run
        self._stage_of = dict(stage_of)
        self._clipping = clipping
        self._oversight = oversight
        self._first_attempt = first_attempt
        self._tried: tuple[int, int] = (-1, -1)
        """The step that was played last, and the number of the last attempt at it."""
        self._committing: dict[str, int] = {}
        """Hosts that were told to commit and were not waited for, and the step."""
        self._deadlines = deadlines
        self._disputes = Disputes()
        self._desk = Desk(endpoint, self._file, lambda host: host in self._holders.values(), deadlines)
        self._fetcher = Fetcher(self._desk, oversight, transfers)
        self._hander = Hander(self._desk, transfers)
        self._talk = DeskCorrespondence(self._desk, self._fetcher)
        self._holders: dict[tuple[Role, int], str] = {}
        self._view = View(view=0, holders={}, checkers={}, keys={}, arithmetic="")

    def _file(self, note: Note) -> None:
        if self._oversight:
            self._oversight.file(note)

    async def assign(
        self,
        host: str,
        span: StageSpan,
        state: StageState,
        frozen: Mapping[str, Tensor] | None = None,
        role: Role = Role.STAGE,
    ) -> None:
        """Let `host` hold the stage of `span`, or its duplicate, starting from `state`.

        `frozen` is what training leaves alone.

        Raises:
            HostsLost: as `Hander.hand`.
        """
        await self._hander.hand(host, _assignment(span, state, frozen, role))
        self._holders[role, span.index] = host

    async def begin(self, view: View, hosts: Iterable[str]) -> None:
        """Tell `hosts` for the first time who is to hold what, and everybody's keys.

        If it fails: who is lost here or in `place` is found by the first step, as one that held what it was to hold.
        """
        self._view = view
        for host in hosts:
            await self._show(host, view)

    async def place(
        self,
        host: str,
        span: StageSpan,
        state: StageState,
        frozen: Mapping[str, Tensor] | None = None,
        role: Role = Role.STAGE,
    ) -> None:
        """As `assign`, before the first step."""
        self._holders[role, span.index] = host
        with suppress(HostsLost):
            await self._hander.hand(host, _assignment(span, state, frozen, role), alone=True)

    def tell_still_there(self) -> None:
        """Tell of the stages that hosts had by themselves since the last call, so that nothing had to be sent."""
        self._hander.tell_still_there()

    async def _show(self, host: str, view: View) -> None:
        """Tell a host and wait for its answer, or until it is lost; that others are is nothing here."""
        if host not in self._desk.gone:
            await self._desk.send(host, view)
        while host not in self._desk.gone:
            with suppress(HostsLost):
                await self._desk.take(Viewed, lambda report: report.host == host)
                return

    async def release(self, host: str, stage: int, role: Role) -> None:
        """Let a host let go of a stage or duplicate that it does not count as holding any more."""
        await self._desk.send(host, Release(stage=stage, role=role))
        await self._desk.take(Released)

    def forget(self, stage: int, role: Role) -> None:
        """A stage or duplicate is held by nobody any more, or its host is not asked for the time being."""
        self._holders.pop((role, stage), None)

    def recall(self, host: str, stage: int, role: Role) -> None:
        """Go back to a host that has never let go of a stage or duplicate."""
        self._holders[role, stage] = host

    async def announce(self, view: View, hosts: Iterable[str]) -> None:
        """Tell `hosts` who holds what, and everybody's keys."""
        self._view = view
        everyone = list(hosts)
        await self._desk.send_all(everyone, view)
        await self._desk.gather(Viewed, len(everyone))

    async def step(self, work: StepWork) -> StepResult:
        """Train one step and commit it.

        Raises:
            NonFiniteError: SW-N101; nothing of the step has changed a weight.
            StepAbandoned: oversight will not have the step mended; nothing of it has changed a weight, and it may be
                tried again.
            HostsLost: hosts that hold something cannot be reached any more; nothing of the step has changed a weight,
                and it may be tried again when others hold what they held.
        """
        self._refuse_lost()
        try:
            return await self._step(work)
        except (StepAbandoned, HostsLost):
            await self._discard(work.step)
            raise

    async def _step(self, work: StepWork) -> StepResult:
        first_attempt = self._next_attempt(work.step)
        played, rerun = await self._play_until_settled(work, first_attempt)
        await self.settle()
        norms = merge(report.norms for report in played) if self._sums_up(work.plan) else await self._sum_up(work.step)
        norm = global_norm(norms, tuple(self._stage_of))
        if not norm.isfinite():
            await self._give_up(work.step, self._explain_norm(work, norms))
        await self._prepare(work, self._clipping.coefficients(norms, self._stage_of, range(work.plan.stages)))
        head = self._oversight.seal_step(work.step, norm=float(norm)) if self._oversight else ""
        committed = await self._commit(Commit(step=work.step, head=head))
        self._fetcher.forget()
        if self._oversight:
            self._oversight.take_receipts(committed)
        done = {report.host: report.work for report in played if report.attempt == first_attempt}
        if self._deadlines:
            self._deadlines.note_work(work.plan, done)
        return StepResult(
            step=work.step,
            losses=losses_of(played),
            gradient_norm=float(norm),
            learning_rate=work.learning_rate,
            work=done,
            rerun=rerun,
        )

    async def evaluate(
        self, plan: Plan, step: int, shapes: Mapping[int, tuple[int, ...]] | None = None
    ) -> dict[int, float]:
        """Mean loss in nats of each micro-batch of the evaluation blocks.

        Raises:
            NonFiniteError: SW-N101.
            HostsLost: as `step`.
        """
        self._refuse_lost()
        work = StepWork(plan=plan, step=step, learning_rate=0.0, shapes=shapes, again=lambda _: plan)
        try:
            played, _ = await self._play_until_settled(work, self._first_attempt)
        except HostsLost:
            await self._discard(step)
            raise
        return losses_of(played)

    async def states(self) -> AsyncIterator[tuple[int, StageState]]:
        """The committed state of each stage in order, one stage at a time."""
        for stage in sorted(stage for role, stage in self._holders if role is Role.STAGE):
            yield stage, await self.state(stage)

    async def state(self, stage: int, roles: Sequence[Role] = (Role.STAGE, Role.DUPLICATE)) -> StageState:
        """The committed state of one stage, from its holders who have the one that is in force.

        Raises:
            RunError: SW-V202; none of those who were asked has it.
            StateLostError: SW-V302; none of them can be reached any more.
            HostsLost: somebody else cannot be reached any more.
        """
        asked = [(role, self._holders[role, stage]) for role in roles if (role, stage) in self._holders]
        return await self._fetcher.committed(stage, asked)

    async def stop(self, hosts: Iterable[str]) -> None:
        """Let `hosts` end, those of them that can be reached."""
        for host in hosts:
            await self._desk.let_go(host)

    async def stop_all(self, hosts: Iterable[str]) -> None:
        """Let `hosts` end, and whoever has come since."""
        await self.stop(dict.fromkeys([*hosts, *self._desk.met]))

    @property
    def holders(self) -> Mapping[tuple[Role, int], str]:
        """Who holds each stage and each duplicate."""
        return dict(self._holders)

    @property
    def gone(self) -> Mapping[str, float]:
        """Hosts that cannot be reached, whatever they hold, and how long each had been silent."""
        return self._desk.gone

    def why_gone(self, host: str) -> str:
        """Of a host that cannot be reached: "gone", or what it said itself before it went."""
        return self._desk.why.get(host, "gone")

    @property
    def overdue(self) -> Mapping[str, str]:
        """Hosts that ever missed a deadline, and what was waited for."""
        return self._desk.overdue

    def drop_reports(self) -> None:
        """Nothing is in work: what was asked for so far is not waited for any more."""
        self._committing.clear()
        self._desk.forget()

    @property
    def hosts(self) -> list[str]:
        """Names of the hosts that hold a stage or a duplicate, each once."""
        return list(dict.fromkeys(self._holders.values()))

    @property
    def lost(self) -> dict[str, float]:
        """Hosts that hold something and cannot be reached any more, and how long each had been silent."""
        return {host: silent_s for host, silent_s in self._desk.gone.items() if host in self.hosts}

    def take_arrivals(self) -> list[str]:
        """Hosts that have come since the last call and hold nothing.

        Who was lost and is back is none of them before others hold what it held.
        """
        came = [host for host in self._desk.came if host not in self.hosts]
        self._desk.came = [host for host in self._desk.came if host in self.hosts]
        for host in came:
            self._desk.gone.pop(host, None)
            self._committing.pop(host, None)  # it has come anew, and knows nothing of that
        return came

    def take_leavers(self) -> list[str]:
        """Hosts that have said since the last call that they want to go."""
        leaving = list(self._desk.leaving)
        self._desk.leaving.clear()
        return leaving

    def _refuse_lost(self) -> None:
        if self.lost:
            raise HostsLost(self.lost)

    def _next_attempt(self, step: int) -> int:
        """The number of the next attempt at a step."""
        tried, last = self._tried
        return last + 1 if step == tried else self._first_attempt

    async def _play_until_settled(self, work: StepWork, attempt: int) -> tuple[list[Played], tuple[int, ...]]:
        """Play the plan, and what is tainted again until nothing is; gives all reports and what was run again."""
        plan, first_attempt = work.plan, attempt
        played, rerun = await self._play(work, plan, attempt)
        again = rerun
        while again and work.again:
            attempt += 1
            if attempt - first_attempt >= work.attempts:
                await self._discard(work.step)
                raise never_settles(work.step, work.attempts, again)
            plan = work.again(again)
            more, again = await self._play(work, plan, attempt)
            played += more
        return played, rerun

    async def _play(self, work: StepWork, plan: Plan, attempt: int) -> tuple[list[Played], tuple[int, ...]]:
        self._tried = (work.step, attempt) if plan.training else self._tried
        if self._oversight:
            self._oversight.begin(self._describe(work, plan, attempt))
        watch = self._watch_lanes(plan, work.step, attempt)
        await self._order_to_play(work, plan, attempt)
        played: list[Played] = []
        losses_from = plan.host_of(plan.stages - 1)
        while len(played) < len(plan.lanes):
            before_s = self._desk.waited_s
            report = await self._desk.next(Played, NonFinite)
            waited_s = self._desk.waited_s - before_s
            if isinstance(report, NonFinite) and not self._oversight:
                await self._give_up(work.step, report)
            elif isinstance(report, (Played, NonFinite)):
                played.append(as_played(report, work.step, attempt, has_losses=report.host == losses_from))
                watch.end(report.host)
            elif self._oversight:
                left_out = await self._follow(await self._oversight.attend(self._talk), plan, work.step, attempt)
                watch.leave_out(left_out)
            await watch.look(waited_s, self._talk)
        if not self._oversight:
            return played, ()
        findings = await self._oversight.conclude(self._talk)
        if findings.broken:
            await self._give_up(work.step, findings.broken)
        return played, findings.again

    async def _order_to_play(self, work: StepWork, plan: Plan, attempt: int) -> None:
        if plan.topology == "star":  # before anybody can upload anything of it
            view = self._view.view
            await self._desk.send(SERVER, route_of(plan, run=self._run, view=view, attempt=attempt, step=work.step))
        for lane in plan.lanes:
            order = Play(
                run=self._run,
                view=self._view.view,
                attempt=attempt,
                step=work.step,
                training=plan.training,
                stages=plan.stages,
                actions=_write_actions(lane),
                positions=work.positions or {},
                shapes=work.shapes or {},
                sums_up=self._sums_up(plan),
            )
            await self._desk.send(lane.host, order)

    def _sums_up(self, plan: Plan) -> bool:
        """Whether hosts sum up by themselves when they have played: nothing can be run again or kept as it was."""
        return plan.training and not self._oversight and not self._view.still

    def _watch_lanes(self, plan: Plan, step: int, attempt: int) -> LaneWatch:
        first = first_slot(self._run, self._view.view, attempt, step)
        return LaneWatch(self._desk, self._deadlines, self._oversight, plan, first, self._disputes)

    async def _follow(self, findings: Findings, plan: Plan, step: int, attempt: int) -> tuple[int, ...]:
        """Act on what oversight found; gives the micro-batches that are left out from now on."""
        if findings.broken:
            await self._give_up(step, findings.broken)
        if findings.again:
            order = Void(step=step, attempt=attempt, micro_batches=findings.again)
            await self._desk.send_all([lane.host for lane in plan.lanes], order)
        return findings.again

    def _describe(self, work: StepWork, plan: Plan, attempt: int) -> Assignment:
        return Assignment(
            run=self._run,
            view=self._view,
            attempt=attempt,
            step=work.step,
            training=plan.training,
            stages=plan.stages,
            micro_batches=_micro_batches(plan),
            settles_before_use=plan.when == "before_use",
            positions=work.positions or {},
        )

    async def _sum_up(self, step: int) -> dict[str, Tensor]:
        await self._desk.send_all(self.hosts, SumUp(step=step, still=self._view.still))
        reports = await self._desk.gather(SummedUp, len(self.hosts))
        if self._oversight:
            return await self._oversight.join_gradients(reports, self._talk)
        return merge(report.norms for report in reports)

    async def _prepare(self, work: StepWork, coefficients: Mapping[int, float]) -> None:
        order = Prepare(step=work.step, learning_rate=work.learning_rate, clip_coefficients=coefficients)
        await self._desk.send_all(self.hosts, order)
        prepared = await self._desk.gather(Prepared, len(self.hosts))
        if self._oversight:
            await self._desk.send_all(self.hosts, Open(step=work.step))
            opened = await self._desk.gather(Opened, len(self.hosts))
            await self._oversight.join_states(
                prepared, opened, self._talk, clip_coefficients=coefficients, learning_rate=work.learning_rate
            )

    async def _give_up(self, step: int, cause: NonFinite) -> None:
        """Take everyone back to the last commit, then raise."""
        await self._discard(step)
        raise not_finite(cause)

    async def _commit(self, order: Commit) -> list[Committed]:
        """Let the step count: it does already, whatever becomes of a host now. Gives the reports of those who are left.

        Who is lost here is found by the next step. Where nothing is checked nothing hangs on the reports, and none is
        waited for: the next order comes to each host behind this one.
        """
        waiting = set(self.hosts) - self.lost.keys()
        for host in sorted(waiting):
            await self._desk.send(host, order)
        if self._oversight:
            return await self._reports_of(waiting)
        self._committing = dict.fromkeys(waiting, order.step)
        return []

    async def settle(self) -> None:
        """Wait until everybody has committed who was told to and was not waited for.

        Where lanes were played since, nothing is waited for: a host's reports come in the order of its orders.

        Raises:
            HostsLost: a host cannot be reached any more.
        """
        while self._committing:
            await self._take_commit(*self._committing.popitem())

    async def _take_commit(self, host: str, step: int) -> None:
        if host not in self._desk.gone:
            await self._desk.take(Committed, lambda report: (report.host, report.step) == (host, step))

    async def _reports_of(self, hosts: Iterable[str]) -> list[Committed]:
        """The reports of a commit, of those of `hosts` who are left."""
        waiting = set(hosts)
        reports: list[Committed] = []
        while waiting:
            try:
                report = await self._desk.take(Committed)
            except HostsLost as found:
                waiting -= found.hosts
            else:
                reports.append(report)
                waiting.discard(report.host)
        return reports

    async def _discard(self, step: int) -> None:
        """Let those who are left drop everything of the step."""
        while True:
            living = [host for host in self.hosts if host not in self.lost]
            try:
                await self._desk.send_all(living, Discard(step=step))
                await self._desk.gather(Discarded, len(living))
            except HostsLost:
                continue
            self.drop_reports()
            return

    def _explain_norm(self, work: StepWork, norms: Mapping[str, Tensor]) -> NonFinite:
        """The stage nearest to the loss whose gradients are not finite; failing that, the one with the largest."""
        broken = [self._stage_of[name] for name, norm in norms.items() if not norm.isfinite()]
        stage = max(broken) if broken else self._stage_of[max(norms, key=lambda name: float(norms[name]))]
        slot = Slot(
            run=self._run,
            view=self._view.view,
            attempt=self._first_attempt,
            step=work.step,
            micro_batch=work.plan.micro_batches - 1,
            direction=Direction.BACKWARD,
            stage=stage,
        )
        return NonFinite(host=self._holders[Role.STAGE, stage], slot=slot, what="a weight gradient")


def _assignment(span: StageSpan, state: StageState, frozen: Mapping[str, Tensor] | None, role: Role) -> Assign:
    return Assign(
        stage=span.index,
        stages=span.stages,
        role=role,
        first_layer=span.first,
        last_layer=span.last,
        state=state,
        frozen=frozen or {},
    )


@lru_cache(maxsize=64)
def _write_actions(lane: Lane) -> tuple[str, ...]:
    """A lane's actions in their text form; the same lane is played with every step."""
    return tuple(str(action) for action in lane.actions)


@lru_cache(maxsize=64)
def _micro_batches(plan: Plan) -> tuple[int, ...]:
    return tuple(sorted({action.micro_batch for lane in plan.lanes for action in lane.actions}))
