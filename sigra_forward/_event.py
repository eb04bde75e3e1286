"""`AuditEvent`: one committed row of the host's audit table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard
from uuid import UUID

from attrs import field, fields, frozen

from sigra_forward._json import json_safe
from sigra_forward._names import NAME_RULE, REFERENCE_RULE, is_name, is_reference, type_name

DEFAULT_SOURCE = "audit_events"

_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _id_text(value: Any) -> str | None:
    """Spell an id: a `UUID` and an integer become text, everything else is left as it is."""
    if value is None:
        return None
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if issubclass(kind, int) and kind is not bool:
        return int.__repr__(value)
    if issubclass(kind, UUID):
        return str(value)
    msg = f"an id must be text, an integer or a UUID; got {type_name(value)}"
    raise TypeError(msg)


def _required_id(value: object) -> str:
    text = _id_text(value)
    if not is_reference(text):
        msg = f"AuditEvent(id=...) must be {REFERENCE_RULE}"
        raise ValueError(msg)
    return text


def _require_aware(value: object, name: str) -> None:
    if not isinstance(value, datetime):
        msg = f"AuditEvent({name}=...) must be an aware datetime; got {type_name(value)}"
        raise TypeError(msg)
    if value.utcoffset() is None:
        msg = f"AuditEvent({name}=...) is naive: give it a tzinfo (stock repositories take tz=...)"
        raise ValueError(msg)


def _plain_dict(value: Mapping[str, object] | None) -> dict[str, object]:
    return dict(value) if value else {}


@frozen(kw_only=True, slots=False)  # filling a dict, and reading it, takes two thirds of the time
class AuditEvent:
    """
    One committed audit row, frozen. Hashable by (source, id).

    UUID and integer ids become text, by any of the ``*_id`` arguments. *metadata* and *extra* are copied into
    plain dicts, and so are the only parts that can change: leave them alone.

    Args:
        id: The row's id: 1 to 255 characters, none of them a control or a separator.
        action: What happened, such as ``"session.create"``.
        occurred_at: When, aware.
        source: The permanent name of the audit table. Events are identified by (source, id).
        outcome: ``"success"``, ``"failure"`` or ``"error"``, where the host records it.
        actor_id: Who did it.
        actor_type: What the actor is: ``"user"``, ``"admin"``, ``"system"``, …
        target_id: What it was done to.
        target_type: What the target is.
        ip_address: From where. Not in ``repr``.
        user_agent: With what. Not in ``repr``.
        organization_id: In which organisation.
        effective_user_id: On whose behalf, when somebody is impersonated.
        inserted_at: When the row was written, aware.
        metadata: The host's details. Not in ``repr``.
        extra: The host's other columns. Not in ``repr``.

    Raises:
        ValueError: *id* or *source* breaks its rule, *action* is empty, or a time is naive.
        TypeError: An id is neither text, integer nor UUID, or a time is no datetime.
    """

    id: str = field(converter=_required_id)
    action: str
    occurred_at: datetime
    source: str = DEFAULT_SOURCE
    outcome: str | None = None
    actor_id: str | None = field(default=None, converter=_id_text)
    actor_type: str | None = None
    target_id: str | None = field(default=None, converter=_id_text)
    target_type: str | None = None
    ip_address: str | None = field(default=None, repr=False)
    user_agent: str | None = field(default=None, repr=False)
    organization_id: str | None = field(default=None, converter=_id_text)
    effective_user_id: str | None = field(default=None, converter=_id_text)
    inserted_at: datetime | None = None
    metadata: dict[str, object] = field(factory=dict, converter=_plain_dict, repr=False)
    extra: dict[str, object] = field(factory=dict, converter=_plain_dict, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.action, str) or not self.action:
            msg = "AuditEvent(action=...) must be a str that is not empty"
            raise ValueError(msg)
        if self.source is not DEFAULT_SOURCE and not is_name(self.source):
            msg = f"AuditEvent(source=...) must be {NAME_RULE}"
            raise ValueError(msg)
        if type(self.occurred_at) is not datetime or self.occurred_at.utcoffset() is None:
            _require_aware(self.occurred_at, "occurred_at")
        if self.inserted_at is not None:
            _require_aware(self.inserted_at, "inserted_at")

    def __hash__(self) -> int:
        return hash((self.source, self.id))

    @property
    def idempotency_key(self) -> str:
        """The key under which a sink may drop a repeat: the id if it is a canonical UUID, else ``source:id``."""
        return self.id if _CANONICAL_UUID.fullmatch(self.id) else f"{self.source}:{self.id}"

    def to_dict(self) -> dict[str, object]:
        """
        Return all fields, safe for any JSON encoder and for UTF-8.

        Times become ISO 8601; UUIDs, decimals and what JSON does not know become text; bytes become base64;
        sets become lists; numbers that are not finite become ``"NaN"``, ``"Infinity"``, ``"-Infinity"``, and
        integers beyond 64 bits text; lone surrogates become U+FFFD. What nests deeper than 100 levels, or holds
        itself, becomes ``"…"``, so that no nesting keeps an event from going out.
        """
        return {
            name: value if value is None or (type(value) is str and value.isascii()) else json_safe(value)
            for name, value in vars(self).items()
        }


FIELDS: tuple[str, ...] = tuple(attribute.name for attribute in fields(AuditEvent))


def is_event(value: object) -> TypeGuard[AuditEvent]:
    """Tell whether *value* is an `AuditEvent`, asking its type alone: an object may lie about its class."""
    return issubclass(type(value), AuditEvent)
