"""What the forwarders over HTTP are made of: answers, batches, secrets, signatures."""

from __future__ import annotations

import pickle
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

pytest.importorskip("urllib3")

from hypothesis import given
from hypothesis import strategies as st

from sigra_forward import ConfigurationError, SchemaMismatchError, SinkError
from sigra_forward.sinks.adapter import type_name
from sigra_forward.testing import make_event
from sigra_forward_http._answers import fault, retry_after
from sigra_forward_http._batches import Part, bodies, sent
from sigra_forward_http._endpoint import endpoint
from sigra_forward_http._secret import Secret, secret
from sigra_forward_http._signature import Signer
from sigra_forward_http._transport import Answer, _fault, _WasClosedError

NOW = datetime(2026, 11, 25, 12, tzinfo=timezone.utc)
EVENT = make_event()


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return an answer."""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, is_whole=True)


# Answers.


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        pytest.param(120.0, "120", id="seconds"),
        pytest.param(60.0, "Wed, 25 Nov 2026 12:01:00 GMT", id="date"),
        pytest.param(60.0, "Wednesday, 25-Nov-26 12:01:00 GMT", id="date_of_rfc_850"),
        pytest.param(None, "Wed, 25 Nov 2026 11:59:00 GMT", id="past"),
        pytest.param(None, "0", id="nought"),
        pytest.param(None, "-5", id="negative"),
        pytest.param(None, "1.5", id="fraction"),
        pytest.param(None, "9" * 400, id="absurd"),
        pytest.param(None, "²", id="not_ascii"),
        pytest.param(None, "soon", id="words"),
        pytest.param(None, "", id="empty"),
        pytest.param(None, "Wed, 99 Nov 2026 12:01:00 GMT", id="no_date"),
    ],
)
def test_retry_after(expected: float | None, text: str) -> None:
    """In seconds or as a date; what makes no sense is as if it were not there."""
    assert expected == retry_after(answer(429, retry_after=text), NOW)


@given(st.text())
def test_any_retry_after_is_a_number_of_seconds_or_nothing(text: str) -> None:
    """Nothing that a sink says there raises."""
    found = retry_after(answer(429, retry_after=text), NOW)

    assert found is None or found > 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_event_is_refused(status: int) -> None:
    """By these the sink blames the event."""
    found = fault(answer(status, b"no such field"), [EVENT])

    assert (SchemaMismatchError, f"http_{status}: no such field") == (type(found), str(found))


@pytest.mark.parametrize(
    "status", [100, 204, 301, 304, 307, 401, 403, 404, 408, 410, 425, 429, 500, 502, 503, 504, 599]
)
def test_the_sink_is_to_blame(status: int) -> None:
    """By all others, and what it asks for is told on."""
    found: Any = fault(answer(status, b"busy", retry_after="7"), [EVENT])

    assert (SinkError, f"http_{status}", 7.0) == (type(found), found.reason, found.retry_after)
    assert f"http_{status}: busy" == str(found)


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), BrokenPipeError(), ssl.SSLEOFError(), ssl.SSLZeroReturnError()], ids=type_name
)
def test_a_kept_connection_that_was_closed_is_no_fault_yet(error: Exception) -> None:
    """However TLS tells it: it is tried again on a new one, where the same is the sink's fault."""
    where = endpoint("https://siem.example", "Forwarder")

    told = [_fault(error, where, is_kept=is_kept) for is_kept in (True, False)]

    assert [True, False] == [isinstance(each, _WasClosedError) for each in told]


# Batches.


def part(number: int, size: int = 10) -> Part:
    """Return an event whose bytes are so many."""
    return Part(make_event(id=str(number)), b"x" * size)


class Sink:
    """Takes bodies; refuses those with *bad* in them, and is down after *calls*."""

    def __init__(self, *bad: str, calls: int = 10**6) -> None:
        self._bad = set(bad)
        self._left = calls
        self.bodies: list[list[str]] = []
        self.ids: list[str] = []

    def post(self, parts: Sequence[Part]) -> Sequence[None]:
        if not self._left:
            reason = "http_503"
            raise SinkError(reason)
        self._left -= 1
        ids = [each.event.id for each in parts]
        self.bodies.append(ids)
        if self._bad & set(ids):
            raise SchemaMismatchError
        self.ids += ids
        return [None] * len(parts)


def kinds(answers: Sequence[object]) -> list[type | None]:
    """Return the kinds of *answers*."""
    return [None if told is None else type(told) for told in answers]


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 8), st.integers(52, 200))
def test_bodies_hold_all_in_order_and_no_more_than_they_may(sizes: list[int], most: int, max_bytes: int) -> None:
    """Each event once, none where it makes a body too long."""
    parts = [part(number, size) for number, size in enumerate(sizes)]
    found = list(bodies(parts, most, max_bytes, 2))

    assert parts == [each for body in found for each in body]
    assert all(0 < len(body) <= most for body in found)
    assert all(sum(len(each.text) + 2 for each in body) <= max_bytes for body in found)


def test_one_body_is_told_of_as_a_whole() -> None:
    """Who asked finds out which event it is."""
    sink = Sink("1")
    with pytest.raises(SchemaMismatchError):
        sent([part(0), part(1)], sink.post, most=10, max_bytes=100)

    assert [["0", "1"]] == sink.bodies


def test_of_several_bodies_each_event_is_told_of() -> None:
    """What was taken counts: so the body that is refused is bisected here."""
    sink = Sink("5")
    answers = sent([part(number) for number in range(8)], sink.post, most=4, max_bytes=1000)

    assert [None] * 5 + [SchemaMismatchError] + [None] * 2 == kinds(answers)
    assert ["0", "1", "2", "3", "4", "6", "7"] == sink.ids


def test_what_is_too_long_alone_is_refused_and_not_sent() -> None:
    """The others are."""
    sink = Sink()
    answers = sent([part(0), part(1, 200), part(2)], sink.post, most=10, max_bytes=100)

    assert ([None, SchemaMismatchError, None], [["0", "2"]]) == (kinds(answers), sink.bodies)
    assert "too_long: the event takes 200 bytes, and 99 are allowed" == str(answers[1])


@pytest.mark.parametrize("bad", [(), ("4",), ("4", "6")], ids=["none", "one", "two"])
@pytest.mark.parametrize("calls", range(1, 12))
def test_a_sink_that_fails_half_way(calls: int, bad: tuple[str, ...]) -> None:
    """What it has taken counts, what it has refused is refused, and the rest is its fault; it is not called again."""
    sink = Sink(*bad, calls=calls)
    answers = sent([part(number) for number in range(8)], sink.post, most=4, max_bytes=1000)

    assert sorted(sink.ids) == [str(place) for place, told in enumerate(answers) if told is None]
    assert set(bad) >= {str(place) for place, told in enumerate(answers) if isinstance(told, SchemaMismatchError)}
    assert set(kinds(answers)) <= {None, SchemaMismatchError, SinkError}
    assert 8 == len(answers)


def test_a_sink_that_takes_nothing() -> None:
    """It is told of at once."""
    with pytest.raises(SinkError):
        sent([part(number) for number in range(8)], Sink(calls=0).post, most=4, max_bytes=1000)


# Secrets.


def test_a_secret_shows_itself_to_nobody() -> None:
    """Neither as text, nor in a pickle."""
    hidden = secret("hunter2", "token=...")

    assert ("hunter2", "Secret('…')", "Secret('…')") == (hidden.reveal(), repr(hidden), str(hidden))
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(hidden)
    assert hidden is secret(hidden, "token=...")


@pytest.mark.parametrize("text", [None, "", "a b", "a\r\nX: b", "ä", 7], ids=repr)
def test_what_can_stand_in_no_header_is_no_secret(text: Any) -> None:
    """The error names the option."""
    with pytest.raises(ConfigurationError, match=r"^token=\.\.\. must be a str of ASCII characters without blanks$"):
        secret(text, "token=...")


# Signatures.

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def test_the_published_vector() -> None:
    """The one of the specification, and of its libraries."""
    signed = Signer(KEY, "secrets").signed("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == signed


@pytest.mark.parametrize("given", [KEY, OTHER], ids=["old", "new"])
def test_the_official_library_verifies(given: str) -> None:
    """By each of the secrets, while they are changed."""
    standardwebhooks = pytest.importorskip("standardwebhooks")
    moment, body = datetime.now(timezone.utc), '{"a": "ü"}'
    signed = Signer([KEY, OTHER], "secrets").signed("evt_1", int(moment.timestamp()), body.encode())
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signed,
    }

    assert {"a": "ü"} == standardwebhooks.Webhook(given).verify(body, headers)


@pytest.mark.parametrize(
    "secrets",
    [
        pytest.param("", id="empty"),
        pytest.param([], id="none"),
        pytest.param(None, id="null"),
        pytest.param("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", id="no_prefix"),
        pytest.param("whsec_short", id="no_base64"),
        pytest.param("whsec_MfKQ9r8GKYqr", id="short"),
        pytest.param("whsec_" + "A" * 88, id="long"),
        pytest.param([KEY, "SECRET"], id="one_of_two"),
        pytest.param(KEY.encode(), id="bytes"),
    ],
)
def test_what_is_no_secret_of_a_webhook(secrets: Any) -> None:
    """The error says what one looks like, and quotes nothing."""
    with pytest.raises(
        ConfigurationError, match=r"^secrets must be a secret, or several while you change it"
    ) as caught:
        Signer(secrets, "secrets")

    assert "SECRET" not in str(caught.value)
    assert "MfKQ" not in str(caught.value)


def test_a_signer_shows_no_key() -> None:
    """As everything that holds a secret."""
    assert "Signer(…)" == repr(Signer(KEY, "secrets"))


def test_each_time_is_signed_anew() -> None:
    """Under the same id, with the time of the attempt."""
    signer = Signer(KEY, "secrets")
    first, second = (signer.signed("evt_1", int((NOW + timedelta(seconds=more)).timestamp()), b"{}") for more in (0, 1))

    assert first != second


def test_secrets_compare_by_themselves() -> None:
    """Nobody finds one out by comparing."""
    assert Secret("a") != Secret("a")
