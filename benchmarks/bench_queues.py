"""
What our jobs cost on each queue, beside a task written by hand, and our dispatch, beside the library's own enqueue.

The enqueues on both sides are of a job of three texts. Run by ``make bench-queues``; name queues to run those alone:
``make bench-queues ARGS="celery-redis rq"``. It needs
Redis, RabbitMQ and PostgreSQL on their standard local ports. Both sides reload a row from PostgreSQL and POST it to a
sink on loopback; they take turns in one run, in one worker, and ratios of medians are printed.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from typing import Any
from uuid import uuid4

import psycopg

from sigra_forward import AuditEvent, JobArgs

HERE = Path(__file__).parent / "queues"
ADMIN = os.environ.get("BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
JOBS = 300
RQ_JOBS = 20
"""RQ imports the app anew for each job, which takes a tenth of a second."""

ROUNDS = 9
ENQUEUES = 100
ENQUEUE_ROUNDS = 30
PATIENCE = 120.0

QUEUES = {
    "celery-redis": ("celery_app", "redis://127.0.0.1:6379/13"),
    "celery-rabbitmq": ("celery_app", "amqp://guest:guest@127.0.0.1:5672//"),
    "rq": ("rq_app", "redis://127.0.0.1:6379/13"),
    "dramatiq-redis": ("dramatiq_app", "redis://127.0.0.1:6379/13"),
    "dramatiq-rabbitmq": ("dramatiq_app", "amqp://guest:guest@127.0.0.1:5672/"),
    "procrastinate": ("procrastinate_app", ""),
    "oban": ("oban_app", ""),
}

SINK = """
import socket, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
count = 0
lock = threading.Lock()
going = threading.Event()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_POST(self):
        global count
        self.rfile.read(int(self.headers["Content-Length"]))
        going.wait()
        with lock:
            count += 1
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def do_GET(self):
        {"/hold": going.clear, "/go": going.set}.get(self.path, int)()
        body = str(count).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
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
            connection.execute(
                "CREATE TABLE audit_events (id text PRIMARY KEY, action text, occurred_at timestamptz, "
                "actor_id text, ip_address text, metadata jsonb)"
            )
        yield dsn
    finally:
        with psycopg.connect(ADMIN, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def commit(dsn: str, count: int) -> list[AuditEvent]:
    """Commit *count* audit rows."""
    now = datetime.now(timezone.utc)
    events = [
        AuditEvent(id=str(uuid4()), action="session.create", occurred_at=now, actor_id="42", metadata={"method": "otp"})
        for _ in range(count)
    ]
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO audit_events VALUES (%s, %s, %s, %s, NULL, \'{"method": "otp"}\')',
            [(event.id, event.action, event.occurred_at, event.actor_id) for event in events],
        )
    return events


@contextmanager
def running(command: list[str], folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker."""
    with Path(folder, "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def posted(address: str, path: str = "/") -> int:
    """Return how many events have reached the sink, which ``/hold`` makes wait before it answers until ``/go``."""
    from http.client import HTTPConnection

    host, _, port = address.partition(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", path)
    count = int(connection.getresponse().read())
    connection.close()
    return count


def time_work(address: str, enqueue: Callable[[AuditEvent], object], events: list[AuditEvent]) -> float:
    """Return the seconds in which the worker does the jobs of *events*, all of which are on the queue by then."""
    goal = posted(address, "/hold") + len(events)
    for event in events:
        enqueue(event)
    started = perf_counter()
    posted(address, "/go")
    until = monotonic() + PATIENCE
    while posted(address) < goal:
        if monotonic() > until:
            raise TimeoutError
        sleep(0.005)
    return perf_counter() - started


def time_enqueue(enqueue: Callable[[AuditEvent], object], events: list[AuditEvent]) -> float:
    """Return the median seconds of one enqueue."""
    took = []
    for event in events:
        started = perf_counter()
        enqueue(event)
        took.append(perf_counter() - started)
    return median(took)


def run(name: str) -> None:
    """Measure one queue, and print its line."""
    module, server = QUEUES[name]
    sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    with database() as dsn, TemporaryDirectory() as folder:
        try:
            assert sink.stdout is not None
            address = f"127.0.0.1:{sink.stdout.readline().strip()}"
            os.environ.update(
                BENCH_DSN=dsn, BENCH_SINK=address, BENCH_PREFIX=f"bench_{uuid4().hex[:8]}", BENCH_SERVER=server or dsn
            )
            measure(name, importlib.import_module(module), dsn, address, folder)
        finally:
            sink.terminate()
            sink.wait()


def measure(name: str, app: Any, dsn: str, address: str, folder: str) -> None:
    """Let both sides take turns."""
    count = RQ_JOBS if name == "rq" else JOBS
    sides: dict[str, Callable[[AuditEvent], object]] = {
        "by hand": lambda event: app.enqueue_by_hand(event.id),
        "ours": app.host.dispatch,
    }
    work: dict[str, list[float]] = {side: [] for side in sides}
    calls: dict[str, Callable[[AuditEvent], object]] = {
        "its own": lambda event: app.enqueue_same(JobArgs("siem", event.id, event.occurred_at).to_dict()),
        "ours": app.host.dispatch,
    }
    enqueue: dict[str, list[float]] = {side: [] for side in calls}
    with running(app.worker_command(sys.executable), folder):
        for number in range(ROUNDS + 1):
            for side in list(sides) if number % 2 else list(reversed(sides)):
                took = time_work(address, sides[side], commit(dsn, count))
                if number:  # the first round warms up
                    work[side].append(took)
    for number in range(ENQUEUE_ROUNDS + 1):
        for side in list(calls) if number % 2 else list(reversed(calls)):
            took = time_enqueue(calls[side], commit(dsn, ENQUEUES))
            if number:
                enqueue[side].append(took)
    getattr(app, "clean", lambda: None)()
    app.host.close()
    rate = median(work["by hand"]) / median(work["ours"])
    cost = median(enqueue["ours"]) / median(enqueue["its own"])
    jobs = count / median(work["ours"])
    print(f"| {name} | {rate:.2f}× | {jobs:.0f}/s | {cost:.2f}× | {median(enqueue['ours']) * 1e6:.0f} µs |", flush=True)


def main() -> None:
    """Measure the queues named, or all, each in a process of its own."""
    names = sys.argv[1:] or list(QUEUES)
    if os.environ.get("BENCH_ONE"):
        sys.path.insert(0, str(HERE))
        run(names[0])
        return
    print("| queue | jobs, ours to by hand (bar 0.95×) | ours | dispatch to own enqueue (bar 1.10×) | ours |")
    print("|---|---:|---:|---:|---:|", flush=True)
    for name in names:
        if name == "oban" and sys.version_info < (3, 12):
            print("| oban | needs Python 3.12 | | | |")
            continue
        subprocess.run([sys.executable, __file__, name], env={**os.environ, "BENCH_ONE": "1"}, check=True)


if __name__ == "__main__":
    main()
