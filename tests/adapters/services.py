"""The servers that tests need: named by the environment, on their standard port, or a private one from the binaries."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import NamedTuple

import pytest

Address = tuple[str, int]

START_TIMEOUT = 60.0


class Service(NamedTuple):
    """One kind of server."""

    name: str
    variable: str
    port: int
    start: Callable[[Path, int], list[subprocess.Popen[bytes]]]


@contextmanager
def serving(service: Service) -> Iterator[Address]:
    """Yield the address of a server; skip where there is none, or fail where `SIGRA_FORWARD_REQUIRE_SERVICES` is 1."""
    named = os.environ.get(service.variable)
    if named:
        host, _, port = named.rpartition(":")
        yield host, int(port)
        return
    if answers("127.0.0.1", service.port):
        yield "127.0.0.1", service.port
        return
    with tempfile.TemporaryDirectory(prefix="sigra-forward-") as folder:
        port = free_port()
        try:
            processes = service.start(Path(folder), port)
        except FileNotFoundError as exc:
            unavailable(
                f"{service.name}: {service.variable} is not set, nothing answers on 127.0.0.1:{service.port}, and "
                f"there is no program {exc.filename}"
            )
        try:
            wait_until_it_answers("127.0.0.1", port)
            yield "127.0.0.1", port
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()


def unavailable(reason: str) -> None:
    """Skip with *reason*, or fail where services are required."""
    if os.environ.get("SIGRA_FORWARD_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def answers(host: str, port: int) -> bool:
    """Tell whether something listens there."""
    try:
        with socket.create_connection((host, port), 1):
            return True
    except OSError:
        return False


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_it_answers(host: str, port: int) -> None:
    """Wait for a server to start."""
    until = time.monotonic() + START_TIMEOUT
    while not answers(host, port):
        if time.monotonic() > until:
            pytest.fail(f"nothing answers on {host}:{port} after {START_TIMEOUT:g} s")
        time.sleep(0.05)


def program(name: str, *patterns: str) -> str:
    """Return the path of a program, from PATH or where Debian puts it."""
    found = shutil.which(name) or next(iter(sorted(sum(map(glob, patterns), []), reverse=True)), None)
    if found is None:
        raise FileNotFoundError(2, "no such program", name)
    return found


def _redis(folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    return [subprocess.Popen([program("redis-server"), *options], stdout=subprocess.DEVNULL)]


def _rabbitmq(folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "RABBITMQ_NODENAME": f"sigra{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
    }
    server = program("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/sbin/rabbitmq-server")
    return [subprocess.Popen([server], env=environment, stdout=subprocess.DEVNULL)]


def _postgres(folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    initdb = program("initdb", "/usr/lib/postgresql/*/bin/initdb")
    postgres = program("postgres", "/usr/lib/postgresql/*/bin/postgres")
    user = _other_user(folder) if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    data = str(folder / "data")
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "postgres"], check=True, user=user, capture_output=True)
    options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    return [subprocess.Popen([postgres, *options], user=user, stderr=subprocess.DEVNULL)]


def _other_user(folder: Path) -> str:
    shutil.chown(folder, "nobody")
    return "nobody"


REDIS = Service("Redis", "SIGRA_FORWARD_REDIS", 6379, _redis)
RABBITMQ = Service("RabbitMQ", "SIGRA_FORWARD_RABBITMQ", 5672, _rabbitmq)
POSTGRES = Service("PostgreSQL", "SIGRA_FORWARD_POSTGRES", 5432, _postgres)
