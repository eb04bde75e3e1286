"""A small sign-in application that knows nothing of sinks: it commits, and announces what it committed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

from sigra_forward import AuditEvent, signals

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE sessions (id TEXT PRIMARY KEY, user_id INTEGER NOT NULL);
CREATE TABLE audit_events (
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
        database: Where its tables are; they are created.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(SCHEMA)

    def sign_in(self, number: int) -> None:
        """Write a session and its audit row in one transaction, and announce the row once it is committed."""
        event = AuditEvent(
            id=str(uuid4()),
            action=ACTIONS[number % len(ACTIONS)],
            occurred_at=datetime.now(timezone.utc),
            outcome="failure" if number % 7 == 0 else "success",
            actor_id=str(number % 97),
            ip_address=f"192.0.2.{number % 251}",
            metadata={"visit": number},
        )
        with closing(sqlite3.connect(self._database, timeout=30)) as connection, connection:
            connection.execute("INSERT INTO sessions VALUES (?, ?)", (str(uuid4()), event.actor_id))
            connection.execute(
                "INSERT INTO audit_events VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    event.id,
                    event.action,
                    event.outcome,
                    event.actor_id,
                    event.ip_address,
                    json.dumps(event.metadata),
                    event.occurred_at.isoformat(),
                ),
            )
        signals.audit_log.send(self, event=event)
