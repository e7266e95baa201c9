"""Whose UDP socket a datagram of this host came from, and what that socket can see of an error about it.

The kernel lists its sockets with their states and options (sock_diag(7)); /proc tells who holds them. A short-lived
socket is gone when its error is read, so sockets are looked for as soon as a port that is not known yet sends.
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
from udpprobe.core.kernel import TOO_BIG, told_errno
from udpprobe.core.model import Event, Process, ReceiveDrops
from udpprobe.core.ports import Ports
from udpprobe.core.verdicts import Meaning
from udpprobe.linux.holders import Holder, Options, holders_of, options_of
from udpprobe.linux.receive_drops import DropCounters
from udpprobe.linux.sockdiag import UdpSocket, udp_sockets

Address = IPv4Address | IPv6Address

EXPIRES_S = 5.0
"""So long it is believed that a port is still its owner's; and that addresses are still this host's."""
REMEMBERED_S = 60.0
"""How long a closed socket is remembered, for errors that come late."""
MOST_REMEMBERED = 1 << 16
IDLE_SHARE = 10
"""Idle time between looks at all sockets, as a multiple of the processor time a look takes: a look at many sockets is
slow."""
SAVED_S = 1.0
"""Where none was taken for as long as this, several may follow at once."""


SEES = {
    "connected": "connected",
    "recverr": "recverr",
    "unconnected": "blind",
    "elsewhere": "blind",
    "unknown": "unknown",
}
"""What a socket in some state can see of an error: the errno at its next call, all of it, or nothing."""
TEXTS = {
    "connected": "its socket is connected: its next call gives {errno}",
    "recverr": "its socket has IP_RECVERR: the error and {errno} are there for it",
    "unconnected": "its socket is unconnected: it does not know",
    "elsewhere": "its socket is connected to another address: it does not know",
    "unknown": "whether its socket hears of it is unknown",
}
HEARING = frozenset({"connected", "recverr"})
LATER = {
    "EMSGSIZE": "it learns of it by EMSGSIZE from each larger datagram that it sends later (IP_PMTUDISC_DO)",
    "fragments": "it does not know; larger datagrams leave in fragments from now on",
    "whole": "it does not know, and goes on sending them whole (IP_PMTUDISC_{mode})",
    None: "it learns of it only with IP_PMTUDISC_DO, by EMSGSIZE from what it sends later",
}
"""What "too big" does to a socket that is not told: the route's MTU is known from then on."""
UNTOLD = "its socket hears of most errors, but Linux keeps this one to itself"


class Sender(Struct, frozen=True):
    """Who sent a datagram, and how its socket stood."""

    process: Process | None
    """None where nobody knows."""
    state: str
    """A key of `SEES`."""
    mode: str | None = None
    """Of IP_MTU_DISCOVER or IPV6_MTU_DISCOVER, a word of `MODES`; None where nobody knows."""
    is_gone: bool = False
    """Whether the socket was closed when it was looked for."""

    @property
    def sees(self) -> str:
        """`connected`, `recverr`, `blind` or `unknown`."""
        return SEES[self.state]

    def is_reported(self, meaning: Meaning) -> bool | None:
        """Whether Linux tells the socket of an error of this meaning, by its state; None where that is not known."""
        if self.state == "unknown":
            return None
        return self.state in HEARING and told_errno(meaning, self.state, self.mode or "WANT") is not None

    def note(self, meaning: Meaning, is_reported: bool | None = None) -> str:
        """In words, what an error of this meaning is to it.

        Args:
            meaning: of the error.
            is_reported: whether the kernel says that it told a socket; None where only the socket's state says it.
        """
        who = f"{self.process.name}[{self.process.pid}]" if self.process else "of this host, by an unknown process"
        errno = told_errno(meaning, self.state, self.mode or "WANT") if self.state in HEARING else None
        text = UNTOLD if self.state in HEARING and errno is None else TEXTS[self.state].format(errno=errno)
        if meaning.verdict == "too-big" and self.state in {"unconnected", "elsewhere"}:
            later = LATER[TOO_BIG[meaning.family, self.mode].later if self.mode else None]
            text = text.replace("it does not know", later.format(mode=self.mode))
        if is_reported is None:
            return f"{who}; {text}"
        if is_reported != self.is_reported(meaning):
            text = "whatever its socket is, it was told" if is_reported else "nobody was told"
        return f"{who}; {text} (the kernel: {f'told {meaning.recverr}' if is_reported else 'not told'})"


NOBODY = Sender(None, "unknown")


class _Sighting(Struct):
    """A socket as it was seen last."""

    found: UdpSocket
    holder: Holder | None
    options: Options
    seen_s: float
    asked_s: float
    """When its options were read; a program may set some later."""
    gone: bool = False


class Sockets:
    """The UDP sockets of this network namespace, by and by.

    Args:
        own_addresses: says which addresses this host has now.
        idle_share: as `IDLE_SHARE`; 0 for a look whenever there is a reason, so that each error is judged by what its
            socket is after it came.
    """

    def __init__(self, own_addresses: Callable[[], Iterable[Address]], idle_share: int = IDLE_SHARE) -> None:
        self.own_addresses, self._idle_share = own_addresses, idle_share
        self.ports = Ports(SystemRandom().getrandbits(64))
        """Sees which ports of this host send: for the analyzer of its packets."""
        self.on_holders: Callable[[Iterable[int]], None] = lambda _: None
        """Called with the processes of sockets that were just found, before they may end."""
        self._own: frozenset[int] = frozenset()
        self._sightings: dict[int, _Sighting] = {}
        """By inode."""
        self._by_port: dict[int, list[_Sighting]] = {}
        self._expires_s = self._next_look_s = self._looked_s = 0.0
        self._drops = DropCounters()

    def look(self) -> None:
        """See what there is before the first datagram, where the first look takes longest, and after the last one."""
        self._expire()
        self._next_look_s = 0.0
        self._look()

    def heed(self) -> None:
        """Look for the sockets of ports that were not known before they were seen to send.

        Where it is known what sockets had dropped before, they are also looked at now and then, for what they dropped
        since: a socket takes its counter with it.
        """
        is_due = self._expire() and self._drops.is_begun
        if (self.ports.is_news or is_due) and self._look():
            self.ports.is_news = False

    def receive_drops(self) -> tuple[ReceiveDrops, ...]:
        """The sockets that dropped datagrams since the first look, as of the last one."""
        return self._drops.found()

    def senders(self, events: Iterable[Event]) -> list[Sender | None]:
        """Who sent what each of these errors quotes; None where it was another host."""
        self._expire()
        own = [number_of(event.quoted.source) in self._own for event in events]
        if any(own):
            self._look()
        return [self._sender(event) if is_own else None for event, is_own in zip(events, own, strict=True)]

    def is_own(self, address: str) -> bool:
        """Whether it is one of this host's."""
        self._expire()
        return number_of(address) in self._own

    def of_port(self, port: int) -> list[tuple[UdpSocket, Process | None]]:
        """The sockets that have a port now, and who holds them."""
        self._look()
        return [
            (each.found, each.holder.process if each.holder else None)
            for each in self._by_port.get(port, ())
            if not each.gone
        ]

    def _expire(self) -> bool:
        """Whether what was known had expired; then it is known anew."""
        now_s = time.monotonic()
        if now_s < self._expires_s:
            return False
        self._expires_s = now_s + EXPIRES_S
        self._own = frozenset(map(mapped_address, self.own_addresses()))
        self.ports.expect(self._own)
        return True

    def _look(self) -> bool:
        """See which sockets there are now, unless that was done just before."""
        start_s = time.monotonic()
        if start_s < self._next_look_s:
            return False
        busy_s = time.thread_time()  # a machine that lets this process wait must not make it wait even longer
        with suppress(OSError):  # the kernel is too busy to say, or says nothing: then nothing is known
            self._see({each.inode: each for each in udp_sockets()}, start_s)
        cost_s = time.thread_time() - busy_s
        self._looked_s = start_s
        self._next_look_s = max(self._next_look_s, start_s - SAVED_S) + (self._idle_share + 1) * cost_s
        return True

    def _see(self, there: dict[int, UdpSocket], now_s: float) -> None:
        new = there.keys() - self._sightings.keys() | self._left() & there.keys()
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

    def _left(self) -> set[int]:
        """Sockets that who held them does not hold any more."""
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
                self._ask_again(each)
        told = {_told(each, flow, event.family) for rank, each in ranked if rank == best}
        if len({sender.process for sender in told}) != 1:
            return NOBODY  # nobody holds it any more, or several share the port
        if len(told) == 1:
            return told.pop()
        states = {sender.state for sender in told}
        return Sender(told.pop().process, states.pop() if len(states) == 1 else "unknown")

    def _ask_again(self, sighting: _Sighting) -> None:
        """Read the socket's options again, at most once per look."""
        if sighting.holder and not sighting.gone and sighting.asked_s < self._looked_s:
            sighting.asked_s = self._looked_s
            if (options := options_of(sighting.holder)) != Options():
                sighting.options = options


Flow = tuple[int, int, int | None]
"""Source, destination, destination port."""


def _rank(sighting: _Sighting, flow: Flow) -> tuple[int, ...] | None:
    """How likely a socket with the right port sent a datagram, or None where it cannot have; as the kernel ranks."""
    found, (source, destination, port) = sighting.found, flow
    if found.address and found.address != source:
        return None
    is_peer = (found.peer, found.peer_port) == (destination, port)
    same_family = found.is_v4 == (source >> 32 == MAPPED_PREFIX)
    if found.is_v4 and not same_family:
        return None
    return not sighting.gone, is_peer, not found.is_connected, bool(found.address), same_family


def _told(sighting: _Sighting, flow: Flow, family: int) -> Sender:
    holder = sighting.holder
    return Sender(
        holder.process if holder else None,
        _state(sighting, flow, family),
        sighting.options.modes[0 if family == 4 else 1],
        sighting.gone,
    )


def _state(sighting: _Sighting, flow: Flow, family: int) -> str:
    """As the kernel looks for whom to tell: a socket that is connected to the quoted destination, or to nobody."""
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
    """An address in 128 bits, IPv4 mapped."""
    return mapped_address(ip_address(text.partition("%")[0]))
