"""`TimedBinding`: a binding whose runs leave the worker's loop alone, and end in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial

from sigra_forward import Result
from sigra_forward.queues.adapter import Binding
from sigra_forward_procrastinate._threads import Threads

NOBODY = ""

NOBODYS_TIME = 60.0
"""Seconds for a run that calls no forwarder, but telemetry, which is the host's too."""


class TimedBinding(Binding):
    """
    A binding for a library whose jobs run on its event loop and have no time limit.

    None of the host's code is run on that loop, which also tells the other workers that this one lives. Each forwarder
    has threads of its own, so that one that hangs takes none from the others. Async ports run on the loop thread of
    the `AuditForward`, and end at their deadline.
    """

    def __init__(self, adapter: str, queue: str) -> None:
        super().__init__(adapter, queue)
        self._threads: dict[str, Threads] = defaultdict(Threads)

    async def aperform(self, args: Mapping[str, object], attempt: int) -> Result:
        """
        Run one job for no longer than `time_limit`; beyond that the attempt has failed.

        Raises:
            ConfigurationError: There is no `AuditForward`.
            BaseException: An order to the process, which perform passes on.
        """
        name = self._forwarder(args)
        limit = self.time_limit(name) if name else NOBODYS_TIME
        try:
            return await self._threads[name].call(partial(self.perform, args, attempt), limit)
        except Exception as exc:  # noqa: BLE001 - perform raises none: it is the limit, or no thread is to be had
            failure = exc
        return await self.afailed(args, attempt, failure)

    async def afailed(self, args: Mapping[str, object], attempt: int, exc: Exception) -> Result:
        """Return the result of an attempt that *exc* has ended, settled and told."""
        return await self._threads[NOBODY].call(partial(self._failed, args, attempt, exc), NOBODYS_TIME)

    def may_try_again(self, args: Mapping[str, object], attempt: int) -> bool:
        """Tell whether another attempt may follow on *attempt*."""
        name = self._forwarder(args)
        return attempt < (self.max_attempts(name) if name else self.most_attempts())

    def _forwarder(self, args: object) -> str:
        """Return the registered forwarder that a job is for, or ``""``."""
        name = args.get("forwarder") if isinstance(args, dict) else None
        return name if isinstance(name, str) and name in self.host.routes else NOBODY
