"""Keeps what passes between a program and the world, for a capture."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import PADDING_BYTES, FrameBatch
from udpprobe.recorder import Recorder

LINKTYPE_RAW = 101
"""Packets that begin with their IP header (https://www.tcpdump.org/linktypes.html)."""
AT_ONCE = 1024


class Passing:
    """Hands packets to a recorder, many at a time.

    Args:
        recorder: what writes them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._packets: list[bytes] = []
        self._times_ns: list[int] = []
        self._done = 0

    def note(self, raw: bytes, now_ns: int) -> None:
        """Take a packet, which passed `now_ns` after the start of 1970.

        Raises:
            UdpprobeError: there is no room for it.
        """
        self._packets.append(raw)
        self._times_ns.append(now_ns)
        if len(self._packets) == AT_ONCE:
            self._hand_over()

    def finish(self, application: str) -> None:
        """Write the capture.

        Args:
            application: name and version of the program.

        Raises:
            UdpprobeError: it cannot be written.
        """
        self._hand_over()
        self._recorder.finish({}, application=application)

    def _hand_over(self) -> None:
        self._recorder.add(batch_of(self._packets, self._times_ns, self._done + 1))
        self._done += len(self._packets)
        self._packets, self._times_ns = [], []


def batch_of(packets: list[bytes], times_ns: list[int], first: int) -> FrameBatch:
    """IP packets as frames.

    Args:
        packets: `n` of them.
        times_ns: (n,) since 1970.
        first: number of the first frame.
    """
    size = np.array([len(packet) for packet in packets], np.int64)
    data = np.frombuffer(b"".join(packets) + bytes(PADDING_BYTES), np.uint8)
    count = len(packets)
    return FrameBatch(data, np.cumsum(size) - size, size, size, np.array(times_ns, np.int64),
                      np.full(count, LINKTYPE_RAW, np.int32), np.arange(first, first + count), max(times_ns, default=0))
