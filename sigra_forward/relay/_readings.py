"""Readings: which stretch of the audit table a lane reads next, and what is written down of how far it has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from math import inf

from attrs import frozen

from sigra_forward._ledger import Cursor

TAIL, HOURLY, DAILY, ORIGIN, BACKFILL = "tail", "hourly", "daily", "origin", "backfill"

SWEPT = "swept"
"""When the last daily sweep began that is finished, while another one is on its way."""

HOUR = 3600.0
DAY = 24 * HOUR


@frozen
class Pace:
    """
    When what is read.

    Args:
        poll: Seconds between two looks for new rows.
        grace: Seconds for which a row is left to a queue, or to the dispatch itself, before the tail reads it.
        rereads: Seconds after which what the tail has read is read again, for what became visible behind it.
        hourly: Seconds between two sweeps over the last day.
        daily: Seconds between two sweeps over everything.
    """

    poll: float = 1.0
    grace: float = 0.0
    rereads: Sequence[float] = (5.0, 60.0, 600.0)
    hourly: float = HOUR
    daily: float = DAY


@frozen
class Stretch:
    """
    A stretch of the table that is to be read now.

    Args:
        name: Which reading it is of.
        after: The position behind which it begins; ``None``: with the first row.
        until: The position at which it ends; ``None``: with the last row.
        is_checked: Some of it may be settled already, so that each row's receipt is looked for.
        tells: Rows that cannot be read are told of.
    """

    name: str
    after: str | None
    until: str | None = None
    is_checked: bool = True
    tells: bool = False


class _Marks:
    """Where something stood, and when; the marks of one second count as one, so that they are few."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, str]] = deque()
        self._began = -inf

    def add(self, now: float, position: str) -> None:
        if self._marks and now < self._began + 1:
            self._marks.pop()
        else:
            self._began = now
        self._marks.append((now, position))

    def at(self, moment: float) -> str | None:
        """Return where it stood at *moment*, if that is not forgotten."""
        passed = [position for at, position in self._marks if at <= moment]
        return passed[-1] if passed else None

    def forget(self, position: str) -> None:
        """Forget all up to *position*."""
        while self._marks and self._marks.popleft()[1] != position:
            pass

    def next_at(self) -> float:
        return self._marks[0][0] if self._marks else inf


class _Tail:
    """Reads what is new: at once, or when the grace of the rows is over."""

    name = TAIL

    def __init__(self, position: str | None, pace: Pace, head: str | None, now: float) -> None:
        self.position = position
        self._pace = pace
        self._heads = _Marks()
        self._looked_at = -inf
        self.doubt(head)
        self.see(now, head)

    def doubt(self, head: str | None) -> None:
        """Look for receipts up to *head*: somebody else, or we ourselves, may have paid some of it."""
        self._is_doubted, self._doubted = True, head

    def see(self, now: float, head: str | None) -> None:
        """Take *head* as the position of the last row."""
        if head is not None and head != self.position:
            self._heads.add(now, head)

    def stretch(self, now: float) -> Stretch | None:
        grace = self._pace.grace
        if not grace:
            due = now >= self._looked_at + self._pace.poll
            until = self._doubted if self._is_doubted else None
            return Stretch(TAIL, self.position, until, self._is_doubted) if due else None
        until = self._heads.at(now - grace)
        return None if until is None else Stretch(TAIL, self.position, until)

    def move(self, stretch: Stretch, last: str | None, now: float, *, is_done: bool) -> None:
        if last is not None:
            self.position = last
        if not is_done:
            return
        if stretch.is_checked and not self._pace.grace and self._doubted == stretch.until:
            self._is_doubted = False  # and what is behind comes at once
            return
        self._looked_at = now
        if stretch.until is not None:
            self.position = stretch.until
            self._heads.forget(stretch.until)

    def cursor(self, stretch: Stretch, position: str | None, wall: datetime, *, is_done: bool) -> Cursor:
        is_passed = is_done and self._pace.grace and stretch.until is not None
        return Cursor(TAIL, stretch.until if is_passed else position, None, wall)

    def next_at(self) -> float:
        grace = self._pace.grace
        return self._heads.next_at() + grace if grace else self._looked_at + self._pace.poll


class _Again:
    """Reads once more what the tail has passed, some time later."""

    def __init__(self, delay: float, position: str | None) -> None:
        self.name = f"again_{delay:g}"
        self.position = position
        self._delay = delay
        self._passed = _Marks()

    def follow(self, now: float, position: str) -> None:
        """Take *position* as where the tail stands."""
        self._passed.add(now, position)

    def stretch(self, now: float) -> Stretch | None:
        until = self._passed.at(now - self._delay)
        return None if until is None else Stretch(self.name, self.position, until)

    def move(self, stretch: Stretch, last: str | None, now: float, *, is_done: bool) -> None:
        if last is not None:
            self.position = last
        if is_done and stretch.until is not None:
            self.position = stretch.until
            self._passed.forget(stretch.until)

    def cursor(self, stretch: Stretch, position: str | None, wall: datetime, *, is_done: bool) -> Cursor:
        return Cursor(self.name, stretch.until if is_done else position, None, wall)

    def next_at(self) -> float:
        return self._passed.next_at() + self._delay


class _Sweep:
    """Reads from some position up to where the tail stood when it began, once in a while; at first after *young*."""

    def __init__(self, name: str, every: float, due: float, young: float, young_until: float) -> None:
        self.name = name
        self._every = every
        self._young = young
        self._young_until = young_until
        self._due = due
        self._begun_at = -inf
        self._begun: datetime | None = None
        self.position: str | None = None
        self._until: str | None = None

    def resume(self, cursor: Cursor, began_at: float) -> None:
        """Go on where *cursor* stands, of a sweep that began *began_at*."""
        self._begun_at, self._begun, self._due = began_at, cursor.moved_at, self._next_after(began_at)
        self.position, self._until = cursor.position, cursor.until

    @property
    def swept(self) -> Cursor | None:
        """What to write down of the last one before another one begins."""
        return None if self._begun is None else Cursor(SWEPT, None, None, self._begun)

    def is_due(self, now: float) -> bool:
        return self._until is None and now >= self._due

    def begin(self, now: float, wall: datetime, begin: str | None, tail: str | None) -> Cursor:
        """Begin behind *begin*, to end where the *tail* stands, and return what to write down."""
        self._begun_at, self._begun, self._due = now, wall, self._next_after(now)
        self.position, self._until = begin, tail
        return Cursor(self.name, begin, tail, wall)

    def stretch(self, now: float) -> Stretch | None:
        return None if self._until is None else Stretch(self.name, self.position, self._until, tells=True)

    def move(self, stretch: Stretch, last: str | None, now: float, *, is_done: bool) -> None:
        if last is not None:
            self.position = last
        if is_done:
            self.position = self._until = None

    def cursor(self, stretch: Stretch, position: str | None, wall: datetime, *, is_done: bool) -> Cursor:
        place = (None, None) if is_done else (position, stretch.until)
        return Cursor(self.name, *place, self._begun)

    def next_at(self) -> float:
        return self._due if self._until is None else -inf

    def _next_after(self, begun_at: float) -> float:
        return begun_at + (self._young if begun_at < self._young_until else self._every)


class Readings:
    """
    The readings of one lane: its tail, the re-reads, the sweeps, and a backfill.

    Args:
        cursors: What is written down of them.
        pace: When what is read.
        head: The position of the table's last row.
        now: The clock's seconds. A `Readings` is told them at every call.
        wall: The time by the ledger's clock, now.
    """

    def __init__(self, cursors: Mapping[str, Cursor], pace: Pace, head: str | None, now: float, wall: datetime) -> None:
        self._ahead = wall.timestamp() - now
        self._hours = {name: cursor for name, cursor in cursors.items() if name.startswith("hour_")}
        origin, tail = cursors.get(ORIGIN), cursors.get(TAIL)
        self._origin = head if origin is None else origin.position
        self.tail = _Tail(head if tail is None else tail.position, pace, head, now)
        self._again = [self._reread(cursors, delay, now, wall) for delay in pace.rereads]
        began = wall if origin is None or origin.moved_at is None else origin.moved_at
        # What became visible just after the lane began may lie before all that the hourly sweep reads: it is dated, or
        # numbered, before the row that was the last one then. So the first daily sweep is followed by another soon.
        self._old_at = began.timestamp() - self._ahead + pace.hourly
        self._hourly = self._sweep(cursors, HOURLY, pace.hourly, self._old_at)
        self._daily = self._sweep(cursors, DAILY, pace.daily, -inf, young=min(pace.hourly, pace.daily))
        self._backfill = self._sweep(cursors, BACKFILL, inf, inf)
        self._is_tails_turn = True
        self.first = [] if tail is not None else [Cursor(ORIGIN, head, None, wall), Cursor(TAIL, head, None, wall)]
        """What is to be written down before anything is read."""

    def _reread(self, cursors: Mapping[str, Cursor], delay: float, now: float, wall: datetime) -> _Again:
        again, tail = _Again(delay, None), self.tail.position
        cursor = cursors.get(again.name)
        again.position = self._a_day_ago(wall) if cursor is None else cursor.position
        if tail is not None and again.position != tail:
            again.follow(now, tail)
        return again

    def _sweep(
        self, cursors: Mapping[str, Cursor], name: str, every: float, due: float, young: float | None = None
    ) -> _Sweep:
        sweep = _Sweep(name, every, due, every if young is None else young, self._old_at)
        cursor = cursors.get(name)
        if cursor is not None and cursor.moved_at is not None:
            sweep.resume(cursor, cursor.moved_at.timestamp() - self._ahead)
        return sweep

    def wall(self, now: float) -> datetime:
        """Return the time by the ledger's clock."""
        return datetime.fromtimestamp(now + self._ahead, timezone.utc)

    def begin_sweeps(self, now: float) -> list[Cursor]:
        """Begin the sweeps that are due, and return what to write down of it."""
        tail = self.tail.position
        cursors, wall = [], self.wall(now)
        if self._hourly.is_due(now):
            cursors.append(self._hourly.begin(now, wall, self._a_day_ago(wall), tail))
            cursors += self._note_hour(wall, tail)
        if self._daily.is_due(now):
            cursors += [self._daily.swept] if self._daily.swept else []
            cursors.append(self._daily.begin(now, wall, None, tail))
        return cursors

    def begin_backfill(self, now: float) -> Cursor:
        """Begin to read all that the tail has passed, for the lane's floor is lower now, and return what to write."""
        return self._backfill.begin(now, self.wall(now), None, self.tail.position)

    def _a_day_ago(self, wall: datetime) -> str | None:
        """Return where the tail stood a day ago, or a little more; ``None``: with the first row."""
        hour = int(wall.timestamp() // HOUR)
        for name in (f"hour_{hour % 24}", f"hour_{(hour + 1) % 24}"):
            noted = self._hours.get(name)
            if noted is not None and not _is_of_hour(noted, hour):
                return noted.position
        return self._origin

    def _note_hour(self, wall: datetime, tail: str | None) -> list[Cursor]:
        """Note where the tail stands, once an hour, and return what to write down."""
        hour = int(wall.timestamp() // HOUR)
        name = f"hour_{hour % 24}"
        noted = self._hours.get(name)
        if noted is not None and _is_of_hour(noted, hour):
            return []
        self._hours[name] = cursor = Cursor(name, tail, None, wall)
        return [cursor]

    def begun(self, now: float) -> Iterator[Stretch]:
        """Yield what is there to read, the tail first, without a word on whose turn it is."""
        yield Stretch(TAIL, self.tail.position)
        for reading in self._all():
            if reading is not self.tail and (stretch := reading.stretch(now)) is not None:
                yield stretch

    def next(self, now: float) -> Stretch | None:
        """Return what is to be read now: of the tail, and of something else, by turns."""
        tail = self.tail.stretch(now)
        if tail is not None and self._is_tails_turn:
            self._is_tails_turn = False
            return tail
        self._is_tails_turn = True
        others = [reading.stretch(now) for reading in self._all() if reading is not self.tail]
        return next((stretch for stretch in others if stretch is not None), tail)

    def cursor(self, stretch: Stretch, position: str | None, now: float, *, is_done: bool) -> Cursor:
        """Return what to write down once *stretch* is settled up to *position*, or to its end."""
        return self._named(stretch.name).cursor(stretch, position, self.wall(now), is_done=is_done)

    def move(self, stretch: Stretch, last: str | None, now: float, *, is_done: bool) -> None:
        """Take *stretch* as settled up to the position *last*, or to its end; it is written down."""
        before = self.tail.position
        self._named(stretch.name).move(stretch, last, now, is_done=is_done)
        after = self.tail.position
        if after is not None and after != before:
            for again in self._again:
                again.follow(now, after)

    def next_at(self) -> float:
        """Return the moment at which there may be something to read."""
        return min(reading.next_at() for reading in self._all())

    def _named(self, name: str) -> _Tail | _Again | _Sweep:
        return next(reading for reading in self._all() if reading.name == name)

    def _all(self) -> Iterator[_Tail | _Again | _Sweep]:
        yield self.tail
        yield from self._again
        yield self._hourly
        yield self._daily
        yield self._backfill


def _is_of_hour(noted: Cursor, hour: int) -> bool:
    return noted.moved_at is not None and int(noted.moved_at.timestamp() // HOUR) == hour
