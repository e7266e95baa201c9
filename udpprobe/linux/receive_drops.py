"""Datagrams that reached this host but were dropped at a socket: the kernel counts them per socket (sk_drops).

The counter rises when the receive buffer is full (__udp_enqueue_schedule_skb in net/ipv4/udp.c), but also for a bad
checksum, the socket's own filter, and an IPsec policy. Only full buffers count as RcvbufErrors in /proc/net/snmp and
snmp6, for the whole network namespace. If those rose at least as much as all counters together, full buffers were the
reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from udpprobe.core.addresses import address_text
from udpprobe.core.model import Process, ReceiveDrops
from udpprobe.linux.sockdiag import UdpSocket

BUFFER_FULL = "buffer-full"
MASK64 = (1 << 64) - 1
MASK32 = 0xFFFF_FFFF
"""The counter wraps beyond this."""
MOST_DROPPING = 1 << 12
"""Sockets that are remembered: those with most drops."""


class DropCounters:
    """Drops of sockets since the first look at them."""

    def __init__(self) -> None:
        self._first: dict[int, int] | None = None
        """By inode: counters that were not 0 at the first look. A socket that is opened later starts at 0."""
        self._found: dict[int, tuple[UdpSocket, Process | None, int]] = {}
        """By inode, sockets with drops: the socket, its holder, and the number. They may be closed by now."""
        self._full_before = full_buffers()  # read before the first look, so that it misses nothing

    @property
    def is_begun(self) -> bool:
        """Whether there was a first look."""
        return self._first is not None

    def see(self, sockets: Collection[UdpSocket], process_of: Callable[[int], Process | None]) -> None:
        """Record counters that have just been read.

        Args:
            sockets: all that exist now.
            process_of: returns the holder of an inode's socket.
        """
        if self._first is None:
            self._first = {each.inode: each.drops for each in sockets if each.drops}
            return
        for each in sockets:
            if each.keeps_port:  # it means to drop all
                continue
            if each.drops and (count := (each.drops - self._first.get(each.inode, 0)) & MASK32):
                self._found[each.inode] = each, process_of(each.inode), count
        if len(self._found) > MOST_DROPPING:
            most = sorted(self._found.items(), key=lambda one: -one[1][2])
            self._found = dict(most[: MOST_DROPPING // 2])

    def found(self) -> tuple[ReceiveDrops, ...]:
        """The sockets that dropped datagrams since the first look, most drops first."""
        if not self._found:
            return ()
        now, before = full_buffers(), self._full_before
        total = sum(count for _, _, count in self._found.values())
        is_full = now is not None and before is not None and now - before >= total
        rows = (
            ReceiveDrops(process, _text(each), each.port, count, BUFFER_FULL if is_full else None)
            for each, process, count in self._found.values()
        )
        return tuple(sorted(rows, key=lambda row: (-row.count, row.port, row.address)))


def full_buffers() -> int | None:
    """Number of drops by full UDP socket buffers in this network namespace; None if unknown."""
    with suppress(OSError):
        return full_buffers_of(Path("/proc/net/snmp").read_text()) + full_buffers_of(_ipv6_counters())
    return None


def full_buffers_of(text: str) -> int:
    """The same, from the text of /proc/net/snmp or snmp6."""
    if found := re.search(r"^Udp: (\D.*)\nUdp: (.*)", text, re.MULTILINE):
        return int(dict(zip(found[1].split(), found[2].split(), strict=False)).get("RcvbufErrors", 0))
    found = re.search(r"^Udp6RcvbufErrors\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _ipv6_counters() -> str:
    with suppress(FileNotFoundError):  # ipv6.disable=1
        return Path("/proc/net/snmp6").read_text()
    return ""


def _text(found: UdpSocket) -> str:
    if found.is_v4 and not found.address:
        return "0.0.0.0"  # noqa: S104 - nothing is bound
    return address_text(found.address >> 64, found.address & MASK64)
