"""
What the relay delivers in a second, beside OpenTelemetry's batch processor, and what history costs it.

Run by ``make bench-relay``; it needs PostgreSQL on its standard local port, or where ``BENCH_POSTGRES`` says. The relay
reads an audit table, hands batches to a sink on loopback and writes receipts, in one process; OpenTelemetry's
``BatchLogRecordProcessor`` hands records of the same content, which are in memory already, to the same sink by its
OTLP/HTTP exporter. Both sides take turns, and ratios of medians are printed. The part ``celery`` needs Redis too.
``--only`` names the parts to run: ``make bench-relay ARGS="--only otel --events 50000"``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import psycopg

HERE = Path(__file__).parent / "relay"
ADMIN = os.environ.get("BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")

AUDIT_TABLE = """
CREATE TABLE audit_events (id text PRIMARY KEY, action text NOT NULL, occurred_at timestamptz NOT NULL,
                           actor_id text, ip_address text, metadata jsonb);
CREATE INDEX ON audit_events (occurred_at, id);
"""

ROWS = """
INSERT INTO audit_events
SELECT {id}, 'session.create', clock_timestamp(), (number %% 97)::text, '192.0.2.1', '{{"method": "otp"}}'
FROM generate_series(1, %s) AS number
"""

RANDOM = ROWS.format(id="gen_random_uuid()")
"""Rows with UUIDs of version 4: each goes to another page of an index."""

ORDERED = ROWS.format(
    id="regexp_replace(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0'), "
    "'(.{{8}})(.{{4}})', '\\1-\\2-7') || substr(gen_random_uuid()::text, 16)"
)
"""Rows with UUIDs of version 7, which begin with the time, as numbers that count up do too."""

RECEIPTS = """
INSERT INTO sigra_forward_receipts (lane, audit_event_id, occurred_at, state, first_at, last_at, attempt, generation)
SELECT 1, id, (extract(epoch FROM occurred_at) * 1000000)::bigint, 0, 0, 0, 1, 1 FROM audit_events
"""


@contextmanager
def database() -> Iterator[str]:
    """Yield the DSN of a database of our own with an audit table in it."""
    name = f"sigra_bench_{uuid4().hex[:8]}"
    with psycopg.connect(ADMIN, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    dsn = ADMIN.rpartition("/")[0] + f"/{name}"
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute(AUDIT_TABLE)
        yield dsn
    finally:
        with psycopg.connect(ADMIN, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def running(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of the programs of this benchmark."""
    command = [sys.executable, str(HERE / f"{program}.py"), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> Any:
    """Return what a program says next, which is JSON."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def tell(process: subprocess.Popen[str], line: object) -> None:
    """Have a program go on."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def received(port: int) -> int:
    """Return how many events the sink has taken since it was last asked."""
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", "/")
    count = int(connection.getresponse().read())
    connection.close()
    return count


def relayed(
    dsn: str, port: int, events: int, *, before: int = 0, rows: str = RANDOM, is_fresh: bool = True
) -> dict[str, float]:
    """
    Relay *events* that are committed while the relay is at work, and return what it says of itself.

    Args:
        dsn: The database.
        port: The sink's.
        events: How many.
        before: How many rows are there before, with their receipts.
        rows: What inserts rows.
        is_fresh: Whether the tables are made empty before; otherwise there are *before* receipts, or more, already.
    """
    if is_fresh:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for table in ("audit_events", "sigra_forward_receipts", "sigra_forward_cursors", "sigra_forward_lanes"):
                connection.execute(
                    f"DO $$ BEGIN TRUNCATE {table} RESTART IDENTITY; EXCEPTION WHEN undefined_table THEN END $$"
                )
            connection.execute(rows, [max(before, 1)])
    with running("relay", dsn, str(port), str(events)) as relay:
        heard(relay)  # the lane is there
        if before and is_fresh:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(RECEIPTS)
                connection.execute("VACUUM ANALYZE")
        tell(relay, "begin")
        said = {} if not before else {"sweep": heard(relay)["seconds"]}
        heard(relay)  # it looks for new rows
        with psycopg.connect(dsn) as connection:
            connection.execute(rows, [events])
            tell(relay, "committed")
        return {**heard(relay), **said}


def main() -> None:
    """Run the parts asked for, and print one table."""
    options = read_options()
    lines: list[Sequence[str]] = []
    with database() as dsn, running("sink") as sink:
        port = heard(sink)
        for part in options.only or MEASURES:
            lines += MEASURES[part](dsn, port, options)
    print("| what | ours | against | ratio | bar |")
    print("|---|---:|---:|---:|---:|")
    for line in lines:
        print(f"| {' | '.join(line)} |")


def against_otel(dsn: str, port: int, options: argparse.Namespace) -> list[Sequence[str]]:
    """Compare events a second."""
    ours: list[float] = []
    cpu: list[float] = []
    theirs: dict[str, list[float]] = {"as it comes": [], "a queue for all": []}
    drops: dict[str, list[int]] = {kind: [] for kind in theirs}
    for number in range(options.rounds):
        said = relayed(dsn, port, options.events)
        assert received(port) >= options.events
        ours.append(options.events / said["seconds"])
        cpu.append(said["cpu"] / options.events * 1e6)
        for kind in theirs if number % 2 else reversed(theirs):
            queue = options.events if kind == "a queue for all" else 0
            with running("otel", str(port), str(options.events), str(queue)) as process:
                seconds = heard(process)["seconds"]
            there = received(port)
            drops[kind].append(options.events - there)
            theirs[kind].append(there / seconds)
    lines = []
    for kind, rates in theirs.items():
        dropped = median(drops[kind]) / options.events
        lines.append(
            (
                f"events/s, against OpenTelemetry with {kind}",
                f"{median(ours):.0f}/s, 0 lost",
                f"{median(rates):.0f}/s, {dropped:.0%} dropped",
                f"{median(ours) / median(rates):.2f}×",
                "≥ 3.5×",
            )
        )
    return [*lines, ("CPU time of the relay for an event", f"{median(cpu):.1f} µs", "", "", "")]


def against_celery(dsn: str, port: int, options: argparse.Namespace) -> list[Sequence[str]]:
    """Compare with the task written by hand of ``bench_queues.py``, on Celery and Redis, with one worker process."""
    ours = [options.events / relayed(dsn, port, options.events)["seconds"] for _ in range(options.rounds)]
    received(port)
    command = [sys.executable, str(Path(__file__).parent / "bench_queues.py"), "celery-redis"]
    environment = {**os.environ, "BENCH_ONE": "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    _, _, ratio, jobs, *_ = said.split("|")
    by_hand = float(jobs.strip().removesuffix("/s")) / float(ratio.strip().removesuffix("×"))
    return [
        (
            "events/s, against a Celery task written by hand that reloads the row and POSTs it",
            f"{median(ours):.0f}/s",
            f"{by_hand:.0f}/s",
            f"{median(ours) / by_hand:.0f}×",
            "≥ 80×",
        )
    ]


def against_none(dsn: str, port: int, options: argparse.Namespace) -> list[Sequence[str]]:
    """Compare the tail with receipts behind it and without, by ids that begin with the time and by random ones."""
    lines: list[Sequence[str]] = []
    for kind, rows in {"that begin with the time": ORDERED, "that are random": RANDOM}.items():
        seconds: dict[str, list[float]] = {"with": [], "without": []}
        with database() as behind:
            first = relayed(behind, port, options.events, before=options.receipts, rows=rows)
            for number in range(options.rounds):
                for side in seconds if number % 2 else reversed(seconds):
                    if side == "with":
                        said = relayed(behind, port, options.events, before=1, rows=rows, is_fresh=False)
                    else:
                        said = relayed(dsn, port, options.events, rows=rows)
                    seconds[side].append(said["seconds"])
        ours, none = median(seconds["with"]), median(seconds["without"])
        what = f"seconds for {options.events} events with {options.receipts} receipts behind, ids {kind}, against none"
        lines.append((what, f"{ours:.2f} s", f"{none:.2f} s", f"{ours / none:.2f}×", "≤ 1.2×"))
        sweep = first["sweep"] / options.receipts * 1e6
        lines.append((f"a sweep, or a re-read, of a million settled rows, ids {kind}", f"{sweep:.1f} s", "", "", ""))
    return lines


def in_memory(dsn: str, port: int, options: argparse.Namespace) -> list[Sequence[str]]:
    """Compare peak memory."""
    few = relayed(dsn, port, 10_000)["peak"]
    many = relayed(dsn, port, options.memory)["peak"]
    received(port)
    return [
        (
            f"peak memory for {options.memory} events, against 10000",
            f"{many / 1024:.0f} MB",
            f"{few / 1024:.0f} MB",
            f"{many / few:.2f}×",
            "≤ 1.1×",
        )
    ]


MEASURES = {"otel": against_otel, "celery": against_celery, "receipts": against_none, "memory": in_memory}


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="events in one measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: %(default)s)")
    parser.add_argument("--receipts", type=int, default=1_000_000, help="receipts behind the tail")
    parser.add_argument("--memory", type=int, default=1_000_000, help="events for the peak of memory")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="the parts to run; may be given again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
