"""Bytes as they arrive: from a file descriptor, and out of gzip and zstd."""

from __future__ import annotations

import os
import select
import zlib
from typing import TYPE_CHECKING, Any, Protocol

from udpprobe.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from udpprobe.core.batch import SourceState

READ_BYTES = 1 << 16
"""What a pipe holds; memory for more would be allocated in vain each time."""

INFLATE_BYTES = 1024
"""Compressed bytes unpacked at a time: zstd makes at most 32 KiB of one, which bounds a bomb's memory."""


class Feed(Protocol):
    """A stream of bytes."""

    @property
    def done_bytes(self) -> int:
        """Bytes taken from the file itself."""
        ...

    def read(self, timeout_s: float) -> bytes | None:
        """Bytes that are there within the time; none at the end; None where nothing came in time."""
        ...


class Descriptor:
    """An open file, pipe or socket.

    Args:
        fd: its descriptor, which is closed with this object.
        name: of what is open.

    Raises:
        CaptureError: by `read`, when the system cannot read on.
    """

    def __init__(self, fd: int, name: str) -> None:
        self._fd, self._name = fd, name
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.done_bytes = 0

    def __del__(self) -> None:
        os.close(self._fd)

    def read(self, timeout_s: float) -> bytes | None:
        """See Feed."""
        if not self._poll.poll(timeout_s * 1000):
            return None
        try:
            chunk = os.read(self._fd, READ_BYTES)
        except OSError as error:
            raise CaptureError(f"{self._name}: reading stopped: {error.strerror}") from error
        self.done_bytes += len(chunk)
        return chunk


class Peeked:
    """A feed whose first bytes may be looked at before they are read.

    Args:
        feed: where they come from.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._head = b""

    @property
    def done_bytes(self) -> int:
        """Bytes taken from the file itself."""
        return self._feed.done_bytes

    def peek(self, count: int) -> bytes:
        """The first `count` bytes, fewer where the feed has no more; waits for them as long as it takes."""
        while len(self._head) < count and (chunk := self._feed.read(1)) != b"":
            self._head += chunk or b""
        return self._head[:count]

    def read(self, timeout_s: float) -> bytes | None:
        """See Feed."""
        head, self._head = self._head, b""
        return head or self._feed.read(timeout_s)


Member = Any
"""zlib's or zstandard's decompression object: `decompress`, `eof`, `unused_data`; no type names these."""


def _gzip() -> tuple[Callable[[], Member], type[Exception]]:
    return lambda: zlib.decompressobj(31), zlib.error


def _zstd() -> tuple[Callable[[], Member], type[Exception]]:
    import zstandard  # noqa: PLC0415 -- only who has such a file pays for it
    return lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError


COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
"""By magic: RFC 1952 section 2.3.1, RFC 8878 section 3.1.1."""


def compression_of(head: bytes) -> bytes | None:
    """The magic of the compression that `head` begins with."""
    return next((magic for magic in COMPRESSIONS if head.startswith(magic)), None)


class Inflated:
    """What a gzip or zstd file of one or more members holds.

    A torn or damaged one gives what stood before; `state` then says `cut_short`.

    Args:
        feed: the compressed bytes.
        magic: a key of COMPRESSIONS.
        state: where faults are counted.
    """

    def __init__(self, feed: Feed, magic: bytes, state: SourceState) -> None:
        self._feed = feed
        self._magic = magic
        self._name, library = COMPRESSIONS[magic]
        self._open_member, self._error = library()
        self._member = self._open_member()
        self._state = state
        self._packed = b""
        self._at = 0
        self._ended = False

    @property
    def done_bytes(self) -> int:
        """Bytes taken from the file itself."""
        return self._feed.done_bytes

    def read(self, timeout_s: float) -> bytes | None:
        """See Feed."""
        while not self._ended:
            if self._at == len(self._packed):
                chunk = self._feed.read(timeout_s)
                if chunk is None:
                    return None
                self._packed, self._at = chunk, 0
            if plain := self._inflate():
                return plain
        return b""

    def _inflate(self) -> bytes:
        if not self._packed:
            return self._end(cut_short=not self._member.eof)
        if self._member.eof and not self._next_member():
            return b""
        some = self._packed[self._at:self._at + INFLATE_BYTES]
        try:
            plain: bytes = self._member.decompress(some)
        except self._error:
            return self._end(f"bad-{self._name}", cut_short=True)
        self._at += len(some) - len(self._member.unused_data)
        return plain

    def _next_member(self) -> bool:
        while self._packed[self._at:self._at + 1] == b"\0":     # tapes and disks pad with zeros
            self._at += 1
        first = self._packed[self._at:self._at + 1]
        if first == self._magic[:1]:
            self._member = self._open_member()
        elif first:
            self._end("trailing-garbage", cut_short=False)
        return first == self._magic[:1]

    def _end(self, fault: str | None = None, *, cut_short: bool) -> bytes:
        self._ended = True
        self._state.cut_short |= cut_short
        if fault:
            self._state.faults[fault] += 1
        return b""
