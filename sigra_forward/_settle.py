"""`RetryPolicy` and `settle`: where an attempt leaves the delivery, and when the next one is due."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf

from attrs import frozen

from sigra_forward._awaitables import close_if_awaitable
from sigra_forward._backoff import backoff as default_backoff
from sigra_forward._backoff import is_count
from sigra_forward._log import log_warning
from sigra_forward._names import type_name
from sigra_forward._outcome import CANCELLED, COMPLETED, DISCARDED, Outcome, Result, Settlement, State
from sigra_forward.errors import ConfigurationError

_ENDED = {Outcome.OK: COMPLETED, Outcome.CANCEL: CANCELLED}


def seconds(value: object) -> float | None:
    """Return *value* if it is a finite number of at least 0, else ``None``; a bool is no number."""
    kind = type(value)
    if kind is bool or not issubclass(kind, (int, float)):
        return None
    plain: float = float.__pos__(value) if issubclass(kind, float) else int.__pos__(value)  # type: ignore[arg-type]
    return plain if 0 <= plain < inf else None


def attempt_number(value: object) -> int:
    """Return *value* as a 1-based attempt; junk counts as 1."""
    return int.__index__(value) if is_count(value) else 1


@frozen
class RetryPolicy:
    """
    How often and how long a delivery is tried.

    Args:
        max_attempts: Attempts in all, the first one included.
        backoff: Seconds to wait after a failed attempt (1-based). One that raises or gives no finite number of
            at least 0 is replaced by the default curve, with a log line.
        max_delay: The longest that *backoff* may make a delivery wait, in seconds.
        max_retry_after: The longest that a sink's ``retry_after`` may, in seconds.
        horizon: With a ledger: the seconds after its first charged attempt until a delivery may be discarded.
        not_found_grace: For so many seconds after ``occurred_at`` a row that is not there is an error to retry
            (a replica that lags, a transaction not yet visible), and not a reason to cancel.

    Raises:
        ConfigurationError: A number is out of range.
    """

    max_attempts: int = 5
    backoff: Callable[[int], float] = default_backoff
    max_delay: float = 3600
    max_retry_after: float = 900
    horizon: float = 72 * 3600
    not_found_grace: float = 0

    def __attrs_post_init__(self) -> None:
        if not is_count(self.max_attempts):
            msg = "RetryPolicy(max_attempts=...) must be an integer of at least 1"
            raise ConfigurationError(msg)
        if not callable(self.backoff):
            msg = "RetryPolicy(backoff=...) must be callable with the attempt that failed, and return seconds"
            raise ConfigurationError(msg)
        for name in ("max_delay", "max_retry_after", "horizon", "not_found_grace"):
            if seconds(getattr(self, name)) is None:
                msg = f"RetryPolicy({name}=...) must be a finite number of seconds of at least 0"
                raise ConfigurationError(msg)

    def delay(self, attempt: int, retry_after: object = None) -> int:
        """Return the whole seconds to wait after failed *attempt*, given what the sink asked for."""
        asked = min(seconds(retry_after) or 0, self.max_retry_after)
        return ceil(max(min(self._curve(attempt), self.max_delay), asked))

    def _curve(self, attempt: int) -> float:
        try:
            answer = self.backoff(attempt)
            close_if_awaitable(answer)
        except Exception as exc:  # noqa: BLE001 - the host's function must not stop a retry
            log_warning("RetryPolicy.backoff raised %s: the default curve is used", type_name(exc))
            return default_backoff(attempt)
        given = seconds(answer)
        if given is None:
            log_warning("RetryPolicy.backoff gave no finite number of seconds: the default curve is used")
            return default_backoff(attempt)
        return given


DEFAULT_POLICY = RetryPolicy()


def settle(result: Result, attempt: int, policy: RetryPolicy) -> Settlement:
    """
    Decide where *attempt*, which is 1-based, leaves the delivery.

    ``OK`` is completed and ``CANCEL`` is cancelled. ``ERROR`` is retryable while ``attempt < max_attempts``, in
    ``ceil(max(min(backoff(attempt), max_delay), min(retry_after, max_retry_after)))`` seconds, and then discarded.

    Raises:
        ValueError: *attempt* is no integer of at least 1.
    """
    if not is_count(attempt):
        msg = "attempt must be an integer of at least 1: the first run is attempt 1"
        raise ValueError(msg)
    if result.outcome is not Outcome.ERROR:
        return _ENDED[result.outcome]
    if attempt >= policy.max_attempts:
        return DISCARDED
    return Settlement(State.RETRYABLE, policy.delay(attempt, result.retry_after))
