"""`DatadogForwarder`, against a server that answers as Datadog's log intake does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from gzip import decompress
from typing import Any

import pytest

pytest.importorskip("urllib3")

from sigra_forward import Ack, ConfigurationError, SchemaMismatchError, SinkError
from sigra_forward.testing import ScriptedServer, make_event
from sigra_forward.testing.behaviours import answer
from sigra_forward.testing.contracts._sink import SinkContract
from sigra_forward_http import DatadogForwarder

KEY = "0123456789abcdef0123456789abcdef"
YES = answer(202, b"{}")


def logs(request: Any) -> list[dict[str, Any]]:
    """Return what a request has brought."""
    told: list[dict[str, Any]] = json.loads(decompress(request.body))
    return told


class TestContract(SinkContract):
    """What every sink over HTTP is held to."""

    refused = (400, 413)
    trouble = (200, 401, 403, 404, 408, 422, 429, 500, 502, 503, 504)
    secrets = (KEY,)

    def forwarder_for(self, url: str, **options: Any) -> DatadogForwarder:
        return DatadogForwarder(KEY, url=url, **options)

    def tls_forwarder_for(self, url: str, ca_file: str, **options: Any) -> DatadogForwarder:
        return DatadogForwarder(KEY, url=url, ca=ca_file, **options)

    def yes(self, request: Any) -> Any:
        return YES

    def ids_in(self, request: Any) -> list[str]:
        return [each["audit"]["id"] for each in logs(request)]


@pytest.fixture(name="server")
def _server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.default = YES
        yield server


@pytest.fixture(name="datadog")
def _datadog(server: ScriptedServer) -> Iterator[Callable[..., DatadogForwarder]]:
    """Give what makes forwarders to the server."""
    made: list[DatadogForwarder] = []

    def make(key: Any = KEY, **options: Any) -> DatadogForwarder:
        made.append(DatadogForwarder(key, **{"url": server.url, **options}))
        return made[-1]

    yield make
    for forwarder in made:
        forwarder.close()


def test_an_event_is_told_as_datadog_wants_it(server: ScriptedServer, datadog: Any) -> None:
    """With its time in milliseconds, the options, and the whole event as attributes."""
    now = datetime.now(timezone.utc)
    event = make_event(occurred_at=now, outcome="failure")
    ack = datadog(service="shop", hostname="shop-1", tags={"env": "prod", "team": "a"}).forward(event)

    (request,) = server.requests
    (told,) = logs(request)
    assert event.to_dict() == told.pop("audit")
    assert {
        "ddsource": "sigra_forward",
        "service": "shop",
        "hostname": "shop-1",
        "ddtags": "env:prod,team:a",
        "message": "session.create",
        "status": "warn",
        "timestamp": int(now.timestamp() * 1000),
    } == told
    assert ("/api/v2/logs", KEY, "gzip") == (
        request.target,
        request.headers["dd-api-key"],
        request.headers["content-encoding"],
    )
    assert Ack(status="accepted") == ack


def test_an_event_that_is_older_than_datadog_takes_is_flagged(server: ScriptedServer, datadog: Any) -> None:
    """It goes out under the time of its arrival; its own is among its attributes."""
    now = datetime.now(timezone.utc)
    events = [make_event(occurred_at=now - timedelta(hours=hours)) for hours in (17.9, 18.1)]
    datadog().forward_batch(events)

    ((young, old),) = map(logs, server.requests)
    assert (True, False) == ("timestamp" in young, "timestamp" in old)
    assert (None, True) == (young.get("late"), old.get("late"))
    assert events[1].occurred_at.isoformat() == old["audit"]["occurred_at"]


def test_what_datadog_would_cut_is_refused(server: ScriptedServer, datadog: Any) -> None:
    """It says yes to a log of more than a million bytes, and keeps a part of it."""
    events = [make_event(), make_event(metadata={"a": "x" * 10**6}), make_event()]
    told = datadog().forward_batch(events)

    assert [Ack, SchemaMismatchError, Ack] == list(map(type, told))
    assert [[events[0].id, events[2].id]] == [[log["audit"]["id"] for log in logs(each)] for each in server.requests]
    with pytest.raises(
        SchemaMismatchError, match=r"^too_long: the event takes 1000\d+ bytes, and 1000000 are allowed$"
    ):
        datadog().forward(events[1])


def test_a_batch_is_split_at_five_million_bytes(server: ScriptedServer, datadog: Any) -> None:
    """Before compression."""
    datadog().forward_batch([make_event(metadata={"a": "x" * 900_000}) for _ in range(7)])

    assert [5, 2] == [len(logs(request)) for request in server.requests]
    assert max(len(decompress(request.body)) for request in server.requests) <= 5_000_000


def test_a_batch_is_split_at_a_thousand_events(server: ScriptedServer, datadog: Any) -> None:
    """Which is all that Datadog takes at once."""
    datadog().forward_batch([make_event() for _ in range(1001)])

    assert [1000, 1] == [len(logs(request)) for request in server.requests]


@pytest.mark.parametrize("site", ["datadoghq.com", "us5.datadoghq.com", "datadoghq.eu", "ddog-gov.com"])
def test_the_site_names_the_endpoint(site: str) -> None:
    """Its log intake."""
    assert f"DatadogForwarder('https://http-intake.logs.{site}:443')" == repr(DatadogForwarder(KEY, site=site))


def test_a_200_is_no_yes(server: ScriptedServer, datadog: Any) -> None:
    """Datadog says 202; a proxy before it may say something else."""
    server.script(answer(200))
    with pytest.raises(SinkError, match=r"^http_200"):
        datadog().forward(make_event())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"key": "a b"}, r"\(api_key=\.\.\.\) must be a str", id="key"),
        pytest.param({"max_events": 1001}, r"must be an integer from 1 to 1000", id="max_events"),
        pytest.param({"site": "evil.example/SECRET"}, r"\(site=\.\.\.\) must be one of Datadog's sites", id="site"),
        pytest.param({"service": ""}, r"\(service=\.\.\.\) must be a str", id="service"),
        pytest.param({"tags": {"a": "b,c"}}, r"\(tags=\.\.\.\) must be texts without a comma", id="tags"),
        pytest.param({"url": "http://siem.example"}, "http is for this machine itself", id="url"),
    ],
)
def test_options_make_sense(datadog: Any, options: Any, message: str) -> None:
    """Or the error says what would."""
    with pytest.raises(ConfigurationError, match=f"^DatadogForwarder.*{message}") as caught:
        datadog(**options)

    assert "SECRET" not in str(caught.value)
