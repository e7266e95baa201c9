"""The bytes of answers, by which their protocol is known."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import I64, FrameBatch
from udpprobe.core.decoding.decode import HANDLERS
from udpprobe.core.decoding.layers_ip import UDP
from udpprobe.core.decoding.layers_link import kind_of_link
from udpprobe.core.decoding.walk import Walk
from udpprobe.core.runs import firsts

EXCERPT_BYTES = 2048
"""As much of an answer is kept: more than an Ethernet frame holds of it."""


class FirstAnswers:
    """What was answered first to each task of a scan.

    Args:
        tasks: how many there are.
    """

    def __init__(self, tasks: int) -> None:
        self._is_answered = np.zeros(tasks, np.bool_)
        self.data: dict[int, bytes] = {}
        """By task, what the UDP datagram carried: the first EXCERPT_BYTES, of its first fragment."""

    def take(self, batch: FrameBatch, frames: I64, tasks: I64) -> None:
        """Keep the answers to tasks that had none before.

        Args:
            batch: frames in the order of their numbers.
            frames: (n,) numbers of those with an answer.
            tasks: (n,) what each answers, -1 for no task that is known.
        """
        new = np.flatnonzero((tasks >= 0) & ~self._is_answered[tasks])
        first = new[firsts(tasks[new])]
        self._is_answered[tasks[first]] = True
        found = data_of(batch.take(np.searchsorted(batch.frame, frames[first])))
        self.data.update(zip(tasks[first].tolist(), found, strict=True))


def data_of(batch: FrameBatch) -> list[bytes]:
    """(n,) what the outermost UDP datagram of each frame carries (RFC 768), no bytes where there is none."""
    walk = Walk(batch.data, batch.offset, batch.offset + batch.captured, kind_of_link(batch.link_type),
                cut=batch.captured < batch.length)
    walk.run(HANDLERS, np.arange(len(walk)))
    rows = np.flatnonzero(walk.kind == UDP)
    rows = rows[walk.need(rows, 8, "udp")]
    start, end = np.zeros((2, len(walk)), np.int64)
    start[rows] = walk.cursor[rows] + 8
    end[rows] = np.minimum(walk.end[rows], walk.cursor[rows] + walk.u16(rows, 4))
    end = np.minimum(end, start + EXCERPT_BYTES)
    return [batch.data[first:last].tobytes() for first, last in zip(start.tolist(), end.tolist(), strict=True)]
