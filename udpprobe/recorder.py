"""Writes the frames of a scan as pcapng (draft-ietf-opsawg-pcapng), each with what is to be said about it.

What is to be said is known at the end only. Until then frames wait, as blocks already, in a file without a
name; the capture itself appears whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8, FrameBatch
from udpprobe.core.runs import distinct
from udpprobe.errors import UdpprobeError

SECTION, INTERFACE, ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
COMMENT, APPLICATION, TIME_RESOLUTION = 1, 4, 9
"""Options opt_comment, shb_userappl, if_tsresol (sections 3.5, 4.1, 4.2)."""

NANOSECONDS = b"\x09"
ANY_LENGTH = (1 << 64) - 1
"""Of a section: read on to the end of the file."""

PACKET_HEADER_BYTES, PACKET_FRAME_BYTES = 32, 28
"""An enhanced packet block without its frame and options; where in it the frame begins."""

MAX_OPTION_BYTES = 0xFFFF

Words = npt.NDArray[np.uint32]


class Recorder:
    """Collects frames, then writes them. As a context manager it leaves nothing behind on an error.

    Args:
        path: the file; "-" is standard output. Pipes and devices are written directly, at the end.

    Raises:
        UdpprobeError: it cannot be written, as far as that shows before the end.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._interfaces: dict[int, int] = {}
        """Number of the interface that stands for each link type."""
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
        """Forget all frames that are not written; does nothing after `finish`."""
        with suppress(OSError):     # a full disk was complained of before
            self._spool.close()

    def add(self, batch: FrameBatch) -> None:
        """Take all frames of a batch, behind those there are.

        Raises:
            UdpprobeError: there is no room for them.
        """
        if not len(batch):
            return
        words, sizes = packet_blocks(batch, self._numbers_of(batch.link_type))
        with self._complaining():
            self._spool.write(np.array([len(batch), words.nbytes]).tobytes())
            self._spool.write(np.concatenate([batch.frame, sizes]).tobytes())
            self._spool.write(words.data)

    def finish(self, comments: Mapping[int, str], *, application: str) -> None:
        """Write the capture; frames are numbered from 1 there, in the order they were added.

        Args:
            comments: what to say of frames, by the numbers they had in their batches.
            application: name and version of the program.

        Raises:
            UdpprobeError: it cannot be written.
            BrokenPipeError: nobody reads standard output any more.
        """
        with self._complaining(), _opened(self._path) as out:
            out.write(section_block(application))
            out.writelines(map(interface_block, self._interfaces))
            for numbers, sizes, blocks in self._spooled():
                out.writelines(commented(numbers, sizes, blocks, comments))
        self.abandon()

    def _numbers_of(self, link_types: npt.NDArray[np.int32]) -> I64:
        """(n,) the interface of each frame; new ones for new link types."""
        interface = np.empty(len(link_types), np.int64)
        for link_type in distinct(link_types):
            number = self._interfaces.setdefault(link_type, len(self._interfaces))
            interface[link_types == link_type] = number
        return interface

    def _spooled(self) -> Iterator[tuple[list[int], list[int], bytes]]:
        """What each batch had: its frames' numbers, the sizes of their blocks, and the blocks."""
        self._spool.seek(0)
        while head := self._spool.read(16):
            frames, size = struct.unpack("=2q", head)
            index = np.frombuffer(self._spool.read(16 * frames), np.int64).tolist()
            yield index[:frames], index[frames:], self._spool.read(size)

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            where = "standard output" if self._path == "-" else self._path
            raise UdpprobeError(f"cannot write {where}: {error.strerror or error}") from error


# ---- where it goes

def _is_stream(path: str) -> bool:
    return path == "-" or (Path(path).exists() and not Path(path).is_file())


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        if sys.stdout is None:
            raise OSError(None, "it is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with Path(path).open("wb") if _is_stream(path) else _whole(Path(path).resolve()) as out:
        yield out


@contextmanager
def _whole(target: Path) -> Iterator[IO[bytes]]:
    """A file beside the target, which takes its name when all is written."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("wb") as out:
            yield out
        with suppress(FileNotFoundError):
            shutil.copymode(target, draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


# ---- blocks, in the byte order of nearly every machine

def _block(kind: int, body: bytes, options: bytes = b"") -> bytes:
    size = 12 + len(body) + len(options)
    return struct.pack("<2I", kind, size) + body + options + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    """One option and the end of the options (section 3.5)."""
    return struct.pack("<2H", code, len(value)) + value + bytes(-len(value) % 4 + 4)


def section_block(application: str) -> bytes:
    """The start of a capture by a program (section 4.1)."""
    return _block(SECTION, struct.pack("<IHHQ", 0x1A2B3C4D, 1, 0, ANY_LENGTH),
                  _option(APPLICATION, _clean(application)))


def interface_block(link_type: int) -> bytes:
    """An interface of a link type (section 4.2)."""
    return _block(INTERFACE, struct.pack("<H2xI", link_type, 0), _option(TIME_RESOLUTION, NANOSECONDS))


def _clean(text: str) -> bytes:
    r"""UTF-8 that fits into an option, with everything that could steer a terminal as `\x1b` and so on."""
    visible = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return visible.encode()[:MAX_OPTION_BYTES].decode(errors="ignore").encode()


def packet_blocks(batch: FrameBatch, interface: I64) -> tuple[Words, I64]:
    """The enhanced packet blocks (section 4.3) of all frames, one behind the other.

    Returns:
        The blocks as words, and (n,) the bytes of each.
    """
    sizes = PACKET_HEADER_BYTES + (batch.captured + 3 & -4)
    ends = np.cumsum(sizes)
    words = np.zeros(ends[-1] // 4, "<u4")
    header = (np.full_like(sizes, ENHANCED_PACKET), sizes, interface, batch.time_ns >> 32, batch.time_ns,
              batch.captured, batch.length)
    for place, values in enumerate(header):
        words[(ends - sizes) // 4 + place] = values.astype(np.uint32)     # the lower half of each
    words[ends // 4 - 1] = sizes
    _copy_frames(batch, words.view(np.uint8), ends - sizes + PACKET_FRAME_BYTES)
    return words, sizes


def _copy_frames(batch: FrameBatch, into: U8, at: I64) -> None:
    """Copy each frame to its place, all of one size at a time: a scan has but few sizes."""
    for size in distinct(batch.captured[batch.captured > 0]):
        rows = batch.captured == size
        _windows(into, size)[at[rows]] = _windows(batch.data, size)[batch.offset[rows]]


def _windows(data: U8, size: int) -> npt.NDArray[np.void]:
    """The `size` bytes from each byte on; they overlap."""
    return np.ndarray((data.size - size + 1,), f"V{size}", data, strides=(1,))


def commented(numbers: list[int], sizes: list[int], blocks: bytes, comments: Mapping[int, str]) -> Iterator[bytes]:
    """The blocks, with a comment where there is one, in as few pieces as that allows."""
    at = told = 0
    for number, size in zip(numbers, sizes, strict=True):
        if number in comments:
            yield blocks[told:at]
            yield _block(ENHANCED_PACKET, blocks[at + 8:at + size - 4], _option(COMMENT, _clean(comments[number])))
            told = at + size
        at += size
    yield blocks[told:]
