"""The engine of IP_RECVERR: unconnected sockets whose error queues report sender, type, code and MTU; see ip(7)."""

from __future__ import annotations

import socket
import struct
from typing import cast

from msgspec import field

from udpprobe.engines import BLIND_RECVERR
from udpprobe.engines.kernel_sockets import (
    CONTROL_BYTES,
    ICMP_ERRNOS,
    MOST_READ,
    Address,
    KernelSocket,
    Outgoing,
    SocketEngine,
    bound_socket,
    time_of,
)

# linux/in.h, linux/in6.h, linux/errqueue.h; Python does not name them
IP_RECVERR, IPV6_RECVERR = 11, 25
RECVERR = {4: (socket.IPPROTO_IP, IP_RECVERR), 6: (socket.IPPROTO_IPV6, IPV6_RECVERR)}
EXTENDED_ERROR = struct.Struct("@IBBBxII")
"""struct sock_extended_err: errno, origin, type, code, info, data; followed by the offender's struct sockaddr."""
ORIGIN_ICMP = {4: 2, 6: 3}
OFFENDER = {4: slice(4, 8), 6: slice(8, 24)}
"""Position of the address in struct sockaddr_in and sockaddr_in6."""

TRIES = 16
"""Sends of a probe that fails because of other probes' errors: each try reads all pending ones."""


class ErrorQueueSocket(KernelSocket):
    """A socket for one source address and all destinations."""

    sent: dict[tuple[str, int], list[Outgoing]] = field(default_factory=dict)
    """Sent probes in order, by address and port."""
    unsendable: set[tuple[str, int]] = field(default_factory=set)
    """Destinations that this host's firewall rejects: `reject` fails the call and sends an ICMP error too."""

    def remember(self, probe: Outgoing) -> None:
        """Store a probe for later errors."""
        self.sent.setdefault(_endpoint(probe.peername), []).append(probe)

    def cause_of(self, destination: Address, quoted: bytes, time_ns: int) -> Outgoing | None:
        """The latest probe to a destination before a time whose payload agrees with the quoted bytes."""
        for probe in reversed(self.sent.get(_endpoint(destination), [])):
            size = min(len(probe.data), len(quoted))
            if probe.sent_ns <= time_ns and probe.data[:size] == quoted[:size]:
                return probe
        return None


class RecvErr(SocketEngine):
    """One socket per source address and port, each with its error queue."""

    tells_origin = True
    owns_port = True
    blind_to: str | None = BLIND_RECVERR

    def __init__(self, *, interface: str | None = None) -> None:
        super().__init__("recverr", interface)
        self._sockets: dict[Address, ErrorQueueSocket] = {}

    def _socket_for(self, probe: Outgoing) -> ErrorQueueSocket:
        udp = self._sockets.get(probe.sockname)
        if udp is None:
            opened = bound_socket(probe, self._interface)
            # no other program may share the port from now on
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            opened.setsockopt(*RECVERR[probe.family], 1)
            udp = self._sockets[probe.sockname] = ErrorQueueSocket(opened, probe.source, probe.ports[0])
            self._open(udp)
        return udp

    def _put(self, probe: Outgoing) -> int:
        """Any pending error fails a call, and Linux then sends nothing; this host's own errno repeats."""
        udp, last, send_errno = self._socket_for(probe), 0, 0
        for _ in range(TRIES):
            send_errno = udp.send(probe)
            if not send_errno:
                self._note_sent(probe)
                udp.remember(probe)
                break
            if send_errno not in ICMP_ERRNOS:
                udp.unsendable.add(_endpoint(probe.peername))
                break
            error_count = self._read_errors(udp)
            if send_errno == last and not error_count:
                break
            last = send_errno
        return send_errno

    def _read(self, udp: KernelSocket) -> None:
        self._read_errors(cast("ErrorQueueSocket", udp))
        self._read_answers(udp)  # an error that ends it is in the queue too: another event

    def _read_errors(self, udp: ErrorQueueSocket) -> int:
        """Read the error queue; return the number of ICMP errors."""
        error_count = 0
        for _ in range(MOST_READ):
            try:
                size, control, _, destination = udp.socket.recvmsg_into(
                    [self._room], CONTROL_BYTES, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                break
            error_count += self._take_entry(udp, control, destination, bytes(self._room[:size]))
        return error_count

    def _take_entry(
        self, udp: ErrorQueueSocket, control: list[tuple[int, int, bytes]], destination: Address, quoted: bytes
    ) -> bool:
        """Handle an entry of the queue; return whether it is an ICMP error."""
        family = 6 if len(udp.source) == 16 else 4
        data = next(data for level, kind, data in control if (level, kind) == RECVERR[family])
        _, origin, icmp_type, icmp_code, info, _ = EXTENDED_ERROR.unpack_from(data)
        if origin != ORIGIN_ICMP[family]:
            return False  # the call has already reported this host's own errno
        time_ns = time_of(control)
        cause = udp.cause_of(destination, quoted, time_ns)
        if cause is not None:
            offender = data[EXTENDED_ERROR.size :][OFFENDER[family]]
            self._failed(time_ns, cause, offender, (icmp_type, icmp_code), info)
        elif _endpoint(destination) not in udp.unsendable:
            self.state.faults["foreign"] += 1
        return True


def _endpoint(address: Address) -> tuple[str, int]:
    return address[0], address[1]
