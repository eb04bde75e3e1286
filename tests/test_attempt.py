"""One attempt: the decisions that perform and dispatch take about it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from attrs import evolve

from sigra_forward import (
    Ack,
    CancelReason,
    ConfigurationError,
    Dispatch,
    Fault,
    JobArgs,
    Outcome,
    Result,
    RetryPolicy,
    Route,
    SchemaMismatchError,
    Settlement,
    SinkError,
    State,
)
from sigra_forward._attempt import Attempt, answered, own_words, refused, unread
from sigra_forward.telemetry import Delivered, Discarded, Failed
from sigra_forward.testing import RecordingForwarder, RecordingTelemetry
from tests.support_ids import spelled
from tests.support_perform import (
    CANCELLED,
    COMPLETED,
    DISCARDED,
    EVENT,
    JOB,
    POLICY,
    RETRY,
    SECRET,
    RaisingTelemetry,
    gives,
    raises,
)

FAILURE = Result(Outcome.ERROR, "http_503", "http_503: busy", Fault.SINK, exception=SinkError("http_503"))
CANCEL = Result(Outcome.CANCEL, CancelReason.NOT_ROUTED)


def attempt_with(number: int = 1, policy: RetryPolicy = POLICY, **options: Any) -> Attempt:
    """Return an attempt at the event whose route has *options*."""
    return Attempt(Route(RecordingForwarder(), **options), "siem", EVENT.id, number=number, policy=policy)


def of_job(args: Any = JOB, forwarders: Any = None, attempt: Any = 1, policy: Any = POLICY) -> Attempt:
    """Read a job for *forwarders*, which are one "siem" by default."""
    forwarders = {"siem": RecordingForwarder()} if forwarders is None else forwarders
    return Attempt.of_job(args, forwarders, attempt, policy, None, RecordingTelemetry())


class TestOfJob:
    """What is known from the job alone."""

    def test_known(self) -> None:
        """Where the forwarder is registered, nothing is decided yet."""
        attempt = of_job(attempt=3)

        assert None is attempt.ended
        assert ("siem", EVENT.id, EVENT.occurred_at, 3) == (
            attempt.forwarder,
            attempt.audit_event_id,
            attempt.occurred_at,
            attempt.number,
        )

    def test_is_a_jobs(self) -> None:
        """An attempt of a job is told as async, and may be followed by another."""
        assert (Dispatch.ASYNC, False) == (of_job().dispatch, of_job().final)

    def test_route(self) -> None:
        """A registered `Route` is taken as it is."""
        route = Route(RecordingForwarder(), actions=("auth.*",))

        assert route is of_job(forwarders={"siem": route}).route

    def test_forwarder(self) -> None:
        """A registered forwarder gets a route that wants everything."""
        forwarder = RecordingForwarder()

        assert Route(forwarder) == of_job(forwarders={"siem": forwarder}).route

    def test_policy(self) -> None:
        """The policy is the route's own, where it has one."""
        own = RetryPolicy(max_attempts=9)

        assert own is of_job(forwarders={"siem": Route(RecordingForwarder(), policy=own)}).policy
        assert POLICY is of_job().policy

    def test_malformed(self) -> None:
        """Malformed args end the job, and name nothing."""
        attempt = of_job({"forwarder": "siem", "audit_event_id": 17})

        assert CancelReason.INVALID_JOB_ARGS is attempt.ended.reason
        assert ("", "", None) == (attempt.forwarder, attempt.audit_event_id, attempt.occurred_at)

    def test_no_forwarder(self) -> None:
        """A registered object that cannot forward ends the job, with what is wrong with it."""
        ended = of_job(forwarders={"siem": object()}).ended

        assert CancelReason.UNKNOWN_FORWARDER is ended.reason
        assert ConfigurationError is type(ended.exception)

    def test_unknown(self) -> None:
        """A name that is not registered ends the job, and is told."""
        attempt = of_job(JobArgs("nobody", "17"))

        assert Result(Outcome.CANCEL, CancelReason.UNKNOWN_FORWARDER) == attempt.ended
        assert ("nobody", "17") == (attempt.forwarder, attempt.audit_event_id)

    def test_never_imports(self) -> None:
        """A name in a job that could be imported is just a name that is not registered."""
        modules = set(sys.modules)

        attempt = of_job(JobArgs("antigravity:geohash", "17"))

        assert CancelReason.UNKNOWN_FORWARDER is attempt.ended.reason
        assert modules == set(sys.modules)


class TestOutgoing:
    """What the sink shall see."""

    def test_as_it_is(self) -> None:
        """Without `transform` the sink sees the committed event itself."""
        assert EVENT is attempt_with().outgoing(EVENT)

    def test_transformed(self) -> None:
        """With it, the sink sees what it returns."""
        redacted = evolve(EVENT, ip_address=None)

        assert redacted is attempt_with(transform=gives(redacted)).outgoing(EVENT)

    def test_names_the_committed_event(self) -> None:
        """From then on the attempt names the event as the repository spells it, and its action."""
        attempt = attempt_with()
        attempt.audit_event_id = EVENT.id.upper()

        attempt.outgoing(EVENT)

        assert (EVENT.id, EVENT.action) == (attempt.audit_event_id, attempt.action)

    def test_not_wanted(self) -> None:
        """An event that the route does not want ends the job, and is named all the same."""
        attempt = attempt_with(actions=("mfa.*",))

        assert CANCEL == attempt.outgoing(EVENT)
        assert EVENT.action == attempt.action

    def test_transform_is_not_asked_about_what_is_not_wanted(self) -> None:
        """What is not wanted is not transformed."""
        attempt = attempt_with(actions=("mfa.*",), transform=raises(AssertionError()))

        assert CANCEL == attempt.outgoing(EVENT)

    def test_not_found(self) -> None:
        """A row that is not there ends the job."""
        assert Result(Outcome.CANCEL, CancelReason.AUDIT_EVENT_NOT_FOUND) == attempt_with().outgoing(None)

    def test_no_event(self) -> None:
        """What is no event is told by its type's name, and is nobody's fault."""
        detail = "the repository gave a str: it must give an AuditEvent or None"

        assert Result(Outcome.ERROR, "unexpected_return", detail) == attempt_with().outgoing(SECRET)


class TestAnswered:
    """What a forwarder returns."""

    def test_none(self) -> None:
        """`None` is yes."""
        assert Result(Outcome.OK, settlement=COMPLETED) == answered(None)

    def test_ack(self) -> None:
        """An `Ack` is yes, and is kept."""
        ack = Ack("17")

        assert ack is answered(ack).ack
        assert COMPLETED == answered(ack).settlement

    @pytest.mark.parametrize("answer", [True, 0, "", b"", [], {}, object(), Ack], ids=spelled)
    def test_anything_else(self, answer: object) -> None:
        """Anything else is neither yes nor no: an error, told by its type's name."""
        result = answered(answer)

        assert (Outcome.ERROR, "unexpected_return", Fault.EVENT) == (result.outcome, result.reason, result.fault)
        assert f"forward() gave a {type(answer).__name__}: it must give None or an Ack" == result.detail


class TestRefused:
    """What a forwarder raises."""

    def test_schema_mismatch(self) -> None:
        """`SchemaMismatchError`: never again, and the event's fault."""
        expected = Result(Outcome.CANCEL, CancelReason.SCHEMA_MISMATCH, "no column", Fault.EVENT)

        assert expected == refused(SchemaMismatchError("no column"))

    def test_sink_error(self) -> None:
        """`SinkError`: the sink's fault, for its own reason, with what it asked for."""
        expected = Result(Outcome.ERROR, "http_429", "http_429: slow down", Fault.SINK, 30)

        assert expected == refused(SinkError("http_429", 30, detail="slow down"))

    @pytest.mark.parametrize(
        "kind", [OSError, TimeoutError, BrokenPipeError, FileNotFoundError], ids=lambda k: k.__name__
    )
    def test_os_error(self, kind: type[Exception]) -> None:
        """`OSError` and `TimeoutError`: the sink's fault, told by the type's name."""
        assert Result(Outcome.ERROR, kind.__name__, None, Fault.SINK) == refused(kind(SECRET))

    @pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, Exception], ids=lambda k: k.__name__)
    def test_any_other(self, kind: type[Exception]) -> None:
        """Anything else: the event's fault, told by the type's name."""
        assert Result(Outcome.ERROR, kind.__name__, None, Fault.EVENT) == refused(kind(SECRET))

    def test_both(self) -> None:
        """What is both a refusal of the event and the sink's fault is a refusal: it can never be accepted."""

        class BothError(SinkError, SchemaMismatchError):
            pass

        assert Outcome.CANCEL is refused(BothError("no")).outcome

    def test_timeout_by_name_alone(self) -> None:
        """An exception that is merely called `TimeoutError` is the event's fault, like any other foreign one."""
        namesake = type("TimeoutError", (Exception,), {"__module__": "asyncio.exceptions"})

        assert Fault.EVENT is refused(namesake()).fault

    @pytest.mark.parametrize(
        "make", [SchemaMismatchError, lambda text: SinkError("x", detail=text), OSError, ValueError], ids=range(4)
    )
    def test_exception_is_kept(self, make: Any) -> None:
        """The exception itself is in the result."""
        error = make("x")

        assert error is refused(error).exception


def test_unread() -> None:
    """What a repository raises is nobody's fault, whatever its type."""
    assert Result(Outcome.ERROR, "OSError") == unread(OSError(SECRET))
    assert Result(Outcome.ERROR, "SinkError", "busy") == unread(SinkError("busy", 30))


class TestOwnWords:
    """The message of our own errors."""

    @pytest.mark.parametrize("error", [ValueError(SECRET), OSError(SECRET), KeyboardInterrupt(SECRET)], ids=spelled)
    def test_foreign(self, error: BaseException) -> None:
        """Of a foreign exception there are none."""
        assert None is own_words(error)

    @pytest.mark.parametrize("length", [1, 499, 500])
    def test_short(self, length: int) -> None:
        """Up to 500 characters are kept as they are."""
        assert "x" * length == own_words(ConfigurationError("x" * length))

    def test_long(self) -> None:
        """The 501st and what follows are cut, visibly."""
        assert "x" * 499 + "…" == own_words(ConfigurationError("x" * 501))

    def test_control_characters(self) -> None:
        """What could break a log line is made visible."""
        assert "a\N{REPLACEMENT CHARACTER}b" == own_words(ConfigurationError("a\nb"))

    def test_broken(self) -> None:
        """A subclass whose `str()` raises has none."""

        class BrokenError(SinkError):
            def __str__(self) -> str:
                raise RuntimeError(SECRET)

        assert None is own_words(BrokenError("x"))


class TestConclude:
    """Settling a result, and telling of it."""

    NAMED = ("siem", EVENT.id, None, 1, Dispatch.ASYNC)

    def conclude(self, result: Result, **options: Any) -> tuple[Result, list[Any]]:
        """Conclude *result*; return it settled, and what was told."""
        telemetry = RecordingTelemetry()
        return Attempt(forwarder="siem", audit_event_id=EVENT.id, **options).conclude(
            result, telemetry
        ), telemetry.events

    def test_ok(self) -> None:
        """OK is completed, and told as `Delivered`."""
        settled, told = self.conclude(Result(Outcome.OK))

        assert (COMPLETED, [Delivered(*self.NAMED)]) == (settled.settlement, told)

    def test_cancel(self) -> None:
        """A cancel is cancelled, and told as `Failed`, with no next attempt."""
        settled, told = self.conclude(CANCEL)

        assert (CANCELLED, [Failed(*self.NAMED, Outcome.CANCEL, CancelReason.NOT_ROUTED)]) == (settled.settlement, told)

    def test_error(self) -> None:
        """An error is retried, and told as `Failed`, with the seconds until then."""
        settled, told = self.conclude(FAILURE, policy=POLICY)

        failed = Failed(*self.NAMED, Outcome.ERROR, "http_503", "http_503: busy", "SinkError", 7)
        assert (RETRY, [failed]) == (settled.settlement, told)

    @pytest.mark.parametrize(
        "options", [{"policy": RetryPolicy(max_attempts=1)}, {"policy": POLICY, "final": True}], ids=["last", "final"]
    )
    def test_discarded(self, options: dict[str, Any]) -> None:
        """An error of the last attempt, or of one that is final, is discarded, and told twice, in this order."""
        settled, told = self.conclude(FAILURE, **options)

        failed = Failed(*self.NAMED, Outcome.ERROR, "http_503", "http_503: busy", "SinkError", None)
        assert (DISCARDED, [failed, Discarded(*self.NAMED, "http_503")]) == (settled.settlement, told)

    def test_final_cancel(self) -> None:
        """A cancel of an attempt that is final is cancelled all the same, and not discarded."""
        settled, told = self.conclude(CANCEL, final=True)

        assert (CANCELLED, [Failed]) == (settled.settlement, [type(event) for event in told])

    def test_settled_already(self) -> None:
        """A result that is settled stays so."""
        settled = evolve(CANCEL, settlement=Settlement(State.COMPLETED))

        assert settled is self.conclude(settled)[0]

    def test_keeps_the_rest(self) -> None:
        """Settling changes nothing else, the exception included."""
        settled, _ = self.conclude(FAILURE, policy=POLICY)

        assert evolve(FAILURE, settlement=RETRY) == settled
        assert FAILURE.exception is settled.exception

    def test_dispatch(self) -> None:
        """What is told names the dispatch and the attempt."""
        _, told = self.conclude(Result(Outcome.OK), dispatch=Dispatch.SYNC, number=4)

        assert [("siem", EVENT.id, None, 4, Dispatch.SYNC)] == [tuple(event) for event in told]

    def test_telemetry_that_raises(self) -> None:
        """The result is settled whatever telemetry does."""
        telemetry = RaisingTelemetry(ValueError())

        assert COMPLETED == Attempt().conclude(Result(Outcome.OK), telemetry).settlement

    def test_order_out_of_the_backoff(self) -> None:
        """An order to the process that comes while settling is told instead, and goes on."""
        telemetry = RecordingTelemetry()
        attempt = Attempt(policy=RetryPolicy(backoff=raises(KeyboardInterrupt())))

        with pytest.raises(KeyboardInterrupt):
            attempt.conclude(FAILURE, telemetry)

        assert ["KeyboardInterrupt"] == [told.kind for told in telemetry.events]


def test_interrupted() -> None:
    """An order to the process is told as an error, by its type alone, with no next attempt."""
    telemetry = RecordingTelemetry()

    Attempt(None, "siem", EVENT.id).interrupted(SystemExit(SECRET), telemetry)

    named = ("siem", EVENT.id, None, 1, Dispatch.ASYNC)
    assert [Failed(*named, Outcome.ERROR, "SystemExit", None, "SystemExit", None)] == telemetry.events


def test_perform_loads_no_asyncio() -> None:
    """A job that fails under the bare sync function loads neither asyncio nor concurrent.futures."""
    script = """
import sys
from sigra_forward import perform
from sigra_forward.testing import InMemoryAuditRepository, RaisingForwarder, make_event
event = make_event()
args = {"forwarder": "siem", "audit_event_id": event.id}
ports = {"repository": InMemoryAuditRepository([event]), "forwarders": {"siem": RaisingForwarder(ValueError())}}
print(perform(args, **ports).fault.name, sorted({"asyncio", "concurrent.futures"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)

    assert "EVENT []\n" == done.stdout


def test_a_policy_that_raises_is_replaced_by_the_default_one(caplog: pytest.LogCaptureFixture) -> None:
    """A host's subclass of RetryPolicy raises nothing out of perform, and its message is not logged."""

    class BrokenPolicy(RetryPolicy):
        def delay(self, attempt: int, retry_after: object = None) -> int:
            msg = "secret"
            raise LookupError(msg)

    attempt = Attempt(number=1, policy=BrokenPolicy())

    settled = attempt.conclude(Result(Outcome.ERROR), RecordingTelemetry())

    assert settled.settlement is not None
    assert State.RETRYABLE is settled.settlement.state
    assert ["the RetryPolicy raised LookupError: the default one decides"] == caplog.messages


def test_a_failure_is_classified_where_asyncio_is_not_loaded() -> None:
    """A process that never loads asyncio can tell the sink's fault from the event's, and still has not loaded it."""
    code = """
import sys
from sigra_forward._attempt import refused
print(refused(ValueError()).fault.value, refused(TimeoutError()).fault.value, "asyncio" in sys.modules)
"""

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ["event", "sink", "False"] == run.stdout.split()
