"""After a fork: the child opens its own threads, loops and locks. Each test forks in a process of its own."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from textwrap import dedent

from sigra_forward._fork import forget_after_fork

PRELUDE = """
import asyncio, os, signal, sys, threading
from sigra_forward import AuditForward, Dispatch, JobArgs, Route
from sigra_forward._fork import forget_after_fork
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, RecordingQueue, make_event

class AsyncRepository(InMemoryAuditRepository):
    async def get(self, audit_event_id, /):
        await asyncio.sleep(0)
        return super().get(audit_event_id)

class AsyncSink:
    async def forward(self, event):
        await asyncio.sleep(0)

event = make_event()
args = JobArgs("siem", event.id)

def bind(forwarder=None, **ports):
    return AuditForward(AsyncRepository([event]), {"siem": forwarder or AsyncSink()}, **ports)

def in_child(function):
    "Return what *function* returned in a child made by fork, as text; a child that hangs is killed."
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            answer = function()
        except BaseException as exc:
            answer = repr(exc)
        os.write(writer, str(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer

def both_ways(audit_forward):
    outcomes = audit_forward.perform(args), asyncio.run(audit_forward.aperform(args))
    return " ".join(result.outcome.value for result in outcomes)
"""


def _run(script: str) -> list[str]:
    """Run *script* after the `PRELUDE` in a process of its own, and return the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PRELUDE + dedent(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert (0, "") == (done.returncode, done.stderr)

    return done.stdout.splitlines()


def test_async_ports_work_in_a_child() -> None:
    """A child performs with async ports though the parent's loop thread is not there any more."""
    lines = _run("""
    audit_forward = bind()
    print(both_ways(audit_forward))
    print(in_child(lambda: both_ways(audit_forward)))
    print(both_ways(audit_forward))
    """)

    assert ["ok ok"] * 3 == lines


def test_sync_ports_work_for_async_callers_in_a_child() -> None:
    """A child performs with sync ports under `aperform`, though the parent's pool threads are not there any more."""
    lines = _run("""
    audit_forward = AuditForward(InMemoryAuditRepository([event]), {"siem": RecordingForwarder()})
    print(both_ways(audit_forward))
    print(in_child(lambda: both_ways(audit_forward)))
    """)

    assert ["ok ok"] * 2 == lines


def test_the_bare_aperform_works_in_a_child() -> None:
    """The threads that the bare `aperform` shares are opened anew in a child."""
    lines = _run("""
    from sigra_forward import aperform
    ports = {"repository": InMemoryAuditRepository([event]), "forwarders": {"siem": RecordingForwarder()}}
    perform = lambda: asyncio.run(aperform(args, **ports)).outcome.value
    print(perform())
    print(in_child(perform))
    """)

    assert ["ok"] * 2 == lines


def test_a_child_has_a_loop_and_threads_of_its_own() -> None:
    """The child's loop thread is its own, and the parent's goes on as if nothing had happened."""
    lines = _run("""
    class Sink:
        async def forward(self, event):
            seen.append((os.getpid(), threading.current_thread().ident, id(asyncio.get_running_loop())))

    seen = []
    audit_forward = bind(Sink())

    def own():
        audit_forward.perform(args)
        return seen[-1][0] == os.getpid() and audit_forward.bridge._loop_thread in threading.enumerate()

    print(own(), in_child(own), own(), seen[0] == seen[-1])
    """)

    assert ["True True True True"] == lines


def test_a_child_works_though_another_thread_held_the_lock() -> None:
    """A fork while a parent's thread holds the bridge's lock leaves the child with a lock that is free."""
    lines = _run("""
    audit_forward = bind()
    held, release = threading.Event(), threading.Event()

    def hold():
        with audit_forward.bridge._lock:
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    print(in_child(lambda: both_ways(audit_forward)))
    release.set()
    holder.join()
    print(both_ways(audit_forward))
    """)

    assert ["ok ok"] * 2 == lines


def test_forks_while_other_threads_perform_leave_working_children() -> None:
    """Wherever in a perform the other threads are when the process forks, its children work."""
    lines = _run("""
    audit_forward = bind()
    stop = threading.Event()

    def perform_on():
        while not stop.is_set():
            audit_forward.perform(args)

    threads = [threading.Thread(target=perform_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    answers = {in_child(lambda: audit_forward.perform(args).outcome.value) for _ in range(20)}
    stop.set()
    for thread in threads:
        thread.join()
    print(*answers)
    """)

    assert ["ok"] == lines


def test_a_child_of_a_child_works() -> None:
    """A child may fork in its turn."""
    lines = _run("""
    audit_forward = bind()
    both_ways(audit_forward)

    def child():
        return both_ways(audit_forward) + "; " + in_child(lambda: both_ways(audit_forward))

    print(in_child(child))
    """)

    assert ["ok ok; ok ok"] == lines


def test_dispatch_and_the_signal_work_in_a_child() -> None:
    """A subscription made before the fork hears in the child, and dispatches there."""
    lines = _run("""
    from sigra_forward.signals import audit_log

    sink = RecordingForwarder()
    class Sink:
        async def forward(self, event):
            sink.forward(event)

    audit_forward = bind(Sink())
    audit_forward.attach()
    audit_log.send(None, event=event)

    def child():
        audit_log.send(None, event=event)
        return len(sink.events)

    print(len(sink.events), in_child(child), len(sink.events))
    """)

    assert ["1 2 1"] == lines


def test_a_child_can_close_without_closing_the_parents_loop() -> None:
    """A child that closes closes what is its own: the parent's loop goes on."""
    lines = _run("""
    audit_forward = bind()
    both_ways(audit_forward)

    def child():
        audit_forward.close()
        both_ways(audit_forward)
        audit_forward.close()
        return [thread.name for thread in threading.enumerate() if thread.name == "sigra-forward-loop"]

    print(in_child(child))
    print(both_ways(audit_forward))
    """)

    assert ["[]", "ok ok"] == lines


def test_everyone_alive_forgets_in_the_child_and_nobody_in_the_parent() -> None:
    """``forget`` is called in each child on every registered owner that lives, and never in the parent."""
    lines = _run("""
    class Owner:
        forgot = 0

        def forget(self):
            self.forgot += 1

    owners = [Owner() for _ in range(3)]
    for owner in owners:
        forget_after_fork(owner)
    forget_after_fork(owners[0])
    print(in_child(lambda: [owner.forgot for owner in owners]), [owner.forgot for owner in owners])
    """)

    assert ["[1, 1, 1] [0, 0, 0]"] == lines


def test_what_must_not_be_inherited_is_closed_before_the_fork() -> None:
    """It is closed once, in the parent, and the child finds it so."""
    lines = _run("""
    from sigra_forward._fork import close_before_fork

    class Owner:
        closed = []

        def close(self):
            self.closed.append(os.getpid())

    owner = Owner()
    close_before_fork(owner)
    parent = os.getpid()
    print(in_child(lambda: owner.closed == [parent]), owner.closed == [parent])
    """)

    assert ["True True"] == lines


class Owner:
    """Has nothing to forget."""

    def forget(self) -> None: ...


def test_registering_holds_nobody() -> None:
    """Who registers to forget is not kept alive by it."""
    owner = Owner()
    forget_after_fork(owner)
    still = weakref.ref(owner)

    del owner
    gc.collect()

    assert None is still()
