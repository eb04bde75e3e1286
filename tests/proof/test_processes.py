"""Nothing is lost and nothing is made up, whatever becomes of the processes that write, relay and take."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from sigra_forward import State
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite
from tests.proof.support_setting import keys_of, row
from tests.proof.support_stage import Stage, sized, wait_until

SHORT: dict[str, Any] = {"rereads": (0.3, 1.0), "hourly": 3.0, "daily": 20.0}

Report = Callable[..., None]


class Processes:
    """On every database."""

    def test_writers(self, stage: Stage, report: Report) -> None:
        """Of eight processes that commit late, roll back and set savepoints, the sink has what they committed."""
        stage.relay(**SHORT)
        committed = stage.write(8, sized(320, 10_000))()
        stage.wait_for(len(committed))
        report(rows=len(committed), missing=len(stage.missing()), repeats=stage.repeats())

        assert committed == stage.setting.committed()
        assert keys_of(committed) == {key for key, _ in stage.received()}
        assert 0 == stage.repeats()

    def test_sigkill(self, stage: Stage, report: Report) -> None:
        """A relay that is killed at random moments is started again: nothing is missing, the keys are the same."""
        rows, kills, page, random = sized(600, 20_000), sized(3, 40), 200, Random(4)
        stage.commit(*(row(f"before-{number}", number) for number in range(rows // 4)))
        relay = stage.relay(**SHORT, page=page)
        wait = stage.write(2, rows - rows // 4)
        for kill, moment in enumerate(sorted(random.randrange(rows) for _ in range(kills)), 1):
            stage.wait_for(moment + 1)
            relay.kill()
            wait_until(lambda kill=kill: relay.log().count("works") == kill + 1, "it was started again")
        committed = wait()
        stage.wait_for(rows)
        stage.wait_until_settled(rows)
        report(rows=rows, kills=kills, missing=len(stage.missing()), repeats=stage.repeats())

        assert stage.repeats() <= kills * 2 * page  # the one that is written down, and the one that goes out meanwhile
        assert rows // 4 + len(committed) == rows
        assert (set(), set()) == (stage.missing(), stage.foreign())
        assert {State.COMPLETED: rows} == stage.receipts()
        assert kills + 1 == relay.starts

    def test_two_relays(self, stage: Stage, report: Report) -> None:
        """One works the lane and the other stands by."""
        rows = sized(400, 10_000)
        stage.relay(**SHORT)
        stage.relay(**SHORT)
        stage.write(4, rows)()
        stage.wait_for(rows)
        stage.wait_until_settled(rows)
        report(rows=rows, missing=len(stage.missing()), repeats=stage.repeats())

        assert (set(), set()) == (stage.missing(), stage.foreign())
        assert 0 == stage.repeats()

    def test_sigstop(self, stage: Stage, report: Report) -> None:
        """A relay that sleeps for longer than its lease finds another one at work when it wakes, and does no harm."""
        rows, times, random = sized(600, 10_000), sized(1, 10), Random(5)
        relays = [stage.relay(**SHORT, page=100), stage.relay(**SHORT, page=100)]
        wait = stage.write(2, rows)
        for number in range(times):
            stage.wait_for(rows * (number + 1) // (times + 2) + random.randrange(10))
            for relay in relays:  # whichever has the lane
                before = stage.ledger.lanes()[0].leased_until
                stage.freeze(relay)
                wait_until(partial(_passed, stage, before), "a lease is taken after the one that was held")
                os.kill(relay.pid, signal.SIGCONT)
        wait()
        stage.wait_for(rows)
        stage.wait_until_settled(rows)
        report(rows=rows, sleeps=2 * times, missing=len(stage.missing()), repeats=stage.repeats())

        assert (set(), set()) == (stage.missing(), stage.foreign())
        assert {State.COMPLETED: rows} == stage.receipts()

    def test_a_host_killed_between_commit_and_enqueue(self, stage: Stage, report: Report) -> None:
        """What no queue ever heard of is delivered when its grace is over."""
        stage.commit(row("oldest", 1))
        stage.relay(**SHORT, grace=0.2)
        ended = stage.run("host")
        stage.wait_for(2)
        report(rows=1, missing=len(stage.missing()), delivered_by=stage.reading_of("committed"))

        assert -signal.SIGKILL == ended
        assert {"oldest", "committed"} == stage.setting.committed()
        assert ["tail"] == stage.reading_of("committed")

    def test_one_oversized_and_one_malformed(self, stage: Stage, report: Report) -> None:
        """The sink refuses two among many: the others arrive, and the two are dead letters with the sink's words."""
        rows = sized(300, 10_000)
        bad = {rows // 3: {"text": "x" * 20_000}, rows // 2: {"malformed": True}}
        stage.commit(*(row(str(number), number, **bad.get(number, {})) for number in range(rows)))
        stage.relay(**SHORT)
        stage.wait_for(rows - 2)
        wait_until(lambda: stage.receipts()[State.CANCELLED] == 2, "both are dead letters")
        stage.wait_until_settled(rows - 2)
        dead = stage.ledger.page(1, "", 10, [State.CANCELLED])
        report(rows=rows, delivered=len(set(stage.received())), dead_letters=len(dead))

        assert {State.COMPLETED: rows - 2, State.CANCELLED: 2} == stage.receipts()
        assert {
            str(rows // 3): "an event is larger than 10000 bytes",
            str(rows // 2): "malformed is no field of ours",
        } == {receipt.audit_event_id: receipt.detail for receipt in dead}


def _passed(stage: Stage, before: Any) -> bool:
    """Tell whether a lease was taken, or kept, that ends more than a lease's length behind *before*."""
    until = stage.ledger.lanes()[0].leased_until
    return until is not None and (before is None or (until - before).total_seconds() > 5)


class TestOnPostgreSQL(OnPostgreSQL, Processes):
    """PostgreSQL."""


class TestOnMariaDB(OnMariaDB, Processes):
    """MariaDB."""


class TestOnSQLite(OnSQLite, Processes):
    """SQLite."""
