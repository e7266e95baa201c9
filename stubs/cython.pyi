# What a type checker should think of Cython: integers are `int`, and decorators change nothing.
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar, overload

_Thing = TypeVar("_Thing")

compiled: bool

from builtins import int as int

bint = int
char = int
uchar = int
short = int
ushort = int
uint = int
long = int
ulong = int
longlong = int
ulonglong = int
Py_ssize_t = int
size_t = int
void: TypeAlias = None

def cclass(thing: _Thing) -> _Thing: ...
def cfunc(thing: _Thing) -> _Thing: ...
def ccall(thing: _Thing) -> _Thing: ...
def final(thing: _Thing) -> _Thing: ...
def inline(thing: _Thing) -> _Thing: ...

class _Gil:
    def __call__(self, thing: _Thing) -> _Thing: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...

nogil: _Gil
gil: _Gil

def exceptval(_value: int = 0, *, check: bool) -> Callable[[_Thing], _Thing]: ...

class const(Generic[_Thing]): ...  # noqa: N801 - as Cython names it

@overload
def declare(_type: type[const[_Thing]], value: _Thing) -> _Thing: ...
@overload
def declare(_type: type[_Thing], value: _Thing) -> _Thing: ...
def cast(_type: type[int], value: int) -> int: ...
