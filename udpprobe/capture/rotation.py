"""A capture for weeks: frames that are worth it, in pcapng files that take each other's place.

What a frame is worth is known only later, so the last ones are remembered for a while.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

from udpprobe.capture.frames import Frame, Frames
from udpprobe.capture.recorder import commented, interface_block, packet_block, section_block
from udpprobe.core.capture import BLOCKS, FRAME, Records
from udpprobe.errors import UdpprobeError

REMEMBERED_BYTES = 64 << 20
OBJECT_BYTES = 256
"""What a frame or a block takes beyond its bytes."""
MOST_WRITTEN = 1 << 16
FORGOTTEN = "datagram-not-written"
"""The fault of datagrams that were forgotten when their error came."""


class Rotation:
    """Writes chosen frames to a file; when that is full it becomes FILE.1, that one FILE.2, and so on.

    Args:
        path: the file; what is there is replaced.
        most_bytes: when a file is full; no frame is cut.
        files: how many there are at a time.
        application: name and version of the program.
        remembered_bytes: of frames that may yet be chosen.

    Raises:
        UdpprobeError: it cannot be written.
    """

    def __init__(self, path: str, *, most_bytes: int, files: int, application: str,
                 remembered_bytes: int = REMEMBERED_BYTES) -> None:
        self._path, self._most_bytes, self._files, self._application = Path(path), most_bytes, files, application
        self._remembered_bytes, self._held_bytes = remembered_bytes, 0
        self._held: list[bytes | Frames] = []
        self._first: list[int] = []
        """Number of the first frame of each."""
        self._written: dict[int, None] = {}
        self.faults: Counter[str] = Counter()
        self._interfaces: dict[int, int] = {}
        self._out: IO[bytes] | None = None
        with self._complaining():
            self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._out is not None:
            with suppress(OSError):     # a full disk was complained of before
                self._out.close()

    def remember(self, first: int, held: bytes | Frames) -> None:
        """Keep frames for a while: objects, or a block of the ring.

        Args:
            first: number of the first of them; the others follow.
            held: at least one.
        """
        self._held.append(held)
        self._first.append(first)
        self._held_bytes += _size(held)
        forgotten = 0
        while self._held_bytes > self._remembered_bytes and forgotten < len(self._held) - 1:
            self._held_bytes -= _size(self._held[forgotten])
            forgotten += 1
        del self._held[:forgotten], self._first[:forgotten]

    def write(self, frames: Iterable[int], comments: Mapping[int, str]) -> None:
        """Write frames that are not written yet, as far as they are remembered, in their order.

        Args:
            frames: their numbers.
            comments: what to say of frames, by number.

        Raises:
            UdpprobeError: they cannot be written.
        """
        new = sorted(set(frames) - self._written.keys())
        self._written.update(dict.fromkeys(new))
        for frame in list(self._written)[:max(0, len(self._written) - MOST_WRITTEN)]:
            del self._written[frame]
        with self._complaining():
            for frame in new:
                self._write(frame, comments)
            self._file.flush()

    def _write(self, number: int, comments: Mapping[int, str]) -> None:
        place = bisect_right(self._first, number) - 1
        frame = _frame_in(self._held[place], number, self._first[place]) if place >= 0 else None
        if frame is None:
            self.faults[FORGOTTEN] += 1
            return
        if self._file.tell() >= self._most_bytes:
            self._rotate()
        block = packet_block(frame, self._interface(frame.link_type))
        self._file.writelines(commented([number], [len(block)], block, comments))

    @property
    def _file(self) -> IO[bytes]:
        if self._out is None:
            raise OSError(None, "it is closed")
        return self._out

    def _interface(self, link_type: int) -> int:
        if link_type not in self._interfaces:
            self._interfaces[link_type] = len(self._interfaces)
            self._file.write(interface_block(link_type))
        return self._interfaces[link_type]

    def _rotate(self) -> None:
        self._file.close()
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._files))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._open()

    def _open(self) -> None:
        self._out = self._path.open("wb")
        self._interfaces = {}
        self._out.write(section_block(self._application))
        self._out.flush()

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UdpprobeError(f"cannot write {self._path}: {error.strerror or error}") from error


def _size(held: bytes | Frames) -> int:
    if isinstance(held, bytes):
        return len(held) + OBJECT_BYTES
    return sum(len(frame.data) + OBJECT_BYTES for frame in held.frames)


def _frame_in(held: bytes | Frames, number: int, first: int) -> Frame | None:
    """The frame of a number, None behind the last one."""
    if not isinstance(held, bytes):
        return held.frames[number - first] if number - first < len(held) else None
    records = Records(BLOCKS, capacity=1)
    records.take_block(held)
    for _ in range(first, number + 1):
        if records.next() != FRAME:
            return None
    data = held[records.at:records.at + records.captured]
    return Frame(records.time_ns, data, records.length, records.link_type, number)
