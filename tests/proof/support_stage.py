"""`Stage`: the processes of one proof, all of which are gone when it ends."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from types import MappingProxyType
from typing import Any

import sqlalchemy
from attrs import evolve
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from sigra_forward import State
from sigra_forward._ledger import Receipt
from sigra_forward.testing import SupervisedProcess
from tests.proof.support_setting import Setting, audit_events, keys_of

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0

IS_FULL = os.environ.get("SIGRA_FORWARD_PROOF") == "full"

QUICK: dict[str, Any] = {"poll": 0.05, "lease": 1.0, "probe_interval": 0.3, "recovery_rate": None}
"""Options of a relay in a hurry."""


def sized(small: int, full: int) -> int:
    """Return the size of a proof: *full* in ``make proof``, *small* among the other tests."""
    return full if IS_FULL else small


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for what another process does."""
    until = monotonic() + patience
    while not condition():
        assert monotonic() < until, f"{what}: not after {patience:g} s"
        sleep(0.01)


class Stage:
    """
    A database with an audit table, a ledger, a sink, and what is started on them.

    Args:
        setting: Where the database and the ledger are.
        folder: For the logs.
    """

    def __init__(self, setting: Setting, folder: Path) -> None:
        self._folder = folder
        self._processes = ExitStack()
        self._started = 0
        path = os.pathsep.join((str(ROOT), str(ROOT / "adapters")))
        self._environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        sink = subprocess.Popen(
            self._command("sink"),
            cwd=ROOT,
            env={**os.environ, **self._environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.callback(_end, sink)
        assert sink.stdout is not None
        self.setting = evolve(setting, port=int(sink.stdout.readline()))
        setting.create()
        self.engine = setting.engine()
        self.ledger = setting.the_ledger(self.engine)

    def close(self) -> None:
        """Leave nothing of it behind."""
        self._processes.close()
        audit_events.metadata.drop_all(self.engine)
        if self.setting.ledger:
            self.ledger.close()
        else:
            self.ledger.metadata.drop_all(self.engine)
        self.engine.dispose()

    # What is started.

    def relay(self, *, begins: bool = True, **options: Any) -> SupervisedProcess:
        """Start a relay in a hurry, with these *options*, and wait until it has begun, if it *begins* at all."""
        setting = evolve(self.setting, relay={**QUICK, **options})
        self._started += 1
        process = self.supervise(self._command("relay", setting.told()), f"relay-{self._started}.log")
        wait_until(lambda: "works" in process.log(), "the relay works")
        if begins:
            wait_until(lambda: self.ledger.lanes() and self.ledger.cursors(1).get("tail"), "it has begun with the lane")
        return process

    def supervise(
        self, command: Sequence[str], log: str, environment: Mapping[str, str] = MappingProxyType({})
    ) -> SupervisedProcess:
        """Start what is started again whenever it ends, with its output in *log*."""
        process = SupervisedProcess(command, self._folder, {**self._environment, **environment}, log)
        self._processes.callback(process.end)
        return process

    def freeze(self, relay: SupervisedProcess) -> None:
        """
        Have *relay* sleep until SIGCONT, between two transactions in the ledger.

        Of one that sleeps within one PostgreSQL ends the transaction; elsewhere its locks last until it wakes.
        """
        while True:
            os.kill(relay.pid, signal.SIGSTOP)
            wait_until(lambda: _sleeps(relay.pid), "it sleeps")
            if self._is_lane_free():
                return
            os.kill(relay.pid, signal.SIGCONT)

    def _is_lane_free(self) -> bool:
        """Tell whether nobody has the lane's row locked; on SQLite, the ledger's file."""
        try:
            if self.setting.ledger:
                with closing(sqlite3.connect(self.setting.ledger, timeout=0, isolation_level=None)) as connection:
                    connection.execute("BEGIN IMMEDIATE")
            else:
                with self.engine.begin() as connection:
                    connection.execute(text("SELECT number FROM sigra_forward_lanes FOR UPDATE NOWAIT"))
        except (sqlite3.OperationalError, OperationalError):
            return False
        return True

    def write(self, writers: int, rows: int) -> Callable[[], set[str]]:
        """Start *writers* that commit *rows* in all; what is returned waits for them, and tells what they committed."""
        running = []
        for seed in range(writers):
            share = rows // writers + (seed < rows % writers)
            with (self._folder / f"writer-{seed}.log").open("w") as log:  # of a pipe nobody reads before the end
                process = subprocess.Popen(
                    self._command("writer", self.setting.told(), str(share), str(seed)),
                    cwd=ROOT,
                    env={**os.environ, **self._environment},
                    stdout=log,
                    text=True,
                )
            self._processes.callback(_end, process)
            running.append(process)

        def wait() -> set[str]:
            assert [0] * writers == [process.wait(20 * PATIENCE) for process in running]
            logs = [self._folder / f"writer-{seed}.log" for seed in range(writers)]
            return {name for log in logs for name in log.read_text(encoding="ascii").split()}

        return wait

    def run(self, program: str, *arguments: str) -> int:
        """Run a program to its end, and return how it ended."""
        return self._completed(program, *arguments).returncode

    def output_of(self, program: str, *arguments: str) -> str:
        """Run a program to its end, which is to be a good one, and return what it has printed."""
        completed = self._completed(program, *arguments)
        completed.check_returncode()
        return completed.stdout

    def _completed(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self._command(program, self.setting.told(), *arguments)
        environment = {**os.environ, **self._environment}
        return subprocess.run(
            command, cwd=ROOT, env=environment, timeout=PATIENCE, check=False, stdout=subprocess.PIPE, text=True
        )

    def commit(self, *rows: dict[str, object]) -> None:
        """Commit *rows* in one transaction."""
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.insert(audit_events), list(rows))

    # What came of it.

    def wait_for(self, count: int) -> None:
        """Wait until the sink has *count* different events."""
        until = monotonic() + 10 * PATIENCE
        while (there := self._ask(f"/wait/{count}")) < count:
            assert monotonic() < until, f"{there} of {count} have arrived"

    def received(self) -> list[tuple[str, str]]:
        """Return what the sink has taken: keys, each with the reading that found it."""
        return [(key, reading) for key, reading in self._ask("/")]

    def reading_of(self, audit_event_id: str) -> list[str]:
        """Return what readings have delivered an event."""
        (key,) = keys_of([audit_event_id])
        return [reading for known, reading in self.received() if known == key]

    def missing(self) -> set[str]:
        """Return the keys of committed rows that the sink does not have."""
        return keys_of(self.setting.committed()) - {key for key, _ in self.received()}

    def foreign(self) -> set[str]:
        """Return the keys that the sink has, and of which no row was committed."""
        return {key for key, _ in self.received()} - keys_of(self.setting.committed())

    def repeats(self) -> int:
        """Return how many deliveries were repeats of the same key."""
        return sum(count - 1 for count in Counter(key for key, _ in self.received()).values())

    def receipts(self) -> Counter[State]:
        """Return how many receipts there are in each state."""
        return Counter(receipt.state for receipt in self._every_receipt())

    def generations(self) -> Counter[int]:
        """Return how many receipts there are in each generation."""
        return Counter(receipt.generation for receipt in self._every_receipt())

    def _every_receipt(self) -> Iterator[Receipt]:
        after = ""
        while page := self.ledger.page(1, after, 2000):
            yield from page
            after = page[-1].audit_event_id

    def wait_until_settled(self, count: int) -> None:
        """Wait until *count* events are completed."""
        wait_until(lambda: self.receipts()[State.COMPLETED] >= count, f"{count} completed")

    def wait_until_generation(self, audit_event_id: str, generation: int) -> None:
        """Wait until an event is completed in its *generation*."""

        def is_there() -> bool:
            receipt = self.ledger.look(1, audit_event_id).receipt
            return receipt is not None and receipt.generation == generation and receipt.state is State.COMPLETED

        wait_until(is_there, f"{audit_event_id} is completed in generation {generation}")

    def wait_until_read_again(self, name: str) -> None:
        """Wait until the reading *name* stands where the tail stands."""

        def has_come() -> bool:
            cursors = self.ledger.cursors(1)
            return name in cursors and cursors[name].position == cursors["tail"].position

        wait_until(has_come, f"{name} is where the tail is")

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        return [sys.executable, "-m", f"tests.proof.programs.{program}", *arguments]

    def _ask(self, path: str) -> Any:
        connection = HTTPConnection("127.0.0.1", self.setting.port, timeout=2 * PATIENCE)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _sleeps(pid: int) -> bool:
    """Tell whether every thread of a process has been stopped."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(task.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T" for task in tasks)
