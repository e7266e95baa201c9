"""Where frames come from: pcap and pcapng files, compressed or not, pipes, and several captures as one.

`open_captures` is the door; `FilteredSource` and `TimeWindow` (in `filter`) may stand behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udpprobe.core.batch import Source

__all__ = ["open_captures"]


def open_captures(paths: Sequence[str]) -> Source:
    """Opens one capture, or several as one in the order of their time stamps.

    Args:
        paths: files or pipes; "-" is standard input.

    Returns:
        A source that can be iterated once. Of a capture that breaks off or is damaged it yields all that
        stands before; `state` then says so.

    Raises:
        CaptureError: none of the files can be read; of several, `state.unread` names those that cannot.
    """
    from udpprobe.sources.capture import Capture  # noqa: PLC0415 - whoever captures live reads no files
    from udpprobe.sources.merge import MergedCaptures  # noqa: PLC0415 - as above

    return Capture(paths[0]) if len(paths) == 1 else MergedCaptures(paths)
