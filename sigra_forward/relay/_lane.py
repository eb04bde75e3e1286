"""`LaneWorker`: works one lane, a piece at a time: what is due, what is new, what is to be read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from sigra_forward._attempt import NOT_KEPT, own_words
from sigra_forward._books import PROBE_INTERVAL, blocked_for, failure_of
from sigra_forward._event import DEFAULT_SOURCE
from sigra_forward._ledger import Cursor, FailedAttempt, Lane, Lease, Receipt
from sigra_forward._names import type_name
from sigra_forward._outcome import CancelReason, Outcome, State
from sigra_forward._settle import RetryPolicy
from sigra_forward.relay._pages import Page, Pages, Sorted
from sigra_forward.relay._readings import TAIL, Pace, Readings, Stretch
from sigra_forward.relay._sending import Sender, drawn
from sigra_forward.relay._verdicts import Said, Tally, charged, completed, put_off
from sigra_forward.relay._work import Later, Limiter
from sigra_forward.telemetry import Delivered, Discarded, Failed, emit

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._clock import Clock
    from sigra_forward._event import AuditEvent
    from sigra_forward.errors import UnreadableRowError
    from sigra_forward.telemetry import TelemetryEvent

LEASE_MARGIN = 5.0
"""Seconds that a lease must outlast the deadline of the call that is about to be made; a quarter of a short lease."""

STANDBY_POLL = 5.0
"""Seconds, at most, between two tries to take a lane that another relay has."""

PAGES_IN_A_TURN = 64
TURN = 1.0
"""Pages, and seconds, of one reading before another one has its turn."""

DRAWN_FROM = 100
"""Rows that are read at once to draw the events of a probe from them."""

FLUSH_EVERY = 1.0
"""Seconds after which what the sink has said is written down, though the page is not finished."""

GONE_AGAIN_IN = 3600
"""Seconds until a receipt is looked at again whose row is gone, cannot be read or is not wanted any more."""

UNREADABLE = "unreadable_row"


class LeaseLostError(Exception):
    """Another relay has the lane now."""


@frozen
class Options:
    """
    How a relay works each of its lanes; see `Relay`.

    Args:
        owner: What tells this relay from every other.
        page: Rows that are read at once.
        max_bytes: Estimated bytes of the rows that go out in one call.
        lease: Seconds for which a lane is taken at a time.
        probe_interval: Seconds after which a sink that failed is tried again.
        rate: Events a second; ``None``: as many as there are.
        recovery_rate: Events a second while the backlog of an outage goes out.
        pace: When what is read.
    """

    owner: str
    page: int = 2000
    max_bytes: int = 2**22
    lease: float = 60.0
    probe_interval: float = PROBE_INTERVAL
    rate: float | None = None
    recovery_rate: float | None = 1000.0
    pace: Pace = field(factory=Pace)


@frozen
class _Settled:
    """What is to be written down together, and told of."""

    receipts: list[Receipt] = field(factory=list)
    failures: list[FailedAttempt] = field(factory=list)
    told: list[TelemetryEvent] = field(factory=list)


class LaneWorker:
    """
    Works one lane.

    Args:
        host: The `AuditForward`.
        name: The forwarder's name.
        options: How.
        clock: Times everything.
        goes_on: Asked between two calls to the sink; where it says no, what is in hand is settled and no more.
        random: Draws the second event of a probe.
    """

    def __init__(
        self,
        host: AuditForward,
        name: str,
        options: Options,
        clock: Clock,
        *,
        goes_on: Callable[[], bool] = lambda: True,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self._host = host
        self._ledger: Any = host.ledger
        self._source: Any = host.repository
        self._route = host.routes[name]
        self._policy: RetryPolicy = self._route.policy or host.policy
        self._options = options
        self._lease_margin = min(LEASE_MARGIN, options.lease / 4)
        self._lease_length = max(options.lease, self._route.deadline + 2 * self._lease_margin)
        self._clock = clock
        self._goes_on = goes_on
        self._random = random or Random()  # noqa: S311 - it draws an event to probe with
        self._sender = Sender(
            self._route, host.bridge.call, self._hold, max_bytes=options.max_bytes, random=self._random
        )
        self._limiter = Limiter(options.rate, clock.monotonic())
        self._is_recovering = False
        self.is_held_back = False
        """There is more to do, and the rate alone keeps it back."""
        self._tally = Tally()
        self._put_off: dict[str, Receipt] = {}
        self._side: Later[None] | None = None
        self._unkept: list[tuple[_Settled, Cursor | None]] = []
        self._lane: Lane | None = None
        self._lease: Lease | None = None
        self._lease_ends = 0.0
        self._ahead = 0.0
        self._looked_at = 0.0
        self._due_at = 0.0
        self._is_dues_turn = True
        self._readings: Any = None
        self._pages: Any = None

    # What a relay calls.

    def step(self) -> float:
        """
        Do one piece of work.

        Returns:
            The seconds after which there may be more; 0 where there is.

        Raises:
            LeaseLostError: Another relay has the lane.
            Exception: The ledger or the audit table cannot be asked now. Nothing is lost by it.
        """
        if self._lease is None and not self._take():
            return min(STANDBY_POLL, self._options.lease / 3)
        self._keep_unkept()
        now = self._clock.monotonic()
        self._look(now)
        blocked = self._blocked_for(now)
        if blocked > 0:
            return min(blocked, self._lease_length / 3)
        if self._lane is not None and self._lane.blocked_until is not None:
            return self._probe()
        allowed = self._limiter.allowed(now, self._options.page)
        self.is_held_back = not allowed
        if self.is_held_back:
            return self._limiter.next_in()
        if self._is_dues_turn and self._pay_due(now, allowed):
            self._is_dues_turn = False  # however much is due, what is new has its share
            return 0.0
        self._is_dues_turn = True
        for cursor in self._readings.begin_sweeps(now):
            self._keep(_Settled(), cursor)
        stretch = self._readings.next(now)
        if stretch is None:
            self._slow_down(is_recovering=False)
            wait: float = min(self._readings.next_at(), self._due_at) - now
            return min(max(wait, 0.0), self._lease_length / 3)
        self._read(stretch, allowed)
        return 0.0

    def let_go(self) -> None:
        """Let another relay have the lane, where that can be said."""
        if self._lease is not None:
            self._keep_unkept()
            lease, self._lease = self._lease, None
            self._ask(self._ledger.release, lease)

    def doubt(self) -> None:
        """Take nothing for granted that this process knows of the lane: begin again with what is written down."""
        self._lease = None

    # The lease, and the lane's breaker.

    def _take(self) -> bool:
        name, ledger = self.name, self._ledger
        lane: Lane = self._ask(ledger.lane, self._host.source or DEFAULT_SOURCE, name, self._host.floor_of(name))
        began = self._clock.monotonic()
        lease = self._ask(ledger.acquire, lane.number, self._options.owner, self._lease_length)
        if lease is None:
            return False
        self._lane = lane
        self._hold_until(lease, began)
        head = self._ask(self._source.head)
        cursors = self._ask(ledger.cursors, lane.number)
        now = self._clock.monotonic()
        self._readings = Readings(cursors, self._options.pace, head, now, self._wall(now))
        self._pages = Pages(self._ask, self._source, ledger, self._route, lane)
        self._looked_at, self._due_at = now, now
        for cursor in self._readings.first:
            self._keep(_Settled(), cursor)
        return True

    def _hold_until(self, lease: Lease, began: float) -> None:
        self._lease = lease
        self._lease_ends = began + self._lease_length
        self._ahead = lease.until.timestamp() - self._lease_ends

    def _hold(self) -> None:
        """See that the lease outlasts the call to the sink that is about to be made."""
        if self._lease_ends - self._clock.monotonic() < self._route.deadline + self._lease_margin:
            self._renew()

    def _renew(self) -> None:
        began = self._clock.monotonic()
        lease = None if self._lease is None else self._ask(self._ledger.renew, self._lease, self._lease_length)
        if lease is None:
            raise LeaseLostError
        self._hold_until(lease, began)

    def _look(self, now: float) -> None:
        """Keep the lease, and look once in a while whether somebody has opened the breaker."""
        if self._lease_ends - now < self._lease_length / 2:
            self._renew()
        if now - self._looked_at < self._options.pace.poll:
            return
        self._looked_at = now
        self._see_lane()
        if self._options.pace.grace:
            self._readings.tail.see(now, self._ask(self._source.head))

    def _blocked_for(self, now: float) -> float:
        until = None if self._lane is None else self._lane.blocked_until
        return 0.0 if until is None else (until - self._wall(now)).total_seconds()

    def _block(self, seconds: float | None) -> None:
        lane: Any = self._lane
        self._ask(self._ledger.block, lane.number, seconds)
        self._see_lane()

    def _see_lane(self) -> None:
        lane: Any = self._lane
        self._lane = seen = next(each for each in self._ask(self._ledger.lanes) if each.number == lane.number)
        if seen.floor < lane.floor:
            self._pages.lane = seen
            self._keep(_Settled(), self._readings.begin_backfill(self._clock.monotonic()))

    # What is read and sent.

    def _pay_due(self, now: float, limit: int) -> bool:
        """Try again what is due, and tell whether there was anything."""
        if now < self._due_at:
            return False
        lane: Any = self._lane
        due: Sequence[Receipt] = self._ask(self._ledger.due, lane.number, limit)
        if len(due) < limit:
            self._due_at = now + self._options.pace.poll
        if not due:
            return False
        befores = {receipt.audit_event_id: receipt for receipt in due}
        found = self._ask(self._source.get_many, list(befores))
        rows = self._pages.sort((name, found.get(name)) for name in befores)
        self._limiter.take(len(rows.events))
        self._tally.charged += rows.failed
        self._write(_Settled(self._gone(rows, befores, now)))
        fresh = [event for event in rows.events if befores[event.id].reason is None]
        known = [event for event in rows.events if befores[event.id].reason is not None]
        if self._send(fresh, befores):
            self._send(known, befores, is_known=True)
        self._write(self._settle(befores))
        self._stop_where_it_must()
        return True

    def _gone(self, rows: Sorted, befores: Mapping[str, Receipt], now: float) -> list[Receipt]:
        """Return the receipts, put off, whose rows are not there any more, cannot be read, or are not wanted."""
        due_at = self._wall(now) + timedelta(seconds=GONE_AGAIN_IN)
        reasons = dict.fromkeys(befores, CancelReason.AUDIT_EVENT_NOT_FOUND.value)
        for name, _ in rows.unreadable:
            reasons[name] = UNREADABLE
        for event in (*rows.events, *(said.event for said in rows.failed)):
            del reasons[event.id]
        reasons |= dict.fromkeys((event.id for event in rows.unwanted), CancelReason.NOT_ROUTED.value)
        return [evolve(befores[name], due_at=due_at, reason=reason) for name, reason in reasons.items()]

    def _read(self, stretch: Stretch, limit: int) -> None:
        """Read some pages of *stretch*: the next one while this one is sent, and this one written while the next is."""
        until = self._clock.monotonic() + TURN
        page: Page = self._pages.page(stretch, stretch.after, limit)
        try:
            for _ in range(PAGES_IN_A_TURN):
                is_last = page.is_done or self._limiter.is_limiting or self._clock.monotonic() >= until
                ahead = None if is_last else Later(self._next_page(stretch, page, limit))
                is_whole = self._send_page(page, stretch)
                settled = self._settle()
                self._written(settled)
                self._side = Later(self._writing(settled, stretch, page, is_whole=is_whole))
                if ahead is None or not is_whole:
                    break
                page = ahead.result()
        except BaseException:
            with suppress(Exception):  # it is kept for later, and what is raised already says enough
                self._written()
            raise
        self._written()
        self._stop_where_it_must()

    def _next_page(self, stretch: Stretch, page: Page, limit: int) -> Callable[[], Page]:
        return lambda: self._pages.page(stretch, page.last, limit)

    def _writing(self, settled: _Settled, stretch: Stretch, page: Page, *, is_whole: bool) -> Callable[[], None]:
        """Return what writes down that *page* is settled; where it is not, its stretch is begun again here."""
        now = self._clock.monotonic()
        last = stretch.after if page.last is None else page.last
        cursor = self._readings.cursor(stretch, last, now, is_done=page.is_done) if is_whole else None

        def write() -> None:
            self._keep(settled, cursor)
            if is_whole:
                self._readings.move(stretch, page.last, now, is_done=page.is_done)
            else:
                self._readings.tail.doubt(self._ask(self._source.head))

        return write

    def _written(self, following: _Settled | None = None) -> None:
        """Wait for what is being written down on the side; where that fails, *following* is kept for later too."""
        side, self._side = self._side, None
        if side is None:
            return
        try:
            side.result()
        except BaseException:
            if following is not None:
                self._unkept.append((following, None))
            raise

    def _send_page(self, page: Page, stretch: Stretch) -> bool:
        """Send what is owed of *page*, and tell whether all of it was handed over."""
        if stretch.tells or stretch.name == TAIL:
            for audit_event_id, error in page.unreadable:
                self._tell_unreadable(audit_event_id, error)
        self._tally.charged += page.failed
        self._limiter.take(len(page.events))
        return self._send(page.events, {})

    def _send(self, events: Sequence[AuditEvent], befores: Mapping[str, Receipt], *, is_known: bool = False) -> bool:
        """Hand *events* over, and tell whether all of them were. What a slow sink says is written down meanwhile."""
        flushed_at = self._clock.monotonic()
        has_turn = bool(befores) and not self._options.pace.grace  # or a queue may be about to send what is new
        self._sender.take(events, self._fresh if has_turn else tuple)
        for batch in self._sender.batches(events, self._tally, singly=is_known):
            if self._tally.stop is not None or not self._goes_on():
                return False
            try:
                self._sender.send(batch, self._tally, is_known=is_known)
            except BaseException:
                self._unkept.append((self._settle(befores), None))  # what the sink has taken counts all the same
                with suppress(Exception):  # it is kept for later, and what is raised already says enough
                    self._written()
                    self._keep_unkept()
                raise
            if self._clock.monotonic() - flushed_at >= FLUSH_EVERY:
                self._write(self._settle(befores))
                flushed_at = self._clock.monotonic()
        return self._tally.stop is None

    def _probe(self) -> float:
        """See whether the sink is up: by the oldest event that is unpaid, and by one that is drawn anew each time."""
        events, befores = self._unpaid()
        if not events:
            self._block(None)
            return 0.0
        oldest, *others = sorted(events, key=attrgetter("occurred_at"))
        said = [Said(oldest, self._sender.probe(oldest))]
        if said[0].result.outcome is not Outcome.OK and not said[0].result.retry_after and others:
            fresh = [event for event in others if event.id not in befores]  # rather than one that has failed before
            other = drawn(fresh or others, self._random)
            said.append(Said(other, self._sender.probe(other)))
        self._tally = Tally()
        if said[-1].result.outcome is Outcome.OK:
            self._tally.hear(said)
            self._sender.is_trusted = True
            self._slow_down(is_recovering=True)
            self._readings.tail.doubt(self._ask(self._source.head))
            self._write(self._settle(befores))
            self._block(None)
        else:
            self._tally.fail(said[-1])
            self._stop_where_it_must()
        return 0.0

    def _unpaid(self) -> tuple[list[AuditEvent], dict[str, Receipt]]:
        """Return some events that are unpaid, and the receipts of those that have one."""
        lane: Any = self._lane
        events = self._owed()
        if len(events) >= 2:
            return events, {}
        due = {each.audit_event_id: each for each in self._ask(self._ledger.due, lane.number, DRAWN_FROM)}
        found = self._ask(self._source.get_many, list(due))
        return self._pages.sort(found.items()).events + events, due

    def _owed(self) -> list[AuditEvent]:
        """Return some events that are owed and have not been tried, out of the pages that are next."""
        events: list[AuditEvent] = []
        for stretch in self._readings.begun(self._clock.monotonic()):
            after = stretch.after
            for _ in range(0, self._options.page, DRAWN_FROM):
                page = self._pages.page(stretch, after, DRAWN_FROM)
                events += page.events
                if len(events) >= 2:
                    return events
                if page.is_done:
                    break
                after = page.last
        return events

    def _fresh(self) -> list[AuditEvent]:
        """Return the same for whoever sends one of them out of turn: the tail will look for its receipt."""
        events = self._owed()
        self._readings.tail.doubt(self._ask(self._source.head))
        return events

    def _slow_down(self, *, is_recovering: bool) -> None:
        """Let the backlog of an outage out no faster than it shall, and nothing else."""
        if is_recovering == self._is_recovering:
            return
        self._is_recovering = is_recovering
        options = self._options
        rates = [rate for rate in (options.rate, options.recovery_rate if is_recovering else None) if rate is not None]
        self._limiter = Limiter(min(rates, default=None), self._clock.monotonic())

    # What is written down.

    def _stop_where_it_must(self) -> None:
        """Open the breaker where it is the sink's fault: nothing more is tried."""
        stop = self._tally.stop
        if stop is not None:
            self._tally, self._sender.is_trusted, self._put_off = Tally(), False, {}
            self._tell(self._failed(stop, 1))
            self._block(blocked_for(stop.result, self._policy, self._options.probe_interval))

    def _settle(self, befores: Mapping[str, Receipt] = MappingProxyType({})) -> _Settled:
        """Take what the sink has said out of the tally, as receipts; its suspects are put off."""
        tally, now = self._tally, self._wall(self._clock.monotonic())
        settled = _Settled()
        may_be_known = befores or self._put_off
        for said in tally.accepted:
            receipt = completed(said, self._before(said, befores) if may_be_known else None, now)
            settled.receipts.append(receipt)
            settled.told.append(Delivered(self.name, receipt.audit_event_id, said.event.action, receipt.attempt, None))
        for said in tally.charged:
            receipt = charged(said, self._before(said, befores), now, self._policy)
            settled.receipts.append(receipt)
            settled.failures.append(failure_of(receipt))
            settled.told.append(self._failed(said, receipt.attempt))
            if receipt.state is State.DISCARDED:
                named = (self.name, receipt.audit_event_id, said.event.action, receipt.attempt, None)
                settled.told.append(Discarded(*named, said.result.reason))
        for said in tally.fresh:
            receipt = put_off(said, self._before(said, befores), now, self._policy)
            self._put_off[receipt.audit_event_id] = receipt
            settled.receipts.append(receipt)
            settled.told.append(self._failed(said, receipt.attempt + 1))
        tally.accepted, tally.charged, tally.fresh = [], [], []
        return settled

    def _before(self, said: Said, befores: Mapping[str, Receipt]) -> Receipt | None:
        event = said.event
        put_off_before = self._put_off.pop(event.id, None)
        before = befores.get(event.id, put_off_before)
        return before if before is not None and before.is_of(event.id, event.occurred_at) else None

    def _write(self, settled: _Settled) -> None:
        """Write it down now."""
        self._written(settled)
        self._keep(settled, None)

    def _keep(self, settled: _Settled, cursor: Cursor | None) -> None:
        """Have the ledger keep it, and tell of it; where that cannot be now, it comes before anything else."""
        if not settled.receipts and cursor is None:
            return
        self._unkept.append((settled, cursor))
        try:
            self._keep_unkept()
        except LeaseLostError:
            raise
        except Exception as exc:
            kind, detail = type_name(exc), own_words(exc)
            for receipt in settled.receipts:
                named = (self.name, receipt.audit_event_id, None, max(receipt.attempt, 1), None)
                self._tell(Failed(*named, Outcome.ERROR, NOT_KEPT, detail, kind))
            raise

    def _keep_unkept(self) -> None:
        lane: Any = self._lane
        while self._unkept:
            settled, cursor = self._unkept[0]
            arguments = (lane.number, settled.receipts, self._lease, cursor, settled.failures)
            is_held = self._ask(self._ledger.record, *arguments)
            del self._unkept[0]
            telemetry = self._host.telemetry
            for event in settled.told:
                emit(telemetry, event)
            if not is_held:
                raise LeaseLostError

    # Who is told.

    def _tell(self, event: TelemetryEvent) -> None:
        emit(self._host.telemetry, event)

    def _failed(self, said: Said, attempt: int) -> Failed:
        event, result = said.event, said.result
        kind = None if result.exception is None else type_name(result.exception)
        return Failed(
            self.name, event.id, event.action, attempt, None, result.outcome, result.reason, result.detail, kind
        )

    def _tell_unreadable(self, audit_event_id: str, error: UnreadableRowError) -> None:
        named = (self.name, audit_event_id, None, 1, None)
        self._tell(Failed(*named, Outcome.ERROR, UNREADABLE, own_words(error), type_name(error)))

    # The rest.

    def _ask(self, method: Any, *arguments: Any, **options: Any) -> Any:
        return self._host.bridge.call(lambda _: method(*arguments, **options), None, None)

    def _wall(self, now: float) -> datetime:
        """Return the time by the ledger's clock."""
        return datetime.fromtimestamp(now + self._ahead, timezone.utc)
