"""The errors that sigra-forward raises and understands, all descended from `SigraForwardError`."""

from __future__ import annotations


class SigraForwardError(Exception):
    """The base of every error of this library; its message is ours and is safe to keep and log."""


class InvalidJobArgsError(SigraForwardError, ValueError):
    """Job args are malformed; the message names the key and never echoes the value."""


class ConfigurationError(SigraForwardError, ValueError):
    """The library was put together wrongly; the message says what to do instead."""


class UnreadableRowError(SigraForwardError, ValueError):
    """A stored row cannot be told as an `AuditEvent`; the message names what is wrong and never echoes the value."""


class SchemaMismatchError(SigraForwardError, ValueError):
    """Raised by a forwarder: the sink can never accept this event, so it is not tried again."""


class SinkError(SigraForwardError, RuntimeError):
    """
    Raised by a forwarder: the sink is at fault, not the event.

    Args:
        reason: A short code that never quotes the event, such as ``"http_503"``.
        retry_after: The seconds for which the sink asked to be left alone, if it did.
        detail: The sink's own words, for people. At most 500 characters are kept.
    """

    def __init__(self, reason: str, retry_after: float | None = None, *, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.retry_after = retry_after


class SinkDisabledError(SinkError):
    """
    Raised by a forwarder: the sink wants nothing more, for good, as a webhook says by 410 Gone.

    With a ledger the forwarder's lane stands still until somebody enables it: ``python -m sigra_forward enable``.
    """


class EnqueueError(SigraForwardError, RuntimeError):
    """Raised by a job queue: the job was not enqueued, whatever the library below it raised."""


class QueueFullError(EnqueueError):
    """The queue is working but full, so the next enqueue may well succeed: no breaker opens."""


class JobError(SigraForwardError, RuntimeError):
    """Raised by an adapter's worker into its own queue library, so that the job does not end as a success."""


class JobEndedError(JobError):
    """The job ends here, cancelled or discarded or left to the relay; the message says which, and why."""


class JobRetryError(JobError):
    """
    The job is to be tried again.

    Args:
        why: The reason of the failed attempt.
        retry_in: Whole seconds to wait before it.
    """

    def __init__(self, why: str, retry_in: int = 0) -> None:
        super().__init__(why)
        self.retry_in = retry_in


class MissingDependencyError(SigraForwardError, ImportError):
    """An optional library is missing or too old; the message names the extra to install."""
