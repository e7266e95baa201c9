"""Until live captures and the recorder speak of `Frames`: batches turned into frames, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from udpprobe.capture.frames import Frame, Frames


def frames_of(batch: Any) -> Frames:  # noqa: ANN401 - it goes
    """The frames of a FrameBatch; or what is that already."""
    if isinstance(batch, Frames):
        return batch
    data = memoryview(batch.data)
    columns = (batch.time_ns, batch.offset, batch.captured, batch.length, batch.link_type, batch.frame)
    return Frames(batch.now_ns, [
        Frame(time_ns, bytes(data[at:at + captured]), length, link_type, number)
        for time_ns, at, captured, length, link_type, number in zip(*(each.tolist() for each in columns), strict=True)])


def batch_of(frames: Sequence[Frame]) -> Any:  # noqa: ANN401 - it goes
    """A FrameBatch of frames."""
    import numpy as np  # noqa: PLC0415 - it goes

    from udpprobe.core.batch import PADDING_BYTES, FrameBatch  # noqa: PLC0415 - it goes

    captured = np.array([len(frame.data) for frame in frames], np.int64)
    return FrameBatch(
        np.frombuffer(b"".join(frame.data for frame in frames) + bytes(PADDING_BYTES), np.uint8),
        np.cumsum(captured) - captured, captured, np.array([frame.length for frame in frames], np.int64),
        np.array([frame.time_ns for frame in frames], np.int64),
        np.array([frame.link_type for frame in frames], np.int32),
        np.array([frame.number for frame in frames], np.int64))
