"""`Connections`: the connections to one SQLite file, kept for reuse by threads and left alone after a fork."""

from __future__ import annotations

import sqlite3
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sigra_forward._fork import close_before_fork, forget_after_fork

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

_PARENTS_CONNECTIONS: list[object] = []


class Connections:
    """
    Connections that hold no cursor or transaction between two uses.

    Those that are idle are closed before a fork: SQLite shares what it knows of a file's locks among all connections
    of a process, and a child that inherits it believes that it holds locks which it does not. In WAL mode the parent
    may then delete the log that the child has written to.

    Args:
        database: The path of the database file.
        mode: ``"rw"``, or ``"rwc"`` to make the file where there is none.
        timeout: Seconds to wait for a lock that a writer holds.
        set_up: What is done with each new one.
    """

    def __init__(
        self,
        database: str | os.PathLike[str],
        mode: str,
        timeout: float,
        set_up: Callable[[sqlite3.Connection], object],
    ) -> None:
        self._uri = f"{Path(database).absolute().as_uri()}?mode={mode}"
        self._timeout = timeout
        self._set_up = set_up
        self._free: deque[sqlite3.Connection] = deque()
        close_before_fork(self)
        forget_after_fork(self)

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        """Give one in autocommit, and take it back; one that an exception went through is closed."""
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._opened()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._free.append(connection)

    def close(self) -> None:
        """Close those that are not in use. Later ones are opened anew."""
        with suppress(IndexError):  # none is left
            while True:
                self._free.pop().close()

    def forget(self) -> None:
        """Leave the parent those that another thread of it was using: SQLite forbids even closing them after a fork."""
        _PARENTS_CONNECTIONS.append(self._free)
        self._free = deque()

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._uri, uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection
