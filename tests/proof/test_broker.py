"""A broker that loses jobs to which it has said yes, and a relay beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from sigra_forward import JobArgs, State
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite
from tests.proof.programs.worker import BROKER, QUEUE, SETTING, make_host, make_queue
from tests.proof.support_setting import keys_of, row
from tests.proof.support_stage import Stage, sized, wait_until

LOST = 0.05

AT_ONCE = 50
"""Jobs on the queue, at most: where the worker is far behind, the relay delivers what the queue would have."""

Report = Callable[..., None]


class LossyQueue:
    """
    Says yes to every job, and puts most of them on *queue*.

    Attributes:
        lost: The events whose jobs it has lost.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._random = Random(6)
        self.lost: set[str] = set()

    def bind(self, audit_forward: Any) -> None:
        self._queue.bind(audit_forward)

    def enqueue(self, args: JobArgs) -> None:
        if self._random.random() < LOST:
            self.lost.add(args.audit_event_id)
        else:
            self._queue.enqueue(args)

    def close(self) -> None:
        self._queue.close()


class Brokers:
    """On every database."""

    def test_a_broker_that_loses_jobs(
        self, stage: Stage, redis_server: tuple[str, int], redis_db: int, report: Report
    ) -> None:
        """What it loses the relay delivers when the grace is over, and everything arrives."""
        rows = sized(200, 10_000)
        broker = f"redis://{redis_server[0]}:{redis_server[1]}/{redis_db}"
        options = ["-P", "solo", "-Q", QUEUE, "--without-mingle", "--without-gossip", "--without-heartbeat"]
        worker = stage.supervise(
            [sys.executable, "-m", "celery", "-A", "tests.proof.programs.worker", "worker", "-l", "INFO", *options],
            "worker.log",
            {SETTING: stage.setting.told(), BROKER: broker},
        )
        wait_until(lambda: "ready." in worker.log(), "the worker is ready")
        stage.relay(grace=3.0)
        queue = LossyQueue(make_queue(broker))
        with make_host(stage.setting, queue) as host:
            for number in range(rows):
                stage.commit(row(str(number), number))
                host.dispatch(host.repository.get(str(number)))
                if number % AT_ONCE == AT_ONCE - 1:
                    stage.wait_for(number - len(queue.lost) - AT_ONCE)
        stage.wait_for(rows)
        stage.wait_until_settled(rows)
        by_relay = {key for key, reading in stage.received() if reading}
        report(
            rows=rows,
            lost=len(queue.lost),
            by_queue=rows - len(by_relay),
            by_relay=len(by_relay),
            missing=len(stage.missing()),
            repeats=stage.repeats(),
        )

        assert (set(), set()) == (stage.missing(), stage.foreign())
        assert {State.COMPLETED: rows} == stage.receipts()
        assert queue.lost
        assert keys_of(queue.lost) <= by_relay
        assert len(by_relay) < rows


class TestOnPostgreSQL(OnPostgreSQL, Brokers):
    """PostgreSQL."""


class TestOnMariaDB(OnMariaDB, Brokers):
    """MariaDB."""


class TestOnSQLite(OnSQLite, Brokers):
    """SQLite."""
