"""Names of typed memoryviews, for parameters of compiled functions; a type checker takes no `cython.ulonglong[::1]`.

A module says `from udpprobe.core import views` and its .pxd `from udpprobe.core cimport views`; then `views.u64s` is a
type to both. (This module isn't compiled: it would declare each name twice.)
"""

from __future__ import annotations

from typing import TypeAlias

u8s: TypeAlias = "bytearray | memoryview[int]"
const_u8s: TypeAlias = "bytes | bytearray | memoryview[int]"
i64s: TypeAlias = "memoryview[int]"
u64s: TypeAlias = "memoryview[int]"
