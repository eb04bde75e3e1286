"""Values that misbehave, for the tests of what comes from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

SECRET = "s3cret"


class HostileError(Exception):
    """What hostile values raise; not even its text can be had."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


def _raise(*_args: object, **_kwargs: object) -> object:
    raise HostileError


class HidesItsClass:
    """Raises when it is asked for its class."""

    @property
    def __class__(self) -> type:
        raise HostileError


class _Raising(type):
    __name__ = property(_raise)
    __getattr__ = _raise


class HidesItsName(metaclass=_Raising):
    """An instance of a class that raises when it is asked for its name, or for what it has not."""


class HostileStr(str):
    """A text whose every method raises."""

    __slots__ = ()
    __eq__ = __ne__ = __len__ = __getitem__ = __iter__ = __contains__ = __repr__ = __str__ = _raise
    __format__ = encode = isascii = strip = _raise
    __hash__ = _raise


class SelfSpelledStr(str):
    """A text that ``str()`` leaves as it is, such as Django's ``SafeString``."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class HostileInt(int):
    """A number whose every method raises."""

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __int__ = __index__ = __repr__ = __str__ = _raise
    __add__ = __radd__ = __mul__ = __rmul__ = __pow__ = __pos__ = __neg__ = __bool__ = _raise
    __hash__ = _raise


class HostileFloat(float):
    """A number whose every method raises."""

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __float__ = __repr__ = __str__ = _raise
    __add__ = __radd__ = __mul__ = __rmul__ = __pow__ = __pos__ = __neg__ = __bool__ = __ceil__ = _raise
    __hash__ = _raise


class HostileMapping(Mapping):
    """
    A mapping that raises *error* for *keys*, and gives *values* for the others.

    Nothing but its items can be had: its length and its keys raise as well.
    """

    def __init__(self, error: Exception, *keys: str, **values: object) -> None:
        self._error, self._keys, self._values = error, keys, values

    def __getitem__(self, key: str) -> object:
        if key in self._keys:
            raise self._error
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        raise self._error

    def __len__(self) -> int:
        raise self._error


HOSTILE: dict[str, object] = {
    "hides-its-class": HidesItsClass(),
    "hides-its-name": HidesItsName(),
    "hostile-str": HostileStr(SECRET),
    "hostile-int": HostileInt(1),
    "hostile-float": HostileFloat(1.0),
    "hostile-mapping": HostileMapping(HostileError(), "forwarder", "audit_event_id", "occurred_at"),
}
"""Values by name; Hypothesis cannot draw them, since it prints what it draws."""
