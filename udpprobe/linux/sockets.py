"""The socket that sent a local datagram, and what it can see of an error about the datagram.

The kernel lists its sockets with their states and options (sock_diag(7)); /proc shows which processes hold them. A
short-lived socket is gone when its error is read, so sockets are looked up as soon as an unknown port sends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import SystemRandom

from msgspec import Struct

from udpprobe.core.addresses import MAPPED_PREFIX, mapped_address
from udpprobe.core.kernel import TOO_BIG, reported_errno
from udpprobe.core.model import Event, Process, ReceiveDrops
from udpprobe.core.notes import SCANNER
from udpprobe.core.ports import Ports
from udpprobe.core.verdicts import Meaning
from udpprobe.linux.processes import Holder, Options, holders_of, options_of
from udpprobe.linux.receive_drops import DropCounters
from udpprobe.linux.sockdiag import UdpSocket, udp_sockets

Address = IPv4Address | IPv6Address

EXPIRES_S = 5.0
"""Seconds for which a port's owner, and this host's addresses, are cached."""
REMEMBERED_S = 60.0
"""Seconds for which a closed socket is remembered, for late errors."""
MOST_REMEMBERED = 1 << 16
IDLE_SHARE = 10
"""Idle time between looks at all sockets, as a multiple of the processor time of a look, which is slow with many
sockets."""
SAVED_S = 1.0
"""After so long without a look, several may follow at once."""


SEES = {
    "connected": "connected",
    "recverr": "recverr",
    "unconnected": "blind",
    "elsewhere": "blind",
    "unknown": "unknown",
}
"""What a socket in a state can see of an error: the errno from its next call, everything, or nothing."""
TEXTS = {
    "connected": "its socket is connected: its next call gives {errno}",
    "recverr": "its socket has IP_RECVERR: it gets {errno} and the whole error",
    "unconnected": "its socket is unconnected: it gets no error",
    "elsewhere": "its socket is connected to another address: it gets no error",
    "unknown": "whether its socket gets the error is unknown",
}
REPORTED_TO = frozenset({"connected", "recverr"})
LATER = {
    "EMSGSIZE": "from now on, sending larger datagrams fails with EMSGSIZE (IP_PMTUDISC_DO)",
    "fragments": "it gets no error; from now on, larger datagrams leave in fragments",
    "whole": "it gets no error; larger datagrams still leave whole (IP_PMTUDISC_{mode})",
    None: "it gets no error, or with IP_PMTUDISC_DO EMSGSIZE for larger datagrams from now on",
}
"""Effect of "too big" on a socket that is not told: the route's MTU is known from then on."""
UNTOLD = "its socket gets most errors, but Linux does not report this one"


class Sender(Struct, frozen=True):
    """The sender of a datagram, and the state of its socket."""

    process: Process | None
    """None if unknown."""
    state: str
    """A key of `SEES`."""
    mode: str | None = None
    """IP_MTU_DISCOVER or IPV6_MTU_DISCOVER, as a word of `MODES`; None if unknown."""
    is_gone: bool = False
    """Whether the socket was closed when it was looked up."""
    keeps_port: bool = False
    """Whether the socket only reserves the port for a scanner, which sends and receives by other means."""

    @property
    def sees(self) -> str:
        """`connected`, `recverr`, `blind` or `unknown`."""
        return SEES[self.state]

    def is_reported(self, meaning: Meaning) -> bool | None:
        """Whether Linux reports an error of this meaning to the socket, by its state; None if unknown."""
        if self.state == "unknown":
            return None
        return self.state in REPORTED_TO and reported_errno(meaning, self.state, self.mode or "WANT") is not None

    def note(self, meaning: Meaning, is_reported: bool | None = None) -> str:
        """What an error of this meaning does to it, in words.

        Args:
            meaning: of the error.
            is_reported: whether the kernel reported it to a socket; None if only the socket's state can show it.
        """
        who = f"{self.process.name}[{self.process.pid}]" if self.process else "of this host, by an unknown process"
        errno = reported_errno(meaning, self.state, self.mode or "WANT") if self.state in REPORTED_TO else None
        text = UNTOLD if self.state in REPORTED_TO and errno is None else TEXTS[self.state].format(errno=errno)
        if self.keeps_port:
            text = SCANNER
        elif meaning.verdict == "too-big" and self.state in {"unconnected", "elsewhere"}:
            later = LATER[TOO_BIG[meaning.family, self.mode].later if self.mode else None]
            text = text.replace("it gets no error", later.format(mode=self.mode))
        if is_reported is None:
            return f"{who}; {text}"
        if is_reported != self.is_reported(meaning) and not self.keeps_port:
            text = f"whatever its state, its socket {'got' if is_reported else 'did not get'} the error"
        return f"{who}; {text} (the kernel: {f'reported {meaning.recverr}' if is_reported else 'not reported'})"


UNKNOWN_SENDER = Sender(None, "unknown")


class _Sighting(Struct):
    """A socket as last seen."""

    found: UdpSocket
    holder: Holder | None
    options: Options
    seen_s: float
    options_s: float
    """When its options were read; a program may set some later."""
    gone: bool = False


class Sockets:
    """The UDP sockets of this network namespace over time.

    Args:
        own_addresses: returns this host's current addresses.
        idle_share: as `IDLE_SHARE`; 0 for a read whenever there is a reason, so that each error is judged by its
            socket's state after it arrived.
    """

    def __init__(self, own_addresses: Callable[[], Iterable[Address]], idle_share: int = IDLE_SHARE) -> None:
        self.own_addresses, self._idle_share = own_addresses, idle_share
        self.ports = Ports(SystemRandom().getrandbits(64))
        """Records which local ports send; the analyzer updates it."""
        self.on_holders: Callable[[Iterable[int]], None] = lambda _: None
        """Called with the processes of sockets that were just found, before they may end."""
        self._own: frozenset[int] = frozenset()
        self._sightings: dict[int, _Sighting] = {}
        """By inode."""
        self._by_port: dict[int, list[_Sighting]] = {}
        self._expires_s = self._next_read_s = self._read_s = 0.0
        self._drops = DropCounters()

    def refresh(self) -> None:
        """Read all sockets: before the first datagram, as the first read is the slowest, and after the last one."""
        self._expire()
        self._next_read_s = 0.0
        self._refresh()

    def look_up_new(self) -> None:
        """Look up the sockets of ports that were unknown until they sent.

        If earlier drops are known, also read now and then, for new drops: a closed socket takes its counter with it.
        """
        is_due = self._expire() and self._drops.is_begun
        if (self.ports.is_news or is_due) and self._refresh():
            self.ports.is_news = False

    def receive_drops(self) -> tuple[ReceiveDrops, ...]:
        """The sockets that dropped datagrams between the first read and the last."""
        return self._drops.found()

    def senders(self, events: Iterable[Event]) -> list[Sender | None]:
        """The sender of the datagram that each error quotes; None if it was another host."""
        self._expire()
        own = [number_of(event.quoted.source) in self._own for event in events]
        if any(own):
            self._refresh()
        return [self._sender(event) if is_own else None for event, is_own in zip(events, own, strict=True)]

    def is_own(self, address: str) -> bool:
        """Whether it is an address of this host."""
        self._expire()
        return number_of(address) in self._own

    def of_port(self, port: int) -> list[tuple[UdpSocket, Process | None]]:
        """The sockets on a port now, and their holders."""
        self._refresh()
        return [
            (each.found, each.holder.process if each.holder else None)
            for each in self._by_port.get(port, ())
            if not each.gone
        ]

    def _expire(self) -> bool:
        """Whether the cache had expired; it is refreshed then."""
        now_s = time.monotonic()
        if now_s < self._expires_s:
            return False
        self._expires_s = now_s + EXPIRES_S
        self._own = frozenset(map(mapped_address, self.own_addresses()))
        self.ports.expect(self._own)
        return True

    def _refresh(self) -> bool:
        """Read which sockets exist now, unless that was done just before."""
        start_s = time.monotonic()
        if start_s < self._next_read_s:
            return False
        busy_s = time.thread_time()  # processor time, so that a busy machine does not delay reads even more
        with suppress(OSError):  # the kernel is too busy, or refuses: then nothing is known
            self._see({each.inode: each for each in udp_sockets()}, start_s)
        cost_s = time.thread_time() - busy_s
        self._read_s = start_s
        self._next_read_s = max(self._next_read_s, start_s - SAVED_S) + (self._idle_share + 1) * cost_s
        return True

    def _see(self, there: dict[int, UdpSocket], now_s: float) -> None:
        new = there.keys() - self._sightings.keys() | self._abandoned() & there.keys()
        holders = holders_of(new, {each.holder.pid for each in self._sightings.values() if each.holder}) if new else {}
        self.on_holders({each.pid for each in holders.values()})
        for inode in new:
            holder = holders.get(inode)
            self._sightings[inode] = _Sighting(
                there[inode], holder, options_of(holder) if holder else Options(), now_s, now_s
            )
        for inode, sighting in self._sightings.items():
            sighting.gone = inode not in there
            if not sighting.gone:
                sighting.found, sighting.seen_s = there[inode], now_s
        self._drops.see(there.values(), self._process_of)
        self._forget(now_s)

    def _process_of(self, inode: int) -> Process | None:
        holder = self._sightings[inode].holder
        return holder.process if holder else None

    def _abandoned(self) -> set[int]:
        """Sockets that their holder no longer holds."""
        return {inode for inode, each in self._sightings.items() if each.holder and not each.holder.holds()}

    def _forget(self, now_s: float) -> None:
        kept = [(inode, each) for inode, each in self._sightings.items() if now_s - each.seen_s <= REMEMBERED_S]
        self._sightings = dict(sorted(kept, key=lambda one: one[1].seen_s)[-MOST_REMEMBERED:])
        self._by_port = {}
        for sighting in self._sightings.values():
            self._by_port.setdefault(sighting.found.port, []).append(sighting)

    def _sender(self, event: Event) -> Sender:
        quoted = event.quoted
        flow = (number_of(quoted.source), number_of(quoted.destination), quoted.destination_port)
        ranked = [
            (rank, each)
            for each in self._by_port.get(quoted.source_port or 0, ())
            if (rank := _rank(each, flow)) is not None
        ]
        best = max((rank for rank, _ in ranked), default=None)
        for rank, each in ranked:
            if rank == best:
                self._reread_options(each)
        senders = {_sender_of(each, flow, event.family) for rank, each in ranked if rank == best}
        if len({sender.process for sender in senders}) != 1:
            return UNKNOWN_SENDER  # it has no holder any more, or several share the port
        if len(senders) == 1:
            return senders.pop()
        states = {sender.state for sender in senders}
        return Sender(senders.pop().process, states.pop() if len(states) == 1 else "unknown")

    def _reread_options(self, sighting: _Sighting) -> None:
        """Read the socket's options again, at most once per read of all sockets."""
        if sighting.holder and not sighting.gone and sighting.options_s < self._read_s:
            sighting.options_s = self._read_s
            if (options := options_of(sighting.holder)) != Options():
                sighting.options = options


Flow = tuple[int, int, int | None]
"""Source, destination, destination port."""


def _rank(sighting: _Sighting, flow: Flow) -> tuple[int, ...] | None:
    """How likely a socket on the right port sent a datagram, or None if it cannot have; ranked as in the kernel."""
    found, (source, destination, port) = sighting.found, flow
    if found.address and found.address != source:
        return None
    is_peer = (found.peer, found.peer_port) == (destination, port)
    same_family = found.is_v4 == (source >> 32 == MAPPED_PREFIX)
    if found.is_v4 and not same_family:
        return None
    return not sighting.gone, is_peer, not found.is_connected, bool(found.address), same_family


def _sender_of(sighting: _Sighting, flow: Flow, family: int) -> Sender:
    holder = sighting.holder
    return Sender(
        holder.process if holder else None,
        _state(sighting, flow, family),
        sighting.options.modes[0 if family == 4 else 1],
        sighting.gone,
        sighting.found.keeps_port,
    )


def _state(sighting: _Sighting, flow: Flow, family: int) -> str:
    """Match sockets as the kernel does for an error: connected to the quoted destination, or unconnected."""
    found = sighting.found
    is_there = (found.peer, found.peer_port) == flow[1:]
    recverr = found.recverr if family == 4 else sighting.options.ipv6_errors
    if found.is_connected and not is_there:
        return "elsewhere"
    if recverr:
        return "recverr"
    if found.is_connected:
        return "connected"
    return "unknown" if recverr is None else "unconnected"


@lru_cache(maxsize=1 << 14)
def number_of(text: str) -> int:
    """An address as 128 bits, IPv4 mapped."""
    return mapped_address(ip_address(text.partition("%")[0]))
