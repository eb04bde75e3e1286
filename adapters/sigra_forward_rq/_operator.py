"""Whom a worker's jobs are for: the operator's configuration says it, or the process itself; a job never does."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from operator import attrgetter

from rq.job import Job

from sigra_forward import AuditForward, ConfigurationError
from sigra_forward_rq._claims import claimant, server_of
from sigra_forward_rq._queue import RQQueue

VARIABLE = "SIGRA_FORWARD_RQ"
"""The environment variable of a worker that names the `AuditForward`, as ``module:attribute``."""

_EXAMPLE = f"set {VARIABLE} to your AuditForward, as module:attribute, for example {VARIABLE}=shop:audit_forward"


def queue_for(job: Job) -> RQQueue:
    """
    Return the `RQQueue` whose AuditForward is to run *job*.

    Raises:
        ConfigurationError: There is none. The message says what to set.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _named(named)
    found = claimant(server_of(job.connection), job.origin)
    if found is None:
        msg = f"this worker does not know whom the job is for: {_EXAMPLE}"
        raise ConfigurationError(msg)
    return found


@lru_cache(maxsize=1)
def _named(name: str) -> RQQueue:
    """Import once per process what *name* names; a failure is tried again with the next job."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute) or ":" in attribute:
        msg = f"{VARIABLE}={name!r} is not of the form module:attribute: {_EXAMPLE}"
        raise ConfigurationError(msg)
    audit_forward = _imported(name, module, attribute)
    if not isinstance(audit_forward, AuditForward):
        msg = f"{VARIABLE}={name!r} names a {type(audit_forward).__name__}, and no AuditForward: {_EXAMPLE}"
        raise ConfigurationError(msg)
    if not isinstance(audit_forward.queue, RQQueue):
        msg = f"{VARIABLE}={name!r} names an AuditForward without an RQQueue: pass it AuditForward(queue=RQQueue(...))"
        raise ConfigurationError(msg)
    return audit_forward.queue


def _imported(name: str, module: str, attribute: str) -> object:
    try:
        found: object = attrgetter(attribute)(import_module(module))
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - the host's module may raise anything; a script exits
        raised = type(exc).__name__
    else:
        return found
    msg = (
        f"{VARIABLE}={name!r} cannot be imported by this worker, it raised {raised}: "
        f"see what `python -c 'from {module} import {attribute.partition('.')[0]}'` says in the worker's folder"
    )
    raise ConfigurationError(msg)
