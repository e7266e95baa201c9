"""One table of meanings: what an ICMP or ICMPv6 error says about the datagram it quotes.

The errno is that of UNP table 28.1; the Linux columns were measured with crafted errors on Linux 6.18. `scan` and
`analyze` print the verdict, `explain` the table, `icmpd` sends the errno.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from udpprobe.errors import UsageError, meant

VERDICTS = (
    "refused",
    "rejected",
    "too-big",
    "loop",
    "expired",
    "prohibited",
    "unreachable",
    "reassembly",
    "quenched",
    "malformed",
    "answered",
    "silent",
    "unsent",
)
"""Every verdict, most telling first."""

ERRNO_OF_VERDICT = {
    "refused": "ECONNREFUSED",
    "rejected": "ECONNREFUSED",
    "too-big": "EMSGSIZE",
    "loop": "EHOSTUNREACH",
    "expired": "EHOSTUNREACH",
    "prohibited": "EHOSTUNREACH",
    "unreachable": "EHOSTUNREACH",
    "reassembly": "EHOSTUNREACH",
    "quenched": "EHOSTUNREACH",
}
"""UNP table 28.1; verdicts not listed have none."""


class Meaning(NamedTuple):
    """One row of the table."""

    family: int
    type: int
    code: int
    name: str
    """The error's own short name."""
    reason: str
    """nmap's word, if it has one."""
    verdict: str | None
    """`refused` and `expired` also stand for `rejected` and `loop`, which need more than type and code."""
    connected: str | None
    """Errno for a connected Linux socket; an unconnected one never gets any."""
    recverr: str | None
    """Errno for a Linux socket with IP_RECVERR or IPV6_RECVERR."""
    text: str
    """The meaning in a sentence."""

    @property
    def errno(self) -> str | None:
        """The errno that UNP's daemon sends."""
        return ERRNO_OF_VERDICT.get(self.verdict or "")

    @property
    def linux(self) -> dict[str, str | None]:
        """Errno by kind of Linux socket."""
        return {"unconnected": None, "connected": self.connected, "recverr": self.recverr}


ANY_CODE = -1
"""Code of a row for every code that its type does not list."""

# a table is read by its rows, which would take eleven lines each
# fmt: off
MEANINGS = (
    Meaning(4, 3, 0, "net-unreach", "net-unreach", "unreachable", None, "ENETUNREACH",
            "A router has no route to the destination's network."),
    Meaning(4, 3, 1, "host-unreach", "host-unreach", "unreachable", None, "EHOSTUNREACH",
            "The last router could not reach the host: often nothing answers ARP for the address."),
    Meaning(4, 3, 2, "proto-unreach", "proto-unreach", "unreachable", "ENOPROTOOPT", "ENOPROTOOPT",
            "The host does not speak UDP at all."),
    Meaning(4, 3, 3, "port-unreach", "port-unreach", "refused", "ECONNREFUSED", "ECONNREFUSED",
            "Nothing listens on the port. From any address other than the destination's, something on the way refuses "
            "on its behalf (rejected)."),
    Meaning(4, 3, 4, "frag-needed", "packet-too-big", "too-big", "EMSGSIZE", "EMSGSIZE",
            "The packet is larger than the next link's MTU, and must not be fragmented (RFC 1191)."),
    Meaning(4, 3, 5, "source-route-failed", "dest-unreach", "unreachable", None, "EOPNOTSUPP",
            "The source route in the packet's options could not be followed."),
    Meaning(4, 3, 6, "net-unknown", "dest-unreach", "unreachable", "ENETUNREACH", "ENETUNREACH",
            "The destination's network does not exist (not sent since RFC 1812)."),
    Meaning(4, 3, 7, "host-unknown", "dest-unreach", "unreachable", "EHOSTDOWN", "EHOSTDOWN",
            "The last router reports that the host does not exist."),
    Meaning(4, 3, 8, "source-isolated", "dest-unreach", "unreachable", "ENONET", "ENONET",
            "The sender's own network is cut off (obsolete)."),
    Meaning(4, 3, 9, "net-prohibited", "net-prohibited", "prohibited", "ENETUNREACH", "ENETUNREACH",
            "A filter blocks the destination's network."),
    Meaning(4, 3, 10, "host-prohibited", "host-prohibited", "prohibited", "EHOSTUNREACH", "EHOSTUNREACH",
            "A filter blocks the destination host."),
    Meaning(4, 3, 11, "net-tos", "dest-unreach", "unreachable", None, "ENETUNREACH",
            "No route to the network for this type of service."),
    Meaning(4, 3, 12, "host-tos", "dest-unreach", "unreachable", None, "EHOSTUNREACH",
            "No route to the host for this type of service."),
    Meaning(4, 3, 13, "admin-prohibited", "admin-prohibited", "prohibited", "EHOSTUNREACH", "EHOSTUNREACH",
            "A filter on the way blocks the packet."),
    Meaning(4, 3, 14, "precedence-violation", "dest-unreach", "unreachable", "EHOSTUNREACH", "EHOSTUNREACH",
            "The packet's precedence is not permitted for this destination."),
    Meaning(4, 3, 15, "precedence-cutoff", "dest-unreach", "unreachable", "EHOSTUNREACH", "EHOSTUNREACH",
            "The packet's precedence is below the network's current minimum."),
    Meaning(4, 3, ANY_CODE, "unassigned", "dest-unreach", "unreachable", None, None,
            "Destination unreachable, with an unassigned code."),
    Meaning(4, 4, 0, "source-quench", "source-quench", "quenched", None, None,
            "A router or host asks the sender to slow down (obsolete, RFC 6633)."),
    Meaning(4, 4, ANY_CODE, "source-quench", "source-quench", "quenched", None, None,
            "A router or host asks the sender to slow down (obsolete, RFC 6633), with an unassigned code."),
    Meaning(4, 11, 0, "time-exceeded", "time-exceeded", "expired", None, "EHOSTUNREACH",
            "The TTL ran out on the way: a traceroute, a TTL set too low, or a routing loop (loop)."),
    Meaning(4, 11, 1, "reassembly-timeout", "time-exceeded", "reassembly", None, None,
            "Some fragments of the datagram never arrived."),
    Meaning(4, 11, ANY_CODE, "unassigned", "time-exceeded", "expired", None, "EHOSTUNREACH",
            "Time exceeded, with an unassigned code."),
    Meaning(4, 12, 0, "parameter-problem", "param-problem", "malformed", "EPROTO", "EPROTO",
            "The IP header is wrong; the pointer says at which byte."),
    Meaning(4, 12, 1, "missing-option", "param-problem", "malformed", "EPROTO", "EPROTO",
            "A required IP option is missing (RFC 1108)."),
    Meaning(4, 12, 2, "bad-length", "param-problem", "malformed", "EPROTO", "EPROTO",
            "The IP header's lengths are inconsistent."),
    Meaning(4, 12, ANY_CODE, "unassigned", "param-problem", "malformed", "EPROTO", "EPROTO",
            "Parameter problem, with an unassigned code."),
    Meaning(6, 1, 0, "no-route", "no-route", "unreachable", None, "ENETUNREACH",
            "A router has no route to the destination."),
    Meaning(6, 1, 1, "admin-prohibited", "admin-prohibited", "prohibited", "EACCES", "EACCES",
            "A filter on the way blocks the packet."),
    Meaning(6, 1, 2, "beyond-scope", "beyond-scope", "unreachable", None, "EHOSTUNREACH",
            "The destination is outside the scope of the source address (its link or site)."),
    Meaning(6, 1, 3, "addr-unreach", "host-unreach", "unreachable", None, "EHOSTUNREACH",
            "The last router could not reach the address: often nothing answers neighbour discovery."),
    Meaning(6, 1, 4, "port-unreach", "port-unreach", "refused", "ECONNREFUSED", "ECONNREFUSED",
            "Nothing listens on the port. From any address other than the destination's, something on the way refuses "
            "on its behalf (rejected)."),
    Meaning(6, 1, 5, "policy-failed", "admin-prohibited", "prohibited", "EACCES", "EACCES",
            "A filter blocks the packet because of its source address."),
    Meaning(6, 1, 6, "reject-route", "reject-route", "prohibited", "EACCES", "EACCES",
            "A router's table has a reject route to this destination."),
    Meaning(6, 1, 7, "source-routing-header", "dest-unreach", "unreachable", "EPROTO", "EPROTO",
            "The source routing header could not be followed."),
    Meaning(6, 1, 8, "headers-too-long", "dest-unreach", "unreachable", "EPROTO", "EPROTO",
            "The packet's headers are longer than a router on the way can inspect."),
    Meaning(6, 1, ANY_CODE, "unassigned", "dest-unreach", "unreachable", "EPROTO", "EPROTO",
            "Destination unreachable, with an unassigned code."),
    Meaning(6, 2, 0, "packet-too-big", "packet-too-big", "too-big", "EMSGSIZE", "EMSGSIZE",
            "The packet is larger than the next link's MTU; IPv6 routers never fragment (RFC 8201)."),
    Meaning(6, 2, ANY_CODE, "packet-too-big", "packet-too-big", "too-big", "EMSGSIZE", "EMSGSIZE",
            "The packet is larger than the next link's MTU; the code is to be ignored (RFC 4443 3.2)."),
    Meaning(6, 3, 0, "hop-limit-exceeded", "time-exceeded", "expired", None, "EHOSTUNREACH",
            "The hop limit ran out on the way: a traceroute, a limit set too low, or a routing loop (loop)."),
    Meaning(6, 3, 1, "reassembly-timeout", "time-exceeded", "reassembly", None, "EHOSTUNREACH",
            "Some fragments of the datagram never arrived."),
    Meaning(6, 3, ANY_CODE, "unassigned", "time-exceeded", "expired", None, "EHOSTUNREACH",
            "Time exceeded, with an unassigned code."),
    Meaning(6, 4, 0, "bad-header-field", "param-problem", "malformed", "EPROTO", "EPROTO",
            "A header field is wrong; the pointer says at which byte."),
    Meaning(6, 4, 1, "unknown-next-header", "param-problem", "malformed", "EPROTO", "EPROTO",
            "The host does not know one of the packet's headers: UDP itself, or an extension."),
    Meaning(6, 4, 2, "unknown-option", "param-problem", "malformed", "EPROTO", "EPROTO",
            "An option in an extension header is unknown, and requires the packet to be dropped."),
    Meaning(6, 4, 3, "incomplete-chain", "param-problem", "malformed", "EPROTO", "EPROTO",
            "The first fragment does not contain all headers."),
    Meaning(6, 4, ANY_CODE, "unassigned", "param-problem", "malformed", "EPROTO", "EPROTO",
            "Parameter problem, with an unassigned code."),
)
# fmt: on
"""Every row, the most general code of each type last. The Linux columns were measured."""

_UNKNOWN = Meaning(
    6,
    127,
    ANY_CODE,
    "unassigned",
    "unknown-response",
    None,
    None,
    "EPROTO",
    "An ICMPv6 error of an undefined type; it must be passed to the program (RFC 4443 2.4).",
)
_BY_KEY = MappingProxyType({(row.family, row.type, row.code): row for row in MEANINGS})
_V4_ERRORS = frozenset(row.type for row in MEANINGS if row.family == 4)


NEIGHBOUR_ERRORS = frozenset({(4, 3, 1), (6, 1, 3)})
"""Family, type and code of the error that a host sends to itself if it finds no neighbour."""


UNREACHABLE = frozenset({"refused", "prohibited", "unreachable"})
"""Verdicts by which a host or router reports that nothing gets there."""


def is_error(family: int, icmp_type: int) -> bool:
    """Whether a type is an ICMP error about a packet: v4 3, 4, 11, 12; v6 1 to 127 (RFC 4443 2.1).

    A redirect (v4 type 5) is none: the packet it quotes was forwarded.
    """
    return icmp_type in _V4_ERRORS if family == 4 else 0 < icmp_type < 128


@cache
def meaning_of(family: int, icmp_type: int, icmp_code: int) -> Meaning:
    """The meaning of an error. An unassigned code has its type's general meaning, an unknown v6 type no verdict.

    Args:
        family: 4 or 6.
        icmp_type: one for which `is_error` holds.
        icmp_code: 0 to 255.

    Raises:
        KeyError: the type is no error.
    """
    if not is_error(family, icmp_type):
        raise KeyError((family, icmp_type))
    general = _BY_KEY.get((family, icmp_type, ANY_CODE), _UNKNOWN)
    row = _BY_KEY.get((family, icmp_type, icmp_code), general)
    return row._replace(type=icmp_type, code=icmp_code)


def verdict_of(meaning: Meaning, *, itself: bool, loop: bool, group: bool = False) -> str | None:
    """The verdict, with what it needs besides type and code.

    Args:
        meaning: of type and code.
        itself: whether the reporter is the quoted datagram's destination.
        loop: whether there is evidence of a routing loop.
        group: whether the destination is a group address; no error may be sent about one (RFC 1122, 3.2.2).
    """
    if group and meaning.verdict in UNREACHABLE:
        return "rejected"
    if meaning.verdict == "refused" and not itself:
        return "rejected"
    return "loop" if meaning.verdict == "expired" and loop else meaning.verdict


def parse_verdicts(words: str, known: Sequence[str] = VERDICTS) -> tuple[str, ...]:
    """Parse a list such as `refused,loop`, in its order.

    Args:
        words: the list.
        known: the valid verdicts.

    Raises:
        UsageError: a word is no verdict, or there is none.
    """
    found = tuple(word.strip() for word in words.split(","))
    strange = [word for word in found if word not in known]
    if strange:
        raise UsageError(f"{strange[0]!r} is not a verdict; use {', '.join(known)}{meant(strange[0], known)}")
    return found
