"""`TimedBinding`: a binding whose jobs each end in time, for workers that have no time limits of their own to tell."""

from __future__ import annotations

from asyncio import wait_for
from collections.abc import Mapping

from sigra_forward import Result
from sigra_forward.queues.adapter import Binding


class TimedBinding(Binding):
    """
    A binding that gives up a run that takes longer than its time limit, as a failed attempt.

    A sync port that hangs goes on in its thread, to its own end; the job does not wait for it. Oban's own ``timeout``
    would end the run too, but only after perform has lost its say in when the job is tried again.
    """

    async def aperform(self, args: Mapping[str, object], attempt: int) -> Result:
        """Run one job as `Binding` does, for no longer than `Binding.time_limit`."""
        host = self.host
        try:
            return await wait_for(host.aperform(args, attempt), self._limit(args))
        except Exception as exc:  # noqa: BLE001 - perform raises none: it is the time limit, or a bug
            return self._failed(args, attempt, exc)

    def _limit(self, args: object) -> int | None:
        forwarder = args.get("forwarder") if isinstance(args, dict) else None
        known = isinstance(forwarder, str) and forwarder in self.host.routes
        return self.time_limit(str(forwarder)) if known else None
