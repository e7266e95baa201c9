"""Findings of `watch` about this host itself, in words: datagrams that it dropped, and ICMP errors that it sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from udpprobe.core.model import DropReason, ErrorSent, ErrorsSent, ReceiveDrops
from udpprobe.reports.text import Layout, endpoint, escape, plural, table

SOCKETS_SHOWN = 5
"""Most sockets with drops that are named; further ones are only counted."""
REASONS_SHOWN = 5
REASONS = {
    "BPF_CGROUP_EGRESS": "a BPF program of a cgroup",
    "CPU_BACKLOG": "net.core.netdev_max_backlog",
    "FRAG_REASM_TIMEOUT": "missing fragments",
    "ICMP_CSUM": "a bad ICMP checksum",
    "IP_CSUM": "a bad IPv4 header checksum",
    "IP_INADDRERRORS": "not for an address of this host",
    "IP_INNOROUTES": "no route",
    "IP_INVALID_SOURCE": "an invalid source address",
    "IP_LOCAL_SOURCE": "this host's own source address, from outside",
    "IP_RPFILTER": "reverse path filter, rp_filter",
    "NETFILTER_DROP": "a firewall rule",
    "NO_SOCKET": "no socket for it",
    "PROTO_MEM": "net.ipv4.udp_mem",
    "QDISC_DROP": "an interface's queue",
    "SECURITY_HOOK": "a security module",
    "SKB_CSUM": "a bad checksum",
    "SOCKET_FILTER": "a socket's or a cgroup's filter",
    "SOCKET_RCVBUFF": "a full receive buffer",
    "TC_EGRESS": "a tc filter, going out",
    "TC_INGRESS": "a tc filter, coming in",
    "UDP_CSUM": "a bad UDP checksum",
    "XDP": "an XDP program",
    "XFRM_POLICY": "an IPsec policy",
}
"""The kernel's drop reasons in words."""
ROWS_SENT_SHOWN = 40
"""Most rows about errors that this host sent."""
RATE_LIMITS = {
    "ipv4_host": "by net.ipv4.icmp_ratelimit",
    "ipv6_host": "by net.ipv6.icmp.ratelimit",
    "global": "by net.ipv4.icmp_msgs_per_sec",
}


def receive_drops(sockets: Sequence[ReceiveDrops]) -> Iterator[str]:
    """`pid 812 (unbound)'s receive buffer was full: 4,102 datagrams to 127.0.0.1:53 dropped`."""
    for each in sockets[:SOCKETS_SHOWN]:
        who = f"pid {each.process.pid} ({escape(each.process.name)})'s" if each.process else "an unknown process's"
        what = plural(each.count, "datagram"), f"to {endpoint(each.address, each.port)}"
        if each.reason == "buffer-full":
            yield f"{who} receive buffer was full: {what[0]} {what[1]} dropped"
        else:
            yield f"{who} socket dropped {what[0]} {what[1]} (a full receive buffer, bad checksums or a filter)"
    if rest := sockets[SOCKETS_SHOWN:]:
        yield f"{plural(len(rest), 'more socket')} dropped {plural(sum(each.count for each in rest), 'datagram')}"


def drop_reasons(reasons: Sequence[DropReason]) -> Iterator[str]:
    """`this network namespace dropped 2 packets: 2 UDP_CSUM (a bad UDP checksum)`, and reasons counted by host only.

    If the namespace counts a reason but has no such drops, the host's drops were in other protocols or namespaces. They
    explain nothing here, and are left out.
    """
    here = [(each.reason, each.namespace) for each in reasons if each.namespace]
    if here:
        yield f"this network namespace dropped {_by_reason(here)}"
    anywhere = [(each.reason, each.host) for each in reasons if each.namespace is None and each.host]
    if anywhere:
        yield f"this host (any protocol, all network namespaces) dropped {_by_reason(anywhere)}"


def _by_reason(rows: Sequence[tuple[str, int]]) -> str:
    shown = [
        f"{number:,} {reason} ({REASONS.get(reason, 'a reason of the kernel')})"
        for reason, number in rows[:REASONS_SHOWN]
    ]
    if rest := rows[REASONS_SHOWN:]:
        shown.append(f"{sum(number for _, number in rest):,} for {plural(len(rest), 'other reason')}")
    return f"{plural(sum(number for _, number in rows), 'packet')}: {', '.join(shown)}"


def sent(found: ErrorsSent | None) -> Iterator[str]:
    """`this host sent 12 ICMP errors about UDP, and its rate limits suppressed 188 ICMP errors`."""
    if found is None:
        return
    number = sum(each.count for each in found.rows) + found.more
    yield f"this host sent {plural(number, 'ICMP error') if number else 'no ICMP errors'} about UDP"
    held = [f"{count:,} {words}" for name, words in RATE_LIMITS.items() if (count := found.rate_limited.get(name))]
    if held:
        yield f"its rate limits suppressed {plural(sum(found.rate_limited.values()), 'ICMP error')}: {', '.join(held)}"


SENT_COLUMNS = ("sent to", "about", "error", "count", "why")


def sent_row(each: ErrorSent) -> tuple[str, ...]:
    """The cells of a row for `SENT_COLUMNS`."""
    verdict = str(each.verdict or each.reason)
    return each.to, endpoint(each.address, each.port), verdict, f"{each.count:,}", escape(each.why)


def sent_table(found: ErrorsSent | None, width: int) -> str:
    """A table of the most frequent errors that this host sent to others."""
    if found is None or not found.rows:
        return ""
    rows = found.rows[:ROWS_SENT_SHOWN]
    cells = tuple(map(sent_row, rows))
    tall = tuple((f"{to}\n{about}", f"{verdict}\n{number}", why) for to, about, verdict, number, why in cells)
    text = table(
        (
            Layout(SENT_COLUMNS, cells, elastic=4),
            Layout(("sent to\nabout", "error\ncount", "why"), tall, elastic=2),
        ),
        width,
    )
    return text + (f"\n{plural(len(found.rows) - len(rows), 'more row')}" if len(found.rows) > len(rows) else "")
