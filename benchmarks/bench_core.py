"""
What the core costs, beside the bare calls that it wraps: ``make bench``.

Every figure is the median of several processes (pyperf). The bars of the design are ratios of figures taken in this
same run; one that is missed is marked, and makes the exit status 1.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pyperf
import stamina

from sigra_forward import AuditForward, Dispatch, JobArgs, Route, aperform, perform, signals
from sigra_forward.testing import make_event

EVENT = make_event()
ARGS = JobArgs("siem", EVENT.id, EVENT.occurred_at)
JOB = ARGS.to_dict()

IMPORT_BASE = "import attr, blinker, typing_extensions"
IMPORT_ROUNDS = 25


class StubRepository:
    """Has one row."""

    def get(self, audit_event_id: str, /) -> Any:
        return EVENT


class StubForwarder:
    """Accepts everything."""

    def forward(self, event: Any) -> None:
        return None


class AsyncStubRepository:
    """Has one row."""

    async def get(self, audit_event_id: str, /) -> Any:
        return EVENT


class AsyncStubForwarder:
    """Accepts everything."""

    async def forward(self, event: Any) -> None:
        return None


class StubQueue:
    """Takes every job, at no cost."""

    def bind(self, audit_forward: AuditForward, /) -> None:
        """Bind."""

    def enqueue(self, args: JobArgs, /) -> None:
        """Enqueue."""


REPOSITORY, FORWARDER = StubRepository(), StubForwarder()
AREPOSITORY, AFORWARDER = AsyncStubRepository(), AsyncStubForwarder()
ROUTES = {"siem": Route(FORWARDER)}
AROUTES = {"siem": Route(AFORWARDER)}
INLINE = AuditForward(REPOSITORY, {"siem": Route(FORWARDER, dispatch=Dispatch.SYNC)})
QUEUED = AuditForward(REPOSITORY, {"siem": Route(FORWARDER, dispatch=Dispatch.ASYNC)}, queue=StubQueue())


def bare() -> None:
    FORWARDER.forward(REPOSITORY.get(EVENT.id))


async def abare() -> None:
    await AFORWARDER.forward(await AREPOSITORY.get(EVENT.id))


retried = stamina.retry(on=ConnectionError)(bare)
aretried = stamina.retry(on=ConnectionError)(abare)


def performed() -> None:
    perform(ARGS, repository=REPOSITORY, forwarders=ROUTES)


async def aperformed() -> None:
    await aperform(ARGS, repository=AREPOSITORY, forwarders=AROUTES)


def subscriber(sender: str, event: object) -> None:
    """Hear, and do nothing."""


def timed(function: Callable[[], object], subscribers: int = 0) -> Callable[[int], float]:
    """Return what pyperf calls to time *loops* calls of *function*, with so many subscribers on every signal."""

    def time(loops: int) -> float:
        heard = [lambda sender, event: None for _ in range(subscribers)]
        for signal in (signals.forward_ok, signals.forward_enqueued):
            for hear in heard:
                signal.connect(hear)
        began = perf_counter()
        for _ in range(loops):
            function()
        return perf_counter() - began

    return time


def atimed(function: Callable[[], Any], subscribers: int = 0) -> Callable[[int], float]:
    """Return what pyperf calls to time *loops* awaits of *function*."""

    def time(loops: int) -> float:
        async def run() -> float:
            began = perf_counter()
            for _ in range(loops):
                await function()
            return perf_counter() - began

        hear = [subscriber][:subscribers]
        for each in hear:
            signals.forward_ok.connect(each)
        return asyncio.run(run())

    return time


BENCHMARKS: dict[str, Callable[[int], float]] = {
    "bare reload and call": timed(bare),
    "stamina.retry round it": timed(retried),
    "perform, no subscriber": timed(performed),
    "perform, one subscriber": timed(performed, 1),
    "perform, ten subscribers": timed(performed, 10),
    "AuditForward.perform of a dict": timed(lambda: INLINE.perform(JOB)),
    "bare reload and call, async": atimed(abare),
    "stamina.retry round it, async": atimed(aretried),
    "aperform, one subscriber": atimed(aperformed, 1),
    "JobArgs to_dict and from_dict": timed(lambda: JobArgs.from_dict(ARGS.to_dict())),
    "dispatch SYNC": timed(lambda: INLINE.dispatch(EVENT)),
    "dispatch ASYNC, stub queue": timed(lambda: QUEUED.dispatch(EVENT)),
    "dispatch ASYNC, one subscriber": timed(lambda: QUEUED.dispatch(EVENT), 1),
}


def import_cpu() -> tuple[float, float]:
    """Return the least CPU seconds of the base imports and of ``import sigra_forward``, interleaved."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    least = [float("inf")] * 2
    for _ in range(IMPORT_ROUNDS):
        for index, code in enumerate((IMPORT_BASE, "import sigra_forward")):
            child = subprocess.Popen([sys.executable, "-c", code], env=environment)
            _, _, used = os.wait4(child.pid, 0)
            least[index] = min(least[index], used.ru_utime + used.ru_stime)
    return least[0], least[1]


def report(medians: dict[str, float]) -> bool:
    """Print the table and the bars, and tell whether all are kept."""
    print("\n| what | median, µs |\n|---|---:|")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds * 1e6:.2f} |")
    added = medians["perform, one subscriber"] - medians["bare reload and call"]
    stamina_adds = medians["stamina.retry round it"] - medians["bare reload and call"]
    aadded = medians["aperform, one subscriber"] - medians["bare reload and call, async"]
    astamina_adds = medians["stamina.retry round it, async"] - medians["bare reload and call, async"]
    base, ours = import_cpu()
    bars = [
        ("perform adds, of what stamina.retry adds", added / stamina_adds, 0.5, "×"),
        ("aperform adds, of what stamina.retry adds", aadded / astamina_adds, 0.5, "×"),
        ("import, CPU over attr, blinker, typing_extensions", (ours - base) * 1e3, 20, " ms"),
    ]
    print("\n| bar | measured | at most | |\n|---|---:|---:|---|")
    for name, measured, most, unit in bars:
        print(f"| {name} | {measured:.2f}{unit} | {most:g}{unit} | {'kept' if measured <= most else 'MISSED'} |")
    return all(measured <= most for _, measured, most, _ in bars)


def main() -> int:
    """Run all, and return the exit status."""
    runner = pyperf.Runner(processes=5, values=5, min_time=0.02)
    medians = {}
    for name, time in BENCHMARKS.items():
        benchmark = runner.bench_time_func(name, time)
        if benchmark is not None and not runner.args.worker:
            medians[name] = benchmark.median()
    return 0 if runner.args.worker or report(medians) else 1


if __name__ == "__main__":
    sys.exit(main())
