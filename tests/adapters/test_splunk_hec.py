"""`SplunkHECForwarder`, against a server that answers as Splunk's HTTP Event Collector does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from gzip import decompress
from typing import Any
from uuid import UUID

import pytest

pytest.importorskip("urllib3")

from sigra_forward import Ack, ConfigurationError, SchemaMismatchError, SinkError
from sigra_forward.testing import ScriptedServer, make_event
from sigra_forward.testing.behaviours import answer
from sigra_forward.testing.contracts._sink import SinkContract
from sigra_forward_http import SplunkHECForwarder

TOKEN = "0aa98a38-8d5c-4a93-9f59-7a7f3d4c1c57"


def says(status: int, code: int | None = None, text: str = "", **more: Any) -> Any:
    """Return an answer of Splunk's."""
    told = {"text": text, **({} if code is None else {"code": code}), **more}
    return answer(status, json.dumps(told).encode(), headers={"Content-Type": "application/json"})


YES = says(200, 0, "Success")


def envelopes(body: bytes) -> list[dict[str, Any]]:
    """Return the JSON objects that stand one behind the other."""
    decoder, text, found = json.JSONDecoder(), decompress(body).decode(), []
    while text:
        told, end = decoder.raw_decode(text)
        found.append(told)
        text = text[end:]
    return found


class TestContract(SinkContract):
    """What every sink over HTTP is held to."""

    refused = (413,)
    trouble = (400, 401, 403, 404, 408, 429, 500, 502, 503, 504)
    secrets = (TOKEN,)

    def forwarder_for(self, url: str, **options: Any) -> SplunkHECForwarder:
        return SplunkHECForwarder(url, TOKEN, **options)

    def tls_forwarder_for(self, url: str, ca_file: str, **options: Any) -> SplunkHECForwarder:
        return SplunkHECForwarder(url, TOKEN, ca=ca_file, **options)

    def yes(self, request: Any) -> Any:
        return YES

    def ids_in(self, request: Any) -> list[str]:
        return [each["event"]["id"] for each in envelopes(request.body)]


@pytest.fixture(name="server")
def _server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.default = YES
        yield server


@pytest.fixture(name="splunk")
def _splunk(server: ScriptedServer) -> Iterator[Callable[..., SplunkHECForwarder]]:
    """Give what makes forwarders to the server."""
    made: list[SplunkHECForwarder] = []

    def make(token: Any = TOKEN, **options: Any) -> SplunkHECForwarder:
        made.append(SplunkHECForwarder(server.url, token, **{"deadline": 5.0, **options}))
        return made[-1]

    yield make
    for forwarder in made:
        forwarder.close()


def test_an_event_is_told_as_splunk_wants_it(server: ScriptedServer, splunk: Any) -> None:
    """With its time to the microsecond, its source and the options, compressed, under the token."""
    event = make_event(metadata={"name": "Zoë"})
    ack = splunk(index="audit", host="shop-1").forward(event)

    (request,) = server.requests
    (told,) = envelopes(request.body)
    assert event.to_dict() == told.pop("event")
    assert {
        "time": event.occurred_at.timestamp(),
        "source": "audit_events",
        "sourcetype": "sigra_forward:audit",
        "index": "audit",
        "host": "shop-1",
    } == told
    assert ("/services/collector/event", f"Splunk {TOKEN}", "gzip") == (
        request.target,
        request.headers["authorization"],
        request.headers["content-encoding"],
    )
    assert Ack(status="received") == ack


def test_a_batch_is_one_body(server: ScriptedServer, splunk: Any) -> None:
    """One event behind the other."""
    events = [make_event() for _ in range(10)]
    told = splunk().forward_batch(events)

    (request,) = server.requests
    assert [event.id for event in events] == [each["event"]["id"] for each in envelopes(request.body)]
    assert [Ack(status="received")] * 10 == told


def test_a_batch_is_split_at_its_bounds(server: ScriptedServer, splunk: Any) -> None:
    """By events and by bytes; what is longer alone is refused."""
    events = [make_event(metadata={"a": "x" * size}) for size in (1, 1, 1, 9000, 1)]
    told = splunk(max_events=2, max_bytes=5000).forward_batch(events)

    assert [None, None, None, SchemaMismatchError, None] == [
        None if isinstance(each, Ack) else type(each) for each in told
    ]
    assert [2, 2] == [len(envelopes(request.body)) for request in server.requests]


@pytest.mark.parametrize("code", [5, 6, 7, 12, 13])
def test_an_event_is_refused(server: ScriptedServer, splunk: Any, code: int) -> None:
    """By 400 and one of these codes."""
    server.script(says(400, code, "Invalid data format", **{"invalid-event-number": 0}))
    with pytest.raises(SchemaMismatchError, match=rf"^http_400: Invalid data format \(code {code}\)$"):
        splunk().forward(make_event())


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        pytest.param("http_400", says(400, 10, "Data channel is missing"), id="channel"),
        pytest.param("http_400", says(400, 14, "ACK is disabled"), id="ack"),
        pytest.param("http_400", answer(400, b"<html>bad</html>"), id="proxy"),
        pytest.param("http_401", says(401, 2, "Token is required"), id="token"),
        pytest.param("http_403", says(403, 4, "Invalid token"), id="invalid_token"),
        pytest.param("http_503", says(503, 9, "Server is busy"), id="busy"),
        pytest.param("http_500", says(500, 8, "Internal server error"), id="error"),
        pytest.param("code_9", says(200, 9, "Server is busy"), id="200_busy"),
        pytest.param("unexpected_answer", answer(200, b"<html>hello</html>"), id="200_html"),
        pytest.param("unexpected_answer", answer(200, b'{"code":0', size=9), id="200_torn"),
        pytest.param("http_204", answer(204), id="204"),
    ],
)
def test_splunk_is_to_blame(server: ScriptedServer, splunk: Any, reason: str, said: Any) -> None:
    """For all else: nothing else than a 200 with code 0 is a yes."""
    server.script(said)
    with pytest.raises(SinkError) as caught:
        splunk().forward(make_event())

    assert reason == caught.value.reason


class TestAcknowledged:
    """With indexer acknowledgement a yes means indexed."""

    def test_it_is_asked_until_it_is_indexed(self, server: ScriptedServer, splunk: Any) -> None:
        """On one channel, by the number that Splunk gave."""
        server.script(says(200, 0, "Success", ackId=7), says(200, acks={"7": False}), says(200, acks={"7": True}))
        ack = splunk(acknowledge=True).forward(make_event())

        sent, *asked = server.requests
        channel = sent.headers["x-splunk-request-channel"]
        assert (Ack("7", "indexed"), channel) == (ack, str(UUID(channel)))
        assert [f"/services/collector/ack?channel={channel}"] * 2 == [request.target for request in asked]
        assert [{"acks": [7]}] * 2 == [json.loads(decompress(request.body)) for request in asked]

    def test_a_batch_has_one_number(self, server: ScriptedServer, splunk: Any) -> None:
        """Which is the receipt of each of its events."""
        server.script(says(200, 0, "Success", ackId=0), says(200, acks={"0": True}))

        assert [Ack("0", "indexed")] * 3 == splunk(acknowledge=True).forward_batch([make_event() for _ in range(3)])

    def test_one_that_never_comes_leaves_the_event_owed(self, server: ScriptedServer, splunk: Any) -> None:
        """It is the sink's fault, told before the deadline is over."""
        server.default = says(200, acks={"7": False})
        server.script(says(200, 0, "Success", ackId=7))
        with pytest.raises(SinkError, match=r"^not_indexed: Splunk did not acknowledge in time"):
            splunk(acknowledge=True, deadline=1.0).forward(make_event())

    @pytest.mark.parametrize("number", [None, "7", True, 1.5])
    def test_a_token_without_acknowledgement(self, server: ScriptedServer, splunk: Any, number: object) -> None:
        """Splunk gives no number: the error says what to enable."""
        server.script(says(200, 0, "Success", ackId=number))
        with pytest.raises(SinkError, match=r"^no_ack_id: .*enable indexer acknowledgement for the token$"):
            splunk(acknowledge=True).forward(make_event())

    @pytest.mark.parametrize("said", [says(503, 9), says(400, 14), answer(200, b"{}"), answer(200, b"[]")])
    def test_a_question_that_is_not_answered(self, server: ScriptedServer, splunk: Any, said: Any) -> None:
        """It is the sink's fault, whatever it says."""
        server.script(says(200, 0, "Success", ackId=7), said)
        with pytest.raises(SinkError):
            splunk(acknowledge=True).forward(make_event())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"token": ""}, r"\(token=\.\.\.\) must be a str", id="token"),
        pytest.param({"token": "SECRET\n"}, r"\(token=\.\.\.\) must be a str", id="newline"),
        pytest.param({"index": ""}, r"\(index=\.\.\.\) must be a str that is not empty", id="index"),
        pytest.param({"sourcetype": 7}, r"\(sourcetype=\.\.\.\) must be a str", id="sourcetype"),
        pytest.param({"max_events": 0}, "max_events and max_bytes must be integers", id="max_events"),
        pytest.param({"deadline": None}, "must be finite numbers of seconds", id="deadline"),
    ],
)
def test_options_make_sense(splunk: Any, options: Any, message: str) -> None:
    """Or the error says what would."""
    with pytest.raises(ConfigurationError, match=f"^SplunkHECForwarder.*{message}") as caught:
        splunk(**options)

    assert "SECRET" not in str(caught.value)


def test_an_option_that_there_is_not(splunk: Any) -> None:
    """The error names those that there are."""
    with pytest.raises(TypeError, match=r"^SplunkHECForwarder has no option timeout; there are deadline, "):
        splunk(timeout=5)


def test_it_shows_no_token(splunk: Any, server: ScriptedServer) -> None:
    """But where it goes."""
    assert f"SplunkHECForwarder('{server.url}')" == repr(splunk())
