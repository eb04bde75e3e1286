"""`OTLPForwarder`: log records, as OpenTelemetry's own protocol buffers read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from gzip import decompress
from typing import Any

import pytest

pytest.importorskip("urllib3")

from sigra_forward import Ack, ConfigurationError, Route, SchemaMismatchError, SinkError, __version__
from sigra_forward.relay._sending import Sender
from sigra_forward.relay._verdicts import Tally
from sigra_forward.testing import ScriptedServer, make_event
from sigra_forward.testing.behaviours import answer
from sigra_forward.testing.contracts._sink import SinkContract
from sigra_forward_http import OTLPForwarder

TOKEN = "Bearer-0123456789abcdef"
YES = answer(200, b"{}", headers={"Content-Type": "application/json"})


def rejects(count: object, message: str = "") -> Any:
    """Return a partial success."""
    told = {"partialSuccess": {"rejectedLogRecords": count, "errorMessage": message}}
    return answer(200, json.dumps(told).encode(), headers={"Content-Type": "application/json"})


def records(body: bytes) -> list[dict[str, Any]]:
    """Return the log records in a body."""
    (resource,) = json.loads(body)["resourceLogs"]
    (scope,) = resource["scopeLogs"]
    found: list[dict[str, Any]] = scope["logRecords"]
    return found


def attributes(record: Any) -> dict[str, Any]:
    """Return the attributes of a record."""
    return {each["key"]: each["value"] for each in record["attributes"]}


def ids(request: Any) -> list[str]:
    """Return the ids of the events in a request."""
    body = decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
    return [attributes(record)["audit.id"]["stringValue"] for record in records(body)]


class TestContract(SinkContract):
    """What every sink over HTTP is held to."""

    secrets = (TOKEN,)

    def forwarder_for(self, url: str, **options: Any) -> OTLPForwarder:
        return OTLPForwarder(url, headers={"Authorization": TOKEN}, **options)

    def tls_forwarder_for(self, url: str, ca_file: str, **options: Any) -> OTLPForwarder:
        return OTLPForwarder(url, headers={"Authorization": TOKEN}, ca=ca_file, **options)

    def yes(self, request: Any) -> Any:
        return YES

    def ids_in(self, request: Any) -> list[str]:
        return ids(request)


@pytest.fixture(name="server")
def _server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.default = YES
        yield server


@pytest.fixture(name="otlp")
def _otlp(server: ScriptedServer) -> Iterator[Callable[..., OTLPForwarder]]:
    """Give what makes forwarders to the server."""
    made: list[OTLPForwarder] = []

    def make(**options: Any) -> OTLPForwarder:
        made.append(OTLPForwarder(server.url, **options))
        return made[-1]

    yield make
    for forwarder in made:
        forwarder.close()


def test_opentelemetry_itself_reads_it(server: ScriptedServer, otlp: Any) -> None:
    """Resource, scope, times, severity, and every kind of value."""
    service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
    parse = pytest.importorskip("google.protobuf.json_format").Parse
    nested = {
        "text": "Zoë",
        "yes": True,
        "whole": -(2**63),
        "big": 2**64,
        "part": 1.5,
        "list": [1, {"a": None}],
        "no": {},
    }
    event = make_event(outcome="failure", metadata=nested)
    ack = otlp(gzip=False, resource={"service.name": "shop", "deployment.environment": "prod"}).forward(event)

    (request,) = server.requests
    told = parse(request.body, service.ExportLogsServiceRequest())
    (resource,) = told.resource_logs
    (scope,) = resource.scope_logs
    (record,) = scope.log_records
    held = {each.key: each.value for each in record.attributes}
    metadata = {each.key: each.value for each in held["audit.metadata"].kvlist_value.values}

    assert {"service.name": "shop", "deployment.environment": "prod"} == {
        each.key: each.value.string_value for each in resource.resource.attributes
    }
    assert ("sigra_forward", __version__) == (scope.scope.name, scope.scope.version)
    assert int(event.occurred_at.timestamp()) * 10**9 == record.time_unix_nano
    assert record.observed_time_unix_nano > record.time_unix_nano
    assert (13, "WARN", "session.create", "session.create") == (
        record.severity_number,
        record.severity_text,
        record.body.string_value,
        record.event_name,
    )
    assert event.id == held["audit.id"].string_value
    assert ("Zoë", True, -(2**63), str(2**64), 1.5) == (
        metadata["text"].string_value,
        metadata["yes"].bool_value,
        metadata["whole"].int_value,
        metadata["big"].string_value,
        metadata["part"].double_value,
    )
    assert 1 == metadata["list"].array_value.values[0].int_value
    assert "audit.actor_type" in held
    assert "audit.target_id" not in held
    assert Ack(status="accepted") == ack


def test_the_path_of_the_protocol_is_taken_where_there_is_none(server: ScriptedServer, otlp: Any) -> None:
    """And bodies are compressed."""
    otlp().forward_batch([make_event(), make_event()])

    (request,) = server.requests
    assert ("/v1/logs", "gzip", 2) == (request.target, request.headers["content-encoding"], len(ids(request)))


@pytest.mark.parametrize("count", [1, "1"], ids=["number", "text"])
def test_a_record_that_is_rejected(server: ScriptedServer, otlp: Any, count: object) -> None:
    """A 200 may say no; 64 bits are text in the protocol's JSON."""
    server.script(rejects(count, "no such tenant"))
    with pytest.raises(SchemaMismatchError, match=r"^partial_success: 1 of 1 records were rejected: no such tenant$"):
        otlp().forward(make_event())


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(answer(200), id="empty"),
        pytest.param(answer(200, b"\n\x00"), id="protobuf"),
        pytest.param(answer(200, b"[]"), id="list"),
        pytest.param(answer(200, b'{"partialSuccess":null}'), id="null"),
        pytest.param(answer(200, b'{"partialSuccess":{}}'), id="nothing"),
        pytest.param(rejects(0, "you are near your quota"), id="warning"),
        pytest.param(rejects("many"), id="no_number"),
    ],
)
def test_a_200_that_rejects_nothing_is_yes(server: ScriptedServer, otlp: Any, said: Any) -> None:
    """Whatever else it says."""
    server.script(said)

    assert Ack(status="accepted") == otlp().forward(make_event())


def test_an_answer_that_was_cut_is_no_yes(server: ScriptedServer, otlp: Any) -> None:
    """What was rejected may have stood in the rest."""
    server.script(answer(200, b'{"partialSuccess":{"err' + b"x" * 2**17))
    with pytest.raises(SinkError, match=r"^unexpected_answer: the answer was cut"):
        otlp().forward(make_event())


def test_as_many_are_refused_as_were_rejected(server: ScriptedServer, otlp: Any) -> None:
    """The relay bisects until it is known which: the others are taken, though some are sent again."""
    events = [make_event() for _ in range(16)]
    bad = {events[3].id, events[11].id}

    def judge(exchange: Any) -> None:
        rejected = len(bad & set(ids(exchange.request())))
        (rejects(rejected, "bad") if rejected else YES)(exchange)

    server.default = judge
    route, tally = Route(otlp()), Tally()
    sender = Sender(route, lambda port, argument, _: port(argument))
    sender.take(events)
    for batch in sender.batches(events, tally):
        sender.send(batch, tally)

    assert bad == {said.event.id for said in tally.charged}
    assert {event.id for event in events} - bad == {said.event.id for said in tally.accepted}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"resource": {"a": 1}}, r"\(resource=\.\.\.\) must be texts by name", id="resource"),
        pytest.param({"headers": {"Content-Type": "x"}}, "and none of", id="header"),
        pytest.param({"max_bytes": 0}, "max_events and max_bytes must be integers", id="max_bytes"),
        pytest.param({"allow": "10.0.0.0/8"}, r"\(allow=\.\.\.\) must be a sequence", id="allow"),
    ],
)
def test_options_make_sense(otlp: Any, options: Any, message: str) -> None:
    """Or the error says what would."""
    with pytest.raises(ConfigurationError, match=f"^OTLPForwarder.*{message}"):
        otlp(**options)
