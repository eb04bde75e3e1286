"""The servers that tests need: named by the environment, on their standard port, or a private one from the binaries."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    hello: bytes
    """What a client says first."""
    welcome: bytes
    """How what this server says begins, when it is ready and lets us in: a regular expression."""


@contextmanager
def serving(service: Service) -> Iterator[Address]:
    """Yield the address of a server; skip where there is none, or fail where `SIGRA_FORWARD_REQUIRE_SERVICES` is 1."""
    named = os.environ.get(service.variable)
    if named:
        host, _, port = named.rpartition(":")
        yield host, int(port)
        return
    if answers(service, "127.0.0.1", service.port):
        yield "127.0.0.1", service.port
        return
    with tempfile.TemporaryDirectory(prefix="sigra-forward-") as folder:
        Path(folder).chmod(0o777)  # root's servers run as other users
        port = free_port()
        try:
            processes = service.start(Path(folder), port)
        except FileNotFoundError as exc:
            unavailable(
                f"{service.name}: {service.variable} is not set, none answers on 127.0.0.1:{service.port}, and "
                f"there is no program {exc.filename}"
            )
        try:
            wait_until_it_answers(service, "127.0.0.1", port, processes)
            yield "127.0.0.1", port
        finally:
            stop(processes)


def are_required() -> bool:
    """Tell whether nothing that a test needs may be missing."""
    return os.environ.get("SIGRA_FORWARD_REQUIRE_SERVICES") == "1"


def unavailable(reason: str) -> None:
    """Skip with *reason*, or fail where services are required."""
    if are_required():
        pytest.fail(reason)
    pytest.skip(reason)


def answers(service: Service, host: str, port: int) -> bool:
    """Tell whether a server of that kind is there, and lets us in; whatever else may listen there."""
    with suppress(OSError), socket.create_connection((host, port), 1) as client:
        client.sendall(service.hello)
        said = b""
        while heard := client.recv(4096):
            said += heard
            if re.match(service.welcome, said, re.DOTALL):
                return True
    return False


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Stop servers, with all that they have started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)


def wait_until_it_answers(service: Service, host: str, port: int, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for a server to start."""
    until = time.monotonic() + START_TIMEOUT
    while not answers(service, host, port):
        if any(process.poll() for process in processes):
            pytest.fail(f"{processes[0].args} ended with {processes[0].returncode}")
        if time.monotonic() > until:
            pytest.fail(f"nothing answers on {host}:{port} after {START_TIMEOUT:g} s")
        time.sleep(0.05)


def program(name: str, *patterns: str) -> str:
    """Return the path of a program: where Debian puts it, or from PATH."""
    installed = sorted((path for pattern in patterns for path in Path("/").glob(pattern)), reverse=True)
    found = str(installed[0]) if installed else shutil.which(name)
    if found is None:
        raise FileNotFoundError(2, "no such program", name)
    return found


def start(
    command: list[str], environment: dict[str, str] | None = None, user: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a server, quietly, in a process group of its own."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, env=environment, user=user, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True
    )


def _redis(folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    return [start([program("redis-server"), *options])]


def _rabbitmq(folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "RABBITMQ_NODENAME": f"sigra{port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "HOME": str(folder),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
    }
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.local = 127.0.0.1:{port}\n", encoding="ascii")
    # Debian's program of this name on PATH changes to another user, and leaves the environment behind.
    server = program("rabbitmq-server", "usr/lib/rabbitmq/bin/rabbitmq-server")
    return [start([server], environment)]


def _postgres(folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    initdb = program("initdb", "usr/lib/postgresql/*/bin/initdb")
    postgres = program("postgres", "usr/lib/postgresql/*/bin/postgres")
    user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    data = str(folder / "data")
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "postgres"], check=True, user=user, capture_output=True)
    options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    return [start([postgres, *options], user=user)]


def _mariadb(folder: Path, port: int) -> list[subprocess.Popen[bytes]]:
    install, server = program("mariadb-install-db"), program("mariadbd", "usr/sbin/mariadbd")
    user = "nobody" if os.geteuid() == 0 else None  # MariaDB refuses to run as root
    data = f"--datadir={folder / 'data'}"
    normal = "--auth-root-authentication-method=normal"
    subprocess.run([install, "--no-defaults", data, normal], check=True, user=user, capture_output=True)
    options = ["--no-defaults", data, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}"]
    return [start([server, *options], user=user)]


REDIS = Service("Redis", "SIGRA_FORWARD_REDIS", 6379, _redis, b"PING\r\n", rb"\+PONG")
RABBITMQ = Service(
    "RabbitMQ", "SIGRA_FORWARD_RABBITMQ", 5672, _rabbitmq, b"AMQP\x00\x00\x09\x01", rb"\x01\x00\x00"
)  # a method, on channel 0
POSTGRES = Service(
    "PostgreSQL",
    "SIGRA_FORWARD_POSTGRES",
    5432,
    _postgres,
    b"\x00\x00\x00\x29\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00",
    rb"R\x00\x00\x00\x08\x00\x00\x00\x00",  # without a password
)
MARIADB = Service(
    "MariaDB",
    "SIGRA_FORWARD_MARIADB",
    3306,
    _mariadb,
    b"\x3b\x00\x00\x01\x01\x82\x08\x00\x00\x00\x00\x01\x2d" + bytes(23) + b"root\x00\x00mysql_native_password\x00",
    rb"...\x00\x0a.+\x07\x00\x00\x02\x00",  # its greeting, and that we are in without a password
)
