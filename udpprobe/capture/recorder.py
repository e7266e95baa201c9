"""Writes frames as pcapng (draft-ietf-opsawg-pcapng) with comments: all frames of a scan, or chosen ones for weeks.

The comments on a scan's frames are known only at its end. Until then the frames wait, already as blocks, in an unnamed
file; the capture itself appears whole or not at all. A capture over weeks rotates between several files. Whether a
frame is needed is known only later, so the last ones are kept in memory for a while.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Self

from udpprobe.capture.frames import Frame, Frames
from udpprobe.core.capture import BLOCKS, FRAME, Records
from udpprobe.errors import UdpprobeError
from udpprobe.files import atomic_file

SECTION, INTERFACE, ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
COMMENT, APPLICATION, TIME_RESOLUTION = 1, 4, 9
"""Options opt_comment, shb_userappl, if_tsresol (sections 3.5, 4.1, 4.2)."""

NANOSECONDS = b"\x09"
ANY_LENGTH = (1 << 64) - 1
"""Length of a section that reaches to the end of the file."""

PACKET_HEADER_BYTES = 32
"""An enhanced packet block without its frame and options."""

MAX_OPTION_BYTES = 0xFFFF


class Recorder:
    """Collects frames, then writes them. As a context manager it leaves nothing behind on an error.

    Args:
        path: the file; "-" is standard output. Pipes and devices are written directly, at the end.

    Raises:
        UdpprobeError: it cannot be written, as far as that is known before the end.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._interfaces: dict[int, int] = {}
        """Number of the interface for each link type."""
        with self._complaining():
            if Path(path).is_dir():
                raise IsADirectoryError(None, "it is a directory")
            beside = None if _is_stream(path) else Path(path).resolve().parent
            self._spool = tempfile.TemporaryFile(dir=beside)  # noqa: SIM115 - closed by `abandon`

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Discard all frames that were not written; does nothing after `finish`."""
        with suppress(OSError):  # a full disk was complained of before
            self._spool.close()

    def add(self, frames: Iterable[Frame]) -> None:
        """Append frames.

        Raises:
            UdpprobeError: there is no room for them.
        """
        some = list(frames)
        if not some:
            return
        blocks = [packet_block(frame, self._number_of(frame.link_type)) for frame in some]
        index = array("q", [len(blocks), sum(map(len, blocks))])
        index.extend(frame.number for frame in some)
        index.extend(map(len, blocks))
        with self._complaining():
            self._spool.write(index.tobytes())
            self._spool.write(b"".join(blocks))

    def finish(self, comments: Mapping[int, str], *, application: str) -> None:
        """Write the capture; its frames are numbered from 1, in the order they were added.

        Args:
            comments: by the frames' numbers when they were added.
            application: name and version of the program.

        Raises:
            UdpprobeError: it cannot be written.
            BrokenPipeError: standard output was closed.
        """
        with opened(self._path) as out:
            out.write(section_block(application))
            out.writelines(map(interface_block, self._interfaces))
            for numbers, sizes, blocks in self._spooled():
                out.writelines(commented(numbers, sizes, blocks, comments))
        self.abandon()

    def _number_of(self, link_type: int) -> int:
        """The interface of a link type; added if new."""
        return self._interfaces.setdefault(link_type, len(self._interfaces))

    def _spooled(self) -> Iterator[tuple[list[int], list[int], bytes]]:
        """For each call of `add`: its frames' numbers, the sizes of their blocks, and the blocks."""
        self._spool.seek(0)
        while head := self._spool.read(16):
            frames, size = struct.unpack("=2q", head)
            index = array("q", self._spool.read(16 * frames)).tolist()
            yield index[:frames], index[frames:], self._spool.read(size)

    def _complaining(self) -> AbstractContextManager[None]:
        return _complaining(self._path)


# ---- the file


@contextmanager
def _complaining(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        where = "standard output" if path == "-" else path
        raise UdpprobeError(f"cannot write {where}: {error.strerror or error}") from error


def _is_stream(path: str) -> bool:
    return path == "-" or (Path(path).exists() and not Path(path).is_file())


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """A capture file to write, which appears whole or not at all; anything but a regular file is written in place.

    Args:
        path: the file; "-" is standard output.

    Raises:
        UdpprobeError: it cannot be written.
        BrokenPipeError: standard output was closed.
    """
    with _complaining(path):
        if path == "-":
            if sys.stdout is None:
                raise OSError(None, "it is closed")
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        if Path(path).is_dir():
            raise IsADirectoryError(None, "it is a directory")
        with Path(path).open("wb") if _is_stream(path) else _whole(Path(path).resolve()) as out:
            yield out


@contextmanager
def _whole(target: Path) -> Iterator[IO[bytes]]:
    with atomic_file(target) as descriptor, os.fdopen(descriptor, "wb", closefd=False) as out:
        yield out


# ---- blocks, in little-endian order


def _block(kind: int, body: bytes, options: bytes = b"") -> bytes:
    size = 12 + len(body) + len(options)
    return struct.pack("<2I", kind, size) + body + options + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    """One option and the end of the options (section 3.5)."""
    return struct.pack("<2H", code, len(value)) + value + bytes(-len(value) % 4 + 4)


def section_block(application: str) -> bytes:
    """The section header block of a program (section 4.1)."""
    return _block(SECTION, struct.pack("<IHHQ", 0x1A2B3C4D, 1, 0, ANY_LENGTH), _option(APPLICATION, clean(application)))


def interface_block(link_type: int) -> bytes:
    """The interface description block of a link type (section 4.2)."""
    return _block(INTERFACE, struct.pack("<H2xI", link_type, 0), _option(TIME_RESOLUTION, NANOSECONDS))


def clean(text: str) -> bytes:
    r"""UTF-8 that fits into an option, with everything that could steer a terminal as `\x1b` and so on."""
    visible = (
        text
        if text.isprintable()
        else "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    )
    return visible.encode()[:MAX_OPTION_BYTES].decode(errors="ignore").encode()


def packet_block(frame: Frame, interface: int) -> bytes:
    """The enhanced packet block (section 4.3) of a frame, without options."""
    data = frame.data
    size = PACKET_HEADER_BYTES + (len(data) + 3 & -4)
    time_ns = frame.time_ns & (1 << 64) - 1
    return (
        struct.pack(
            "<7I", ENHANCED_PACKET, size, interface, time_ns >> 32, time_ns & 0xFFFF_FFFF, len(data), frame.length
        )
        + data
        + bytes(-len(data) % 4)
        + struct.pack("<I", size)
    )


def commented(numbers: list[int], sizes: list[int], blocks: bytes, comments: Mapping[int, str]) -> Iterator[bytes]:
    """The blocks, with comments added, in as few pieces as possible."""
    at = done = 0
    for number, size in zip(numbers, sizes, strict=True):
        if number in comments:
            yield blocks[done:at]
            yield _block(ENHANCED_PACKET, blocks[at + 8 : at + size - 4], _option(COMMENT, clean(comments[number])))
            done = at + size
        at += size
    yield blocks[done:]


REMEMBERED_BYTES = 64 << 20
OBJECT_BYTES = 256
"""Memory of a frame or a block besides its bytes."""
MOST_WRITTEN = 1 << 16
FORGOTTEN = "datagram-not-written"
"""The fault that counts datagrams that were no longer in memory when their error came."""


class Rotation:
    """Writes chosen frames to a file; when that is full it becomes FILE.1, that one FILE.2, and so on.

    Args:
        path: the file; an existing one is replaced.
        most_bytes: size at which a file is full; no frame is cut.
        files: number of files to keep.
        application: name and version of the program.
        remembered_bytes: of frames that may still be chosen.

    Raises:
        UdpprobeError: it cannot be written.
    """

    def __init__(
        self, path: str, *, most_bytes: int, files: int, application: str, remembered_bytes: int = REMEMBERED_BYTES
    ) -> None:
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
            with suppress(OSError):  # a full disk was complained of before
                self._out.close()

    def remember(self, first: int, held: bytes | Frames) -> None:
        """Keep frames for a while: objects, or a block of the ring.

        Args:
            first: number of the first one; the others follow.
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
        """Write frames that are not written yet, as far as they are remembered, in order.

        Args:
            frames: their numbers.
            comments: by frame number.

        Raises:
            UdpprobeError: they cannot be written.
        """
        new = sorted(set(frames) - self._written.keys())
        self._written.update(dict.fromkeys(new))
        for frame in list(self._written)[: max(0, len(self._written) - MOST_WRITTEN)]:
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
    """The frame with a number; None beyond the last one."""
    if not isinstance(held, bytes):
        return held.frames[number - first] if number - first < len(held) else None
    records = Records(BLOCKS, capacity=1)
    records.take_block(held)
    for _ in range(first, number + 1):
        if records.next() != FRAME:
            return None
    data = held[records.at : records.at + records.captured]
    return Frame(records.time_ns, data, records.length, records.link_type, number)
