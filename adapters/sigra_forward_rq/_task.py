"""The one job function: perform, and `result.settlement` in RQ's words."""

from __future__ import annotations

import logging

from rq import get_current_job
from rq.job import Job, Retry

from sigra_forward import ConfigurationError, State
from sigra_forward.queues.adapter import Binding, ending
from sigra_forward_rq._operator import queue_for

UNBOUND_RETRY_IN = 30
"""Seconds after which a job is tried again that reached a worker without an AuditForward."""


def perform(*_: object, **job: object) -> Retry | None:
    """
    Run one job. RQ's workers call it; nobody else does.

    Raises:
        JobEndedError: The job ends here, cancelled or discarded. RQ keeps the reason with the failed job.
        ConfigurationError: This is no RQ worker, or no attempt is left and the worker knows no AuditForward.
    """
    current = get_current_job()
    if current is None:
        msg = "sigra_forward_rq.perform is for RQ's workers to call: in tests, call AuditForward.perform"
        raise ConfigurationError(msg)
    try:
        binding = queue_for(current).binding
    except ConfigurationError as exc:  # the next worker may be put together better
        unbound = str(exc)
    else:
        return _translated(binding, current, job)
    return _later(current, unbound)


def _translated(binding: Binding, current: Job, job: dict[str, object]) -> Retry | None:
    attempts = binding.max_attempts_of(job)
    left = attempts - 1 if current.retries_left is None else current.retries_left
    attempt = max(1, attempts - left)
    result = binding.perform(job, attempt)
    settlement = result.settlement
    assert settlement is not None  # noqa: S101 - perform always settles
    if settlement.state is State.COMPLETED:
        return None
    if settlement.retry_in is None:
        current.retries_left = 0  # or RQ would run it again at once
        raise ending(result)
    return _again(current, attempts - attempt, settlement.retry_in)


def _later(current: Job, unbound: str) -> Retry:
    left = current.retries_left or 0
    if not left:
        raise ConfigurationError(unbound)
    logging.getLogger("sigra_forward").error("job %s is tried again in %d s: %s", current.id, UNBOUND_RETRY_IN, unbound)
    return _again(current, left, UNBOUND_RETRY_IN)


def _again(current: Job, left: int, seconds: int) -> Retry:
    """
    Return what has RQ run the job again, with one retry fewer than *left*.

    RQ counts a killed process in ``retries_left`` and a `Retry` that is returned elsewhere. Both count in the former
    here, so that they are max_attempts together. RQ also cuts the moment to a whole second: one more, or it is early.
    """
    current.retries_left = left - 1
    return Retry(max=(current.number_of_retries or 0) + left, interval=seconds + 1 if seconds else 0)
