"""Ledgers that lose their connection in the call that they are told."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from threading import Lock, current_thread
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, event

from sigra_forward.stores import SQLiteLedger
from sigra_forward_sqlalchemy import SQLAlchemyLedger
from tests.proof.support_setting import Setting
from tests.proof.support_stage import wait_until


class When(Enum):
    """Where in a call the connection is lost."""

    BEFORE = "before"
    """Before anything is said."""

    WITHIN = "within"
    """When all is said, and before it counts."""

    AFTER = "after"
    """When it counts, and before anybody is told."""


class _Losing:
    """
    Counts the calls, each of which is one transaction, from `lose_in` on.

    Attributes:
        lost: The call in which the connection was lost, and whether it was made beside the lane's own thread; ``""``:
            none was lost.
    """

    _at = 0

    def lose_in(self, call: int, when: When, lose: Callable[[], object]) -> None:
        """Lose the connection in *call*, which is 1-based, by *lose*."""
        self._at, self._when, self._lose = call, when, lose
        self._counting = Lock()
        self._calls = 0
        self.lost = ""

    def _read(self, operation: Any, /, *arguments: Any) -> Any:
        return self._called(super()._read, operation, operation, *arguments)  # type: ignore[misc]

    def _change(self, operation: Any, /, *arguments: Any) -> Any:
        return self._called(super()._change, operation, lambda *_: None, *arguments)  # type: ignore[misc]

    def _called(self, carry: Any, operation: Any, rest: Any, *arguments: Any) -> Any:
        """Carry *operation* there; *rest* is what is left to be said when it has been, but for the COMMIT."""
        if not self._is_it():
            return carry(operation, *arguments)
        self.lost = operation.__name__.strip("_") + ("_aside" if current_thread().name.endswith("-side") else "")

        def cut_short(*its: Any) -> Any:
            operation(*its)
            self._lose()
            return rest(*its)

        if self._when is When.WITHIN:
            return carry(cut_short, *arguments)
        if self._when is When.AFTER:
            carry(operation, *arguments)
        self._lose()
        return carry(operation, *arguments)  # on a connection that is no more

    def _is_it(self) -> bool:
        if not self._at:
            return False
        with self._counting:
            self._calls += 1
            return self._calls == self._at


class LosingSQLiteLedger(_Losing, SQLiteLedger):
    """On SQLite, where a connection is lost as a disk is."""


class LosingSQLAlchemyLedger(_Losing, SQLAlchemyLedger):
    """On a server, which ends the connection."""


@contextmanager
def losing_ledger(setting: Setting) -> Iterator[tuple[Any, Callable[[], object]]]:
    """Give a ledger, by connections of its own, and what ends them."""
    if setting.ledger:
        on_file = LosingSQLiteLedger(setting.ledger)
        yield on_file, _fail
        on_file.close()
        return
    engine, admin = setting.engine(), setting.engine(isolation_level="AUTOCOMMIT")
    numbers: list[int] = []
    event.listen(engine, "connect", lambda connection, _: numbers.append(_number_of(connection)))
    yield LosingSQLAlchemyLedger(engine), lambda: _kill(admin, numbers)
    engine.dispose()
    admin.dispose()


def _fail() -> None:
    raise sqlite3.OperationalError("disk I/O error")


def _number_of(connection: Any) -> int:
    number: int = connection.info.backend_pid if hasattr(connection, "info") else connection.thread_id()
    return number


_ALIVE = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database()",
}
_KILL = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


def _kill(admin: Engine, numbers: list[int]) -> None:
    """End the connections of *numbers* that there are, and wait until there are none."""
    kind = admin.dialect.name
    with admin.connect() as connection:

        def alive() -> set[int]:
            return set(connection.scalars(sqlalchemy.text(_ALIVE[kind]))) & {*numbers}

        for number in alive():
            connection.exec_driver_sql(_KILL[kind].format(number))
        wait_until(lambda: not alive(), "the connections have ended")
