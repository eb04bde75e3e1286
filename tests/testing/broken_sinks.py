"""
Forwarders to HTTP sinks that each break one rule, under `SinkContract`, which must notice.

`test_http_server.py` runs this file in a pytest of its own; ``fails`` names the tests that must fail, and no others may.
"""
# ruff: noqa: D106

from __future__ import annotations

import json
import logging
import socket
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from threading import Timer
from time import monotonic
from typing import Any, ClassVar
from urllib.parse import urlsplit

from attrs import field, frozen

from sigra_forward import AuditEvent, SchemaMismatchError, SinkError
from sigra_forward.testing import ReceivedRequest, SinkContract

TOKEN = "token-5d41402abc4b2a76"


@frozen
class Answer:
    """What the sink has answered, which may quote what was sent."""

    status: int
    retry_after: str = field(repr=False)
    location: str = field(repr=False)
    body: str = field(repr=False)


class HTTPForwarder:
    """An honest forwarder: a connection for each event, and all of it within the deadline."""

    def __init__(self, url: str, deadline: float) -> None:
        self.url = url
        self.deadline = deadline

    def forward(self, event: AuditEvent) -> None:
        """POST one."""
        told = self.post(event, self.url)
        if told is None:
            raise SinkError("connection")
        self.judge(event, told)

    def post(self, event: AuditEvent, url: str) -> Answer | None:
        """Return what is answered; it raises nothing, for its frame holds a secret."""
        until = monotonic() + self.deadline
        with closing(HTTPConnection(urlsplit(url).netloc, timeout=self.deadline)) as connection:
            try:
                connection.connect()
                hang_up = self.hanging_up(connection.sock)
                try:
                    connection.request("POST", "/", json.dumps(event.to_dict()), {"X-Token": TOKEN})
                    with connection.getresponse() as response:
                        body = response.read(2**16).decode()
                finally:
                    hang_up.cancel()
                    hang_up.join()
            except (OSError, HTTPException):
                return None
        headers = response.headers
        answer = Answer(response.status, headers.get("Retry-After", ""), headers.get("Location", ""), body)
        return answer if monotonic() < until else None

    def hanging_up(self, connection: socket.socket) -> Timer:
        """Have *connection* end at the deadline."""

        def hang_up() -> None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        timer = Timer(self.deadline, hang_up)
        timer.start()
        return timer

    def judge(self, event: AuditEvent, told: Answer) -> None:
        """Raise what *told* means."""
        if told.status in {400, 413, 422}:
            raise SchemaMismatchError(f"http_{told.status}")
        if told.status != 200:
            raise SinkError(f"http_{told.status}", self.retry_after(told.retry_after))

    def retry_after(self, text: str) -> float | None:
        """Read seconds alone, or a date."""
        from sigra_forward_http import _answers
        from sigra_forward_http._transport import Answer as Told

        return _answers.retry_after(Told(503, {"retry-after": text}, b"", is_whole=True))


class SinkCase(SinkContract):
    """The contract for a kind of `HTTPForwarder`."""

    kind: ClassVar[type[HTTPForwarder]] = HTTPForwarder
    fails: ClassVar[set[str]] = set()
    secrets = (TOKEN,)

    def forwarder_for(self, url: str, **options: Any) -> HTTPForwarder:
        return self.kind(url, **options)

    def ids_in(self, request: ReceivedRequest) -> list[str]:
        return [json.loads(request.body)["id"]]


class TestHonestSink(SinkCase):
    """Nothing is wrong with it."""


class TestSinkFollowsRedirects(SinkCase):
    """It goes where it is sent."""

    fails = {"test_a_redirect_is_not_followed"}

    class kind(HTTPForwarder):
        def judge(self, event: AuditEvent, told: Answer) -> None:
            if told.location:
                told = self.post(event, told.location)
            super().judge(event, told)


class TestSinkQuotesTheSink(SinkCase):
    """Its errors have whatever the sink says."""

    fails = {
        f"test_what_a_{case}_echoes_is_not_told[{echo}]"
        for case in ("refusal", "sink_in_trouble")
        for echo in ("body", "values", "headers", "headers of its own")
    }

    class kind(HTTPForwarder):
        def judge(self, event: AuditEvent, told: Answer) -> None:
            try:
                super().judge(event, told)
            except SchemaMismatchError as exc:
                raise SchemaMismatchError(f"{exc}: {told.body}") from None
            except SinkError as exc:
                raise SinkError(exc.reason, exc.retry_after, detail=told.body) from None


class TestSinkHasNoDeadlineInAll(SinkCase):
    """It bounds each operation of the socket, and not all of them together."""

    fails = {
        "test_a_call_is_over_at_the_deadline[header drips]",
        "test_a_call_is_over_at_the_deadline[body drips]",
        "test_a_call_is_over_at_the_deadline[never more than an interim answer]",
        "test_a_yes_in_an_odd_answer[dripped]",
    }

    class kind(HTTPForwarder):
        def hanging_up(self, connection: socket.socket) -> Timer:
            timer = Timer(0, lambda: None)
            timer.start()
            return timer


class TestSinkBlamesTheEvent(SinkCase):
    """It takes a 503 for a refusal."""

    fails = {
        "test_a_sink_is_in_trouble[503]",
        "test_retry_after_in_seconds[503]",
        "test_retry_after_as_a_date[503]",
        "test_junk_in_retry_after_is_ignored",
        "test_a_broken_answer_is_the_sinks_fault[truncated trouble]",
        "test_a_broken_answer_is_the_sinks_fault[endless trouble]",
        "test_no_connection_is_left",
    }

    class kind(HTTPForwarder):
        def judge(self, event: AuditEvent, told: Answer) -> None:
            if told.status == 503:
                raise SchemaMismatchError("http_503")
            super().judge(event, told)


class TestSinkHoldsItsTokenInAFrame(SinkCase):
    """A crash reporter that shows the variables of the frames has its token."""

    fails = {"test_an_event_is_refused[413]"}

    class kind(HTTPForwarder):
        def judge(self, event: AuditEvent, told: Answer) -> None:
            if told.status == 413:
                headers = {"X-Token": TOKEN}
                raise SchemaMismatchError(f"too long with {len(headers)} headers")
            super().judge(event, told)


class TestSinkLogsItsToken(SinkCase):
    """It logs what it sends where it is refused."""

    fails = {"test_an_event_is_refused[422]"}

    class kind(HTTPForwarder):
        def judge(self, event: AuditEvent, told: Answer) -> None:
            if told.status == 422:
                logging.getLogger("host.sink").debug("X-Token: %s", TOKEN)
            super().judge(event, told)


class TestSinkLosesWhatWasRefused(SinkCase):
    """It remembers an event that was refused, and does not send it again though the sink would take it."""

    fails = {"test_an_event_is_refused", "test_what_a_refusal_echoes_is_not_told"}

    class kind(HTTPForwarder):
        refused: ClassVar[set[str]] = set()

        def forward(self, event: AuditEvent) -> None:
            if event.id in self.refused:
                return
            try:
                super().forward(event)
            except SchemaMismatchError:
                self.refused.add(event.id)
                raise


class TestSinkKeepsAllOfAnAnswer(SinkCase):
    """It reads whatever is answered, all of it."""

    fails = {"test_a_yes_in_an_odd_answer[endless]"}

    class kind(HTTPForwarder):
        def post(self, event: AuditEvent, url: str) -> Answer | None:
            answer = super().post(event, url)
            if answer is not None and len(answer.body) == 2**16 and answer.status == 200:
                _ = b"x" * 2**24
            return answer
