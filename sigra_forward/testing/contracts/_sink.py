"""`SinkContract`: what every forwarder promises whose sink speaks HTTP, against a server that fails in all ways."""

from __future__ import annotations

import logging
import ssl
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from socket import socket
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from sigra_forward._outcome import Ack
from sigra_forward._route import Route
from sigra_forward.errors import SchemaMismatchError, SinkError
from sigra_forward.testing._events import make_event
from sigra_forward.testing._http_server import ReceivedRequest, ScriptedServer
from sigra_forward.testing.behaviours import (
    Behaviour,
    answer,
    closed_after,
    cut_in_header,
    dripped_body,
    dripped_header,
    dripped_interim,
    endless,
    half_closed,
    late,
    not_http,
    redirect,
    reset_after_request,
    reset_in_answer,
    reset_in_body,
    truncated,
)
from sigra_forward.testing.contracts._forwarder import (
    _SINKS_FAULT,
    GRACE,
    ForwarderContract,
    _forward,
    _forward_batch,
)
from sigra_forward.testing.contracts._hostile import run_in_threads, within

if TYPE_CHECKING:
    from sigra_forward._event import AuditEvent
    from sigra_forward.testing._http_server import Exchange

PATIENCE = 10.0
"""Seconds of the deadline where it does not matter."""

SHORT = 1.0
"""Seconds of the deadline where it does."""

DRIP = 0.1

MAX_KEPT = 2**23
"""Bytes that a forwarder may need for an answer without end."""

TOLD = {
    "ip_address": "198.51.100.77",
    "user_agent": "Quokka/7.5 (MarsupialOS)",
    "metadata": {"passport": "ZX-4711-PELICAN", "nested": ["told to nobody else"]},
}
"""What an event tells of a person."""

PERSONAL = ("198.51.100.77", "Quokka/7.5", "ZX-4711-PELICAN", "told to nobody else")
"""Texts of it that no error may quote."""

_ECHOES: dict[str, Callable[[ReceivedRequest], str]] = {
    "body": lambda request: request.body.decode(errors="replace"),
    "values": lambda _: f"not allowed: {', '.join(PERSONAL)}",
    "target": lambda request: f"no such path: {request.target}",
    "headers": lambda request: "\n".join(map(": ".join, request.headers.items())),
    "headers of its own": lambda request: "\n".join(
        f"{name}: {value}" for name, value in request.headers.items() if name.startswith(("x-", "auth", "cookie"))
    ),
}

_BROKEN: dict[str, Behaviour] = {
    "reset in the request": reset_in_body,
    "reset after the request": reset_after_request,
    "reset in the answer": reset_in_answer,
    "half-closed": half_closed,
    "closed": closed_after(lambda exchange: exchange.request()),
    "truncated trouble": truncated(503),
    "endless trouble": endless(503),
    "not HTTP": not_http,
}

_SLOW: dict[str, Behaviour] = {
    "header drips": dripped_header(DRIP),
    "body drips": dripped_body(DRIP, 503),
    "never more than an interim answer": dripped_interim(DRIP),
    "late": late(2 * SHORT, answer(200)),
}

_WEAK_YES: dict[str, Behaviour] = {
    "truncated": truncated(200),
    "cut in its header": cut_in_header,
    "endless": endless(200),
    "dripped": dripped_body(DRIP),
}

_JUNK = {
    "words": "soon",
    "empty": "",
    "negative": "-30",
    "fraction of nothing": "nan",
    "infinite": "inf",
    "huge": "9" * 400,
    "other digits": "\xb2",
    "no such date": "Fri, 32 Dec 2099 25:61:61 GMT",
    "past": "Thu, 01 Jan 1970 00:00:00 GMT",
    "year without end": "Fri, 31 Dec 99999 23:59:59 GMT",
}


class SinkContract(ForwarderContract):
    """
    Hold a forwarder to a sink that speaks HTTP to the port's promises, while its server fails in all ways.

    Give ``forwarder_for`` and ``ids_in``, and what else is not as it is here. The server is the contract's own.

    Attributes:
        refused: The statuses that refuse an event.
        trouble: Statuses that are the sink's fault.
        secrets: Texts that the forwarder knows and nobody may ever see.
        tls_forwarder_for: As ``forwarder_for``, called with the URL and the file of a CA to trust; ``None`` leaves TLS
            out. Its tests need trustme.
    """

    refused: ClassVar[Sequence[int]] = (400, 413, 422)
    trouble: ClassVar[Sequence[int]] = (401, 403, 404, 408, 429, 500, 502, 503, 504)
    secrets: ClassVar[Sequence[str]] = ()
    tls_forwarder_for: Any = None

    def forwarder_for(self, url: str, **options: Any) -> Any:
        """Return a forwarder to *url*; the options are its ``deadline`` in seconds."""
        raise NotImplementedError

    def ids_in(self, request: ReceivedRequest) -> list[str]:
        """Return the ids of the events in the body of *request*."""
        raise NotImplementedError

    def yes(self, request: ReceivedRequest) -> Behaviour:
        """Return what says yes to *request*."""
        return answer(200)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run the tests of statuses for those of the subclass."""
        for name in {"refused", "trouble"}.intersection(metafunc.fixturenames):
            metafunc.parametrize(name, getattr(self, name))

    @pytest.fixture(name="server")
    def _server(self) -> Iterator[ScriptedServer]:
        with ScriptedServer() as server:
            yield server

    @pytest.fixture(name="forwarder")
    def _forwarder(self, server: ScriptedServer) -> Iterator[Any]:
        with self._accepting(server), _closing(self.forwarder_for(server.url, deadline=PATIENCE)) as forwarder:
            yield forwarder

    @pytest.fixture(name="hasty")
    def _hasty(self, server: ScriptedServer) -> Iterator[Any]:
        """Give a forwarder with a short deadline."""
        with self._accepting(server), _closing(self.forwarder_for(server.url, deadline=SHORT)) as forwarder:
            yield forwarder

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self) -> Iterator[Any]:
        with socket() as taken:  # nobody listens, and nobody else can
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            with _closing(self.forwarder_for(url, deadline=PATIENCE)) as forwarder:
                yield forwarder

    @pytest.fixture(name="ca")
    def _ca(self, tmp_path: Path) -> Any:
        """Give a private CA, whose certificate is in ``ca.pem``."""
        if self.tls_forwarder_for is None:
            pytest.skip("it does without TLS")
        ca = pytest.importorskip("trustme").CA()
        ca.cert_pem.write_to_path(tmp_path / "ca.pem")
        return ca

    @pytest.fixture(autouse=True)
    def _watched(self, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """See that no log record has a secret, or what an event tells of a person."""
        caplog.set_level(logging.DEBUG)
        yield
        told = [f"{record.getMessage()} {vars(record)!r}" for record in caplog.get_records("call")]
        assert [] == [text for text in told if self._has_secret(text) or any(value in text for value in PERSONAL)]

    def received(self, forwarder: Any) -> list[str]:
        """Return the ids of the events to which the server said yes."""
        return [audit_event_id for request in self._held for audit_event_id in self.ids_in(request)]

    # What the sink says

    def test_an_event_is_refused(self, server: ScriptedServer, forwarder: Any, refused: int) -> None:
        """A status that refuses the event is the event's fault."""
        self._fails(server, forwarder, answer(refused, b"no"), SchemaMismatchError)

    def test_a_sink_is_in_trouble(self, server: ScriptedServer, forwarder: Any, trouble: int) -> None:
        """A status that tells of missing rights, a wrong address or trouble is the sink's fault."""
        self._fails(server, forwarder, answer(trouble, b"not now"))

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_in_seconds(self, server: ScriptedServer, forwarder: Any, status: int) -> None:
        """The sink asks to be left alone for so many seconds."""
        fault = self._fails(server, forwarder, answer(status, headers={"Retry-After": "7"}), SinkError)

        assert 7 == fault.retry_after

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_as_a_date(self, server: ScriptedServer, forwarder: Any, status: int) -> None:
        """The sink asks to be left alone until then."""
        date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=120), usegmt=True)
        fault = self._fails(server, forwarder, answer(status, headers={"Retry-After": date}), SinkError)

        assert 60 < fault.retry_after <= 120

    @pytest.mark.parametrize("text", _JUNK.values(), ids=_JUNK.keys())
    def test_junk_in_retry_after_is_ignored(self, server: ScriptedServer, forwarder: Any, text: str) -> None:
        """What is no time to come, or none that makes sense, asks for nothing."""
        fault = self._fails(server, forwarder, answer(503, headers={"Retry-After": text}), SinkError)

        assert fault.retry_after is None

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, server: ScriptedServer, forwarder: Any, status: int) -> None:
        """Where it leads nobody connects to, and it is the sink's fault."""
        with ScriptedServer() as other:
            self._fails(server, forwarder, redirect(f"{other.url}/elsewhere", status))

            assert (0, []) == (other.connections, other.requests)

    @pytest.mark.parametrize("echo", _ECHOES.values(), ids=_ECHOES.keys())
    def test_what_a_refusal_echoes_is_not_told(
        self, server: ScriptedServer, forwarder: Any, echo: Callable[[ReceivedRequest], str]
    ) -> None:
        """A sink quotes what it refuses; the error does not."""
        fault = self._fails(server, forwarder, _echoing(self.refused[0], echo), SchemaMismatchError)

        assert [] == _told_of_a_person(fault)

    @pytest.mark.parametrize("echo", _ECHOES.values(), ids=_ECHOES.keys())
    def test_what_a_sink_in_trouble_echoes_is_not_told(
        self, server: ScriptedServer, forwarder: Any, echo: Callable[[ReceivedRequest], str]
    ) -> None:
        """A sink quotes what it stumbled over; the error does not."""
        fault = self._fails(server, forwarder, _echoing(self.trouble[-1], echo))

        assert [] == _told_of_a_person(fault)

    def test_what_an_odd_header_echoes_is_not_told(self, server: ScriptedServer, forwarder: Any) -> None:
        """Nor is it logged, by whatever library reads the answer."""
        behaviour = answer(self.trouble[-1], headers={"X-Echo": f"see below\r\n{', '.join(PERSONAL)}"})

        fault = self._fails(server, forwarder, behaviour)

        assert [] == _told_of_a_person(fault)

    # What becomes of the connection

    @pytest.mark.parametrize("behaviour", _BROKEN.values(), ids=_BROKEN.keys())
    def test_a_broken_answer_is_the_sinks_fault(self, server: ScriptedServer, hasty: Any, behaviour: Behaviour) -> None:
        """Where there is no answer, or none to be understood, the sink is at fault, and the connection is given up."""
        self._fails(server, hasty, behaviour, hangs_up=True)

    @pytest.mark.parametrize("behaviour", _SLOW.values(), ids=_SLOW.keys())
    def test_a_call_is_over_at_the_deadline(self, server: ScriptedServer, hasty: Any, behaviour: Behaviour) -> None:
        """However the sink spends the time, also where it is never silent for long."""
        self._fails(server, hasty, behaviour, hangs_up=True)

    @pytest.mark.parametrize("behaviour", _WEAK_YES.values(), ids=_WEAK_YES.keys())
    def test_a_yes_in_an_odd_answer(self, server: ScriptedServer, hasty: Any, behaviour: Behaviour) -> None:
        """Whether it counts is for the forwarder to say; it says so in time, and keeps little of the answer."""
        event = make_event()
        server.default = behaviour
        tracemalloc.start()
        try:
            told = self._told(hasty, partial(_forward, hasty, event))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert told is None or isinstance(told, (Ack, *_SINKS_FAULT))
        assert peak < MAX_KEPT
        assert event.id in [audit_event_id for request in server.requests for audit_event_id in self.ids_in(request)]
        self._arrives(server, hasty, event)

    def test_a_sink_that_was_restarted(self, server: ScriptedServer, forwarder: Any) -> None:
        """A kept connection that has died is no fault: the event arrives."""
        before, after = make_event(), make_event()
        _forward(forwarder, before)
        server.stop()
        server.start()

        within(PATIENCE, _forward, forwarder, after)

        assert [before.id, after.id] == self.received(forwarder)

    def test_a_connection_that_is_closed_after_each_answer(self, server: ScriptedServer, forwarder: Any) -> None:
        """The sink closes it without a word of that, sooner or later than it is used again."""
        events = [make_event() for _ in range(20)]
        server.default = closed_after(self._take)

        for event in events:
            within(PATIENCE, _forward, forwarder, event)

        assert Counter(event.id for event in events) == Counter(self.received(forwarder))

    @pytest.mark.parametrize("is_read", [False, True], ids=["at once", "when it was read"])
    def test_a_connection_that_is_closed_when_it_is_used_again(
        self, server: ScriptedServer, forwarder: Any, is_read: bool
    ) -> None:
        """The sink gives up a kept connection while the request is on its way: the event arrives on another."""
        before, after = make_event(), make_event()
        _forward(forwarder, before)
        server.default = partial(self._on_another_connection, is_read)

        within(PATIENCE, _forward, forwarder, after)

        assert [before.id, after.id] == self.received(forwarder)

    def test_no_connection_is_left(self, server: ScriptedServer, forwarder: Any) -> None:
        """When it is closed, where it can be, it holds no connection, neither after a yes nor after a fault."""
        self._fails(server, forwarder, answer(503))

        if hasattr(forwarder, "close"):
            forwarder.close()
            assert server.wait_for_hang_up(PATIENCE)

    def test_is_safe_for_threads_while_the_sink_is_in_trouble(self, server: ScriptedServer, forwarder: Any) -> None:
        """Several threads forward at once, and try again what fails, until all has arrived."""
        batches = [[make_event() for _ in range(10)] for _ in range(4)]
        troubles: list[Behaviour] = [self._take, answer(503), self._take, reset_in_body, closed_after(self._take)]
        server.script(*islice(cycle(troubles), 50))

        run_in_threads([partial(self._forward_until_all_are_taken, forwarder, batch) for batch in batches])

        assert {event.id for batch in batches for event in batch} == set(self.received(forwarder))

    # Batches

    def test_a_batch_is_refused(self, server: ScriptedServer, forwarder: Any) -> None:
        """As a whole, or each of its events; they may be sent again."""
        if not hasattr(forwarder, "forward_batch"):
            return

        told, events = self._told_of_a_batch(server, forwarder, answer(self.refused[0]))

        assert [] == [answer for answer in told if not isinstance(answer, SchemaMismatchError)]
        self._arrive(server, forwarder, events)

    @pytest.mark.parametrize(
        "behaviour",
        [answer(503), reset_in_body, reset_after_request],
        ids=["503", "reset in the request", "reset after it"],
    )
    def test_a_batch_meets_trouble(self, server: ScriptedServer, forwarder: Any, behaviour: Behaviour) -> None:
        """It is the sink's fault, for all of them."""
        if not hasattr(forwarder, "forward_batch"):
            return

        told, events = self._told_of_a_batch(server, forwarder, behaviour)

        assert [] == [answer for answer in told if not isinstance(answer, _SINKS_FAULT)]
        self._arrive(server, forwarder, events)

    def test_a_batch_meets_trouble_in_its_midst(self, server: ScriptedServer, forwarder: Any) -> None:
        """A large one may take several requests: what was taken may be told, and nothing else is."""
        if not hasattr(forwarder, "forward_batch"):
            return
        server.script(self._take)

        told, events = self._told_of_a_batch(server, forwarder, answer(503), length=20_000)

        taken = {event.id for event, answer in zip(events, told, strict=True) if answer is None or type(answer) is Ack}
        others = [event for event in events if event.id not in taken]
        assert taken <= set(self.received(forwarder))
        assert len(others) == sum(isinstance(answer, _SINKS_FAULT) for answer in told)
        self._arrive(server, forwarder, others)

    # TLS

    def test_tls_with_a_private_ca(self, ca: Any, tmp_path: Path) -> None:
        """A certificate of the CA that is to be trusted is, and several calls take one handshake."""
        events = [make_event() for _ in range(3)]
        with self._tls(tmp_path, ca.issue_cert("localhost")) as (server, forwarder):
            for event in events:
                within(PATIENCE, _forward, forwarder, event)

            assert [event.id for event in events] == self.received(forwarder)
            assert (1, 1) == (server.connections, server.handshakes)

    @pytest.mark.parametrize("flaw", ["wrong host", "expired", "unknown CA"])
    def test_tls_with_a_certificate_that_proves_nothing(self, ca: Any, tmp_path: Path, flaw: str) -> None:
        """It is the sink's fault, and nothing is sent."""
        past = datetime.now(timezone.utc) - timedelta(days=1)
        certificate = {
            "wrong host": partial(ca.issue_cert, "other.example"),
            "expired": partial(ca.issue_cert, "localhost", not_before=past - timedelta(days=1), not_after=past),
            "unknown CA": partial(type(ca)().issue_cert, "localhost"),
        }[flaw]()
        with self._tls(tmp_path, certificate) as (server, forwarder):
            with pytest.raises(SinkError) as raised:
                within(PATIENCE + GRACE, _forward, forwarder, make_event())

            self._tells_nothing(raised.value, forwarder)
            assert [] == server.requests

    @pytest.mark.parametrize("behaviour", _BROKEN.values(), ids=_BROKEN.keys())
    def test_tls_with_a_broken_answer(self, ca: Any, tmp_path: Path, behaviour: Behaviour) -> None:
        """It is the sink's fault as it is without TLS."""
        with self._tls(tmp_path, ca.issue_cert("localhost"), SHORT) as (server, forwarder):
            self._fails(server, forwarder, behaviour, hangs_up=True)

    @pytest.mark.parametrize("behaviour", _SLOW.values(), ids=_SLOW.keys())
    def test_tls_is_over_at_the_deadline(self, ca: Any, tmp_path: Path, behaviour: Behaviour) -> None:
        """However the sink spends the time."""
        with self._tls(tmp_path, ca.issue_cert("localhost"), SHORT) as (server, forwarder):
            self._fails(server, forwarder, behaviour, hangs_up=True)

    def test_tls_with_a_sink_that_was_restarted(self, ca: Any, tmp_path: Path) -> None:
        """A kept connection that has died is no fault: the event arrives."""
        before, after = make_event(), make_event()
        with self._tls(tmp_path, ca.issue_cert("localhost")) as (server, forwarder):
            _forward(forwarder, before)
            server.stop()
            server.start()

            within(PATIENCE, _forward, forwarder, after)

            assert [before.id, after.id] == self.received(forwarder)

    def test_tls_with_a_connection_that_is_closed_after_each_answer(self, ca: Any, tmp_path: Path) -> None:
        """The sink closes it without a word of that, sooner or later than it is used again."""
        events = [make_event() for _ in range(20)]
        with self._tls(tmp_path, ca.issue_cert("localhost")) as (server, forwarder):
            server.default = closed_after(self._take)

            for event in events:
                within(PATIENCE, _forward, forwarder, event)

            assert Counter(event.id for event in events) == Counter(self.received(forwarder))

    @pytest.mark.parametrize("is_read", [False, True], ids=["at once", "when it was read"])
    def test_tls_with_a_connection_that_is_closed_when_it_is_used_again(
        self, ca: Any, tmp_path: Path, is_read: bool
    ) -> None:
        """The sink gives up a kept connection while the request is on its way: the event arrives on another."""
        before, after = make_event(), make_event()
        with self._tls(tmp_path, ca.issue_cert("localhost")) as (server, forwarder):
            _forward(forwarder, before)
            server.default = partial(self._on_another_connection, is_read)

            within(PATIENCE, _forward, forwarder, after)

            assert [before.id, after.id] == self.received(forwarder)

    # How it is told

    def test_its_representation_shows_no_secret(self, forwarder: Any) -> None:
        """It may stand in a log."""
        assert not self._has_secret(f"{forwarder!r} {forwarder}")

    @contextmanager
    def _accepting(self, server: ScriptedServer) -> Iterator[None]:
        self._held: list[ReceivedRequest] = []
        server.default = self._take
        yield

    def _take(self, exchange: Exchange) -> None:
        """Hold the request, and say yes to it."""
        request = exchange.request()
        self._held.append(request)
        self.yes(request)(exchange)

    def _on_another_connection(self, is_read: bool, exchange: Exchange) -> None:
        """Take what comes on a new connection, and close the first."""
        if exchange.head.connection == 1:
            _ = is_read and exchange.request()
            exchange.close()
        self._take(exchange)

    @contextmanager
    def _tls(
        self, directory: Path, certificate: Any, deadline: float = PATIENCE
    ) -> Iterator[tuple[ScriptedServer, Any]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        with ScriptedServer(tls=context) as server, self._accepting(server):
            made = self.tls_forwarder_for(server.url, directory / "ca.pem", deadline=deadline)
            with _closing(made) as forwarder:
                yield server, forwarder

    def _fails(
        self,
        server: ScriptedServer,
        forwarder: Any,
        behaviour: Behaviour,
        kind: Any = _SINKS_FAULT,
        *,
        hangs_up: bool = False,
    ) -> Any:
        """Return what is raised while the server behaves so: in time, without a secret, and the event is not lost."""
        event = make_event(**TOLD)
        server.default = behaviour
        told = self._told(forwarder, partial(_forward, forwarder, event))
        assert isinstance(told, kind)
        assert not hangs_up or server.wait_for_hang_up(PATIENCE)
        self._arrives(server, forwarder, event)
        return told

    def _told(self, forwarder: Any, call: Callable[[], Any]) -> Any:
        """Return what *call* returns, or raises."""
        try:
            return within(Route(forwarder).deadline + GRACE, call)
        except (SchemaMismatchError, *_SINKS_FAULT) as exc:
            self._tells_nothing(exc, forwarder)
            return exc

    def _told_of_a_batch(
        self, server: ScriptedServer, forwarder: Any, behaviour: Behaviour, length: int = 1
    ) -> tuple[list[Any], list[AuditEvent]]:
        """Return what is told of each event of a batch, and the events."""
        events = [
            make_event(metadata={"text": "x" * length}) for _ in range(min(40, getattr(forwarder, "max_events", 40)))
        ]
        server.default = behaviour
        told = self._told(forwarder, partial(_forward_batch, forwarder, events))
        return ([told] * len(events) if told is None or isinstance(told, Exception) else list(told)), events

    def _arrives(self, server: ScriptedServer, forwarder: Any, event: AuditEvent) -> None:
        """See that *event* is taken when it is sent again."""
        server.default = self._take
        _forward(forwarder, event)
        assert event.id in self.received(forwarder)

    def _arrive(self, server: ScriptedServer, forwarder: Any, events: Sequence[AuditEvent]) -> None:
        for event in events:
            self._arrives(server, forwarder, event)

    def _forward_until_all_are_taken(self, forwarder: Any, events: Sequence[AuditEvent]) -> None:
        for event in events:
            while self._told(forwarder, partial(_forward, forwarder, event)).__class__ not in {type(None), Ack}:
                pass

    def _tells_nothing(self, exc: BaseException, forwarder: Any) -> None:
        """See that no secret is in *forwarder*'s representation, or in what a crash reporter shows of *exc*."""
        assert [] == [text for text in (repr(forwarder), *_shown(exc)) if self._has_secret(text)]

    def _has_secret(self, text: str) -> bool:
        return any(secret in text for secret in self.secrets)


@contextmanager
def _closing(forwarder: Any) -> Iterator[Any]:
    """Give *forwarder*, and close it where it can be closed."""
    try:
        yield forwarder
    finally:
        getattr(forwarder, "close", lambda: None)()


def _chain(exc: BaseException) -> list[BaseException]:
    """Return *exc*, and what it came from."""
    found: list[BaseException] = []
    several: list[BaseException | None] = [exc]
    while several:
        one = several.pop()
        if one is not None and one not in found:
            found.append(one)
            several += [one.__cause__, one.__context__]
    return found


def _shown(exc: BaseException) -> Iterator[str]:
    """Yield what a crash reporter shows of *exc*: the texts, and every variable of every frame."""
    for one in _chain(exc):
        yield f"{one} {one!r} {vars(one)!r}"
        for frame, _ in walk_tb(one.__traceback__):
            yield from (f"{frame.f_code.co_name}: {name} = {value!r}" for name, value in frame.f_locals.items())


def _told_of_a_person(exc: BaseException) -> list[str]:
    """Return what *exc* tells of what only the event knows."""
    text = " ".join(f"{one} {one!r}" for one in _chain(exc))
    return [value for value in PERSONAL if value in text]


def _echoing(status: int, echo: Callable[[ReceivedRequest], str]) -> Behaviour:
    def act(exchange: Exchange) -> None:
        answer(status, echo(exchange.request()).encode())(exchange)

    return act
