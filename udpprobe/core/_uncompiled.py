"""Stands in for `import cython` where Cython isn't installed."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import cython as cython
else:
    cython = sys.modules[__name__]

_Thing = TypeVar("_Thing")

compiled = False

# C's integers, and short names for them
Py_ssize_t = bint = uchar = ushort = uint = ulonglong = longlong = int
index, u8, u16, u32, u64, i64 = Py_ssize_t, uchar, ushort, uint, ulonglong, longlong


def _as_it_is(thing: _Thing) -> _Thing:
    return thing


cclass = cfunc = ccall = final = inline = _as_it_is


class _NoGil:
    """Without the GIL: a function, or what stands in a `with`."""

    def __call__(self, thing: _Thing) -> _Thing:
        return thing

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


nogil = _NoGil()


def exceptval(_value: int = 0, *, check: bool) -> Callable[[_Thing], _Thing]:  # noqa: ARG001 - named so by Cython
    """Say which result means that an exception was raised."""
    return _as_it_is


def cast(_type: type[_Thing], value: int) -> int:
    """An integer of another type, if it fits."""
    return value


def declare(_type: type[_Thing], value: _Thing) -> _Thing:
    """A typed constant."""
    return value
