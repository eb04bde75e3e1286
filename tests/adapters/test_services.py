"""The servers of the tests: found where they are said to be, or where they usually are, or started; else it is said."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.services import MARIADB, POSTGRES, RABBITMQ, REDIS, Address, Service, answers, free_port, serving

VARIABLE = "SIGRA_FORWARD_NO_SUCH_REDIS"


def _never(*_: object) -> Any:
    pytest.fail("a server was started")


def _missing(*_: object) -> Any:
    raise FileNotFoundError(2, "no such program", "no-such-server")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return the description of a Redis that is neither named nor on its port."""
    monkeypatch.delenv(VARIABLE, raising=False)
    return REDIS._replace(variable=VARIABLE, port=free_port())


@pytest.fixture
def silent() -> Iterator[int]:
    """Yield a port on which something listens that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_environment_comes_first(nowhere: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is named is taken, wherever it is, and none is started."""
    monkeypatch.setenv(VARIABLE, "redis.invalid:7")

    with serving(nowhere._replace(start=_never)) as address:
        assert ("redis.invalid", 7) == address


@pytest.mark.services
def test_the_standard_port_comes_next(nowhere: Service) -> None:
    """A server that is there anyway is taken, and left to run."""
    with serving(nowhere) as there:
        with serving(nowhere._replace(port=there[1], start=_never)) as address:
            assert there == address

        assert answers(REDIS, *there)


@pytest.mark.services
def test_else_a_private_one_is_started(nowhere: Service) -> None:
    """It answers, on a port of its own, and is gone afterwards."""
    with serving(nowhere) as address:
        assert address[1] != nowhere.port
        assert answers(REDIS, *address)

    assert not answers(REDIS, *address)


@pytest.mark.services
def test_what_else_listens_on_the_standard_port_is_no_server(nowhere: Service, silent: int) -> None:
    """A private one is started beside it."""
    with serving(nowhere._replace(port=silent)) as address:
        assert address[1] != silent
        assert answers(REDIS, *address)


@pytest.mark.parametrize(("required", "end"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_else_it_is_said(
    nowhere: Service, monkeypatch: pytest.MonkeyPatch, required: str, end: type[BaseException]
) -> None:
    """What was looked for and what is missing; and that is a failure where services are required."""
    monkeypatch.setenv("SIGRA_FORWARD_REQUIRE_SERVICES", required)
    reason = (
        rf"^Redis: {VARIABLE} is not set, none answers on 127.0.0.1:{nowhere.port}, and there is no program no-such"
    )

    with pytest.raises(end, match=reason), serving(nowhere._replace(start=_missing)):
        pass


def test_a_server_is_what_speaks_as_one(
    redis_server: Address, rabbitmq_server: Address, postgres_server: Address, mariadb_server: Address
) -> None:
    """None is taken for another."""
    assert [True] * 4 == [
        answers(REDIS, *redis_server),
        answers(RABBITMQ, *rabbitmq_server),
        answers(POSTGRES, *postgres_server),
        answers(MARIADB, *mariadb_server),
    ]
    assert [False] * 4 == [
        answers(REDIS, *rabbitmq_server),
        answers(RABBITMQ, *postgres_server),
        answers(POSTGRES, *redis_server),
        answers(MARIADB, *postgres_server),
    ]


@pytest.mark.parametrize(
    ("place", "required", "failed"),
    [
        ("", "1", "1 error"),
        ("def test_it():\n    ", "1", "1 failed"),
        ("", "0", "1 skipped"),
        ("xfail", "1", "1 xfailed"),
    ],
    ids=["file", "test", "laptop", "xfail"],
)
def test_a_missing_library_is_a_failure_where_services_are_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, required: str, failed: str
) -> None:
    """Whether it is missing to a whole file or to a test; what is known to fail is not skipped."""
    missing = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False" if place == "xfail" else ""
    text = missing or f'import pytest\n{place}pytest.importorskip("no_such_library")\n'
    (tmp_path / "test_missing.py").write_text(text)
    monkeypatch.setenv("SIGRA_FORWARD_REQUIRE_SERVICES", required)

    command = [sys.executable, "-m", "pytest", "-p", "tests.adapters.conftest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)

    assert failed in done.stdout.splitlines()[-1]
