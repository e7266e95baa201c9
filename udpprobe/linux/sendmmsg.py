"""sendmmsg(2): hundreds of messages per system call, from buffers that are filled once and then updated."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from array import array
from collections.abc import Callable
from threading import Event

from udpprobe.core.departures import place
from udpprobe.core.probe import Batch

CHUNK = 512
"""Messages per system call: beyond 256 it gets no faster."""

FULL = frozenset({errno.ENOBUFS, errno.EAGAIN})
"""The interface's queue is full: it empties by itself."""
WAIT_S = 0.001
"""Before the first retry; doubled for each further one. Some interfaces (veth) report a full queue for every packet
that their peer drops, after it was sent: without the doubling it would be sent a thousand times."""
PATIENCE_S = 1.0
"""Seconds that a queue may stay full, without accepting one packet, before its packet is given up."""

MSGHDR = struct.Struct("@PI4xPNPNi4x")
"""struct msghdr: name, its bytes, pieces, their count, control, its bytes, flags (64-bit Linux)."""
MMSGHDR_BYTES = MSGHDR.size + 8
"""struct mmsghdr: a msghdr, and how many bytes of it were sent."""
IOVEC = struct.Struct("@PN")

_libc = ctypes.CDLL(None, use_errno=True)  # ctypes releases the GIL during the call
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


def address_of(buffer: bytearray | memoryview) -> int:
    """Memory address of a writable buffer, valid as long as it lives and keeps its size."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Messages:
    """Room for CHUNK messages, in the layout of sendmmsg(2). Only what differs is written again.

    Args:
        name: initial destination of each (struct sockaddr …).
        control: initial control message of each (struct cmsghdr …); empty for none.
        patience_s: how long a queue may stay full before a packet is given up.
        stopped: once it is set, nothing more is sent; it also ends waiting for a full queue. None for never.

    Attributes:
        names, controls: CHUNK of them in a row, for the caller to change.
    """

    def __init__(
        self, name: bytes, control: bytes = b"", *, patience_s: float = PATIENCE_S, stopped: Event | None = None
    ) -> None:
        self._patience_s = patience_s
        self.stopped = stopped or Event()
        self.names, self.controls = bytearray(name * CHUNK), bytearray(control * CHUNK)
        self._pieces = memoryview(bytearray(IOVEC.size * CHUNK)).cast("B").cast("Q")
        self._headers = bytearray(MMSGHDR_BYTES * CHUNK)
        self._at = address_of(self._headers)
        names, pieces = address_of(self.names), address_of(self._pieces)
        controls = address_of(self.controls) if control else 0
        for row in range(CHUNK):
            MSGHDR.pack_into(
                self._headers,
                row * MMSGHDR_BYTES,
                names + row * len(name),
                len(name),
                pieces + row * IOVEC.size,
                1,
                controls + row * len(control),
                len(control),
                0,
            )

    def put(self, batch: Batch, rows: array[int]) -> None:
        """Let the first messages point to packets of a batch, at most CHUNK; it must live until they are sent."""
        place(batch, rows, self._pieces, address_of(batch.packets))

    def send(self, opened: socket.socket, count: int, on_leaving: Callable[[int], None] | None = None) -> list[int]:
        """Send the first `count`; return (count,) errno of each, 0 for success, ECANCELED once stopped.

        Args:
            opened: the socket.
            count: number of messages.
            on_leaving: called with the number of those that were sent, right before the others leave: at first, and
                whenever the queue was full.
        """
        errnos = [0] * count
        done, wait_s, is_new = 0, WAIT_S, True
        while done < count:
            if self.stopped.is_set():
                errnos[done:] = [errno.ECANCELED] * (count - done)
                break
            if is_new and on_leaving:
                on_leaving(done)
            sent, number = self._send_some(opened, done, count)
            is_new = sent < 0
            if sent > 0:
                done, wait_s = done + sent, WAIT_S
            elif number in FULL and wait_s < self._patience_s:
                self.stopped.wait(wait_s)
                wait_s *= 2
            elif number != errno.EINTR:
                errnos[done] = number
                done += 1
        return errnos

    def _send_some(self, opened: socket.socket, done: int, count: int) -> tuple[int, int]:
        """Number of messages sent from `done` on; and the errno if the first one was not sent."""
        sent = _sendmmsg(opened.fileno(), self._at + done * MMSGHDR_BYTES, count - done, 0)
        return sent, ctypes.get_errno() if sent < 0 else 0
