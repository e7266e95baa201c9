"""sendmmsg(2) out of NumPy matrices: hundreds of messages a system call, and no Python for each."""

from __future__ import annotations

import ctypes
import errno
import socket
import time

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8

CHUNK = 512
"""Messages a system call: beyond 256 it gets no faster."""

FULL = frozenset({errno.ENOBUFS, errno.EAGAIN})
"""The interface's queue is full: it empties by itself."""
WAIT_S = 0.001
"""Before the first try again; before each further one twice as long. For some interfaces (veth) say so of every packet
that their peer does not take, after it left: it would leave a thousand times."""
PATIENCE_S = 1.0
"""How long a queue may stay full, without taking one packet, before its packet is given up."""

MSGHDR = np.dtype([("name", np.uintp), ("name_bytes", np.uint32), ("pieces", np.uintp), ("piece_count", np.uintp),
                   ("control", np.uintp), ("control_bytes", np.uintp), ("flags", np.int32)], align=True)
MMSGHDR = np.dtype([("message", MSGHDR), ("sent_bytes", np.uint32)], align=True)
IOVEC = np.dtype([("base", np.uintp), ("bytes", np.uintp)])

_libc = ctypes.CDLL(None, use_errno=True)     # lets other threads run while it sends
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


class Messages:
    """Room for CHUNK messages, laid out as sendmmsg(2) reads them. Only what differs is written again.

    Args:
        name: the layout of their destinations.
        control: the layout of what is said beside their bytes, or None.
        patience_s: how long a queue may stay full before a packet is given up.
    """

    def __init__(self, name: np.dtype[np.void], control: np.dtype[np.void] | None = None, *,
                 patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self.names = np.zeros(CHUNK, name)
        self._pieces = np.zeros(CHUNK, IOVEC)
        self._headers = np.zeros(CHUNK, MMSGHDR)
        message = self._headers["message"]
        message["name"], message["name_bytes"] = _places(self.names), name.itemsize
        message["pieces"], message["piece_count"] = _places(self._pieces), 1
        if control:
            self.controls = np.zeros(CHUNK, control)
            message["control"], message["control_bytes"] = _places(self.controls), control.itemsize

    def put(self, packets: U8, length: I64, rows: I64) -> None:
        """Let the first messages carry some rows of a matrix of packets, which must live until they are sent.

        Args:
            packets: (m, width) bytes.
            length: (m,) bytes of each packet.
            rows: at most CHUNK of the m.
        """
        self._pieces["base"][:len(rows)] = packets.ctypes.data + rows * packets.strides[0]
        self._pieces["bytes"][:len(rows)] = length[rows]

    def send(self, opened: socket.socket, count: int) -> I64:
        """Send the first `count`; (count,) errno of each, 0 where it left."""
        errnos = np.zeros(count, np.int64)
        done, wait_s = 0, WAIT_S
        while done < count:
            sent, number = self._send_some(opened, done, count)
            if sent > 0:
                done, wait_s = done + sent, WAIT_S
            elif number in FULL and wait_s < self._patience_s:
                time.sleep(wait_s)
                wait_s *= 2
            elif number != errno.EINTR:
                errnos[done] = number
                done += 1
        return errnos

    def _send_some(self, opened: socket.socket, done: int, count: int) -> tuple[int, int]:
        """How many of the messages from `done` on left before one was refused; errno where that is the first."""
        sent = _sendmmsg(opened.fileno(), self._headers.ctypes.data + done * MMSGHDR.itemsize, count - done, 0)
        return sent, ctypes.get_errno() if sent < 0 else 0


def _places(array: npt.NDArray[np.void]) -> npt.NDArray[np.uintp]:
    """(n,) address of each element."""
    return array.ctypes.data + np.arange(len(array), dtype=np.uintp) * np.uintp(array.itemsize)
