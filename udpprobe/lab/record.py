"""Keeps what passes between a program and the world, for a capture."""

from __future__ import annotations

from udpprobe.capture.frames import Frame
from udpprobe.capture.recorder import Recorder

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
        self._frames: list[Frame] = []
        self._count = 0

    def note(self, raw: bytes, now_ns: int) -> None:
        """Take a packet, which passed `now_ns` after the start of 1970.

        Raises:
            UdpprobeError: there is no room for it.
        """
        self._count += 1
        self._frames.append(Frame(now_ns, raw, len(raw), LINKTYPE_RAW, self._count))
        if len(self._frames) == AT_ONCE:
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
        self._recorder.add(self._frames)
        self._frames = []
