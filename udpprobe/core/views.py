"""Names of typed memoryviews for parameters of compiled functions; a type checker rejects `cython.ulonglong[::1]`.

A module says `from udpprobe.core import views` and its .pxd `from udpprobe.core cimport views`; then `views.u64s` is a
type to both. (This module isn't compiled: it would declare each name twice.) It also pickles memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

if TYPE_CHECKING:
    from array import array
    from pickle import PickleBuffer

LARGE_BYTES = 1 << 16
"""Memory of at least this size is pickled out of band (PEP 574): it is sent without a copy."""

u8s: TypeAlias = "bytearray | memoryview[int]"
const_u8s: TypeAlias = "bytes | bytearray | memoryview[int]"
u32s: TypeAlias = "array[int] | memoryview[int]"
i64s: TypeAlias = "memoryview[int]"
u64s: TypeAlias = "memoryview[int]"
Pickled: TypeAlias = "bytes | bytearray | memoryview[int]"
"""Pickled memory: its own bytes, or a view of the receive buffer."""


def pickled(view: Any, protocol: SupportsIndex) -> bytes | PickleBuffer:  # noqa: ANN401 - a typed view has no type
    """Memory, for `__reduce_ex__`. Restoring gets bytes, or a view of the receive buffer."""
    memory = memoryview(view)
    if memory.nbytes < LARGE_BYTES or protocol.__index__() < 5:
        return bytes(memory)
    from pickle import PickleBuffer  # noqa: PLC0415 - only who pickles pays for it

    return PickleBuffer(memory)


def restored(memory: Pickled, form: str) -> memoryview:
    """A writable copy of pickled memory.

    Args:
        memory: what `pickled` became.
        form: format of an element, as in `struct`.
    """
    return memoryview(bytearray(memory)).cast(form)  # type: ignore[call-overload]
