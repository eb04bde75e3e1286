"""`JobQueueContract`: what every job queue promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from sigra_forward._audit_forward import AuditForward
from sigra_forward._bridge import Bridge
from sigra_forward._dispatch import ENQUEUE_BUDGET
from sigra_forward._job_args import JobArgs
from sigra_forward._route import Route
from sigra_forward._settle import RetryPolicy
from sigra_forward.errors import ConfigurationError, EnqueueError, SchemaMismatchError
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.telemetry import Delivered, Discarded, Failed, TelemetryEvent
from sigra_forward.testing._events import make_event
from sigra_forward.testing._forwarders import FlakyForwarder, RaisingForwarder, RecordingForwarder
from sigra_forward.testing._telemetry import RecordingTelemetry
from sigra_forward.testing.contracts._hostile import run_in_threads, within

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent
    from sigra_forward._outcome import Ack

MAX_ATTEMPTS = 3


class JobQueueContract:
    """
    Hold a job queue to the port's promises.

    Give two fixtures, and where jobs need a worker the method ``working`` too:

    * ``job_queue``: a queue that is not bound yet.
    * ``broken_job_queue``: one, not bound yet, that cannot take a job: its broker is down, or it is full.

    The suite binds the queue to an `AuditForward` whose forwarders are in memory, so the worker must run in this
    process.
    """

    patience: float = 10.0
    """Seconds to wait for a job."""

    wait: int = 1
    """Seconds of backoff, half of which must pass: a queue that counts in whole seconds may need 2."""

    def working(self, job_queue: Any) -> AbstractContextManager[object]:
        """Return a context in which a worker of *job_queue* runs."""
        return nullcontext()

    @pytest.fixture
    def host(self, job_queue: Any) -> Iterator[_Host]:
        """Bind the queue, and run its worker."""
        host = _Host(job_queue, self.wait)
        with host.audit_forward, self.working(job_queue):
            yield host

    @pytest.mark.parametrize("way", ["enqueue", "aenqueue"])
    def test_runs_a_job(self, job_queue: Any, host: _Host, way: str) -> None:
        """An enqueued job is performed once, as attempt 1, and so is one by the async twin where there is one."""
        event = host.commit()

        _enqueue(job_queue, way, JobArgs("accepting", event.id, event.occurred_at))

        host.telemetry.wait_for(partial(_tells_of, event.id), self.patience)
        host.flush(job_queue, "accepting", self.patience)
        assert [(Delivered, 1)] == host.told_of(event)
        assert 1 == host.accepting.ids.count(event.id)

    def test_retries_an_error(self, job_queue: Any, host: _Host) -> None:
        """An error is tried again, and perform is told which attempt it is."""
        event = host.commit()

        job_queue.enqueue(JobArgs("flaky", event.id))

        host.telemetry.wait_for(lambda _: host.telemetry.of(Delivered), self.patience)
        host.flush(job_queue, "flaky", self.patience)
        assert [(Failed, 1), (Failed, 2), (Delivered, 3)] == host.told_of(event)

    def test_waits_before_it_tries_again(self, job_queue: Any, host: _Host) -> None:
        """The next attempt comes when the settlement says, and not at once."""
        event = host.commit()

        job_queue.enqueue(JobArgs("patient", event.id))

        host.telemetry.wait_for(lambda _: host.telemetry.of(Delivered), self.patience)
        failed, delivered = host.patient.moments[:2]
        assert delivered - failed >= self.wait / 2

    def test_ends_after_the_last_attempt(self, job_queue: Any, host: _Host) -> None:
        """A job that never succeeds is tried max_attempts times, and then discarded."""
        event = host.commit()

        job_queue.enqueue(JobArgs("failing", event.id))

        host.telemetry.wait_for(lambda _: host.telemetry.of(Discarded), self.patience)
        host.flush(job_queue, "failing", self.patience)
        assert [(Failed, 1), (Failed, 2), (Failed, 3), (Discarded, 3)] == host.told_of(event)

    def test_does_not_retry_a_cancel(self, job_queue: Any, host: _Host) -> None:
        """A job that is cancelled is not tried again."""
        event = host.commit()

        job_queue.enqueue(JobArgs("refusing", event.id))

        host.telemetry.wait_for(lambda _: host.telemetry.of(Failed), self.patience)
        host.flush(job_queue, "refusing", self.patience)
        assert [(Failed, 1)] == host.told_of(event)

    def test_a_name_that_is_not_registered_sends_nothing(self, job_queue: Any, host: _Host) -> None:
        """A job for an unknown forwarder is refused, or cancelled by perform, and reaches no sink."""
        event = host.commit()

        try:
            job_queue.enqueue(JobArgs("os.system", event.id))
        except EnqueueError:
            pass
        else:
            host.telemetry.wait_for(partial(_tells_of, event.id), self.patience)

        host.flush(job_queue, "accepting", self.patience)
        assert event.id not in host.accepting.ids

    def test_takes_jobs_from_several_threads(self, job_queue: Any, host: _Host) -> None:
        """Every job enqueued is performed once."""
        events = [host.commit() for _ in range(40)]

        def enqueue(some: list[AuditEvent]) -> None:
            for event in some:
                job_queue.enqueue(JobArgs("accepting", event.id))

        run_in_threads([partial(enqueue, events[start::4]) for start in range(4)])

        host.accepting.wait_for(len(events), self.patience)
        host.flush(job_queue, "accepting", self.patience)
        sent = Counter(host.accepting.ids)
        assert [1] * len(events) == [sent[event.id] for event in events]

    def test_is_bound_once(self, job_queue: Any, host: _Host) -> None:
        """A second AuditForward cannot take over the jobs of the first."""
        with pytest.raises(ConfigurationError):
            _Host(job_queue)

        job_queue.enqueue(JobArgs("accepting", host.commit().id))
        host.accepting.wait_for(1, self.patience)

    def test_takes_no_job_unbound(self, job_queue: Any) -> None:
        """A job that nobody would run is an error, not a success."""
        with pytest.raises((EnqueueError, ConfigurationError)):
            job_queue.enqueue(JobArgs("accepting", "1"))

    @pytest.mark.parametrize("way", ["enqueue", "aenqueue"])
    def test_says_so_when_it_cannot_take_a_job(self, broken_job_queue: Any, way: str) -> None:
        """An EnqueueError within 1.5 seconds, the first, the second and the third time."""
        with _Host(broken_job_queue).audit_forward:
            for _ in range(3):
                with pytest.raises(EnqueueError):
                    within(ENQUEUE_BUDGET, _enqueue, broken_job_queue, way, JobArgs("accepting", "1"))


class _Host:
    """An `AuditForward` in memory, with a forwarder for each way in which a job can end."""

    def __init__(self, job_queue: Any, wait: int = 1) -> None:
        self.repository = InMemoryAuditRepository()
        self.telemetry = RecordingTelemetry()
        self.accepting = RecordingForwarder()
        self.patient = _TimedForwarder(failures=1, error=ValueError("not yet"))
        self.audit_forward = AuditForward(
            self.repository,
            {
                "accepting": self.accepting,
                "flaky": FlakyForwarder(failures=2, error=ValueError("flaky")),
                "patient": Route(self.patient, policy=RetryPolicy(MAX_ATTEMPTS, backoff=lambda _: wait)),
                "failing": RaisingForwarder(ValueError("failing")),
                "refusing": RaisingForwarder(SchemaMismatchError("refused for ever")),
            },
            queue=job_queue,
            telemetry=self.telemetry,
            policy=RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff=lambda _: 0),
        )

    def commit(self) -> AuditEvent:
        return self.repository.add(make_event())

    def flush(self, job_queue: Any, forwarder: str, patience: float) -> None:
        """Run further jobs of *forwarder*, one after another: one before them would have run again by then."""
        for _ in range(3):
            event = self.commit()
            job_queue.enqueue(JobArgs(forwarder, event.id))
            self.telemetry.wait_for(partial(_tells_of, event.id), patience)

    def told_of(self, event: AuditEvent) -> list[tuple[type, int]]:
        """Return what was told of *event*, and of which attempt."""
        return [(type(told), told.attempt) for told in self.telemetry.events if told.audit_event_id == event.id]


class _TimedForwarder(FlakyForwarder):
    """Keeps the moment of each try."""

    def __init__(self, failures: int, error: Exception) -> None:
        super().__init__(failures, error)
        self.moments: list[float] = []

    def forward(self, event: AuditEvent) -> Ack | None:
        self.moments.append(monotonic())
        return super().forward(event)


_bridge = Bridge()


def _enqueue(job_queue: Any, way: str, args: JobArgs) -> None:
    _bridge.call(getattr(job_queue, way, job_queue.enqueue), args, None)


def _tells_of(audit_event_id: str, events: list[TelemetryEvent]) -> bool:
    return any(told.audit_event_id == audit_event_id for told in events)
