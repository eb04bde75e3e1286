"""`PerformOnlyJob`: what a worker makes of a job in Redis, when it trusts the code and not the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rq.job import Job

from sigra_forward.errors import JobEndedError
from sigra_forward_rq._queue import PERFORM
from sigra_forward_rq._task import perform


class PerformOnlyJob(Job):
    """
    A job that runs `perform` and nothing else: ``rq worker --job-class sigra_forward_rq.PerformOnlyJob``.

    RQ itself imports and runs whatever a job names, its callbacks included, and calls its webhooks. Under this class a
    job that names anything else imports nothing, fails at once, and stays among the failed jobs.
    """

    @property
    def func(self) -> Callable[..., Any]:
        """
        Return `perform`.

        Raises:
            JobEndedError: The job names something else.
        """
        if self.func_name != PERFORM:
            self.retries_left = 0
            msg = f"refused: this worker runs {PERFORM} only, and the job names something else"
            raise JobEndedError(msg)
        return perform

    @property
    def success_callback(self) -> None:
        """Return none: a job chooses nothing that runs."""

    @property
    def failure_callback(self) -> None:
        """Return none."""

    @property
    def stopped_callback(self) -> None:
        """Return none."""

    def send_webhooks(self, *_: object, **__: object) -> None:
        """Send none."""
