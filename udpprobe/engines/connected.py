"""The engine of connected sockets: the kernel reports an error from the next call, as a bare errno.

The report needs type, code and sender. So the most common type and code for the errno are assumed, and the destination
as the sender. `tells_origin` marks them as assumptions.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import time
from typing import cast

from udpprobe.engines import BLIND_CONNECTED
from udpprobe.engines.kernel_sockets import ICMP_ERRNOS, Address, KernelSocket, Outgoing, SocketEngine, bound_socket

IP_MTU, IPV6_MTU = 14, 24  # linux/in.h, linux/in6.h; Python does not name them
MTU = {4: (socket.IPPROTO_IP, IP_MTU), 6: (socket.IPPROTO_IPV6, IPV6_MTU)}

USUAL = {
    4: {
        errno.ECONNREFUSED: (3, 3),
        errno.EMSGSIZE: (3, 4),
        errno.EHOSTUNREACH: (3, 13),
        errno.ENOPROTOOPT: (3, 2),
        errno.ENETUNREACH: (3, 9),
        errno.EHOSTDOWN: (3, 7),
        errno.ENONET: (3, 8),
        errno.EPROTO: (12, 0),
    },
    6: {errno.ECONNREFUSED: (1, 4), errno.EMSGSIZE: (2, 0), errno.EACCES: (1, 1), errno.EPROTO: (4, 1)},
}
"""By family and errno of a connected socket: the type and code that today's routers and hosts send."""

MOST_SOCKETS = 8192
SPARE_FILES = 64
"""Files reserved for the rest of the program."""


class ConnectedSocket(KernelSocket):
    """A socket for one destination."""

    last: Outgoing | None = None
    """The last probe sent."""

    def pending(self) -> int:
        """The errno of the pending error, which is cleared, or 0."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def mtu_below(self, probe: Outgoing) -> int:
        """The path MTU that the kernel learned; 0 if it learned none below the probe's size."""
        known = self.socket.getsockopt(*MTU[probe.family])
        return known if known < len(probe.packet) else 0


class Connected(SocketEngine):
    """One socket per destination, all on one port; the oldest are closed when there are too many."""

    tells_origin = False
    owns_port = True
    blind_to: str | None = BLIND_CONNECTED

    def __init__(self, *, interface: str | None = None, most_sockets: int | None = None) -> None:
        super().__init__("connected", interface)
        self._sockets: dict[tuple[Address, Address], ConnectedSocket] = {}
        self._most_sockets = most_sockets or _files_allowed()

    def _put(self, probe: Outgoing) -> int:
        """A pending error fails the next send; this host's own errno fails every send."""
        try:
            udp = self._socket_for(probe)
        except OSError as reason:
            return reason.errno or errno.EIO
        self._record_error(udp, udp.pending())
        send_errno = udp.send(probe)
        if send_errno in ICMP_ERRNOS and udp.last:
            again = udp.send(probe)
            if again != send_errno:
                self._record_error(udp, send_errno)
            send_errno = again
        if not send_errno:
            self._note_sent(probe)
            udp.last = probe
        return send_errno

    def _socket_for(self, probe: Outgoing) -> ConnectedSocket:
        key = probe.sockname, probe.peername
        udp = self._sockets.get(key)
        if udp is None:
            self._make_room()
            opened = bound_socket(probe, self._interface)
            try:
                opened.connect(probe.peername)
            except OSError:
                opened.close()
                raise
            udp = self._sockets[key] = ConnectedSocket(opened, probe.source, probe.ports[0])
            self._open(udp)
        return udp

    def _make_room(self) -> None:
        """Read and close the oldest socket if there is none to spare."""
        if len(self._sockets) >= self._most_sockets:
            oldest = self._sockets.pop(next(iter(self._sockets)))
            self._read(oldest)
            self._count_dropped(oldest)
            self._selector.unregister(oldest.socket)
            oldest.socket.close()

    def _read(self, udp: KernelSocket) -> None:
        one = cast("ConnectedSocket", udp)
        self._record_error(one, one.pending())
        self._record_error(one, self._read_answers(one))

    def _record_error(self, udp: ConnectedSocket, number: int) -> None:
        """Record the kernel's errno as the most common error for it; 0 is none."""
        kind = USUAL[6 if len(udp.source) == 16 else 4].get(number)
        probe = udp.last
        if kind is not None and probe is not None:
            info = udp.mtu_below(probe) if number == errno.EMSGSIZE else 0
            self._failed(time.time_ns(), probe, probe.destination, kind, info)


def _files_allowed() -> int:
    """How many sockets may be open, after raising this process's limit as far as allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, min(MOST_SOCKETS, allowed - SPARE_FILES))
