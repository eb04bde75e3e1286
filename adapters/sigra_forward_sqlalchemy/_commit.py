"""`dispatch_on_commit`: rows that a session has written are dispatched when they are committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define
from sqlalchemy import event, inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import InstanceState, Mapper, Session, SessionTransaction

from sigra_forward import AuditEvent, ConfigurationError
from sigra_forward.stores.adapter import log_error, type_name
from sigra_forward_sqlalchemy._repository import SQLAlchemyAuditRepository

if TYPE_CHECKING:
    from sigra_forward import AuditForward


def dispatch_on_commit(session_factory: Any, audit_forward: AuditForward, model: type[Any], /) -> CommitHook:
    """
    Dispatch each row of *model* that a session writes, once the outermost transaction that wrote it has committed.

    What a savepoint rolled back is not dispatched, nor what the whole transaction did. Nothing is raised into the
    commit: what goes wrong is logged, and the row stays owed where there is a ledger. The event is made of what the
    flush left in memory, as the repository of *audit_forward* spells it; where that is not all, because the database
    has filled in a column, or the row was changed later in the transaction, it is read anew after the commit. On async
    sessions the dispatch is awaited.

    Only what goes through the unit of work is heard: ``session.add`` and ``add_all``, ``merge``, and cascades. The
    session is told of no object by ``session.execute(insert(...))``, by the ``bulk_*`` methods, by Core inserts on the
    session's connection, by triggers, or by another program; nor is it told when a transaction ends that its connection
    was in before the session came to it. Such rows are the relay's to find, as all are that a crash lets slip.

    Args:
        session_factory: A ``sessionmaker`` or ``scoped_session``, sync or async, a class of sessions, or one session.
        audit_forward: What dispatches.
        model: The mapped class of the audit table; its subclasses are heard too.

    Returns:
        A handle whose ``detach()`` ends it.

    Raises:
        ConfigurationError: One of them is something else.
    """
    try:
        mapper = inspect(model)
    except NoInspectionAvailable:
        mapper = None
    if not isinstance(mapper, Mapper):
        msg = f"dispatch_on_commit(..., model) takes a mapped class; got {model!r:.100}"
        raise ConfigurationError(msg)
    hook = CommitHook(audit_forward, mapper)
    hook.attach(session_factory)
    return hook


@define(eq=False)
class _Written:
    """
    One row of a transaction that has not ended.

    Args:
        audit_event_id: Its id.
        event: It, as the flush left it; ``None``: it must be read anew.
        connection: What it was written on.
    """

    audit_event_id: str
    event: AuditEvent | None
    connection: Any


_Rows = dict[InstanceState[Any], _Written]


class CommitHook:
    """What `dispatch_on_commit` has set up, until `detach`."""

    def __init__(self, audit_forward: AuditForward, mapper: Mapper[Any]) -> None:
        self._audit_forward = audit_forward
        self._mapper = mapper
        self._undo: list[Callable[[], object]] = []
        self._is_async = False

    def attach(self, session_factory: Any) -> None:
        """Listen to the sessions of *session_factory*."""
        target, self._is_async = self._target(session_factory)
        listeners: dict[str, Callable[..., object]] = {
            "after_flush": self._after_flush,
            "after_commit": self._after_commit,
            "after_transaction_end": self._after_transaction_end,
        }
        for name, listener in listeners.items():
            event.listen(target, name, listener)
            self._undo.append(partial(event.remove, target, name, listener))

    def detach(self) -> None:
        """Hear nothing more. What was written in a transaction that is open is left to the relay."""
        while self._undo:
            self._undo.pop()()

    def _target(self, factory: Any) -> tuple[Any, bool]:
        """Return what SQLAlchemy can listen to, and whether its sessions are async."""
        factory = getattr(factory, "session_factory", factory)  # of one that is scoped
        if isinstance(factory, Session) or (isinstance(factory, type) and issubclass(factory, Session)):
            return factory, False
        if isinstance(getattr(factory, "sync_session", None), Session):
            return factory.sync_session, True
        kind = getattr(factory, "class_", factory)
        if isinstance(kind, type) and issubclass(kind, Session):
            return factory, False
        if not hasattr(kind, "sync_session_class"):
            msg = (
                "dispatch_on_commit(session_factory, ...) takes a sessionmaker or a scoped_session, sync or async, "
                f"a class of sessions, or a session; got {type(factory).__name__}"
            )
            raise ConfigurationError(msg)
        return self._own_sessions(factory, kind), True

    def _own_sessions(self, factory: Any, kind: Any) -> type[Session]:
        """Have an async factory make sessions of a class of its own, so that no others are heard."""
        before = getattr(factory, "kw", {}).get("sync_session_class") or kind.sync_session_class
        own: type[Session] = type(before.__name__, (before,), {})
        if hasattr(factory, "configure"):
            factory.configure(sync_session_class=own)
            self._undo.append(lambda: factory.configure(sync_session_class=before))
        else:
            kind.sync_session_class = own
            self._undo.append(lambda: setattr(kind, "sync_session_class", before))
        return own

    def _after_flush(self, session: Session, _: object) -> None:
        try:
            self._collect(session)
        except Exception as exc:  # noqa: BLE001 - the host's transaction goes on
            log_error("what was written could not be noted for dispatch, and is left to the relay: %s", type_name(exc))

    def _collect(self, session: Session) -> None:
        parts = self._parts(session)
        for changed in (*session.dirty, *session.deleted):
            for rows in parts.values():
                if (written := rows.get(inspect(changed))) is not None:
                    written.event = None
        new = [inspect(row) for row in session.new if isinstance(row, self._mapper.class_)]
        if new:
            place = session.get_nested_transaction() or session.get_transaction()
            connection = session.connection(bind_arguments={"mapper": self._mapper})
            rows = parts.setdefault(place, {})
            rows |= {state: _Written(*self._told(state), connection) for state in new}

    def _told(self, state: InstanceState[Any]) -> tuple[str, AuditEvent | None]:
        repository = self._audit_forward.repository
        if isinstance(repository, SQLAlchemyAuditRepository):
            return repository.told(state)
        (key, *_) = state.mapper.primary_key_from_instance(state.obj())
        return str(key), None

    def _after_commit(self, session: Session) -> None:
        """Hand what was written in a savepoint to what it stands in; of a whole transaction, note that it is there."""
        parts = self._parts(session)
        ended = session.get_nested_transaction() or session.get_transaction()
        rows = parts.pop(ended, None)
        if rows is None or ended is None:
            return
        above = _above(ended)
        parts.setdefault(_COMMITTED if above is None else above, {}).update(rows)

    def _after_transaction_end(self, session: Session, ended: SessionTransaction) -> None:
        parts = self._parts(session)
        parts.pop(ended, None)  # it was rolled back
        if ended.parent is None:
            rows = parts.pop(_COMMITTED, {})
            parts.clear()
            for written in _surely_committed(rows.values()):
                self._dispatch(written)

    def _dispatch(self, written: _Written) -> None:
        try:
            if self._is_async:
                from sqlalchemy.util import await_only

                await_only(self._adispatched(written))
            else:
                self._dispatched(written)
        except Exception as exc:  # noqa: BLE001 - the commit is done, and nothing may be raised into it
            log_error(
                "event %s was committed but not dispatched, and is left to the relay: %s",
                written.audit_event_id,
                type_name(exc),
            )

    def _dispatched(self, written: _Written) -> None:
        committed = written.event
        if committed is None:
            host = self._audit_forward
            committed = host.bridge.call(host.repository.get, written.audit_event_id, None)
        if committed is not None:
            self._audit_forward.dispatch(committed)

    async def _adispatched(self, written: _Written) -> None:
        committed = written.event
        if committed is None:
            host = self._audit_forward
            committed = await host.bridge.acall(host.repository.get, written.audit_event_id)
        if committed is not None:
            await self._audit_forward.adispatch(committed)

    def _parts(self, session: Session) -> dict[object, _Rows]:
        parts: dict[object, _Rows] = session.info.setdefault(self, {})
        return parts


_COMMITTED = "committed"


def _above(ended: SessionTransaction) -> SessionTransaction | None:
    """Return the savepoint, or the whole transaction, that *ended* is in."""
    above = ended.parent
    while above is not None and above.parent is not None and not above.nested:
        above = above.parent
    return above


def _surely_committed(rows: Iterable[_Written]) -> Iterable[_Written]:
    """Leave out what is in a transaction that was there before the session came, and that may yet be rolled back."""
    for written in rows:
        if written.connection.closed or not written.connection.in_transaction():
            yield written
