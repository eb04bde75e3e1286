"""Job queues for tests, named by how they work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sigra_forward.errors import ConfigurationError, EnqueueError

if TYPE_CHECKING:
    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._job_args import JobArgs
    from sigra_forward._outcome import Result


class RecordingQueue:
    """Keeps every job in ``jobs``, and runs them when it is told to, as attempt 1."""

    def __init__(self) -> None:
        self.jobs: list[JobArgs] = []
        self._audit_forward: AuditForward | None = None

    def bind(self, audit_forward: AuditForward, /) -> None:
        """Learn whom the jobs are for."""
        if self._audit_forward is not None:
            msg = "this RecordingQueue is bound already: give each AuditForward its own"
            raise ConfigurationError(msg)
        self._audit_forward = audit_forward

    def enqueue(self, args: JobArgs, /) -> None:
        """Keep *args*."""
        self.jobs.append(args)

    def run(self) -> list[Result]:
        """Run the jobs that are there, once each, and return their results."""
        assert self._audit_forward is not None, "bind it first: pass it to an AuditForward"
        jobs, self.jobs = self.jobs, []
        return [self._audit_forward.perform(args) for args in jobs]


class RefusingQueue(RecordingQueue):
    """
    Refuses every job while ``error`` is set, and counts the tries.

    Args:
        error: What it raises.
    """

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error: Exception | None = error or EnqueueError("the broker is down")
        self.tries = 0

    def enqueue(self, args: JobArgs, /) -> None:
        """Raise, or keep *args*."""
        self.tries += 1
        if self.error is not None:
            raise self.error
        super().enqueue(args)
