"""Oban: a worker written by hand, and ours, in one table. Run as ``python oban_app.py``."""

from __future__ import annotations

import asyncio
import signal

import psycopg
from common import PREFIX, SERVER, audit_forward, hand_written
from oban import Job, Oban, worker
from oban.schema import install_sql

from sigra_forward_oban import ObanQueue, worker_settings

if __name__ != "__main__":
    with psycopg.connect(SERVER, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('oban_jobs')").fetchone() == (None,):
            connection.execute(install_sql())

host = audit_forward(ObanQueue(SERVER, queue=PREFIX))


@worker(queue=PREFIX, max_attempts=5)
class ByHand:
    """What people write."""

    async def process(self, job: Job) -> None:
        await asyncio.to_thread(hand_written, job.args["audit_event_id"])


ByHand.__module__ = "oban_app"
loop = asyncio.new_event_loop()
pool = loop.run_until_complete(Oban.create_pool(SERVER, min_size=1, max_size=4))
client = Oban(pool=pool, name="client")


def enqueue_by_hand(audit_event_id: str) -> None:
    """Enqueue as people do, on a loop that stands."""
    loop.run_until_complete(client.enqueue(ByHand.new({"audit_event_id": audit_event_id})))


def enqueue_same(job: dict[str, str]) -> None:
    """Enqueue a job of the same three texts by the library's own call."""
    loop.run_until_complete(client.enqueue(ByHand.new(job)))


def worker_command(python: str) -> list[str]:
    """Return how a worker is started, with one job at a time."""
    return [python, "oban_app.py"]


def clean() -> None:
    """Close what the enqueues have used."""
    loop.run_until_complete(pool.close())


async def work() -> None:
    """Run one job at a time, until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Oban(pool=pool, queues={PREFIX: 1}, **worker_settings()):
        await stop.wait()


if __name__ == "__main__":
    import sys

    sys.modules["oban_app"] = sys.modules["__main__"]
    loop.run_until_complete(work())
