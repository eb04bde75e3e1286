"""A replay that is killed half-way, and finished by others with the same ``as_of``."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable

from sigra_forward import State
from tests.adapters.support_databases import OnMariaDB, OnPostgreSQL, OnSQLite
from tests.proof.support_setting import keys_of, row
from tests.proof.support_stage import Stage, sized

Report = Callable[..., None]


class Replays:
    """On every database."""

    def test_sigkill_within_a_replay(self, stage: Stage, report: Report) -> None:
        """Each event is sent exactly once more, under the key that it had; while the relay is at work."""
        rows, page, kills = sized(300, 10_000), sized(30, 500), sized(2, 4)
        ids = [f"{number:05}" for number in range(rows)]
        stage.commit(*(row(name, number) for number, name in enumerate(ids)))
        stage.relay()
        stage.wait_until_settled(rows)
        as_of = stage.ledger.now().isoformat()
        command = ["replay", "--forwarder", "siem", "--state", "completed", "--as-of", as_of, "--json"]
        ended = [stage.run("replay", "2", str(page), *command) for _ in range(kills)]
        halfway = stage.generations()[2]
        told = stage.output_of("replay", "0", str(page), *command)
        again = stage.output_of("replay", "0", str(page), *command)
        stage.wait_until_settled(rows)
        sent = Counter(key for key, _ in stage.received())
        report(rows=rows, kills=kills, by_then=halfway, sent_again=sent.total() - rows)

        assert [-signal.SIGKILL] * kills == ended
        assert 2 * page * kills == halfway
        assert rows - halfway == json.loads(told)["count"]
        assert 0 == json.loads(again)["count"]
        assert {2: rows} == stage.generations()
        assert {State.COMPLETED: rows} == stage.receipts()
        assert dict.fromkeys(keys_of(ids), 2) == sent


class TestOnPostgreSQL(OnPostgreSQL, Replays):
    """PostgreSQL."""


class TestOnMariaDB(OnMariaDB, Replays):
    """MariaDB."""


class TestOnSQLite(OnSQLite, Replays):
    """SQLite."""
