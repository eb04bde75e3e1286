"""Answers that must be awaited, and letting go of those that nobody will await."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator

import pytest

from sigra_forward._awaitables import close_if_awaitable, is_awaitable
from tests.support_values import HidesItsClass, HidesItsName, HostileError


async def coroutine() -> None:
    """Do nothing; warns if it is never awaited."""


class Awaitable:
    """Can be awaited, and keeps what is called of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __await__(self) -> Generator[None, None, None]:
        yield


class Closable(Awaitable):
    """Can be closed, and cancelled."""

    def close(self) -> None:
        self.calls.append("close")

    def cancel(self) -> None:
        self.calls.append("cancel")


class Cancellable(Awaitable):
    """Can be cancelled alone."""

    def cancel(self) -> None:
        self.calls.append("cancel")


class ClosedAsynchronously(Awaitable):
    """Has a ``close`` that is itself async."""

    async def close(self) -> None:
        self.calls.append("close")


class Unclosable(Awaitable):
    """Has a ``close`` that cannot be called."""

    close = "close"


class RaisesOnClose(Awaitable):
    """Raises when it is closed."""

    def close(self) -> None:
        raise HostileError


class HidesClose(Awaitable):
    """Raises when it is asked for its ``close``."""

    @property
    def close(self) -> None:
        raise HostileError


class OnInstanceOnly:
    """Cannot be awaited, although it has the attribute: Python asks the type."""

    def __init__(self) -> None:
        self.__await__ = coroutine


def test_a_coroutine_is_awaitable() -> None:
    """What an async function returns can be awaited."""
    answer = coroutine()

    assert is_awaitable(answer)
    answer.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="none"),
        pytest.param("text", id="text"),
        pytest.param(coroutine, id="async-function"),
        pytest.param(Awaitable, id="class"),
        pytest.param(OnInstanceOnly(), id="on-the-instance-only"),
        pytest.param(HidesItsClass(), id="hides-its-class"),
        pytest.param(HidesItsName(), id="class-that-raises"),
    ],
)
def test_what_cannot_be_awaited_is_left_alone(answer: object) -> None:
    """The type alone tells what can be awaited, and all else is no such answer."""
    assert (False, False) == (is_awaitable(answer), close_if_awaitable(answer))


def test_a_coroutine_is_closed() -> None:
    """A coroutine that is let go never runs and warns of nothing."""
    answer = coroutine()

    assert (True, None) == (close_if_awaitable(answer), answer.cr_frame)


@pytest.mark.parametrize(
    ("expected", "kind"),
    [
        pytest.param(["close"], Closable, id="closable"),
        pytest.param(["cancel"], Cancellable, id="cancellable"),
        pytest.param([], Awaitable, id="neither"),
        pytest.param([], Unclosable, id="unclosable"),
        pytest.param([], ClosedAsynchronously, id="closed-asynchronously"),
    ],
)
def test_what_is_called_to_let_go(expected: list[str], kind: type[Awaitable], caplog: pytest.LogCaptureFixture) -> None:
    """It is closed if it can be, else cancelled if it can be; what would have to be awaited for that is let go too."""
    answer = kind()

    assert (True, expected, []) == (close_if_awaitable(answer), answer.calls, caplog.records)


def test_a_task_is_cancelled() -> None:
    """A task that is let go is cancelled."""

    async def main() -> bool:
        task = asyncio.ensure_future(asyncio.sleep(3600))
        close_if_awaitable(task)
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(main())


@pytest.mark.parametrize("answer", [RaisesOnClose(), HidesClose()], ids=["raises-on-close", "hides-close"])
def test_what_raises_when_let_go_is_told(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises goes no further than the log, by its type's name."""
    let_go = close_if_awaitable(answer)

    text = "an awaitable that nobody awaits raised HostileError when it was closed"
    assert (True, [("sigra_forward", logging.WARNING, text)]) == (let_go, caplog.record_tuples)
