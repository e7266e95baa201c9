"""Why this host dropped packets: by the kernel's drop reasons on the whole host, and by counters of this namespace.

The event skb:kfree_skb (with reasons since Linux 5.17) has the reason, but neither addresses nor the network namespace,
and only IPv4 or IPv6 as the protocol. So it is counted in the kernel, by a counter per reason and processor
(perf_event_open with a filter): none is lost in a flood, and no packet costs a read. A namespace's own counters
(/proc/net) know fewer reasons, but cover no other namespace, and mostly UDP only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from udpprobe.core.model import DropReason
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.linux.receive_drops import MASK64

if TYPE_CHECKING:
    from udpprobe.linux.tracefs import Format

EVENT = "skb/kfree_skb"
REASONS = (
    "NO_SOCKET",
    "SOCKET_FILTER",
    "SOCKET_RCVBUFF",
    "PROTO_MEM",
    "UDP_CSUM",
    "ICMP_CSUM",
    "IP_CSUM",
    "SKB_CSUM",
    "NETFILTER_DROP",
    "IP_RPFILTER",
    "IP_LOCAL_SOURCE",
    "IP_INVALID_SOURCE",
    "IP_INADDRERRORS",
    "IP_INNOROUTES",
    "XFRM_POLICY",
    "BPF_CGROUP_EGRESS",
    "SECURITY_HOOK",
    "TC_INGRESS",
    "TC_EGRESS",
    "XDP",
    "QDISC_DROP",
    "CPU_BACKLOG",
    "FRAG_REASM_TIMEOUT",
)
"""The kernel's reasons (enum skb_drop_reason, without SKB_DROP_REASON_) by which a datagram, its answer or an ICMP
error disappears."""
COUNTERS = {
    "NO_SOCKET": ("Udp:NoPorts", "Udp6NoPorts"),
    "SOCKET_RCVBUFF": ("Udp:RcvbufErrors", "Udp6RcvbufErrors"),
    "PROTO_MEM": ("Udp:MemErrors", "Udp6MemErrors"),
    "UDP_CSUM": ("Udp:InCsumErrors", "Udp6InCsumErrors"),
    "ICMP_CSUM": ("Icmp:InCsumErrors", "Icmp6InCsumErrors"),
    "IP_CSUM": ("IpExt:InCsumErrors",),
    "IP_RPFILTER": ("TcpExt:IPReversePathFilter",),
    "FRAG_REASM_TIMEOUT": ("Ip:ReasmTimeout", "Ip6ReasmTimeout"),
}
"""Which of these a network namespace counts itself."""
PLACES = "snmp", "snmp6", "netstat"
IS_IP = "(protocol == 0x0800 || protocol == 0x86dd)"
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241, "s390x": 331}
"""The system call's number."""
ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
"""The first version of struct perf_event_attr."""
PERF_TYPE_TRACEPOINT, PERF_FORMAT_GROUP, DISABLED, PERF_FLAG_FD_CLOEXEC = 2, 8, 1, 8
PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_FILTER = 0x2400, 0x4008_2406
FEW = 200
"""Descriptors that are always available: counters of 8 processors."""
_libc = ctypes.CDLL(None, use_errno=True)


class EventCounters:
    """Number of a kernel event's occurrences by filter, over all processors.

    Args:
        event: its number.
        filters: as in events/filter, by name.

    Raises:
        PrivilegeError: this user may not.
        UdpprobeError: this kernel, or machine, cannot.
    """

    def __init__(self, event: int, filters: Mapping[str, str]) -> None:
        self._names = tuple(filters)
        self._leaders: list[int] = []
        """One per processor; reading it returns all counts of its group."""
        self._held = ExitStack()
        processors = range(os.sysconf("SC_NPROCESSORS_CONF"))
        try:
            _make_room(len(processors) * len(filters))
            for processor in processors:
                with suppress(_Offline):
                    self._open(event, processor, tuple(filters.values()))
        except OSError as error:
            self.close()
            kind = PrivilegeError if error.errno in {errno.EPERM, errno.EACCES} else UdpprobeError
            raise kind(f"drops by reason need perf_event_open: {error.strerror or error}") from None

    def _open(self, event: int, processor: int, filters: Sequence[str]) -> None:
        leader = -1
        for text in filters:
            attributes = ATTRIBUTES.pack(
                PERF_TYPE_TRACEPOINT, ATTRIBUTES.size, event, 0, 0, PERF_FORMAT_GROUP, DISABLED * (leader < 0), 0, 0, 0
            )
            made = _perf_event_open(attributes, processor, leader)
            self._held.callback(os.close, made)
            fcntl.ioctl(made, PERF_EVENT_IOC_SET_FILTER, text.encode() + b"\0")
            leader = made if leader < 0 else leader
        fcntl.ioctl(leader, PERF_EVENT_IOC_ENABLE, 0)  # not earlier: without its filter it would count everything
        self._leaders.append(leader)

    def read(self) -> Counter[str]:
        """The counts so far."""
        found: Counter[str] = Counter()
        for leader in self._leaders:
            words = memoryview(os.read(leader, 8 + 8 * len(self._names))).cast("Q")
            found.update(dict(zip(self._names, words[1:], strict=False)))  # a processor that went offline has none
        return +found

    def close(self) -> None:
        """Stop counting."""
        self._held.close()


class _Offline(Exception):  # noqa: N818 - it is no error
    """The processor is offline."""


def _perf_event_open(attributes: bytes, processor: int, group: int) -> int:
    number = PERF_EVENT_OPEN.get(os.uname().machine)
    if number is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(errno.ENOSYS, f"its number is unknown on {os.uname().machine}")
    made: int = _libc.syscall(
        ctypes.c_long(number), attributes, -1, processor, group, ctypes.c_ulong(PERF_FLAG_FD_CLOEXEC)
    )
    if made < 0:
        code = ctypes.get_errno()
        if code == errno.ENODEV and group < 0:
            raise _Offline
        raise OSError(code, os.strerror(code))
    return made


class DropReasons:
    """Drops since this was created, or since `count_all`."""

    def __init__(self) -> None:
        self._before = namespace_drops()
        self._counters: EventCounters | None = None

    def count_all(self, event: Format) -> None:
        """Count the kernel's event from now on.

        Raises:
            PrivilegeError: this user may not.
            UdpprobeError: this kernel, or machine, cannot.
        """
        number_of = {word: number for number, word in event.symbols.items()}
        filters = {name: f"reason == {number_of[name]} && {IS_IP}" for name in REASONS if name in number_of}
        if "reason" not in event.fields or not filters:
            raise UdpprobeError("drops by reason need Linux 5.17")
        self._counters = EventCounters(event.number, filters)

    def found(self) -> tuple[DropReason, ...]:
        """The reasons that occurred, most frequent first."""
        counters, now = self._counters, namespace_drops()
        everywhere = counters.read() if counters else None
        rows = []
        for name in REASONS:
            here = (now[name] - self._before[name]) & MASK64 if name in now and name in self._before else None
            host = None if everywhere is None else everywhere[name]
            if host or here:
                rows.append(DropReason(name, host, here))
        return tuple(sorted(rows, key=lambda each: -max(each.host or 0, each.namespace or 0)))

    def close(self) -> None:
        """Stop counting."""
        if self._counters:
            self._counters.close()


def namespace_drops(read: Callable[[str], str] | None = None) -> dict[str, int]:
    """This network namespace's counts by reason; without those that its kernel lacks.

    Args:
        read: returns the text of a file in /proc/net.
    """
    found = {}
    numbers = numbers_of("\n".join(map(read or _read, PLACES)))
    for reason, names in COUNTERS.items():
        if some := [numbers[name] for name in names if name in numbers]:
            found[reason] = sum(some)
    return found


def numbers_of(text: str) -> dict[str, int]:
    """Numbers by name (`Udp:NoPorts`, `Udp6NoPorts`) of the texts of snmp, snmp6 and netstat."""
    found: dict[str, int] = {}
    heads: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, *words = line.split() or [""]
        if len(words) == 1 and words[0].isdecimal() and not name.endswith(":"):
            found[name] = int(words[0])
        elif name in heads:
            pairs = zip(heads.pop(name), words, strict=False)
            found |= {name + word: int(number) for word, number in pairs if number.isdecimal()}
        elif name.endswith(":"):
            heads[name] = words
    return found


def _read(name: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/thread-self/net/{name}").read_text()
    return ""


def _make_room(number: int) -> None:
    """Raise the descriptor limit if there are many counters, so that the rest of the process does not run short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if number > FEW and soft != resource.RLIM_INFINITY:
        with suppress(ValueError, OSError):
            most = soft + number if hard == resource.RLIM_INFINITY else min(soft + number, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
