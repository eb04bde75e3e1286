"""`JobArgs`, the thin reference that travels in a job: never a payload, never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from attrs import field, frozen

from sigra_forward._instants import parse_iso
from sigra_forward._names import REFERENCE_RULE, is_reference, type_name
from sigra_forward.errors import InvalidJobArgsError


def _reference(value: object, key: str) -> str:
    if not is_reference(value):
        what = "it breaks that rule" if type(value) is str else f"got {type_name(value)}"
        msg = f"job args key {key!r} must be a str of {REFERENCE_RULE}; {what}"
        raise InvalidJobArgsError(msg)
    return value


def _utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if not issubclass(type(value), datetime):
        msg = f"job args key 'occurred_at' must be an aware datetime or None; got {type_name(value)}"
        raise InvalidJobArgsError(msg)
    if type(value) is datetime and value.tzinfo is timezone.utc:
        return value
    try:
        if value.utcoffset() is not None:
            return value.astimezone(timezone.utc)
    except Exception as exc:  # a tzinfo is foreign code, and the ends of the calendar overflow
        msg = "job args key 'occurred_at' cannot be told in UTC"
        raise InvalidJobArgsError(msg) from exc
    msg = "job args key 'occurred_at' must be aware: give it a tzinfo, such as datetime.timezone.utc"
    raise InvalidJobArgsError(msg)


@frozen
class JobArgs:
    """
    Which event goes to which forwarder.

    Args:
        forwarder: The name under which the forwarder is registered.
        audit_event_id: The id of the audit row, as the repository spells it.
        occurred_at: When it happened, aware; held as UTC. For tracing and ``not_found_grace`` alone.

    Raises:
        InvalidJobArgsError: A text is no exact `str` of 1 to 255 characters without control, surrogate
            and separator characters, or *occurred_at* is naive. The message never echoes the value.
    """

    forwarder: str = field()
    audit_event_id: str = field()
    occurred_at: datetime | None = field(default=None, converter=_utc)

    def __attrs_post_init__(self) -> None:
        _reference(self.forwarder, "forwarder")
        _reference(self.audit_event_id, "audit_event_id")

    def to_dict(self) -> dict[str, str | None]:
        """Return exactly the three keys, as text (``occurred_at`` in ISO 8601, or ``None``)."""
        occurred_at = self.occurred_at
        return {
            "forwarder": self.forwarder,
            "audit_event_id": self.audit_event_id,
            "occurred_at": None if occurred_at is None else occurred_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, object]) -> JobArgs:
        """
        Read the three keys of *mapping*, ignoring all others.

        A malformed or missing ``occurred_at`` is taken as ``None``.

        Raises:
            InvalidJobArgsError: *mapping* is none, or one of the other two keys is missing or malformed.
        """
        forwarder, audit_event_id = reference_in(mapping)
        return cls(forwarder, audit_event_id, instant_in(mapping))


def reference_in(mapping: Mapping[str, object]) -> tuple[str, str]:
    """
    Return the forwarder and the event's id that job args name, as they stand in a queue.

    Raises:
        InvalidJobArgsError: As `JobArgs.from_dict` does.
    """
    if type(mapping) is dict:
        forwarder, audit_event_id = mapping.get("forwarder"), mapping.get("audit_event_id")
        if is_reference(forwarder) and is_reference(audit_event_id):
            return forwarder, audit_event_id
    return _read_with_care(mapping)


def _read_with_care(mapping: Mapping[str, object]) -> tuple[str, str]:
    try:
        readable = isinstance(mapping, Mapping)
    except Exception:  # noqa: BLE001 - what an object says of its own class is foreign code
        readable = False
    if not readable:
        msg = f"job args must be a mapping with the keys forwarder and audit_event_id; got {type_name(mapping)}"
        raise InvalidJobArgsError(msg)
    forwarder = _reference(_get(mapping, "forwarder"), "forwarder")
    return forwarder, _reference(_get(mapping, "audit_event_id"), "audit_event_id")


def _get(mapping: Mapping[str, object], key: str) -> object:
    try:
        return mapping[key]
    except KeyError:
        msg = f"job args key {key!r} is missing"
    except Exception as exc:  # noqa: BLE001 - a hostile mapping may raise anything
        msg = f"job args key {key!r} cannot be read: {type_name(exc)}"
    raise InvalidJobArgsError(msg)


def instant_in(mapping: Mapping[str, object]) -> datetime | None:
    """Return when the event happened that job args name, where that can be told."""
    try:
        value = mapping["occurred_at"]
        return _utc(parse_iso(value)) if type(value) is str else None
    except Exception:  # noqa: BLE001 - for tracing only: never a reason to refuse a job
        return None
