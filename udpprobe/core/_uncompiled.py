"""Stands in for `cython` where it is not installed: the core's modules run interpreted, and need only these names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
index = u64 = int


class _NoGil:
    """Both a decorator and a context."""

    def __call__(self, function: F) -> F:
        return function

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class cython:  # noqa: N801 - it stands for the module of this name
    """What the core uses of it."""

    compiled = False
    int = int
    nogil = _NoGil()

    @staticmethod
    def declare(_: type, value: int) -> int:
        """A typed constant."""
        return value

    @staticmethod
    def cclass(kind: C) -> C:
        """An extension type."""
        return kind

    @staticmethod
    def cfunc(function: F) -> F:
        """A C function."""
        return function

    ccall = inline = cfunc

    @staticmethod
    def exceptval(*_: object, **__: object) -> Callable[[F], F]:
        """What it returns where it raises."""
        return lambda function: function
