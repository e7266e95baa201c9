"""For applications: receive the ICMP errors that their own UDP socket drew.

    with Icmpd(udp_socket) as errors:
        for error in errors:
            print(error.destination, error.verdict)

It needs only the standard library, and the daemon (`udpprobe icmpd`). The UDP socket stays unconnected, and its sends
never fail because of an error reported here.
"""

from __future__ import annotations

import asyncio
import errno as errno_numbers
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from udpprobe.errors import UdpprobeError

DEFAULT_PATHS = ("/run/udpprobe/icmpd.sock", "{XDG_RUNTIME_DIR}/udpprobe/icmpd.sock")
READ_BYTES = 65536


class IcmpdError(UdpprobeError):
    """There is no daemon, or it refuses this socket."""


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An ICMP error about a datagram that the socket sent."""

    destination: tuple[str, int]
    """Destination of the datagram: address and port."""
    verdict: str | None
    """`refused`, `too-big`, `expired` … as everywhere in udpprobe."""
    errno: int | None
    """UNP table 28.1: ECONNREFUSED, EMSGSIZE or EHOSTUNREACH."""
    mtu: int | None
    """Bytes of the largest IP packet that would have passed; None if the error has none."""
    reporter: str
    """Sender of the error."""
    fields: dict[str, Any] = field(repr=False, compare=False)
    """Everything that the daemon sends: see `udpprobe.icmpd/1` in the README."""


class Icmpd:
    """The errors of one UDP socket; a context manager and an iterator.

    Args:
        udp_socket: bound or not; without a port it gets one.
        path: of the daemon's socket; by default the usual one.
        timeout_s: time for the daemon to accept the socket.

    Attributes:
        dropped: errors that were lost because they were not read in time.
        missed: ICMP messages, of any socket, that the kernel dropped for lack of buffer space.
        registered: the daemon's description of the socket.

    Raises:
        IcmpdError: there is no daemon, or it refuses this socket.
    """

    def __init__(self, udp_socket: socket.socket, path: str | None = None, timeout_s: float = 5.0) -> None:
        self.dropped = self.missed = 0
        self._unread = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._be_patient(timeout_s)
            self.registered = self._register(udp_socket, path or usual_path())
            self._be_patient(0)
        except BaseException:
            self._socket.close()
            raise

    def _be_patient(self, timeout_s: float) -> None:
        """Set the kernel's timeout, 0 for none: Python's own timeouts do not wait for a place in a full backlog."""
        self._socket.setblocking(True)
        microseconds = round(timeout_s * 1e6)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("@qq", *divmod(microseconds, 1_000_000)))

    def _register(self, udp_socket: socket.socket, path: str) -> dict[str, Any]:
        try:
            self._socket.connect(path)
            socket.send_fds(self._socket, [b"J"], [udp_socket.fileno()])
            said = self._next_line()
        except OSError as error:
            raise IcmpdError(f"no icmpd at {path}: {error.strerror or error}") from None
        if said is None or said["kind"] != "registered":
            raise IcmpdError(f"icmpd at {path} refuses the socket: {said['reason'] if said else 'no answer'}")
        found: dict[str, Any] = said["socket"]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Receive no more errors. The UDP socket stays open."""
        self._socket.close()

    def fileno(self) -> int:
        """For a selector: when it is readable, call `pending`."""
        return self._socket.fileno()

    def __iter__(self) -> Iterator[IcmpError]:
        """Errors as they arrive, until the daemon ends or the UDP socket is closed."""
        while (said := self._next_line()) is not None:
            if said["kind"] == "closed":
                return
            yield from self._errors(said)

    def pending(self) -> list[IcmpError]:
        """The errors that have arrived, without waiting.

        Raises:
            IcmpdError: the daemon ended, and all its errors were returned.
        """
        found: list[IcmpError] = []
        self._socket.setblocking(False)
        try:
            while (said := self._next_line()) is not None:
                found += self._errors(said)
        except BlockingIOError:
            return found
        finally:
            self._socket.setblocking(True)
        if not found:
            raise IcmpdError("icmpd ended")
        return found

    def _next_line(self) -> dict[str, Any] | None:
        while b"\n" not in self._unread:
            more = self._socket.recv(READ_BYTES)
            if not more:
                return None
            self._unread += more
        first, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(first)
        return said

    def _errors(self, said: dict[str, Any]) -> Iterator[IcmpError]:
        if said["kind"] == "dropped":
            self.dropped += said["count"]
        elif said["kind"] == "missed":
            self.missed += said["count"]
        elif said["kind"] == "error":
            yield _error(said)

    async def __aiter__(self) -> AsyncIterator[IcmpError]:
        """The same in asyncio: `async for error in errors`."""
        self._socket.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            while b"\n" in self._unread:
                said = self._next_line()
                if said is None or said["kind"] == "closed":
                    return
                for error in self._errors(said):
                    yield error
            more = await loop.sock_recv(self._socket, READ_BYTES)
            if not more:
                return
            self._unread += more


def usual_path() -> str:
    """Usual path of a daemon's socket; the superuser's comes before the user's own."""
    paths = [path.format(XDG_RUNTIME_DIR=os.environ.get("XDG_RUNTIME_DIR", "/run")) for path in DEFAULT_PATHS]
    return next(filter(os.path.exists, paths), paths[0])


def _error(said: dict[str, Any]) -> IcmpError:
    quoted = said["quoted"]
    number = getattr(errno_numbers, said["errno"]) if said["errno"] else None
    return IcmpError(
        (quoted["destination"], quoted["destination_port"]),
        said["verdict"],
        number,
        said["mtu"],
        said["reporter"],
        said,
    )
