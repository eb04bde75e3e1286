"""What one perform came to: the closed sets, and the values that carry them."""

from __future__ import annotations

import pickle
from enum import Enum

import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError

from sigra_forward import Ack, CancelReason, Fault, Outcome, Result, Settlement, SinkError, State
from sigra_forward._outcome import CANCELLED, COMPLETED, DISCARDED
from tests.support_values import SECRET

FULL = Result(
    outcome=Outcome.ERROR,
    reason="http_503",
    detail="busy",
    fault=Fault.SINK,
    retry_after=60.0,
    duplicate=True,
    ack=Ack("7", "202", "abc"),
    exception=SinkError(SECRET),
    settlement=Settlement(State.RETRYABLE, 60),
)


@pytest.mark.parametrize(
    ("expected", "kind"),
    [
        pytest.param({"OK": "ok", "CANCEL": "cancel", "ERROR": "error"}, Outcome, id="outcome"),
        pytest.param(
            {
                "AUDIT_EVENT_NOT_FOUND": "audit_event_not_found",
                "UNKNOWN_FORWARDER": "unknown_forwarder",
                "SCHEMA_MISMATCH": "schema_mismatch",
                "INVALID_JOB_ARGS": "invalid_job_args",
                "NOT_ROUTED": "not_routed",
            },
            CancelReason,
            id="cancel-reason",
        ),
        pytest.param({"EVENT": "event", "SINK": "sink"}, Fault, id="fault"),
        pytest.param(
            {
                "COMPLETED": "completed",
                "RETRYABLE": "retryable",
                "CANCELLED": "cancelled",
                "DISCARDED": "discarded",
            },
            State,
            id="state",
        ),
    ],
)
def test_the_closed_sets(expected: dict[str, str], kind: type[Enum]) -> None:
    """The members are these, spelled as upstream and Oban do, and are no texts themselves."""
    assert (expected, False) == ({member.name: member.value for member in kind}, issubclass(kind, str))


def test_an_ack_may_say_nothing() -> None:
    """A sink that gives no receipt of its own leaves all three parts ``None``."""
    assert (None, None, None) == (Ack().ref, Ack().status, Ack().digest)


def test_an_ack_goes_by_position() -> None:
    """The parts of an ack are ref, status and digest, in this order."""
    assert Ack(ref="7", status="202", digest="abc") == Ack("7", "202", "abc")


def test_a_settlement_goes_by_position() -> None:
    """The parts of a settlement are its state, and when it is tried again, if it is."""
    assert (Settlement(state=State.RETRYABLE, retry_in=17), None) == (
        Settlement(State.RETRYABLE, 17),
        Settlement(State.COMPLETED).retry_in,
    )


def test_three_ends_are_settled_without_a_retry() -> None:
    """Completed, cancelled and discarded deliveries are never due again."""
    expected = [Settlement(State.COMPLETED), Settlement(State.CANCELLED), Settlement(State.DISCARDED)]

    assert expected == [COMPLETED, CANCELLED, DISCARDED]


def test_a_result_needs_an_outcome_alone() -> None:
    """All else that a result can tell is optional."""
    assert Result(Outcome.OK, None, None, None, None, False, None, None, None) == Result(Outcome.OK)


def test_a_result_hides_its_exception() -> None:
    """``repr`` shows neither the exception, which may quote rows and tokens, nor that there is one."""
    assert (False, False) == (SECRET in repr(FULL), "exception" in repr(FULL))


def test_a_result_is_compared_without_its_exception() -> None:
    """Two results that tell the same are equal, whatever was raised, and have one hash."""
    other = evolve(FULL, exception=None)

    assert (FULL, hash(FULL)) == (other, hash(other))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"outcome": Outcome.CANCEL}, id="outcome"),
        pytest.param({"reason": CancelReason.NOT_ROUTED}, id="reason"),
        pytest.param({"detail": None}, id="detail"),
        pytest.param({"fault": Fault.EVENT}, id="fault"),
        pytest.param({"retry_after": None}, id="retry-after"),
        pytest.param({"duplicate": False}, id="duplicate"),
        pytest.param({"ack": None}, id="ack"),
        pytest.param({"settlement": None}, id="settlement"),
    ],
)
def test_a_result_is_compared_in_all_else(changes: dict[str, object]) -> None:
    """Results that differ in anything but the exception are not equal."""
    assert evolve(FULL, **changes) != FULL


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_result_is_pickled_without_its_exception(protocol: int) -> None:
    """Pickled, a result keeps everything but the exception, of which nothing is in the bytes."""
    pickled = pickle.dumps(FULL, protocol)
    loaded = pickle.loads(pickled)

    assert (FULL, None, False) == (loaded, loaded.exception, SECRET.encode() in pickled)


def test_a_result_whose_exception_cannot_be_pickled_is_pickled() -> None:
    """An exception that holds what no pickle takes does not keep the result from being pickled."""
    result = Result(Outcome.ERROR, exception=RuntimeError(lambda: None))

    assert Result(Outcome.ERROR) == pickle.loads(pickle.dumps(result))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        pytest.param(FULL, "outcome", id="result"),
        pytest.param(COMPLETED, "state", id="settlement"),
        pytest.param(Ack(), "ref", id="ack"),
    ],
)
def test_values_are_frozen(value: object, name: str) -> None:
    """What an attempt came to cannot be changed afterwards."""
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, None)
