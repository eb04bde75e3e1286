"""Which `RQQueue` of this process a queue's jobs are for: each queue of a server has one at most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

import redis

from sigra_forward import ConfigurationError

if TYPE_CHECKING:
    from sigra_forward_rq._queue import RQQueue


class Claim(NamedTuple):
    """One queue on one server."""

    server: tuple[object, ...]
    queue: str


_LOOPBACK = {"127.0.0.1", "::1", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}

_CLAIMS: WeakValueDictionary[Claim, RQQueue] = WeakValueDictionary()


def server_of(client: redis.Redis) -> tuple[object, ...]:
    """
    Return what tells the server, and the database on it, of one *client* from those of another.

    It asks nobody. One server that goes by several names or sockets is as many servers, but for this machine's own.
    """
    pool = client.connection_pool
    options = pool.connection_kwargs
    host = str(options.get("host", "localhost")).lower().rstrip(".")
    machine = "localhost" if host in _LOOPBACK else host
    port, db = options.get("port", 6379), options.get("db") or 0
    return getattr(pool, "service_name", None), options.get("path"), machine, int(port), int(db)


def claim(owner: RQQueue, server: tuple[object, ...], queues: Iterable[str]) -> None:
    """
    Have the jobs of *queues* be for *owner*.

    Raises:
        ConfigurationError: Those of one of them are for another.
    """
    claims = [Claim(server, queue) for queue in queues]
    for wanted in claims:
        if _CLAIMS.get(wanted, owner) is not owner:
            msg = (
                f"an RQQueue of this process is bound to queue {wanted.queue!r} of this Redis already: "
                "give each AuditForward queues of its own, RQQueue(connection, queue=...)"
            )
            raise ConfigurationError(msg)
    _CLAIMS.update(dict.fromkeys(claims, owner))


def release(owner: RQQueue) -> None:
    """Have no jobs be for *owner*."""
    for claimed, holder in list(_CLAIMS.items()):
        if holder is owner:
            del _CLAIMS[claimed]


def claimant(server: tuple[object, ...], queue: str) -> RQQueue | None:
    """Return whom the jobs of *queue* are for: its one claimant, or of several the one on *server*."""
    found = {claimed.server: owner for claimed, owner in list(_CLAIMS.items()) if claimed.queue == queue}
    return next(iter(found.values())) if len(found) == 1 else found.get(server)
