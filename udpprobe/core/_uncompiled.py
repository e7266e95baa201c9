"""Stands in for `import cython` where Cython isn't installed: nothing is compiled, and an integer is an `int`.

How to write a module `x.py` that runs both compiled and interpreted:

- It begins with `from __future__ import annotations` and, with the names that it uses,

      try:
          import cython
          from cython import Py_ssize_t as index, ulonglong as u64
      except ImportError:
          from udpprobe.core._uncompiled import cython, index, u64

- A file `x.pxd` beside it makes it compiled. It declares each class with its attributes and C methods, and the
  functions and constants that other modules use, with C types (`unsigned long long`). A test compares the two files.
- Constants are `const` and literals: `_PORT = cython.declare(cython.const[u64], 0xFFFF)`. Otherwise they are variables
  that are read each time, and the C compiler recognises no byte swap (ten times as many instructions).
- Memoryviews are attributes: `words: memoryview[int]` in the class, `cdef unsigned long long[::1] words` in the .pxd.
  As parameters (`views.u64s`) or local variables they cost a copy of 200 bytes and two atomic operations each, too
  much for every packet. `self.words` is as fast.
- A function that runs for every packet is `cfunc` (`ccall` where tests call it) and `nogil`. It returns an integer with
  `exceptval(-1, check=False)`, in the .pxd `except -1 nogil`; where -1 is a valid result, with
  `exceptval(0xFFFFFFFFFFFFFFFF, check=True)`, in the .pxd `except? 0xFFFFFFFFFFFFFFFF nogil`. A small one is `inline`.
  Both files must say all of this: otherwise Cython 3.3 writes `-1LLLL`, or does not inline.
- No index is negative: compiled, it raises IndexError; interpreted, it counts from the end.
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

# C's types, with the core's short names for some
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
    """Say which result signals an exception: always, or (`check`) only if one was raised."""
    return _as_it_is


class const:  # noqa: N801 - as Cython names it
    """A type whose values the C compiler knows: otherwise each constant is read from memory."""

    def __class_getitem__(cls, type_: _Thing) -> _Thing:
        return type_


def declare(_type: type[_Thing], value: _Thing) -> _Thing:
    """Make a typed constant; or, if the type isn't `const`, a variable."""
    return value


def cast(_type: type[int], value: int) -> int:
    """Give an integer another type, which must be able to hold it: it is not truncated."""
    return value
