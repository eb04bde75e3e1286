"""`Access`: a host's ledger and audit table, as an operator asks them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sigra_forward._event import DEFAULT_SOURCE
from sigra_forward._ledger import Cursor, Lane
from sigra_forward.errors import ConfigurationError
from sigra_forward.relay._pages import Pages
from sigra_forward.relay._readings import DAILY, SWEPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sigra_forward._audit_forward import AuditForward
    from sigra_forward._event import AuditEvent
    from sigra_forward._route import Route

PAGE = 1000
"""Rows, or receipts, that are read at once."""

_LEDGER = (
    *("now", "lane", "lanes", "receipts", "record", "next_due", "counts", "page", "cursors"),
    *("earliest_unpaid", "replay", "excuse", "lower"),
)
_SOURCE = ("get_many", "head", "scan")


class Access:
    """
    The ledger and the audit table of *host*, sync or async.

    Raises:
        ConfigurationError: It has no ledger, or a table that cannot be read from end to end.
    """

    def __init__(self, host: AuditForward) -> None:
        for role, port, methods in (("ledger", host.ledger, _LEDGER), ("repository", host.repository, _SOURCE)):
            missing = [name for name in methods if not callable(getattr(port, name, None))]
            if missing:
                msg = f"this needs an AuditForward whose {role} has {', '.join(missing)}: see sigra_forward.ports"
                raise ConfigurationError(msg)
        self.host = host
        self.ledger: Any = host.ledger
        self.table: Any = host.repository
        self.source = host.source or DEFAULT_SOURCE

    def ask(self, method: Any, *arguments: Any, **options: Any) -> Any:
        """Return what a port's method gives, awaited where it is async."""
        return self.host.bridge.call(lambda _: method(*arguments, **options), None, None)

    def lanes(self) -> list[Lane]:
        """Return the lanes of the host's audit table, those of forwarders that it has no route to included."""
        return [lane for lane in self.ask(self.ledger.lanes) if lane.source == self.source]

    def lane(self, forwarder: str) -> Lane:
        """
        Return the lane of one of the host's forwarders.

        Raises:
            ConfigurationError: There is no forwarder of that name.
        """
        self.route(forwarder)
        lane: Lane = self.ask(self.ledger.lane, self.source, forwarder, self.host.floor_of(forwarder))
        return lane

    def known_lane(self, forwarder: str) -> Lane:
        """
        Return the lane of that name, whether the host has a route to its forwarder or not.

        Raises:
            ConfigurationError: There is none.
        """
        lanes = self.lanes()
        for lane in lanes:
            if lane.forwarder == forwarder:
                return lane
        names = ", ".join(lane.forwarder for lane in lanes) or "none"
        msg = f"the ledger has no lane of that name; those of {self.source!r} are: {names}"
        raise ConfigurationError(msg)

    def route(self, forwarder: str) -> Route:
        """
        Return the route to *forwarder*.

        Raises:
            ConfigurationError: There is no forwarder of that name.
        """
        route = self.host.routes.get(forwarder)
        if route is None:
            names = ", ".join(self.host.routes) or "none"
            msg = f"there is no forwarder of that name; those of the AuditForward are: {names}"
            raise ConfigurationError(msg)
        return route

    def pages(self, lane: Lane) -> Pages:
        """Return what sorts the rows of *lane* as its relay does."""
        return Pages(self.ask, self.table, self.ledger, self.route(lane.forwarder), lane)


def wants(route: Route, event: AuditEvent) -> bool:
    """Tell whether *event* goes there; where the host's own function raises it does, as dispatch and relay have it."""
    try:
        return route.wants(event)
    except Exception:  # noqa: BLE001 - the relay charges the event with it, and tells
        return True


def swept_at(cursors: Mapping[str, Cursor]) -> datetime | None:
    """Return when the last daily sweep began that is finished, if there was one."""
    daily = cursors.get(DAILY)
    cursor = daily if daily is None or daily.until is None else cursors.get(SWEPT)
    return None if cursor is None else cursor.moved_at


def check_moments(caller: str, **moments: object) -> None:
    """
    See that each is an aware `datetime`, or ``None``.

    Raises:
        ConfigurationError: One is not.
    """
    for name, moment in moments.items():
        if moment is not None and not (isinstance(moment, datetime) and moment.tzinfo is not None):
            msg = f"{caller}({name}=...) must be a datetime with a time zone"
            raise ConfigurationError(msg)
