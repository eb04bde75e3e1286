"""`WebhookForwarder`: what it sends, verified by those who receive such things; the contract holds the rest."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any, ClassVar

import pytest

pytest.importorskip("urllib3")

from sigra_forward import AuditEvent, ConfigurationError, SchemaMismatchError, SinkError
from sigra_forward.errors import SinkDisabledError
from sigra_forward.testing import make_event
from sigra_forward_http import WebhookForwarder

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


class Receiver(ThreadingHTTPServer):
    """Takes what is posted, on loopback."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


@pytest.fixture(name="webhook")
def _webhook(receiver: Receiver) -> Iterator[Any]:
    """Give what makes forwarders to the receiver."""
    made: list[WebhookForwarder] = []

    def make(*, url: str = "", secrets: Any = KEY, **options: Any) -> WebhookForwarder:
        made.append(WebhookForwarder(url or f"{receiver.url}/hook?token=t", secrets, **options))
        return made[-1]

    yield make
    for forwarder in made:
        forwarder.close()


def test_it_is_the_event_as_json(receiver: Receiver, webhook: Any) -> None:
    """To the path and the query of the URL, under the event's own key."""
    event = make_event(metadata={"name": "Zoë"})
    webhook().forward(event)

    ((path, headers, body),) = receiver.requests
    assert ("/hook?token=t", "application/json", event.idempotency_key) == (
        path,
        headers["content-type"],
        headers["webhook-id"],
    )
    assert event.to_dict() == json.loads(body)


@pytest.mark.parametrize("options", [{}, {"batch": True}, {"format": "cloudevents"}], ids=["json", "batch", "cloud"])
@pytest.mark.parametrize("given", [KEY, OTHER], ids=["old", "new"])
def test_the_official_library_verifies_it(receiver: Receiver, webhook: Any, options: Any, given: str) -> None:
    """With any of the secrets."""
    standardwebhooks = pytest.importorskip("standardwebhooks")
    forwarder = webhook(secrets=[KEY, OTHER], **options)
    forwarder.forward(make_event())
    if "batch" in options:
        forwarder.forward_batch([make_event(), make_event()])

    verified = [
        standardwebhooks.Webhook(given).verify(body.decode(), headers) for _, headers, body in receiver.requests
    ]
    assert [json.loads(body) for _, _, body in receiver.requests] == verified


@pytest.mark.parametrize(
    ("id_", "other"), [("ä 1", "%C3%A4%201"), ("%41", "A"), ("a b", "a%20b"), ("a.b", "a%2Eb")], ids=repr
)
def test_an_id_that_no_header_holds_is_spelled_so_that_it_does(
    receiver: Receiver, webhook: Any, id_: str, other: str
) -> None:
    """Two ids never become one."""
    for each in (id_, other):
        webhook().forward(make_event(id=each))

    first, second = (headers["webhook-id"] for _, headers, _ in receiver.requests)
    assert first.isascii()
    assert " " not in first
    assert first != second


def test_the_same_is_sent_under_the_same_id(receiver: Receiver, webhook: Any) -> None:
    """However often; a batch too, and another batch under another."""
    forwarder, events = webhook(batch=True), [make_event() for _ in range(3)]
    for batch in (events, events, events[:2]):
        assert [None] * len(batch) == list(forwarder.forward_batch(batch))

    first, again, other = (headers["webhook-id"] for _, headers, _ in receiver.requests)
    assert (True, False) == (first == again, first == other)


def test_cloud_events_are_what_their_own_library_reads(receiver: Receiver, webhook: Any) -> None:
    """In structured mode, with the event as data."""
    core = pytest.importorskip("cloudevents.core.bindings.http")
    event = make_event(id="ä", source="shop:audit")
    webhook(format="cloudevents").forward(event)

    ((_, headers, body),) = receiver.requests
    told = core.from_http_event(core.HTTPMessage(headers=headers, body=body))
    assert (event.id, event.action, event.occurred_at) == (told.get_id(), told.get_type(), told.get_time())
    assert ("shop:audit", event.to_dict()) == (told.get_source(), told.get_data())


def test_a_batch_of_cloud_events(receiver: Receiver, webhook: Any) -> None:
    """It is an array of them, of a type of its own."""
    events = [make_event() for _ in range(3)]
    webhook(format="cloudevents", batch=True).forward_batch(events)

    ((_, headers, body),) = receiver.requests
    assert "application/cloudevents-batch+json" == headers["content-type"]
    assert [(event.id, "1.0") for event in events] == [(each["id"], each["specversion"]) for each in json.loads(body)]


def test_without_batches_there_are_none(webhook: Any) -> None:
    """The relay then sends one event at a time."""
    forwarder = webhook()

    assert (False, 1) == (hasattr(forwarder, "forward_batch"), forwarder.max_events)


def test_a_batch_is_split_where_it_is_too_long(receiver: Receiver, webhook: Any) -> None:
    """No body is longer than it may be; an event that is longer alone is refused, and the others go out."""
    events: list[AuditEvent] = [make_event(metadata={"a": "x" * size}) for size in (100, 100, 5000, 100, 100)]
    told = webhook(batch=True, max_bytes=1100).forward_batch(events)

    assert [None, None, SchemaMismatchError, None, None] == [each and type(each) for each in told]
    assert [2, 2] == [len(json.loads(body)) for _, _, body in receiver.requests]
    assert max(len(body) for _, _, body in receiver.requests) <= 1100


def test_an_event_that_is_too_long_is_refused(receiver: Receiver, webhook: Any) -> None:
    """It is not sent."""
    with pytest.raises(SchemaMismatchError, match=r"^too_long: the event takes \d+ bytes, and 1000 are allowed$"):
        webhook(max_bytes=1000).forward(make_event(metadata={"a": "x" * 1000}))

    assert [] == receiver.requests


def test_further_headers_go_with_it(receiver: Receiver, webhook: Any) -> None:
    """Such as a token."""
    webhook(headers={"Authorization": "Bearer-1", "X-Tenant": "7"}).forward(make_event())

    ((_, headers, _),) = receiver.requests
    assert ("Bearer-1", "7") == (headers["authorization"], headers["x-tenant"])


def test_one_connection_serves_many_calls(receiver: Receiver, webhook: Any) -> None:
    """It is kept, and closed with the forwarder; after that a new one is opened."""
    connections: list[object] = []
    receiver.process_request = _counting(receiver.process_request, connections)  # type: ignore[method-assign]
    forwarder = webhook()
    for _ in range(5):
        forwarder.forward(make_event())
    forwarder.close()
    forwarder.forward(make_event())

    assert 2 == len(connections)


def _counting(process: Any, connections: list[object]) -> Any:
    def count(request: object, address: object) -> None:
        connections.append(address)
        process(request, address)

    return count


class TestAddresses:
    """The connection goes to an address that was checked, whatever the name resolves to a moment later."""

    PUBLIC: ClassVar = "8.8.8.8"

    def test_the_name_is_resolved_once_for_a_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What changes between the check and the connect changes nothing."""
        asked: list[object] = []
        connected: list[object] = []

        def resolve(host: str, port: int, **_: object) -> Any:
            asked.append(host)
            address = self.PUBLIC if len(asked) == 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        def connect(_: object, address: object) -> None:
            connected.append(address)
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setattr("sigra_forward_http._sockets.BoundedSocket.connect", connect, raising=False)
        forwarder = WebhookForwarder("https://siem.example", KEY)
        with pytest.raises(SinkError, match=r"^connection: https://siem\.example:443: ConnectionRefusedError$"):
            forwarder.forward(make_event())
        with pytest.raises(SinkError, match=r"^forbidden_address"):
            forwarder.forward(make_event())

        assert (["siem.example"] * 2, [(self.PUBLIC, 443)]) == (asked, connected)

    @pytest.mark.parametrize("url", ["https://10.0.0.1", "https://0x7f000001", "https://2130706433", "https://127.1"])
    def test_an_address_in_disguise_is_forbidden(self, url: str) -> None:
        """However it is spelled."""
        with pytest.raises(SinkError, match=r"^(forbidden_address|dns)"):
            WebhookForwarder(url, KEY).forward(make_event())

    def test_a_name_that_does_not_resolve(self) -> None:
        """It is the sink's fault."""
        with pytest.raises(SinkError, match=r"^(dns|timeout)"):
            WebhookForwarder("https://nobody.invalid", KEY, deadline=5).forward(make_event())

    def test_a_name_that_hangs_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """At the deadline."""
        is_over = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_over.wait(30) and [])
        forwarder = WebhookForwarder("https://siem.example", KEY, deadline=0.2)
        with pytest.raises(SinkError, match=r"^timeout: https://siem\.example:443 did not answer in time$"):
            forwarder.forward(make_event())
        is_over.set()
        forwarder.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param({"format": "xml"}, "format must be 'json' or 'cloudevents'", id="format"),
        pytest.param({"max_events": 0}, "max_events and max_bytes must be integers", id="max_events"),
        pytest.param({"max_bytes": 1.5}, "max_events and max_bytes must be integers", id="max_bytes"),
        pytest.param({"deadline": 0}, "must be finite numbers of seconds above 0", id="deadline"),
        pytest.param({"connect_timeout": -1}, "must be finite numbers of seconds above 0", id="connect"),
        pytest.param({"read_timeout": float("inf")}, "must be finite numbers of seconds above 0", id="read"),
        pytest.param({"headers": {"Webhook-Id": "x"}}, "and none of", id="ours"),
        pytest.param({"headers": {"a b": "x"}}, "names of letters, digits and hyphens", id="name"),
        pytest.param({"headers": {"X-A": "SECRET\r\nb"}}, r"headers=\.\.\.\)\['X-A'\] must be a str", id="value"),
        pytest.param({"url": "http://siem.example/SECRET"}, "http is for this machine itself", id="url"),
        pytest.param({"secrets": "SECRET"}, r"secrets=\.\.\.\) must be a secret", id="secret"),
    ],
)
def test_options_make_sense(webhook: Any, options: Any, says: str) -> None:
    """Or the error says what would, and quotes no secret."""
    with pytest.raises(ConfigurationError, match=rf"^WebhookForwarder.*{says}") as caught:
        webhook(**options)

    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("options", [{"ca": "no.pem"}, {"certificate": "no.pem"}, {"ca": __file__}], ids=repr)
def test_certificates_that_cannot_be_used(options: Any) -> None:
    """They are files in PEM."""
    with pytest.raises(ConfigurationError, match=r"^ca=\.\.\. or certificate=\.\.\. cannot be used"):
        WebhookForwarder("https://siem.example", KEY, **options)


def test_it_shows_where_it_goes_and_no_more(webhook: Any, receiver: Receiver) -> None:
    """Neither a path, which may be a token, nor a secret."""
    assert f"WebhookForwarder('{receiver.url}')" == repr(webhook())


def test_a_receiver_that_is_gone_is_disabled(receiver: Receiver, webhook: Any) -> None:
    """By 410: its lane stands still until somebody enables it."""
    receiver.status = 410
    with pytest.raises(SinkDisabledError, match=rf"^http_410: {receiver.url} wants no more webhooks$"):
        webhook().forward(make_event())


def test_a_sink_that_reads_nothing_is_given_up() -> None:
    """It takes the connection, and no more of a long body than the system buffers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        forwarder = WebhookForwarder(
            f"http://127.0.0.1:{listener.getsockname()[1]}", KEY, max_bytes=2**26, deadline=0.5
        )
        begun = monotonic()
        with pytest.raises(SinkError, match=r"^timeout: "):
            forwarder.forward(make_event(metadata={"a": "x" * 2**25}))

    assert monotonic() - begun < 5
    forwarder.close()


def test_a_name_that_can_be_none() -> None:
    """It is told as one that does not resolve."""
    with pytest.raises(SinkError, match=r"^dns: the name of .* does not resolve$"):
        WebhookForwarder(f"https://{'a' * 64}.example", KEY).forward(make_event())
