"""``python -m sigra_forward``: the relay as a process, and what an operator does with the ledger."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from importlib import import_module
from typing import Any, TypeAlias

import attrs

from sigra_forward._audit_forward import AuditForward
from sigra_forward._instants import parse_iso
from sigra_forward._names import type_name
from sigra_forward._outcome import State
from sigra_forward.errors import ConfigurationError, SigraForwardError
from sigra_forward.operations import backfill, enable, excuse, reconcile, replay, safe_to_purge_before, status
from sigra_forward.operations._access import Access
from sigra_forward.relay import Relay

DONE, DIFFERENT, MISTAKEN, FAILED = 0, 1, 2, 3
"""Exit codes: it is done; there are differences, or there is none such; the command is wrong; a port failed."""

_SUMMARY = (
    *("wanted", "orphans", "completed", "retryable", "cancelled", "discarded", "owed"),
    *("unreadable", "made_due", "moved", "is_balanced"),
)

GC_THRESHOLDS = (100_000, 50, 100)
"""
How seldom the relay's process looks for garbage in cycles.

What a page is made of is dropped with the page, and looking for cycles in it takes a sixth of a relay's time: see
``make bench-relay``.
"""

Command: TypeAlias = Callable[[AuditForward, Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command, and return its exit code.

    Args:
        arguments: The command line without the program's name; the process's own by default.
    """
    options = _parser().parse_args(arguments)
    try:
        host = _app(options.app)
    except ConfigurationError as exc:
        return _say(f"--app {options.app}: {exc}", MISTAKEN)
    command: Command = options.command
    try:
        with host:
            return command(host, options)
    except ConfigurationError as exc:
        return _say(str(exc), MISTAKEN)
    except Exception as exc:  # noqa: BLE001 - whatever the ledger's and the table's libraries raise
        told = str(exc) if isinstance(exc, SigraForwardError) else type_name(exc)
        return _say(f"the ledger or the audit table cannot be asked now: {told}", FAILED)


# The commands.


def _relay(host: AuditForward, options: Namespace) -> int:
    relay = Relay(host, forwarders=options.forwarders, rate=options.rate)
    names = options.forwarders or list(host.routes)
    with collecting_seldom():
        return _run(relay, names, options)


def _run(relay: Relay, names: Sequence[str], options: Namespace) -> int:
    if options.once:
        relay.run_once()
        return DONE
    try:
        with _told_to_stop() as wait:
            relay.start()
            says = f"relaying {', '.join(names)}; SIGTERM or Ctrl-C settles what is in hand"
            _tell(options, {"relaying": names}, says)
            wait()
    finally:
        relay.stop()  # under the handlers of before: whoever asks twice is not kept waiting
    _tell(options, {"relaying": []}, "stopped")
    return DONE


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look for garbage in cycles by `GC_THRESHOLDS`, in a process that does nothing but relay."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], None]]:
    """
    Give what waits for SIGTERM or SIGINT.

    The signal is read from a pipe that the interpreter writes to, since a Python handler runs in the main thread only:
    where another thread gets the signal, or where it comes just before a wait begins, nothing would end that wait.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(writer)

    def wait() -> None:
        while os.read(reader, 1)[0] not in numbers:
            pass  # a signal that the host has a handler for

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _status(host: AuditForward, options: Namespace) -> int:
    lanes = [attrs.asdict(lane) for lane in status(host)]
    if options.json:
        _print_json({"lanes": lanes})
        return DONE
    for lane in lanes:
        print(f"{lane.pop('source')} -> {lane.pop('forwarder')}")  # noqa: T201 - it is what was asked for
        for name, value in lane.items():
            print(f"  {name:14} {_text(value)}")  # noqa: T201
    return DONE


def _reconcile(host: AuditForward, options: Namespace) -> int:
    found = reconcile(host, options.forwarder, options.since, options.until, make_due=options.make_due)
    for difference in found:
        line = attrs.asdict(difference)
        _tell(options, line, " ".join(_text(value) for value in line.values() if value is not None))
    summary = {name: getattr(found, name) for name in _SUMMARY}
    left = f"{found.wanted} wanted + {found.orphans} orphans"
    states = f"{found.completed} completed + {found.retryable} retryable + {found.cancelled} cancelled"
    right = f"{states} + {found.discarded} discarded + {found.owed} owed"
    sign = "=" if found.left == found.right else "!="
    _tell(options, summary, f"{left} {sign} {right} ({found.moved} written meanwhile)")
    return DIFFERENT if found.has_differences else DONE


def _replay(host: AuditForward, options: Namespace) -> int:
    access = Access(host)
    as_of = options.as_of or access.ask(access.ledger.now)
    if not options.dry_run:
        _say(f"if this is killed, finish it with --as-of {as_of.isoformat()}", DONE)
    done = replay(
        host,
        options.forwarder,
        ids=options.ids,
        since=options.since,
        until=options.until,
        states=options.states,
        reason=options.reason,
        actions=options.actions,
        dry_run=options.dry_run,
        rate=options.rate,
        as_of=as_of,
    )
    what = "would be made due again" if done.dry_run else "made due again"
    _tell(options, attrs.asdict(done), f"{done.count} {what}, {done.skipped} skipped")
    return DONE


def _excuse(host: AuditForward, options: Namespace) -> int:
    is_there = excuse(host, options.forwarder, options.id, options.why)
    _tell(options, {"excused": is_there}, "excused" if is_there else "there is no such dead letter")
    return DONE if is_there else DIFFERENT


def _backfill(host: AuditForward, options: Namespace) -> int:
    is_lowered = backfill(host, options.forwarder, options.since)
    _tell(options, {"lowered": is_lowered}, "the floor is lowered" if is_lowered else "the floor is not higher: let be")
    return DONE


def _enable(host: AuditForward, options: Namespace) -> int:
    was_open = enable(host, options.forwarder)
    _tell(options, {"enabled": was_open}, "enabled" if was_open else "its breaker is not open: let be")
    return DONE


def _safe_to_purge_before(host: AuditForward, options: Namespace) -> int:
    moment = safe_to_purge_before(host, options.forwarders)
    _tell(options, {"safe_to_purge_before": moment}, "nothing" if moment is None else moment.isoformat())
    return DONE if moment is not None else DIFFERENT


# The command line.


def _parser() -> ArgumentParser:
    parser = ArgumentParser("python -m sigra_forward", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command, says: str) -> ArgumentParser:
        its = commands.add_parser(name, help=says, description=says)
        its.set_defaults(command=command)
        its.add_argument("--app", required=True, metavar="module:attr", help="the AuditForward, or what returns it")
        its.add_argument("--json", action="store_true", help="one JSON object for each line")
        return its

    its = add("relay", _relay, "pay what is owed, until SIGTERM or SIGINT")
    _add_list(its, "--forwarder", "forwarders", str, "the name of one to work for; all by default")
    its.add_argument("--rate", type=float, help="events a second for each forwarder")
    its.add_argument("--once", action="store_true", help="do what there is to do now, and end")

    add("status", _status, "where each lane stands")

    its = add("reconcile", _reconcile, "compare the audit table with the ledger; exit 1 where they differ")
    _add_range(its)
    its.add_argument("--make-due", action="store_true", help="make what is owed due now")

    its = add("replay", _replay, "send again what was settled: dead letters, unless something else is said")
    _add_range(its)
    _add_list(its, "--id", "ids", str, "an event")
    _add_list(its, "--state", "states", _state, "completed, retryable, cancelled or discarded")
    _add_list(its, "--action", "actions", str, "an action, or a prefix with a trailing *")
    its.add_argument("--reason", help="the receipt's reason, such as schema_mismatch")
    its.add_argument("--dry-run", action="store_true", help="count, and do nothing")
    its.add_argument("--rate", type=float, help="how many a second become due")
    its.add_argument("--as-of", type=_moment, help="finish a replay that was killed: what it printed")

    its = add("excuse", _excuse, "say why a dead letter shall not go out; exit 1 where there is none")
    its.add_argument("--forwarder", required=True, help="the name of its lane")
    its.add_argument("--id", required=True, help="the event")
    its.add_argument("--why", required=True, help="for whoever asks later")

    its = add("backfill", _backfill, "have a forwarder owe what occurred from a moment on")
    its.add_argument("--forwarder", required=True, help="its name")
    its.add_argument("--since", type=_moment, required=True, help="an ISO 8601 time with an offset")

    its = add("enable", _enable, "let a lane go on whose sink wanted nothing more")
    its.add_argument("--forwarder", required=True, help="its name")

    its = add("safe-to-purge-before", _safe_to_purge_before, "before when rows may be deleted; exit 1 where none may")
    _add_list(its, "--forwarder", "forwarders", str, "the name of a lane that counts; all by default")
    return parser


def _add_range(its: ArgumentParser) -> None:
    its.add_argument("--forwarder", required=True, help="its name")
    its.add_argument("--since", type=_moment, help="an ISO 8601 time with an offset: this and later")
    its.add_argument("--until", type=_moment, help="likewise: earlier than this")


def _add_list(its: ArgumentParser, flag: str, name: str, kind: Any, says: str) -> None:
    its.add_argument(flag, dest=name, action="append", type=kind, help=f"{says}; may be repeated")


def _moment(text: str) -> datetime:
    try:
        moment = parse_iso(text)
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from None
    if moment.tzinfo is None:
        msg = "it has no offset: end it with Z for UTC"
        raise ArgumentTypeError(msg)
    return moment


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        msg = f"must be one of {', '.join(state.value for state in State)}"
        raise ArgumentTypeError(msg) from None


def _app(spelled: str) -> AuditForward:
    """
    Return the `AuditForward` that *spelled* names, as in ``shop.audit:audit_forward``.

    Raises:
        ConfigurationError: There is none.
    """
    module_name, colon, path = spelled.partition(":")
    if not (module_name and colon and path):
        msg = "say module:attr, as in shop.audit:audit_forward"
        raise ConfigurationError(msg)
    try:
        found: Any = import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
        if callable(found) and not isinstance(found, AuditForward):
            found = found()
    except (ImportError, AttributeError, SigraForwardError) as exc:  # they name modules, attributes and options
        raise ConfigurationError(str(exc)) from exc
    except Exception as exc:
        msg = f"it raised {type_name(exc)}: `python -c 'import {module_name}'` may show where"
        raise ConfigurationError(msg) from exc
    if not isinstance(found, AuditForward):
        kind = type_name(found)
        msg = f"{path!r} gives an object of type {kind}: it must be an AuditForward, or a function that returns one"
        raise ConfigurationError(msg)
    return found


# What is printed.


def _tell(options: Namespace, told: dict[str, Any], text: str) -> None:
    if options.json:
        _print_json(told)
    else:
        print(text, flush=True)  # noqa: T201 - it is what was asked for


def _print_json(told: dict[str, Any]) -> None:
    print(json.dumps(told, default=_plain), flush=True)  # noqa: T201 - it is what was asked for


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else str(value)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_text(each)}" for name, each in value.items() if each is not None)
    return "-" if value is None else str(_plain(value)) if isinstance(value, (datetime, Enum)) else str(value)


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command says what is wrong
    return code


if __name__ == "__main__":
    sys.exit(main())
