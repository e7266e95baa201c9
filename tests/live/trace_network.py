"""Ways with everything a trace may meet: prober - a - b - c - d - host, a way beside b, and one back from d to b."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess

import forked
from network import Network, address
from scanning import FAMILIES, NETS, UDPPROBE, UNLIMITED

ROW = ("prober", "a", "b", "c", "d", "host")
HOST = {family: address(family, 5, 2) for family in FAMILIES}
CLOSED, ANSWERING, DROPPED, REJECTED, REWRITTEN, MARKED = 7000, 7001, 7002, 7003, 7004, 7005
LOOP_AB, LOOP_BC, LOOP_BCD, PROHIBITED, BALANCED = (
    {family: net.format(n) for family, net in NETS.items()} for n in range(1, 6)
)
NAT = {4: "10.0.2.77", 6: "2001:db8:2::77"}
"""Source that a rewrites to without keeping track, on REWRITTEN."""
SIDE, BACK = ({family: [address(family, link, end) for end in (1, 2)] for family in FAMILIES} for link in (7, 8))
RULES = {
    "a": "chain r {{ type filter hook prerouting priority raw; ip daddr {nat[4]} ip daddr set {own[4]};"
    " ip6 daddr {nat[6]} ip6 daddr set {own[6]}; \n}}\n"
    "chain p {{ type filter hook postrouting priority mangle; udp dport {rewritten} ip saddr set {nat[4]};"
    " udp dport {rewritten} ip6 saddr set {nat[6]}; udp dport {marked} ip dscp set af41;"
    " udp dport {marked} ip6 dscp set af41; \n}}",
    "d": "chain f {{ type filter hook forward priority 0; udp dport {rejected} reject with icmpx admin-prohibited;"
    " \n}}",
    "host": "chain i {{ type filter hook input priority 0; udp dport {dropped} drop; \n}}",
}
SILENT_B = (
    "chain s { type filter hook output priority 0; icmp type time-exceeded drop; icmpv6 type time-exceeded drop;\n}"
)


@contextlib.contextmanager
def trace_network(directory):
    """The network, without limits on ICMP errors; rules go through files in `directory`.

    Raises:
        CannotRun: this host lacks what it takes.
    """
    with Network(*ROW) as made:
        made.names = (*made.names, "side")
        made.add("side")
        for line in lines():
            made.run(line)
        own = {family: address(family, 1, 1) for family in FAMILIES}
        for node, chains in RULES.items():
            install(
                made,
                directory,
                node,
                chains.format(nat=NAT, own=own, rewritten=REWRITTEN, marked=MARKED, rejected=REJECTED, dropped=DROPPED),
            )
        made.start(f"host: answer {ANSWERING}")
        yield made


def install(network, directory, node, chains, table="traced"):
    file = directory / f"{node}-{table}"
    file.write_text(f"table inet {table} {{\n{chains}\n}}\n")
    network.run(f"{node}: nft -f {file}")


@contextlib.contextmanager
def silent_b(network, directory):
    """While this lasts, b says nothing of what expires there."""
    install(network, directory, "b", SILENT_B, "silent")
    yield
    network.run("b: nft delete table inet silent")


def lines():
    for node in ("a", "b", "c", "d", "host", "side"):
        yield f"{node}: {UNLIMITED}"
    yield from linked("a", "side", "aside", SIDE)
    yield from linked("d", "b", "back", BACK)
    yield "side: ip link add toc type veth peer name beside netns {c}"
    for node, interface, end in (("side", "toc", 1), ("c", "beside", 2)):
        for family in FAMILIES:
            yield f"{node}: ip addr add {address(family, 9, end)}/{24 if family == 4 else 64} dev {interface}"
        yield f"{node}: ip link set {interface} up"
    yield "a: sysctl -q net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1"
    for family in FAMILIES:
        via = {name: address(family, link, end) for name, link, end in (("a", 2, 1), ("b", 3, 1), ("c", 9, 2))}
        for to in (LOOP_AB, NAT):
            yield f"b: ip -{family} route add {to[family]} via {via['a']}"
        yield f"c: ip -{family} route add {LOOP_BC[family]} via {via['b']}"
        yield f"d: ip -{family} route add {LOOP_BCD[family]} via {BACK[family][1]}"
        yield f"c: ip -{family} route add prohibit {PROHIBITED[family]}"
        yield f"side: ip -{family} route add default via {via['c']}"
        yield f"side: ip -{family} route add {address(family, 1, 0)}/{24 if family == 4 else 64} via {SIDE[family][0]}"
        yield (
            f"a: ip -{family} route add {BALANCED[family]} nexthop via {address(family, 2, 2)}"
            f" nexthop via {SIDE[family][1]}"
        )
        yield f"host: ip addr add {BALANCED[family]}/{32 if family == 4 else 128} dev lo"


def linked(left, right, name, addresses):
    yield f"{left}: ip link add {name} type veth peer name {name} netns {{{right}}}"
    for node, end in ((left, 0), (right, 1)):
        for family in FAMILIES:
            yield f"{node}: ip addr add {addresses[family][end]}/{24 if family == 4 else 64} dev {name}"
        yield f"{node}: ip link set {name} up"


def trace(network, to, port, *options):
    """Its report; it has to end well, and quietly."""
    target = f"[{to}]:{port}" if ":" in to else f"{to}:{port}"
    done = forked.run(network.command(f"prober: {UDPPROBE} trace --format json {target} {' '.join(options)}"))
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


def routers(report):
    """By TTL, the addresses that reported."""
    return {hop["ttl"]: {each["address"] for each in hop["reporters"]} for hop in report["hops"] if hop["reporters"]}


def notes(report):
    return {note for hop in report["hops"] for each in hop["reporters"] for note in each["notes"]}


PEERS = {
    "traceroute": "traceroute -n -q 3 -w 1 -m 12 {to}",
    "tracepath": "tracepath -n -m 12 {to}",
    "mtr": "mtr -n -u -r -c 2 -m 12 {to}",
    "scamper": "scamper -i {to} -c 'trace -P udp-paris -q 1 -w 1'",
}
ADDRESS = {4: r"(\d+\.\d+\.\d+\.\d+)", 6: r"([0-9a-f]+:[0-9a-f:]+)"}


def routers_of_peer(network, name, to):
    """By TTL, the addresses that another program found."""
    said = subprocess.run(
        network.command(f"prober: {PEERS[name].format(to=to)}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    ).stdout
    family = 6 if ":" in to else 4
    rows = re.findall(rf"^\s*(\d+)(?::|\.\|--)?\s.*?{ADDRESS[family]}", said, re.MULTILINE)
    found = {}
    for ttl, router in rows:
        found.setdefault(int(ttl), set()).add(router)
    return found
