"""A small sign-in application that knows nothing of sinks, and nothing of sigra-forward: it commits audit rows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, user_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS audit_events (
    id TEXT PRIMARY KEY,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor_id INTEGER NOT NULL,
    ip_address TEXT NOT NULL,
    metadata TEXT NOT NULL,
    occurred_at TEXT NOT NULL
);
"""

ACTIONS = ("session.create", "session.create", "session.delete", "mfa.verify", "account.password_change")


class SignInApplication:
    """
    Signs users in. Safe for threads: each call has a connection of its own.

    Args:
        database: Where its tables are; they are made where there are none.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(SCHEMA)

    def sign_in(self, number: int) -> None:
        """Write a session and its audit row in one transaction, as visit *number*."""
        user_id = number % 97
        event = (
            str(uuid4()),
            ACTIONS[number % len(ACTIONS)],
            "failure" if number % 7 == 0 else "success",
            user_id,
            f"192.0.2.{number % 251}",
            json.dumps({"visit": number}),
            datetime.now(timezone.utc).isoformat(),
        )
        with closing(sqlite3.connect(self._database, timeout=30)) as connection, connection:
            connection.execute("INSERT INTO sessions VALUES (?, ?)", (str(uuid4()), user_id))
            connection.execute("INSERT INTO audit_events VALUES (?, ?, ?, ?, ?, ?, ?)", event)

    def visits(self) -> set[int]:
        """Return the numbers of the visits that are committed."""
        visits = "SELECT json_extract(metadata, '$.visit') FROM audit_events"
        with closing(sqlite3.connect(self._database)) as connection:
            return {visit for (visit,) in connection.execute(visits)}
