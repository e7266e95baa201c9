"""Live captures as columns, for who has not moved to `udpprobe.capture.live` yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

import numpy as np

from udpprobe.capture import live
from udpprobe.core.batch import PADDING_BYTES, FrameBatch, tick

if TYPE_CHECKING:
    from udpprobe.capture.frames import Frames

__all__ = ["LiveCapture", "open_capture"]


class LiveCapture:
    """See `udpprobe.capture.live.LiveCapture`; its frames as a batch."""

    def __init__(self, capture: live.LiveCapture) -> None:
        self._capture = capture
        self.state = capture.state
        self.close = capture.close

    def receive(self, wait_s: float) -> FrameBatch:
        """What came."""
        return batch_of(self._capture.receive(wait_s))

    def __iter__(self) -> Iterator[FrameBatch]:
        while True:
            yield self.receive(0.25)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batch_of(heard: Frames) -> FrameBatch:
    """Frames as columns."""
    if not heard:
        return tick(heard.now_ns)
    time_ns, frames, length, link_type, number = zip(*heard.frames, strict=True)
    data = np.frombuffer(b"".join([*frames, bytes(PADDING_BYTES)]), np.uint8)
    size = np.array([len(frame) for frame in frames], np.int64)
    return FrameBatch(data, np.cumsum(size) - size, size, np.array(length, np.int64), np.array(time_ns, np.int64),
                      np.array(link_type, np.int32), np.array(number, np.int64), heard.now_ns)


def open_capture(expression: str, *, interface: str | None, bulk: bool, prompt: bool = False,
                 kind: str = "interface") -> LiveCapture:
    """See `udpprobe.capture.live`."""
    return LiveCapture(live.open_capture(expression, interface=interface, bulk=bulk, kind=kind))
