"""Stands in for `import cython` where Cython isn't installed: nothing is compiled, and an integer is an `int`.

How a module `x.py` is written that runs both compiled and interpreted:

- It begins with `from __future__ import annotations` and, with the names that it uses,

      try:
          import cython
          from cython import Py_ssize_t as index, ulonglong as u64
      except ImportError:
          from udpprobe.core._uncompiled import cython, index, u64

- Beside it stands `x.pxd`, which makes it compiled: each class with its attributes and C methods, and what functions
  and constants other modules use, in C's words (`unsigned long long`). A test compares the two.
- Constants are `const`, `_PORT = cython.declare(cython.const[u64], 0xFFFF)`, and of literals. So the C compiler knows
  them; else they are variables that are read each time, and no byte swap is recognised (a tenth of the instructions).
- Memoryviews are attributes: `words: memoryview[int]` in the class, `cdef unsigned long long[::1] words` in the .pxd.
  As parameters (`views.u64s`) or local variables they cost a copy of 200 bytes and two atomic operations each:
  not for each packet. `self.words` is as fast.
- What runs for each packet is `cfunc` (`ccall` where tests call it) and `nogil`, and returns an integer with
  `exceptval(-1, check=False)`, in the .pxd `except -1 nogil`; where -1 is a value, with
  `exceptval(0xFFFFFFFFFFFFFFFF, check=True)`, in the .pxd `except? 0xFFFFFFFFFFFFFFFF nogil`. What is small is
  `inline`. All of that has to be said in both files: else Cython 3.3 writes `-1LLLL`, or does not inline.
- No index is negative: compiled, that is an IndexError; interpreted, it counts from the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import cython as cython  # noqa: PLC0414 - what a type checker knows of it is in stubs/
else:
    cython = sys.modules[__name__]

_Thing = TypeVar("_Thing")

compiled = False

# C's types, and the short names that the core has for some
int = int  # noqa: A001, PLW0127 - else a module has none
bint = char = uchar = short = ushort = uint = long = ulong = longlong = ulonglong = Py_ssize_t = size_t = int
index, u8, u16, u32, u64, i64 = Py_ssize_t, uchar, ushort, uint, ulonglong, longlong
void = None


def _as_it_is(thing: _Thing) -> _Thing:
    return thing


cclass = cfunc = ccall = final = inline = _as_it_is


class _Gil:
    """With the GIL or without: a function, or what stands in a `with`."""

    def __call__(self, thing: _Thing) -> _Thing:
        return thing

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


gil = nogil = _Gil()


def exceptval(_value: int = 0, *, check: bool) -> Callable[[_Thing], _Thing]:  # noqa: ARG001 - as Cython names it
    """Say which result tells of an exception: always, or (`check`) where one was raised."""
    return _as_it_is


class const:  # noqa: N801 - as Cython names it
    """A type whose values the C compiler knows: without it, each constant is read from memory."""

    def __class_getitem__(cls, type_: _Thing) -> _Thing:
        return type_


def declare(_type: type[_Thing], value: _Thing) -> _Thing:
    """Make a typed constant, or where the type isn't `const`, a variable."""
    return value


def cast(_type: type[int], value: int) -> int:
    """Make an integer one of another type, which it has to fit into: it is not cut."""
    return value
