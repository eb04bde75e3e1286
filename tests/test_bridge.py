"""`Bridge`: async ports for sync callers, sync ports for async callers, on threads of the library's own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from textwrap import dedent
from typing import Any

import pytest

from sigra_forward import (
    AuditEvent,
    AuditForward,
    ConfigurationError,
    Fault,
    JobArgs,
    Outcome,
    Result,
    SinkError,
    aperform,
)
from sigra_forward._bounded import MAX_THREADS
from sigra_forward._bridge import Bridge
from sigra_forward.telemetry import Failed
from sigra_forward.testing import InMemoryAuditRepository, RecordingForwarder, RecordingTelemetry, make_event

PATIENCE = 30.0
"""Real seconds after which something that should have happened has not."""

TENANT: ContextVar[str] = ContextVar("TENANT", default="nobody")

EVENT = make_event()
ARGS = JobArgs("siem", EVENT.id)


@pytest.fixture(name="bridge")
def _bridge() -> Iterator[Bridge]:
    bridge = Bridge()
    yield bridge
    bridge.close()


@pytest.fixture(name="telemetry")
def _telemetry() -> RecordingTelemetry:
    return RecordingTelemetry()


class AsyncRepository(InMemoryAuditRepository):
    """An `InMemoryAuditRepository` whose ``get`` is async."""

    async def get(self, audit_event_id: str, /) -> AuditEvent | None:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().get(audit_event_id)


class AsyncForwarder:
    """Awaits what *awaited* gives for each event, and accepts the event."""

    def __init__(self, awaited: Callable[[], Awaitable[object]], deadline: float = PATIENCE) -> None:
        self.deadline = deadline
        self._awaited = awaited

    async def forward(self, event: AuditEvent) -> None:
        await self._awaited()


class Calling:
    """Calls *function* for each event, and accepts the event."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function

    def forward(self, event: AuditEvent) -> None:
        self._function()


@pytest.fixture(name="bind")
def _bind(telemetry: RecordingTelemetry) -> Iterator[Callable[..., AuditForward]]:
    """Bind one forwarder, *siem*, over a table that holds `EVENT`, and close it all after the test."""
    bound: list[AuditForward] = []

    def bind(forwarder: Any, repository: Any = None) -> AuditForward:
        table = InMemoryAuditRepository([EVENT]) if repository is None else repository
        bound.append(AuditForward(table, {"siem": forwarder}, telemetry=telemetry))
        return bound[-1]

    yield bind
    for audit_forward in bound:
        audit_forward.close()


def _perform(audit_forward: AuditForward) -> Result:
    return audit_forward.perform(ARGS)


def _aperform(audit_forward: AuditForward) -> Result:
    return asyncio.run(audit_forward.aperform(ARGS))


both_ways = pytest.mark.parametrize("run", [_perform, _aperform], ids=["perform", "aperform"])


def _threads_of_ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("sigra-forward")]


async def _thread_name() -> str:
    return threading.current_thread().name


# Sync callers


def test_a_sync_port_is_called_in_the_callers_thread(bridge: Bridge) -> None:
    """A sync port under a sync caller is called as it is, in the caller's own thread."""
    before = _threads_of_ours()

    assert threading.get_ident() == bridge.call(lambda _: threading.get_ident(), None, None)
    assert before == _threads_of_ours()


def test_an_async_port_is_awaited_on_the_loop_thread(bridge: Bridge) -> None:
    """An async port under a sync caller is awaited on the library's own loop thread."""
    assert "sigra-forward-loop" == bridge.call(lambda _: _thread_name(), None, None)


def test_all_calls_share_one_loop_thread(bridge: Bridge) -> None:
    """However many threads call, there is one loop thread."""

    async def ident() -> int:
        return threading.get_ident()

    with ThreadPoolExecutor(8) as pool:
        idents = set(pool.map(lambda _: bridge.call(lambda _: ident(), None, None), range(200)))

    assert 1 == len(idents)


class Ticket:
    """Can be awaited, and is no coroutine."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "served"


def test_whatever_can_be_awaited_is(bridge: Bridge) -> None:
    """A port may give any awaitable, not just a coroutine."""
    assert "served" == bridge.call(lambda _: Ticket(), None, None)


@both_ways
def test_async_ports_work_both_ways(bind: Callable[..., AuditForward], run: Callable[[AuditForward], Result]) -> None:
    """An async repository and an async forwarder work under the sync methods as under the async ones."""
    result = run(bind(AsyncForwarder(lambda: asyncio.sleep(0)), AsyncRepository([EVENT])))

    assert Outcome.OK is result.outcome


@both_ways
def test_what_an_async_port_raises_is_what_it_comes_to(
    bind: Callable[..., AuditForward], run: Callable[[AuditForward], Result]
) -> None:
    """What an async port raises reaches the result as from a sync one."""

    async def refuse() -> None:
        reason = "http_503"
        raise SinkError(reason, retry_after=7)

    result = run(bind(AsyncForwarder(refuse)))

    assert (Outcome.ERROR, "http_503", 7) == (result.outcome, result.reason, result.retry_after)


class Hanging:
    """Waits for ever, and notes that it was cancelled."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def test_an_async_forwarder_is_cut_at_its_deadline(bind: Callable[..., AuditForward]) -> None:
    """An async forwarder on the loop thread that outlasts its deadline is the sink's fault."""
    result = bind(AsyncForwarder(Hanging(), deadline=0.05)).perform(ARGS)

    assert (Outcome.ERROR, Fault.SINK, "TimeoutError") == (result.outcome, result.fault, result.reason)


def test_an_async_forwarder_is_cancelled_at_its_deadline(bind: Callable[..., AuditForward]) -> None:
    """An async forwarder that outlasts its deadline is cancelled, and does not run on."""
    hanging = Hanging()

    bind(AsyncForwarder(hanging, deadline=0.05)).perform(ARGS)

    assert hanging.cancelled.wait(PATIENCE)


def test_a_deadline_that_is_kept_does_not_matter(bind: Callable[..., AuditForward]) -> None:
    """An async forwarder that keeps its deadline is not touched."""
    assert Outcome.OK is bind(AsyncForwarder(lambda: asyncio.sleep(0), deadline=PATIENCE)).perform(ARGS).outcome


@pytest.mark.parametrize("method", ["perform", "dispatch"])
def test_a_sync_method_on_the_librarys_loop_gets_an_error_not_a_deadlock(
    bind: Callable[..., AuditForward], method: str
) -> None:
    """A forwarder on the library's loop that calls a sync method in need of that loop is told, and does not hang."""
    inner: list[Any] = []
    calls: list[Callable[[], object]] = []

    async def reenter() -> None:
        if not inner:
            inner.append(None)
            inner.append(calls[0]())

    audit_forward = bind(AsyncForwarder(reenter, deadline=PATIENCE))
    calls.append(
        {"perform": lambda: audit_forward.perform(ARGS), "dispatch": lambda: audit_forward.dispatch(EVENT)}[method]
    )

    result = audit_forward.perform(ARGS)
    refused = inner[1] if method == "perform" else inner[1]["siem"].result

    assert Outcome.OK is result.outcome
    assert (Outcome.ERROR, "ConfigurationError") == (refused.outcome, refused.reason)
    assert "use its async twin" in refused.detail


@pytest.mark.parametrize("order", [SystemExit, KeyboardInterrupt])
def test_an_order_inside_an_async_port_reaches_the_sync_caller(
    bind: Callable[..., AuditForward], telemetry: RecordingTelemetry, order: type[BaseException]
) -> None:
    """`SystemExit` in an async port fires the error event and is raised in the thread that called."""

    async def leave() -> None:
        raise order

    with pytest.raises(order):
        bind(AsyncForwarder(leave)).perform(ARGS)

    assert [order.__name__] == [told.kind for told in telemetry.of(Failed)]


class Leaving:
    """Leaves by *way* when it is told to."""

    def __init__(self, way: str) -> None:
        self._way = way
        self.leaves = False

    async def __call__(self) -> None:
        if not self.leaves:
            return
        if self._way == "itself":
            await self._leave()
        await asyncio.ensure_future(self._leave())

    async def _leave(self) -> None:
        raise SystemExit


@pytest.mark.parametrize("way", ["itself", "in_a_task_of_its_own"])
def test_the_loop_outlives_an_order_inside_an_async_port(bridge: Bridge, way: str) -> None:
    """`SystemExit` in an async port, or in a task that it started, does not end the loop for the others."""
    leaving, hanging, done = Leaving(way), threading.Event(), threading.Event()

    async def other() -> str:
        hanging.set()
        while not done.is_set():
            await asyncio.sleep(0)
        return "done"

    leaving.leaves = True
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bridge.call, lambda _: other(), None, PATIENCE)
        assert hanging.wait(PATIENCE)
        with pytest.raises(SystemExit):
            bridge.call(lambda _: leaving(), None, PATIENCE)
        done.set()

        assert "done" == answer.result(PATIENCE)

    leaving.leaves = False

    assert None is bridge.call(lambda _: leaving(), None, PATIENCE)


def test_many_threads_perform_at_once(bind: Callable[..., AuditForward]) -> None:
    """Threads that perform at once over async ports each get their own answer."""
    events = [make_event(id=number) for number in range(200)]
    audit_forward = bind(AsyncForwarder(lambda: asyncio.sleep(0)), AsyncRepository(events[::2]))

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda event: audit_forward.perform(JobArgs("siem", event.id)), events))

    assert [Outcome.OK, Outcome.CANCEL] * 100 == [result.outcome for result in results]


# Async callers


def test_a_sync_port_runs_in_a_thread_of_ours(bind: Callable[..., AuditForward]) -> None:
    """Under `aperform` sync ports run in threads named after the library, not in the host's default executor."""
    names: list[str] = []

    _aperform(bind(Calling(lambda: names.append(threading.current_thread().name))))

    assert ["sigra-forward-call"] == names


def test_the_bare_aperform_has_threads_of_ours_too() -> None:
    """The bare `aperform` runs sync ports in the library's threads as well."""
    names: list[str] = []
    forwarder = Calling(lambda: names.append(threading.current_thread().name))

    result = asyncio.run(aperform(ARGS, repository=InMemoryAuditRepository([EVENT]), forwarders={"siem": forwarder}))

    assert Outcome.OK is result.outcome
    assert names[0].startswith("sigra-forward")


def test_an_async_port_runs_on_the_callers_own_loop(bind: Callable[..., AuditForward]) -> None:
    """Under `aperform` an async port is awaited where the caller is, so that it may use the host's own connections."""
    loops: list[object] = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    audit_forward = bind(AsyncForwarder(note))

    async def main() -> object:
        await audit_forward.aperform(ARGS)
        return asyncio.get_running_loop()

    assert [asyncio.run(main())] == loops


def test_a_sync_function_may_give_an_awaitable(bridge: Bridge) -> None:
    """A port that is no coroutine function and gives an awaitable is awaited on the caller's loop."""
    assert "MainThread" == asyncio.run(bridge.acall(lambda _: _thread_name(), None))


@both_ways
def test_stop_iteration_out_of_a_sync_port_does_not_hang(
    bind: Callable[..., AuditForward], run: Callable[[AuditForward], Result]
) -> None:
    """A future cannot carry a `StopIteration`: out of a sync port it is an error, and nobody waits for ever."""

    def stop() -> None:
        raise StopIteration

    assert Outcome.ERROR is run(bind(Calling(stop))).outcome


@pytest.mark.parametrize("order", [SystemExit, KeyboardInterrupt])
def test_an_order_out_of_a_sync_port_reaches_the_async_caller(
    bind: Callable[..., AuditForward], telemetry: RecordingTelemetry, order: type[BaseException]
) -> None:
    """`SystemExit` in a sync port under `aperform` fires the error event and is raised where it is awaited."""

    def leave() -> None:
        raise order

    with pytest.raises(order):
        _aperform(bind(Calling(leave)))

    assert [order.__name__] == [told.kind for told in telemetry.of(Failed)]


def test_a_slow_sync_port_does_not_block_the_loop(bind: Callable[..., AuditForward]) -> None:
    """While a sync port works in its thread, the event loop goes on."""
    started, ticked = threading.Event(), threading.Event()
    seen: list[bool] = []

    def work() -> None:
        started.set()
        seen.append(ticked.wait(PATIENCE))

    audit_forward = bind(Calling(work))

    async def main() -> None:
        performing = asyncio.ensure_future(audit_forward.aperform(ARGS))
        while not started.is_set():
            await asyncio.sleep(0)
        ticked.set()
        await performing

    asyncio.run(main())

    assert [True] == seen


def test_as_many_sync_ports_as_there_are_threads_run_at_once(bridge: Bridge) -> None:
    """So many sync ports run at once that one which hangs does not hold up the rest."""
    together = threading.Barrier(MAX_THREADS)

    async def main() -> list[int]:
        return await asyncio.gather(*(bridge.acall(together.wait, PATIENCE) for _ in range(MAX_THREADS)))

    assert list(range(MAX_THREADS)) == sorted(asyncio.run(main()))


# Context


@pytest.mark.parametrize("run", [_perform, _aperform], ids=["perform", "aperform"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_ports_see_the_callers_context(
    bind: Callable[..., AuditForward], run: Callable[[AuditForward], Result], kind: str
) -> None:
    """A port sees the context variables of the caller, on both bridges."""
    seen: list[str] = []

    async def note() -> None:
        seen.append(TENANT.get())

    token = TENANT.set("acme")
    try:
        run(bind(Calling(lambda: seen.append(TENANT.get())) if kind == "sync" else AsyncForwarder(note)))
    finally:
        TENANT.reset(token)

    assert ["acme"] == seen


def test_a_ports_context_stays_its_own(bridge: Bridge) -> None:
    """What an async port sets in its context does not leak into the caller's, nor into the next port's."""

    async def swap() -> str:
        before = TENANT.get()
        TENANT.set("mallory")
        return before

    assert ["nobody"] * 2 == [bridge.call(lambda _: swap(), None, None) for _ in range(2)]
    assert "nobody" == TENANT.get()


# The end


def _use_both_sides(bridge: Bridge) -> None:
    bridge.call(lambda _: asyncio.sleep(0), None, None)
    asyncio.run(bridge.acall(lambda _: None, None))


def test_close_leaves_no_thread(bridge: Bridge) -> None:
    """After `close` the loop thread and the pool's threads end."""
    before = set(_threads_of_ours())
    _use_both_sides(bridge)
    ours = set(_threads_of_ours()) - before

    bridge.close()
    for thread in ours:
        thread.join(PATIENCE)

    assert 2 == len(ours)
    assert [] == [thread.name for thread in ours if thread.is_alive()]


def test_a_closed_loop_thread_is_gone_at_once(bridge: Bridge) -> None:
    """`close` waits for the loop thread."""
    before = set(threading.enumerate())
    bridge.call(lambda _: asyncio.sleep(0), None, None)

    bridge.close()

    assert set() == set(threading.enumerate()) - before


def test_close_before_any_use_and_twice_is_fine(bridge: Bridge) -> None:
    """`close` has nothing to do before the first use, nor the second time."""
    bridge.close()
    _use_both_sides(bridge)
    bridge.close()
    bridge.close()

    assert None is bridge._loop


def test_use_after_close_opens_anew(bridge: Bridge) -> None:
    """After `close` the next use opens threads anew."""
    for _ in range(2):
        _use_both_sides(bridge)
        bridge.close()

    assert "sigra-forward-loop" == bridge.call(lambda _: _thread_name(), None, None)


def test_close_cancels_what_runs_on_the_loop(bridge: Bridge) -> None:
    """What runs on the loop is cancelled by `close`, and the sync caller gets an error that is no order to it."""
    hanging = Hanging()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bridge.call, lambda _: hanging(), None, PATIENCE)
        assert hanging.started.wait(PATIENCE)

        bridge.close()

        with pytest.raises(SinkError, match="closed"):
            answer.result(PATIENCE)

    assert hanging.cancelled.is_set()


def test_close_makes_a_running_perform_an_error(bind: Callable[..., AuditForward]) -> None:
    """A perform that waits for an async port while another thread closes ends in an ERROR, and raises nothing."""
    hanging = Hanging()
    audit_forward = bind(AsyncForwarder(hanging))
    with ThreadPoolExecutor(1) as pool:
        performing = pool.submit(audit_forward.perform, ARGS)
        assert hanging.started.wait(PATIENCE)

        audit_forward.close()
        result = performing.result(PATIENCE)

    assert (Outcome.ERROR, "closed", Fault.SINK) == (result.outcome, result.reason, result.fault)


def test_cancelled_by_the_port_itself_stays_an_order(bridge: Bridge) -> None:
    """A `CancelledError` out of an async port is passed on as it is, as any order is."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        bridge.call(lambda _: give_up(), None, PATIENCE)


def test_close_on_the_loop_thread_itself_does_not_deadlock(bridge: Bridge) -> None:
    """A port on the loop may close the bridge that it runs on: nobody waits for himself."""
    threads: list[threading.Thread] = []

    async def close() -> None:
        threads.append(threading.current_thread())
        bridge.close()

    bridge.call(lambda _: close(), None, PATIENCE)
    threads[0].join(PATIENCE)

    assert not threads[0].is_alive()


def test_close_lets_async_generators_end(bridge: Bridge) -> None:
    """An async generator that a port left half-way is closed with the loop."""
    ended = threading.Event()
    kept: list[object] = []

    async def rows() -> Any:
        try:
            yield 1
            yield 2
        finally:
            ended.set()

    async def read_one() -> int:
        reading = rows()
        kept.append(reading)
        return await reading.__anext__()

    assert 1 == bridge.call(lambda _: read_one(), None, PATIENCE)
    bridge.close()

    assert ended.is_set()


def test_closing_while_others_perform_neither_hangs_nor_raises(bind: Callable[..., AuditForward]) -> None:
    """However close and perform fall together, each perform ends in a result."""
    audit_forward = bind(AsyncForwarder(lambda: asyncio.sleep(0)), AsyncRepository([EVENT]))
    closed = threading.Event()

    def perform_on() -> set[Outcome]:
        outcomes = set()
        while not closed.is_set():
            outcomes.add(audit_forward.perform(ARGS).outcome)
        return outcomes

    with ThreadPoolExecutor(4) as pool:
        performing = [pool.submit(perform_on) for _ in range(4)]
        for _ in range(100):
            audit_forward.close()
        closed.set()
        outcomes = {outcome for each in performing for outcome in each.result(PATIENCE)}

    assert outcomes <= {Outcome.OK, Outcome.ERROR}
    assert Outcome.OK is audit_forward.perform(ARGS).outcome


def test_a_sync_port_in_an_async_caller_ends_by_itself_after_close(bridge: Bridge) -> None:
    """What runs in the pool is left to end: its answer still arrives."""
    started, release = threading.Event(), threading.Event()

    def work(_: object) -> str:
        started.set()
        release.wait(PATIENCE)
        return "done"

    async def main() -> str:
        calling = asyncio.ensure_future(bridge.acall(work, None))
        while not started.is_set():
            await asyncio.sleep(0)
        bridge.close()
        release.set()
        return await calling

    assert "done" == asyncio.run(main())


def _run(script: str) -> str:
    """Run *script* in a process of its own, with warnings as errors, and return all that it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(script)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return f"{done.returncode} {done.stdout}"


HOST = """
import asyncio, os, signal, sys, threading
from sigra_forward import AuditForward, JobArgs
from sigra_forward.testing import InMemoryAuditRepository, RecordingTelemetry, make_event

class Sink:
    async def forward(self, event):
        await asyncio.sleep(0)

event = make_event()
args = JobArgs("siem", event.id)
"""


def test_a_host_that_never_closes_leaves_quietly() -> None:
    """A process that used both bridges and closes nothing ends at once, with no warning."""
    script = HOST + dedent("""
    audit_forward = AuditForward(InMemoryAuditRepository([event]), {"siem": Sink()})
    print(audit_forward.perform(args).outcome.value, asyncio.run(audit_forward.aperform(args)).outcome.value)
    """)

    assert "0 ok ok\n" == _run(script)


def test_a_keyboard_interrupt_while_waiting_cancels_the_port() -> None:
    """Ctrl-C while the main thread waits for an async port is told, passed on, and cancels the port."""
    script = HOST + dedent("""
    main, cancelled = threading.get_ident(), threading.Event()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started without it

    class Hanging:
        async def forward(self, event):
            while sys._current_frames()[main].f_code.co_name != "wait":
                await asyncio.sleep(0)
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

    telemetry = RecordingTelemetry()
    with AuditForward(InMemoryAuditRepository([event]), {"siem": Hanging()}, telemetry=telemetry) as audit_forward:
        try:
            audit_forward.perform(args)
        except KeyboardInterrupt:
            print(cancelled.wait(30), [told.kind for told in telemetry.events])
    """)

    assert "0 True ['KeyboardInterrupt']\n" == _run(script)


def test_the_loop_is_not_loaded_before_it_is_needed() -> None:
    """A host that binds and performs with sync ports alone never loads asyncio."""
    script = """
    import sys
    from sigra_forward import AuditForward, JobArgs
    from sigra_forward.sinks import NoopForwarder
    from sigra_forward.stores import InMemoryAuditRepository

    with AuditForward(InMemoryAuditRepository(), {"siem": NoopForwarder()}) as audit_forward:
        audit_forward.perform(JobArgs("siem", "1"))
    print("concurrent.futures" in sys.modules)
    """

    assert "0 False\n" == _run(script)


def test_the_answer_of_the_forwarder_is_kept(bridge: Bridge) -> None:
    """The bridge gives back what the port gave, whichever way."""
    sink, event = RecordingForwarder(), make_event()

    assert None is bridge.call(sink.forward, event, None)
    assert None is asyncio.run(bridge.acall(sink.forward, event))
    assert [event] * 2 == sink.events


def test_a_refused_call_on_the_loop_closes_the_coroutine(bridge: Bridge) -> None:
    """What cannot be awaited on the loop is let go of, and warns of nothing."""

    async def reenter() -> None:
        bridge.call(lambda _: asyncio.sleep(0), None, None)

    with pytest.raises(ConfigurationError, match="async twin"):
        bridge.call(lambda _: reenter(), None, PATIENCE)


def test_a_loop_thread_that_cannot_start_is_an_error_that_passes(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with too many threads gets an error, nothing un-awaited, and a loop once there is room again."""

    def refuse(thread: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            bridge.call(lambda _: _thread_name(), None, 5.0)
        bridge.close()

    assert "sigra-forward-loop" == bridge.call(lambda _: _thread_name(), None, 5.0)
