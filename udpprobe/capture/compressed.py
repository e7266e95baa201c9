"""gzip and zstd files, decompressed by a separate thread while earlier records are analysed."""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from udpprobe.errors import CaptureError

if TYPE_CHECKING:
    from udpprobe.capture.content import ByteStream
    from udpprobe.capture.frames import SourceState

NESTING = 3
"""Levels of nested compression that are undone."""

BLOCK_BYTES = 1 << 20
"""Decompressed and passed between threads at a time."""

AHEAD_BLOCKS = 3
"""Blocks that may wait for the reader."""

ZSTD_BYTES = 1024
"""Compressed bytes unpacked at a time: zstd makes at most 32 KiB of each, which bounds the memory of a bomb."""

STOP_S = 0.1
"""Seconds between a waiting thread's checks whether it is still needed."""

Member = Any
"""Decompression object of zlib or zstandard: `eof`, `unused_data`; neither has a type."""


class DamagedError(Exception):
    """The compressed data is damaged.

    Args:
        plain: the bytes before the damage.
    """

    def __init__(self, plain: bytes) -> None:
        super().__init__()
        self.plain = plain


class _Gzip:
    """RFC 1952."""

    name = "gzip"
    magic = b"\x1f\x8b"

    @staticmethod
    def open() -> Member:
        return zlib.decompressobj(31)

    @staticmethod
    def unpack(member: Member, packed: memoryview) -> tuple[bytes, memoryview]:
        """Unpack some bytes; return them and the rest.

        Raises:
            DamagedError: the data is damaged.
        """
        before = member.copy()  # 40 kB
        try:
            plain: bytes = member.decompress(packed, BLOCK_BYTES)
        except zlib.error:
            raise DamagedError(b"".join(_bytewise(before, packed))) from None
        return plain, memoryview(member.unused_data if member.eof else member.unconsumed_tail)


def _bytewise(member: Member, packed: memoryview) -> Iterator[bytes]:
    """The bytes before the damage. zlib returns nothing for an input with damage, so it gets one byte at a time."""
    with suppress(zlib.error):
        for at in range(len(packed)):
            yield member.decompress(packed[at : at + 1])


class _Zstd:
    """RFC 8878."""

    name = "zstd"
    magic = b"\x28\xb5\x2f\xfd"

    @staticmethod
    def open() -> Member:
        import zstandard  # noqa: PLC0415 - only zstd files need it

        return zstandard.ZstdDecompressor().decompressobj()

    @staticmethod
    def unpack(member: Member, packed: memoryview) -> tuple[bytes, memoryview]:
        """As above. The library does not bound its output, so it gets little input at a time."""
        import zstandard  # noqa: PLC0415 - as above

        parts, size = [], 0
        while packed and not member.eof and size < BLOCK_BYTES:
            some = packed[:ZSTD_BYTES]
            try:
                parts.append(member.decompress(some))
            except zstandard.ZstdError as error:
                if "memory" in str(error):  # a frame with a window larger than zstd's default maximum
                    raise CaptureError(
                        "compressed with a window of more than 128 MB: decompress it first, with zstd -d --long=31"
                    ) from None
                raise DamagedError(b"".join(parts)) from None
            size += len(parts[-1])
            packed = packed[len(some) - len(member.unused_data) :]
        return b"".join(parts), packed


FORMATS = (_Gzip, _Zstd)


class Peeked:
    """A stream whose first bytes can be looked at before they are read.

    Args:
        stream: its source.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._head = b""

    @property
    def done_bytes(self) -> int:
        """See ByteStream."""
        return self._stream.done_bytes

    def peek(self, count: int) -> bytes:
        """The first `count` bytes, fewer at the end of the stream; waits as long as it takes."""
        while len(self._head) < count and (chunk := self._stream.read(1)) != b"":
            self._head += chunk or b""
        return self._head[:count]

    def read(self, timeout_s: float) -> bytes | None:
        """See ByteStream."""
        head, self._head = self._head, b""
        return head or self._stream.read(timeout_s)


class Inflated:
    """The content of a gzip or zstd file of one or more members.

    A truncated or damaged one gives the bytes before that; `state.cut_short` is then set.

    Args:
        stream: the compressed bytes.
        form: one of FORMATS.
        state: where faults are counted.
    """

    def __init__(self, stream: ByteStream, form: type[_Gzip | _Zstd], state: SourceState) -> None:
        self._stream = stream
        self._form = form
        self._member = self._form.open()
        self._state = state
        self._packed = memoryview(b"")
        self._ended = False

    @property
    def done_bytes(self) -> int:
        """See ByteStream."""
        return self._stream.done_bytes

    def read(self, timeout_s: float) -> bytes | None:
        """See ByteStream."""
        while not self._ended:
            if not self._packed:
                chunk = self._stream.read(timeout_s)
                if chunk is None:
                    return None
                if not chunk:
                    self._end(cut_short=not self._member.eof)
                    break
                self._packed = memoryview(chunk)
            if (not self._member.eof or self._next_member()) and (plain := self._unpack()):
                return plain
        return b""

    def _unpack(self) -> bytes:
        try:
            plain, self._packed = self._form.unpack(self._member, self._packed)
        except DamagedError as damaged:
            self._end(f"bad-{self._form.name}", cut_short=True)
            return damaged.plain
        return plain

    def _next_member(self) -> bool:
        self._packed = memoryview(bytes(self._packed).lstrip(b"\0"))  # padding, from tapes and disks
        if not self._packed:
            return False
        if self._packed[0] != self._form.magic[0]:
            self._end("trailing-garbage", cut_short=False)
            return False
        self._member = self._form.open()
        return True

    def _end(self, fault: str | None = None, *, cut_short: bool) -> None:
        self._ended = True
        self._state.cut_short |= cut_short
        if fault:
            self._state.faults[fault] += 1


def unpacked(stream: Peeked, state: SourceState) -> Peeked:
    """The stream with all compression undone; faults are counted in `state`."""
    for _ in range(NESTING):
        head = stream.peek(4)
        form = next((form for form in FORMATS if head.startswith(form.magic)), None)
        if form is None:
            break
        stream = Peeked(Inflated(stream, form, state))
    return stream


class Ahead:
    """Another stream, read ahead by a thread; zlib and zstandard release the GIL.

    Args:
        stream: read by the thread only.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._blocks: queue.Queue[bytes | Exception] = queue.Queue(AHEAD_BLOCKS)
        self._stop = threading.Event()
        self._is_over = False
        thread = threading.Thread(target=_read_ahead, args=(stream, self._blocks, self._stop), daemon=True)
        thread.start()

    def __del__(self) -> None:
        self.close()

    @property
    def done_bytes(self) -> int:
        """See ByteStream."""
        return self._stream.done_bytes

    def read(self, timeout_s: float) -> bytes | None:
        """See ByteStream."""
        if self._is_over:
            return b""
        try:
            block = self._blocks.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(block, Exception):
            self._is_over = True
            raise block
        self._is_over = not block
        return block

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()


def _read_ahead(stream: ByteStream, blocks: queue.Queue[bytes | Exception], stop: threading.Event) -> None:
    """Hand over blocks; the last is empty, or an exception."""
    block: bytes | Exception | None = None
    while block is None or (isinstance(block, bytes) and block):
        try:
            block = stream.read(STOP_S)
        except Exception as error:  # noqa: BLE001 - the reader raises it, whatever it is
            block = error
        while not stop.is_set() and block is not None:
            try:
                blocks.put(block, timeout=STOP_S)
                break
            except queue.Full:
                continue
        if stop.is_set():
            return
