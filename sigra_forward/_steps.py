"""Steps: what is to be asked of the ports, decided once, and asked by whoever can, with or without ``await``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Step: TypeAlias = "tuple[Callable[[Any], Any], Any, float | None]"
"""A port to call, what to call it with, and the seconds that it may take."""

Steps: TypeAlias = "Generator[Step, Any, T]"
"""Each step is sent what its port answered, or thrown what it raised; at the end there is what they come to."""

Call: TypeAlias = "Callable[[Callable[[Any], Any], Any, float | None], Any]"
ACall: TypeAlias = "Callable[[Callable[[Any], Any], Any, float | None], Awaitable[Any]]"


def run_steps(steps: Steps[T], call: Call) -> T:
    """Return what *steps* come to, each port called by *call*."""
    try:
        step = next(steps)
        while True:
            try:
                answer = call(*step)
            except BaseException as exc:  # noqa: BLE001 - what it means is for the steps to say
                step = steps.throw(exc)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun_steps(steps: Steps[T], acall: ACall) -> T:
    """Return what *steps* come to, each port awaited by *acall*."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await acall(*step)
            except BaseException as exc:  # noqa: BLE001 - what it means is for the steps to say
                step = steps.throw(exc)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
