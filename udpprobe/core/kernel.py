"""What a program gets from Linux about an ICMP error for its UDP datagram: from which calls, and by which path.

Measured on Linux 6.18 by tests/live/kernel_matrix.py: every error of the table of meanings; unconnected and connected
sockets, with and without IP_RECVERR (IPV6_RECVERR), in each mode of IP_MTU_DISCOVER; both families, and IPv4 through a
socket of AF_INET6; three calls each. Only "too big" errors depend on the mode.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

from udpprobe.core.verdicts import Meaning

SOCKETS = ("unconnected", "connected", "recverr")
"""`recverr` may be connected or not: both get the same errors."""
MODES = ("DONT", "WANT", "DO", "PROBE", "INTERFACE", "OMIT")
"""Modes of IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, by number (linux/in.h): DONT is 0. Linux's default is WANT."""


class TooBig(NamedTuple):
    """The effect of "too big" in one mode."""

    connected: str | None
    """Errno of the next call, once, on a connected socket."""
    recverr: str | None
    later: str
    """What happens to later datagrams that do not fit, from any socket of this mode: `fragments`, `whole`, or the errno
    that each send returns."""


TOO_BIG = MappingProxyType(
    {
        (4, "DONT"): TooBig(None, None, "fragments"),
        (4, "WANT"): TooBig("EMSGSIZE", "EMSGSIZE", "fragments"),
        (4, "DO"): TooBig("EMSGSIZE", "EMSGSIZE", "EMSGSIZE"),
        (4, "PROBE"): TooBig("EMSGSIZE", "EMSGSIZE", "whole"),
        (4, "INTERFACE"): TooBig("EMSGSIZE", "EMSGSIZE", "whole"),
        (4, "OMIT"): TooBig("EMSGSIZE", "EMSGSIZE", "whole"),
        (6, "DONT"): TooBig(None, "EMSGSIZE", "fragments"),
        (6, "WANT"): TooBig("EMSGSIZE", "EMSGSIZE", "fragments"),
        (6, "DO"): TooBig("EMSGSIZE", "EMSGSIZE", "EMSGSIZE"),
        (6, "PROBE"): TooBig("EMSGSIZE", "EMSGSIZE", "whole"),
        (6, "INTERFACE"): TooBig(None, None, "whole"),
        (6, "OMIT"): TooBig(None, None, "whole"),
    }
)
"""By family and mode."""


class Calls(NamedTuple):
    """The results of three calls after an error; None for success."""

    send: tuple[str | None, ...]
    """Errnos, for datagrams as large as the one that the error quotes."""
    left: tuple[str | None, ...]
    """How each datagram left: `whole`, `fragments`, or not at all."""
    recv: tuple[str | None, ...]


def calls_of(meaning: Meaning, state: str, mode: str = "WANT") -> Calls:
    """The results of a socket's calls.

    Args:
        meaning: of the error.
        state: one of `SOCKETS`.
        mode: one of `MODES`; only "too big" depends on it.
    """
    errno, later = reported_errno(meaning, state, mode), "whole"
    if meaning.verdict == "too-big":
        later = TOO_BIG[meaning.family, mode].later
    if later == "EMSGSIZE":  # ip_append_data checks the route's MTU, whichever socket learned it
        return Calls(("EMSGSIZE",) * 3, (None,) * 3, (errno, None, None))
    return Calls((errno, None, None), (None if errno else later, later, later), (errno, None, None))


def reported_errno(meaning: Meaning, state: str, mode: str = "WANT") -> str | None:
    """Errno of the error itself, from whichever call comes next; None if the socket gets none."""
    if state == "unconnected":
        return None
    row = TOO_BIG[meaning.family, mode] if meaning.verdict == "too-big" else meaning
    return row.connected if state == "connected" else row.recverr


class Step(NamedTuple):
    """A function of the kernel, and what it requires or does."""

    function: str
    text: str


_LOOKUP = (
    "finds the socket: connected between the quoted addresses and ports; or with the quoted source port, and "
    "bound to the quoted source address or to any"
)


def path_of(meaning: Meaning) -> tuple[Step, ...]:
    """The path of an error through the kernel, as far as it gets."""
    return _path_v4(meaning) if meaning.family == 4 else _path_v6(meaning)


def _path_v4(meaning: Meaning) -> tuple[Step, ...]:
    """net/ipv4/icmp.c and udp.c."""
    received = Step("icmp_rcv", "the ICMP checksum is correct, and the packet was sent to an address of this host")
    if (meaning.type, meaning.code) == (11, 1):
        return received, Step("icmp_unreach", "counts it and drops it")
    if meaning.type == 3 and not meaning.recverr:
        return received, Step("icmp_unreach", "drops it: codes above 15 are unknown")
    unreach = Step(
        "icmp_unreach",
        "the quote holds an IP header"
        + (", and net.ipv4.ip_no_pmtu_disc is below 2" if meaning.verdict == "too-big" else ""),
    )
    deliver = Step("icmp_socket_deliver", "the quote has 8 bytes after its IP header, whose protocol is UDP")
    before: tuple[Step, ...] = received, unreach, deliver, Step("__udp4_lib_err", _LOOKUP)
    if meaning.type == 4:
        return *before, Step("__udp4_lib_err", "drops a source quench")
    if meaning.verdict == "too-big":
        before = (
            *before,
            Step(
                "ipv4_sk_update_pmtu",
                "the route learns the MTU, unless the socket has IP_PMTUDISC_INTERFACE or OMIT; with DONT the error "
                "ends here",
            ),
        )
    return *before, _option("IP_RECVERR", "ip_icmp_error", meaning), _report_step(meaning)


def _path_v6(meaning: Meaning) -> tuple[Step, ...]:
    """net/ipv6/icmp.c and udp.c."""
    before: tuple[Step, ...] = (
        Step("icmpv6_rcv", "the ICMPv6 checksum is correct"),
        Step("icmpv6_notify", "the quote holds an IPv6 header, and 8 bytes of UDP after its extension headers"),
        Step("__udp6_lib_err", _LOOKUP),
    )
    if meaning.verdict == "too-big":
        before = (
            *before,
            Step(
                "ip6_sk_update_pmtu",
                (
                    "the route learns the MTU if it is 1280 or more; with IPV6_PMTUDISC_INTERFACE or OMIT the error "
                    "ends here instead; with DONT it continues only to IPV6_RECVERR"
                ),
            ),
        )
    return *before, _option("IPV6_RECVERR", "ipv6_icmp_error", meaning), _report_step(meaning)


def _option(name: str, function: str, meaning: Meaning) -> Step:
    without = (
        "continues if the socket is connected, because the error is hard"
        if meaning.connected
        else "ends here even if the socket is connected, because the error is soft"
    )
    return Step(function, f"with {name} the error waits in the error queue; without, it {without}")


def _report_step(meaning: Meaning) -> Step:
    return Step("sk_error_report", f"wakes the program (POLLERR): its next call gives {meaning.recverr}, once")
