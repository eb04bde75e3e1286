"""A PostgreSQL of a test's own: one that may be restarted, and takes what the common one does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.adapters.services import POSTGRES, free_port, program, start, stop, wait_until_it_answers

DATA = "data"


class OwnPostgreSQL:
    """
    A server with its files in *folder*.

    Args:
        folder: Where its files are.
        options: Of the server.

    Raises:
        FileNotFoundError: There is no such program.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        initdb = program("initdb", "usr/lib/postgresql/*/bin/initdb")
        self._server = program("postgres", "usr/lib/postgresql/*/bin/postgres")
        self._user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self._folder = folder
        self._options = list(options)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = free_port()
        command = [initdb, "-D", str(folder / DATA), "-A", "trust", "-U", "postgres", "--no-sync"]
        subprocess.run(command, check=True, user=self._user, capture_output=True, cwd="/")

    @property
    def url(self) -> str:
        """SQLAlchemy's, of its database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ["-D", str(self._folder / DATA), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder)]
        self._processes = [start([self._server, *where, *self._options], user=self._user)]
        wait_until_it_answers(POSTGRES, "127.0.0.1", self.port, self._processes)

    def crash(self) -> None:
        """End it at once, as an immediate shutdown does: the next start recovers from the log."""
        for process in self._processes:
            os.kill(process.pid, 3)  # SIGQUIT
            process.wait(30)

    def stop(self) -> None:
        """End it, with all that it has started."""
        stop(self._processes)
