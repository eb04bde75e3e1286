"""
Adapters that each break one rule, under the contract that must notice.

`test_contracts.py` runs this file in a pytest of its own; ``fails`` names the tests that must fail, and no others may.
"""
# ruff: noqa: D106

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from queue import Queue
from threading import Barrier, BrokenBarrierError, Event, Lock, Thread, Timer, current_thread, main_thread
from typing import ClassVar
from uuid import UUID

import pytest
from attrs import evolve

from sigra_forward import (
    Ack,
    AuditEvent,
    AuditForward,
    ConfigurationError,
    EnqueueError,
    JobArgs,
    Settlement,
    SinkError,
    State,
)
from sigra_forward.testing import AuditRepositoryContract, ForwarderContract, JobQueueContract

STUCK = 30.0


def meet(barrier: Barrier) -> None:
    """Let another thread come as far as this one, where there are several."""
    if current_thread() is not main_thread():
        with suppress(BrokenBarrierError):
            barrier.wait(1)


# Forwarders


class Lines:
    """An honest forwarder: lines of JSON in memory."""

    deadline = 5.0
    max_events = 10

    def __init__(self, *, is_down: bool = False) -> None:
        self.is_down = is_down
        self.written: list[str] = []

    def forward(self, event: AuditEvent) -> object:
        """Write one line."""
        self.connect()
        self.written.append(self.line(event))
        return None

    def forward_batch(self, events: Sequence[AuditEvent]) -> object:
        """Write all lines."""
        self.connect()
        self.written.append("".join(map(self.line, events)))
        return None

    def connect(self) -> None:
        """Raise where the sink is down."""
        if self.is_down:
            raise SinkError("down")

    def line(self, event: AuditEvent) -> str:
        """Tell the event."""
        return json.dumps(event.to_dict()) + "\n"


class ForwarderCase(ForwarderContract):
    """The contract for a kind of `Lines`."""

    kind: ClassVar[type[Lines]] = Lines
    fails: ClassVar[set[str]] = set()

    @pytest.fixture(name="forwarder")
    def _forwarder(self) -> Lines:
        return self.kind()

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self) -> Lines:
        return self.kind(is_down=True)

    def received(self, forwarder: Lines) -> list[str]:
        return [json.loads(line)["id"] for line in "".join(forwarder.written).split("\n")[:-1]]


class TestHonestForwarder(ForwarderCase):
    """Nothing is wrong with it."""


class TestForwarderReturnsTrue(ForwarderCase):
    """It answers with something else than None or an Ack."""

    fails = {"test_accepts_an_event"}

    class kind(Lines):
        def forward(self, event: AuditEvent) -> object:
            super().forward(event)
            return True


class TestForwarderSaysYesToNothing(ForwarderCase):
    """It says yes, and the sink holds nothing."""

    fails = {
        "test_accepts_an_event",
        "test_accepts_a_repeat",
        "test_accepts_an_event_with_required_fields_only",
        "test_hostile_text_forges_nothing",
        "test_is_safe_for_threads",
    }

    class kind(Lines):
        def forward(self, event: AuditEvent) -> object:
            self.connect()
            return Ack("1")


class TestForwarderRefusesRepeats(ForwarderCase):
    """An event that comes twice is an error."""

    fails = {"test_accepts_a_repeat"}

    class kind(Lines):
        def line(self, event: AuditEvent) -> str:
            if event.id in "".join(self.written):
                raise ValueError("duplicate")
            return super().line(event)


class TestForwarderDropsARepeatsNeighbour(ForwarderCase):
    """After a repeat it takes the next event for one too."""

    fails = {"test_accepts_a_repeat"}

    class kind(Lines):
        def forward(self, event: AuditEvent) -> object:
            if "".join(self.written[-2:]).count(event.id) == 2:
                self.drop = True
            elif self.__dict__.pop("drop", False):
                return None
            repeats = bool(self.written) and event.id in self.written[-1]
            super().forward(event)
            self.drop = repeats
            return None


class TestForwarderMultipliesRepeats(ForwarderCase):
    """A repeat is written three times."""

    fails = {"test_accepts_a_repeat"}

    class kind(Lines):
        def line(self, event: AuditEvent) -> str:
            return super().line(event) * (3 if event.id in "".join(self.written) else 1)


class TestForwarderNeedsOptionalFields(ForwarderCase):
    """It reads a field that may be absent."""

    fails = {"test_accepts_an_event_with_required_fields_only"}

    class kind(Lines):
        def line(self, event: AuditEvent) -> str:
            return super().line(evolve(event, outcome=event.outcome.upper()))


class TestForwarderChangesMetadata(ForwarderCase):
    """It adds to the metadata of the event, which others still hold."""

    fails = {"test_leaves_the_event_alone"}

    class kind(Lines):
        def forward(self, event: AuditEvent) -> object:
            event.metadata["sent"] = True
            return super().forward(event)


class TestForwarderChangesNestedMetadata(ForwarderCase):
    """It changes what lies deep in the metadata."""

    fails = {"test_leaves_the_event_alone"}

    class kind(Lines):
        def forward(self, event: AuditEvent) -> object:
            nested = event.metadata.get("nested")
            if isinstance(nested, dict):
                nested["list"].clear()
            return super().forward(event)


class TestForwarderChangesExtraInABatch(ForwarderCase):
    """It takes a column out of the events of a batch."""

    fails = {"test_leaves_the_event_alone"}

    class kind(Lines):
        def forward_batch(self, events: Sequence[AuditEvent]) -> object:
            for event in events:
                event.extra.clear()
            return super().forward_batch(events)


class TestForwarderWritesNewlinesRaw(ForwarderCase):
    """Text of an event breaks the line."""

    fails = {"test_hostile_text_forges_nothing[newline]", "test_hostile_text_in_a_batch_forges_nothing"}

    class kind(Lines):
        def line(self, event: AuditEvent) -> str:
            return super().line(event).replace("\\n", "\n")


class TestForwarderCrashesOnSurrogates(ForwarderCase):
    """It can encode most text."""

    fails = {"test_hostile_text_forges_nothing[surrogate]", "test_hostile_text_in_a_batch_forges_nothing"}

    class kind(Lines):
        def line(self, event: AuditEvent) -> str:
            (event.user_agent or "").encode()
            return super().line(event)


class TestForwarderMixesThreads(ForwarderCase):
    """Two threads write into one line."""

    fails = {"test_is_safe_for_threads"}

    class kind(Lines):
        barrier = Barrier(2)

        def forward(self, event: AuditEvent) -> object:
            self.connect()
            line = self.line(event)
            self.written.append(line[:20])
            meet(self.barrier)
            self.written.append(line[20:])
            return None


class TestForwarderHasNoTime(ForwarderCase):
    """Its deadline is no time at all."""

    fails = {
        "test_tells_its_deadline",
        "test_blames_a_sink_that_is_down",
        "test_blames_a_sink_that_is_down_for_a_batch",
    }

    class kind(Lines):
        deadline = 0


class TestForwarderSwallowsErrors(ForwarderCase):
    """It says yes while its sink is down."""

    fails = {"test_blames_a_sink_that_is_down"}

    class kind(Lines):
        def forward(self, event: AuditEvent) -> object:
            with suppress(SinkError):
                super().forward(event)
            return None


class TestForwarderSwallowsErrorsOfBatches(ForwarderCase):
    """It says yes to a batch while its sink is down."""

    fails = {"test_blames_a_sink_that_is_down_for_a_batch"}

    class kind(Lines):
        def forward_batch(self, events: Sequence[AuditEvent]) -> object:
            with suppress(SinkError):
                super().forward_batch(events)
            return [None] * len(events)


class TestForwarderBlamesTheEvent(ForwarderCase):
    """Where its sink is down it raises what means that the event is at fault."""

    fails = {"test_blames_a_sink_that_is_down", "test_blames_a_sink_that_is_down_for_a_batch"}

    class kind(Lines):
        def connect(self) -> None:
            if self.is_down:
                raise ValueError("down")


class TestForwarderHangs(ForwarderCase):
    """It does not keep its deadline."""

    fails = {"test_blames_a_sink_that_is_down", "test_blames_a_sink_that_is_down_for_a_batch"}

    class kind(Lines):
        deadline = 0.05

        def connect(self) -> None:
            if self.is_down:
                Event().wait(STUCK)
                raise SinkError("down")


class TestForwarderLosesTheEndOfABatch(ForwarderCase):
    """The last event of a batch is not written."""

    fails = {"test_accepts_a_batch", "test_hostile_text_in_a_batch_forges_nothing"}

    class kind(Lines):
        def forward_batch(self, events: Sequence[AuditEvent]) -> object:
            return super().forward_batch(events[:-1])


class TestForwarderAnswersTooFew(ForwarderCase):
    """A batch has more events than answers."""

    fails = {"test_accepts_a_batch", "test_hostile_text_in_a_batch_forges_nothing"}

    class kind(Lines):
        def forward_batch(self, events: Sequence[AuditEvent]) -> object:
            super().forward_batch(events)
            return [Ack()] * (len(events) - 1)


class TestForwarderAnswersABatchWithTrue(ForwarderCase):
    """The answers are something else than None and Acks."""

    fails = {"test_accepts_a_batch"}

    class kind(Lines):
        def forward_batch(self, events: Sequence[AuditEvent]) -> object:
            super().forward_batch(events)
            return [True] * len(events)


# Repositories


class Rows:
    """An honest repository: rows in a dict."""

    source = "rows"

    def __init__(self) -> None:
        self.rows: dict[str, AuditEvent] = {}

    def get(self, audit_event_id: str, /) -> object:
        """Find a row."""
        event = self.rows.get(audit_event_id)
        return None if event is None else self.told(event)

    def told(self, event: AuditEvent) -> object:
        """Tell a row."""
        return evolve(event, source=self.source)


class RepositoryCase(AuditRepositoryContract):
    """The contract for a kind of `Rows`."""

    kind: ClassVar[type[Rows]] = Rows
    fails: ClassVar[set[str]] = set()

    @pytest.fixture(name="repository")
    def _repository(self) -> Rows:
        return self.kind()

    def commit(self, repository: Rows, event: AuditEvent) -> None:
        repository.rows[event.id] = event


class TestHonestRepository(RepositoryCase):
    """Nothing is wrong with it."""


class TestRepositoryReturnsItsRow(RepositoryCase):
    """It gives a row of its own kind, and no AuditEvent."""

    fails = {
        "test_finds_a_committed_row",
        "test_sets_one_source",
        "test_sees_what_is_committed_later",
        "test_is_safe_for_threads",
    }

    class kind(Rows):
        def told(self, event: AuditEvent) -> object:
            return event.to_dict()


class TestRepositoryLosesMicroseconds(RepositoryCase):
    """Its times are not exact."""

    fails = {"test_finds_a_committed_row"}

    class kind(Rows):
        def told(self, event: AuditEvent) -> object:
            return evolve(super().told(event), occurred_at=event.occurred_at.replace(microsecond=0))


class TestRepositoryTakesTimesForLocal(RepositoryCase):
    """It reads a naive time in another zone than it was written in."""

    fails = {"test_finds_a_committed_row"}

    class kind(Rows):
        def told(self, event: AuditEvent) -> object:
            return evolve(super().told(event), occurred_at=event.occurred_at + timedelta(hours=1))


class TestRepositoryTellsNaiveTimes(RepositoryCase):
    """Its times have no zone, which no AuditEvent takes."""

    fails = {
        "test_finds_a_committed_row",
        "test_sets_one_source",
        "test_an_id_that_cannot_be_one_is_not_found",
        "test_sees_what_is_committed_later",
        "test_is_safe_for_threads",
    }

    class kind(Rows):
        def told(self, event: AuditEvent) -> object:
            return evolve(super().told(event), occurred_at=event.occurred_at.replace(tzinfo=None))


class TestRepositoryLosesMetadata(RepositoryCase):
    """It keeps only what is flat."""

    fails = {"test_finds_a_committed_row"}

    class kind(Rows):
        def told(self, event: AuditEvent) -> object:
            flat = {key: value for key, value in event.metadata.items() if not isinstance(value, dict)}
            return evolve(super().told(event), metadata=flat)


class TestRepositoryTellsAnotherSource(RepositoryCase):
    """Its events carry another source than it tells."""

    fails = {"test_sets_one_source"}

    class kind(Rows):
        def told(self, event: AuditEvent) -> object:
            return event


class TestRepositoryReturnsAnotherRow(RepositoryCase):
    """Where it finds nothing it gives the last row."""

    fails = {"test_finds_nothing_under_an_unknown_id", "test_an_id_that_cannot_be_one_is_not_found"}

    class kind(Rows):
        def get(self, audit_event_id: str, /) -> object:
            return super().get(audit_event_id) or next(map(self.told, reversed(self.rows.values())), None)


class TestRepositoryRaisesForUnknownIds(RepositoryCase):
    """Nothing found is an error."""

    fails = {
        "test_finds_nothing_under_an_unknown_id",
        "test_an_id_that_cannot_be_one_is_not_found",
        "test_sees_what_is_committed_later",
    }

    class kind(Rows):
        def get(self, audit_event_id: str, /) -> object:
            return self.told(self.rows[audit_event_id])


class TestRepositoryRaisesForOddIds(RepositoryCase):
    """An id that is no UUID is an error."""

    fails = {
        f"test_an_id_that_cannot_be_one_is_not_found[{text}]"
        for text in [
            "empty",
            "long",
            "newline",
            "separators",
            "nul",
            "escape",
            "quotes",
            "braces",
            "wildcard",
            "surrogate",
            "astral",
            "huge_number",
            "wide_digits",
        ]
    }

    class kind(Rows):
        def get(self, audit_event_id: str, /) -> object:
            return super().get(str(UUID(audit_event_id)))


class TestRepositoryReadsIdsLoosely(RepositoryCase):
    """It takes every text that Python reads as a number for one."""

    fails = {"test_an_id_that_cannot_be_one_is_not_found[wide_digits]"}

    def new_id(self, number: int) -> str:
        return str(number)

    class kind(Rows):
        def get(self, audit_event_id: str, /) -> object:
            return super().get(str(int(audit_event_id)) if audit_event_id.isdecimal() else audit_event_id)


class TestRepositoryTakesWildcards(RepositoryCase):
    """It looks for ids by a pattern."""

    fails = {"test_an_id_that_cannot_be_one_is_not_found[wildcard]"}

    class kind(Rows):
        def get(self, audit_event_id: str, /) -> object:
            return super().get(next(iter(self.rows), "") if audit_event_id == "%" else audit_event_id)


class TestRepositoryKeepsASnapshot(RepositoryCase):
    """It sees the table for ever as it was at the first call."""

    fails = {"test_sees_what_is_committed_later"}

    class kind(Rows):
        def get(self, audit_event_id: str, /) -> object:
            self.__dict__.setdefault("snapshot", dict(self.rows))
            event = self.snapshot.get(audit_event_id)
            return None if event is None else self.told(event)


class TestRepositoryRemembersMisses(RepositoryCase):
    """What was not there once is never there."""

    fails = {"test_sees_what_is_committed_later"}

    class kind(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.misses: set[str] = set()

        def get(self, audit_event_id: str, /) -> object:
            if audit_event_id not in self.rows:
                self.misses.add(audit_event_id)
            return None if audit_event_id in self.misses else super().get(audit_event_id)


class TestRepositoryMixesThreads(RepositoryCase):
    """Two threads share what they found."""

    fails = {"test_is_safe_for_threads"}

    class kind(Rows):
        barrier = Barrier(2)

        def get(self, audit_event_id: str, /) -> object:
            self.asked = audit_event_id
            meet(self.barrier)
            return super().get(self.asked)


class SharedConnection:
    """A repository on SQLite that is bound to one thread, or leaves its transaction open."""

    source = "audit_events"

    def __init__(self, path: str, *, is_left_open: bool) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=not is_left_open)
        self.begin = "BEGIN" if is_left_open else "SELECT 1"
        self.lock = Lock()

    def get(self, audit_event_id: str, /) -> object:
        """Find a row."""
        with self.lock:
            if not self.connection.in_transaction:
                self.connection.execute(self.begin)
            try:
                found = self.connection.execute(
                    "SELECT event FROM audit_events WHERE id = ?", (audit_event_id,)
                ).fetchall()
            except UnicodeEncodeError:
                return None
        return ROWS[found[0][0]] if found else None


ROWS: dict[str, AuditEvent] = {}


class ConnectionCase(AuditRepositoryContract):
    """The contract for a `SharedConnection`."""

    is_left_open: ClassVar[bool]
    fails: ClassVar[set[str]]

    @pytest.fixture(name="repository")
    def _repository(self, tmp_path) -> Iterator[SharedConnection]:
        self.path = str(tmp_path / "host.db")
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE audit_events (id, event)")
        repository = SharedConnection(self.path, is_left_open=self.is_left_open)
        yield repository
        repository.connection.close()

    def commit(self, repository: SharedConnection, event: AuditEvent) -> None:
        ROWS[event.id] = event
        with closing(sqlite3.connect(self.path, timeout=0)) as connection, connection:
            connection.execute("INSERT INTO audit_events VALUES (?, ?)", (event.id, event.id))


class TestRepositoryIsBoundToAThread(ConnectionCase):
    """Only the thread that made its connection can use it."""

    fails = {"test_is_safe_for_threads"}
    is_left_open = False


class TestRepositoryHoldsUpWriters(ConnectionCase):
    """It leaves its transaction open, and the host cannot commit."""

    fails = {"test_sees_what_is_committed_later"}
    is_left_open = True


# Queues


class OneWorker:
    """An honest queue: one thread, and a timer for each wait."""

    def __init__(self, *, is_down: bool = False) -> None:
        self.is_down = is_down
        self.tries = 0
        self.audit_forward: AuditForward | None = None
        self.jobs: Queue[tuple[JobArgs, int] | None] = Queue()
        Thread(target=self.work, daemon=True).start()

    def bind(self, audit_forward: AuditForward, /) -> None:
        """Learn whom the jobs are for."""
        if self.audit_forward is not None:
            raise ConfigurationError("bound already")
        self.audit_forward = audit_forward

    def enqueue(self, args: JobArgs, /) -> object:
        """Put a job on the queue."""
        self.tries += 1
        if self.audit_forward is None:
            raise EnqueueError("not bound")
        if self.is_down:
            self.refuse(args)
        else:
            self.put(args, 1, 0)

    def refuse(self, args: JobArgs) -> None:
        """Say that the broker is down."""
        raise EnqueueError("down")

    def put(self, args: JobArgs, attempt: int, wait: float) -> None:
        """Let a job run after *wait* seconds."""
        if wait:
            timer = Timer(wait, self.jobs.put, [(args, attempt)])
            timer.daemon = True
            timer.start()
        else:
            self.jobs.put((args, attempt))

    def work(self) -> None:
        """Run the jobs."""
        while (job := self.jobs.get()) is not None:
            self.run(*job)

    def run(self, args: JobArgs, attempt: int) -> None:
        """Run one job."""
        self.settle(args, attempt, self.audit_forward.perform(args, attempt).settlement)

    def settle(self, args: JobArgs, attempt: int, settlement: Settlement) -> None:
        """Do what perform says."""
        if settlement.retry_in is not None:
            self.put(args, attempt + 1, settlement.retry_in)

    def close(self) -> None:
        """Stop."""
        self.jobs.put(None)


class QueueCase(JobQueueContract):
    """The contract for a kind of `OneWorker`."""

    kind: ClassVar[type[OneWorker]] = OneWorker
    fails: ClassVar[set[str]] = set()
    patience = 10.0
    wait = 0  # no second is spent where the wait is not what is broken

    @pytest.fixture(name="job_queue")
    def _job_queue(self) -> Iterator[OneWorker]:
        queue = self.kind()
        yield queue
        queue.close()

    @pytest.fixture(name="broken_job_queue")
    def _broken_job_queue(self) -> Iterator[OneWorker]:
        queue = self.kind(is_down=True)
        yield queue
        queue.close()


class TestHonestQueue(QueueCase):
    """Nothing is wrong with it."""

    wait = 1


class TestHonestAsyncQueue(QueueCase):
    """Nor with one that has the async twin."""

    class kind(OneWorker):
        async def aenqueue(self, args: JobArgs, /) -> object:
            return self.enqueue(args)


class TestQueueLosesJobs(QueueCase):
    """It takes jobs, and nothing runs them."""

    fails = {
        "test_runs_a_job",
        "test_retries_an_error",
        "test_waits_before_it_tries_again",
        "test_ends_after_the_last_attempt",
        "test_does_not_retry_a_cancel",
        "test_a_name_that_is_not_registered_sends_nothing",
        "test_takes_jobs_from_several_threads",
        "test_is_bound_once",
    }
    patience = 0.3

    class kind(OneWorker):
        def put(self, args: JobArgs, attempt: int, wait: float) -> None:
            pass


class TestQueueLosesAJobOfThreads(QueueCase):
    """Of several threads' jobs it loses one."""

    fails = {"test_takes_jobs_from_several_threads"}
    patience = 1.0

    class kind(OneWorker):
        def put(self, args: JobArgs, attempt: int, wait: float) -> None:
            if self.tries != 17:
                super().put(args, attempt, wait)


class TestQueueLosesAJobOfTheAsyncTwin(QueueCase):
    """The async twin takes jobs that nothing runs."""

    fails = {"test_runs_a_job[aenqueue]", "test_says_so_when_it_cannot_take_a_job[aenqueue]"}
    patience = 1.0

    class kind(OneWorker):
        async def aenqueue(self, args: JobArgs, /) -> object:
            return None


class TestQueueRunsTwice(QueueCase):
    """A job that ended well runs again."""

    fails = {"test_runs_a_job", "test_retries_an_error", "test_takes_jobs_from_several_threads"}

    class kind(OneWorker):
        def settle(self, args: JobArgs, attempt: int, settlement: Settlement) -> None:
            super().settle(args, attempt, settlement)
            if settlement.state is State.COMPLETED:
                self.audit_forward.perform(args, attempt)


class TestQueueDoesNotRetry(QueueCase):
    """An error ends the job."""

    fails = {"test_retries_an_error", "test_waits_before_it_tries_again", "test_ends_after_the_last_attempt"}
    patience = 1.0

    class kind(OneWorker):
        def settle(self, args: JobArgs, attempt: int, settlement: Settlement) -> None:
            pass


class TestQueueAlwaysSaysAttempt1(QueueCase):
    """It does not count, so that no job is ever given up."""

    fails = {"test_retries_an_error", "test_ends_after_the_last_attempt"}
    patience = 1.0

    class kind(OneWorker):
        def put(self, args: JobArgs, attempt: int, wait: float) -> None:
            super().put(args, 1, wait)


class TestQueueCountsFromZero(QueueCase):
    """The first run is attempt 0 to it."""

    fails = {"test_retries_an_error", "test_ends_after_the_last_attempt"}
    patience = 1.0

    class kind(OneWorker):
        def put(self, args: JobArgs, attempt: int, wait: float) -> None:
            super().put(args, attempt - 1 if attempt == 1 else attempt, wait)


class TestQueueRetriesAtOnce(QueueCase):
    """It does not wait."""

    fails = {"test_waits_before_it_tries_again"}
    wait = 1

    class kind(OneWorker):
        def put(self, args: JobArgs, attempt: int, wait: float) -> None:
            super().put(args, attempt, 0)


class TestQueueRetriesCancels(QueueCase):
    """A cancelled job runs again."""

    fails = {"test_does_not_retry_a_cancel"}

    class kind(OneWorker):
        def settle(self, args: JobArgs, attempt: int, settlement: Settlement) -> None:
            is_again = settlement.state is State.CANCELLED and attempt < 3
            super().settle(args, attempt, Settlement(State.RETRYABLE, 0) if is_again else settlement)


class TestQueueRetriesForEver(QueueCase):
    """A discarded job runs again."""

    fails = {"test_ends_after_the_last_attempt"}

    class kind(OneWorker):
        def settle(self, args: JobArgs, attempt: int, settlement: Settlement) -> None:
            is_again = settlement.state is State.DISCARDED
            super().settle(args, attempt, Settlement(State.RETRYABLE, 0) if is_again else settlement)


class TestQueueFallsBackToAnotherForwarder(QueueCase):
    """A name that is not registered selects another forwarder."""

    fails = {"test_a_name_that_is_not_registered_sends_nothing"}

    class kind(OneWorker):
        def put(self, args: JobArgs, attempt: int, wait: float) -> None:
            name = args.forwarder if args.forwarder in self.audit_forward.routes else "accepting"
            super().put(evolve(args, forwarder=name), attempt, wait)


class TestQueueBindsTwice(QueueCase):
    """A second AuditForward takes it over."""

    fails = {"test_is_bound_once"}
    patience = 1.0

    class kind(OneWorker):
        def bind(self, audit_forward: AuditForward, /) -> None:
            self.audit_forward = audit_forward


class TestQueueBindsTwiceWithAnError(QueueCase):
    """It raises, and is taken over all the same."""

    fails = {"test_is_bound_once"}
    patience = 1.0

    class kind(OneWorker):
        def bind(self, audit_forward: AuditForward, /) -> None:
            try:
                super().bind(audit_forward)
            finally:
                self.audit_forward = audit_forward


class TestQueueTakesJobsUnbound(QueueCase):
    """It takes a job for nobody."""

    fails = {"test_takes_no_job_unbound"}

    class kind(OneWorker):
        def enqueue(self, args: JobArgs, /) -> object:
            return None if self.audit_forward is None else super().enqueue(args)


class BrokenWhenDown(QueueCase):
    """The contract for a queue that does not say properly that it is down."""

    fails = {"test_says_so_when_it_cannot_take_a_job"}
    refuse: ClassVar[Callable[[OneWorker, JobArgs], None]]

    @pytest.fixture(name="broken_job_queue")
    def _broken_job_queue(self) -> Iterator[OneWorker]:
        queue = type("Queue", (OneWorker,), {"refuse": type(self).refuse})(is_down=True)
        yield queue
        queue.close()


class TestQueueRaisesAForeignException(BrokenWhenDown):
    """The library's own exception comes through."""

    def refuse(self, args: JobArgs) -> None:
        raise ConnectionRefusedError


class TestQueueTakesJobsWhileDown(BrokenWhenDown):
    """It says nothing."""

    def refuse(self, args: JobArgs) -> None:
        pass


class TestQueueTakesTheThirdJobWhileDown(BrokenWhenDown):
    """It says so twice, and then no more."""

    def refuse(self, args: JobArgs) -> None:
        if self.tries < 3:
            raise EnqueueError("down")


class TestQueueHangs(BrokenWhenDown):
    """It waits for its broker longer than it may."""

    def refuse(self, args: JobArgs) -> None:
        Event().wait(STUCK)
        raise EnqueueError("down")
