"""Probes into a simulated internet, and what comes back, in simulated time."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6

from udpprobe.lab.scenario import load, parse
from udpprobe.lab.world import World

SECOND = 10**9
YOU = {4: "198.18.0.2", 6: "2001:db8::2"}
EXPIRED = {4: " 11/0", 6: " 3/0"}
HOST = {4: "198.18.9.9", 6: "2001:db8:9::9"}
QUERY = bytes.fromhex("000001000001000000000000") + b"\x09localhost\0\0\x01\0\x01"
"""Of DNS, what any service but echo and text needs for an answer."""

PAGE = """
conclude = "nothing"
targets = ["198.18.9.9:53"]
{top}

[nodes]
you = {{ address = ["198.18.0.2/24", "2001:db8::2/64"] }}
router = {{ address = ["198.18.0.1", "2001:db8::1"], {router} }}
host = {{ address = ["198.18.9.9", "2001:db8:9::9"], {host} }}

[links]
"you - router - host" = {{ delay_ms = 1 }}
"router - host" = {{ {link} }}
"""


def page(router="silent = false", host="silent = false", link="", top=""):
    """A scenario of one router and one host, with something about them."""
    return parse(PAGE.format(router=router, host=host, link=link, top=top), "page.toml")


def world(**about):
    return World(page(**about))


def probe(family=4, port=53, ttl=64, data=b"0123456789", to=None, **fields):
    """A datagram of the program."""
    to = to or HOST[family]
    if family == 4:
        header = IP(src=YOU[4], dst=to, ttl=ttl, **({"id": 7, "flags": "DF"} | fields))
    else:
        header = IPv6(src=YOU[6], dst=to, hlim=ttl, **fields)
    return header / UDP(sport=4000, dport=port) / data


def dissected(raw):
    return IP(raw) if raw[0] >> 4 == 4 else IPv6(raw)


def played(world, *packets, at_ns=0, until_s=1.0):
    """What comes back for packets that leave at the same time."""
    for packet in packets:
        world.receive(bytes(packet), at_ns)
    return [dissected(raw) for raw in world.due(at_ns + int(until_s * SECOND))]


def described(packet):
    """A packet in a few words: `198.18.0.1 11/0` of an error, `198.18.9.9 udp 53` of an answer."""
    if UDP in packet and packet.payload.name == "UDP":
        return f"{packet.src} udp {packet[UDP].sport}"
    message = bytes(packet.payload)
    return f"{packet.src} {message[0]}/{message[1]}"


def quoted(packet):
    """The bytes that an error quotes, with what is behind them."""
    return bytes(packet[ICMP])[8:] if packet.version == 4 else bytes(packet.payload)[8:]


def traced(name, target, limit=9):
    """What comes back for a TTL of 1, 2, 3, ..., a second apart, until an answer or refusal does."""
    world = World(load(name))
    host, port = target.rsplit(":", 1)
    family = 6 if "[" in host else 4
    rows = []
    for ttl in range(1, limit + 1):
        shot = probe(family, int(port), ttl, QUERY, host.strip("[]"))
        back = [described(each) for each in played(world, shot, at_ns=ttl * SECOND)]
        rows.append(" + ".join(back))
        if back and not all(each.endswith(EXPIRED[family]) for each in back):
            break
    return rows
