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

import numpy as np

from udpprobe.core.batch import FrameBatch, tick
from udpprobe.core.runs import distinct
from udpprobe.errors import UdpprobeError
from udpprobe.recorder import commented, interface_block, packet_blocks, section_block

REMEMBERED_BYTES = 64 << 20
BATCH_BYTES = 2048
"""What a batch takes beyond its frames."""
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
        self._batches: list[FrameBatch] = []
        self._first: list[int] = []
        """Number of each batch's first frame."""
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

    def remember(self, batch: FrameBatch) -> None:
        """Keep a batch for a while; its bytes have to stay as they are."""
        if not len(batch):
            return
        self._batches.append(batch)
        self._first.append(int(batch.frame[0]))
        self._held_bytes += batch.data.nbytes + BATCH_BYTES
        forgotten = 0
        while self._held_bytes > self._remembered_bytes and forgotten < len(self._batches) - 1:
            self._held_bytes -= self._batches[forgotten].data.nbytes + BATCH_BYTES
            forgotten += 1
        del self._batches[:forgotten], self._first[:forgotten]

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

    def _write(self, frame: int, comments: Mapping[int, str]) -> None:
        place = bisect_right(self._first, frame) - 1
        batch = self._batches[place].take(self._batches[place].frame == frame) if place >= 0 else tick(0)
        if not len(batch):
            self.faults[FORGOTTEN] += 1
            return
        if self._file.tell() >= self._most_bytes:
            self._rotate()
        number = np.array([self._interface(each) for each in distinct(batch.link_type)], np.int64)
        words, sizes = packet_blocks(batch, number)
        self._file.writelines(commented([frame], sizes.tolist(), words.tobytes(), comments))

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
