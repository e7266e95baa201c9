"""Nodes of the lab that claim to be Linux, beside real kernels: byte for byte, and as seldom."""

from __future__ import annotations

import pytest
from lab_prober import Prober, simulated, told
from network import Network, address
from scanning import UNLIMITED
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.packet import Raw

from udpprobe.lab.scenario import parse

pytestmark = [pytest.mark.live, pytest.mark.slow]

VOIDS = {"unreachable": 1, "prohibit": 2}
HOST = {family: address(family, 2, 2) for family in (4, 6)}
LIMITED = "sysctl -q net.ipv4.icmp_ratelimit=1000 net.ipv4.icmp_ratemask=6168 net.ipv6.icmp.ratelimit=100"
PAGE = """
conclude = "as Linux"
[nodes]
you = {{ address = ["10.0.1.1/24", "2001:db8:1::1/64"] }}
host = {{ address = ["10.0.2.2", "2001:db8:2::2"], system = "linux" }}
[nodes.router]
address = ["10.0.1.2", "2001:db8:1::2"]
system = "linux"
routes = {{ {routes} }}
[links]
"you - router - host" = {{}}
"router - host" = {{ mtu = 1400 }}
"""
ROUTES = ", ".join(
    f'"{net}" = "{word}"' for word, n in VOIDS.items() for net in (f"198.51.{n}.0/24", f"2001:db8:f{n}::/64")
)
SCENARIO = parse(PAGE.format(routes=ROUTES), "linux")


@pytest.fixture(scope="module")
def network():
    with Network("prober", "router", "host") as made:
        for line in lines():
            made.run(line)
        yield made


def lines():
    yield f"router: {UNLIMITED}"
    yield f"host: {UNLIMITED}"
    yield "router: ip link set right mtu 1400"
    for word, n in VOIDS.items():
        yield f"router: ip route add {word} 198.51.{n}.0/24"
        yield f"router: ip -6 route add {word} 2001:db8:f{n}::/64"
    for family, sources in SOURCES.items():
        for source in sources.values():
            yield f"prober: ip addr add {source}/{24 if family == 4 else 64} dev right"


def header(family, to=None, **fields):
    fields = {"src": address(family, 1, 1), "dst": to or HOST[family]} | fields
    if family == 4:
        return IP(**({"id": 7} | fields))
    if "ttl" in fields:
        fields["hlim"] = fields.pop("ttl")
    return IPv6(**fields)


LIMITS = {"closed port": 6, "time exceeded": 6, "prohibit": 2, "too big": 30}
"""How many of 30 at once are told of. In IPv6 the route's own limit is that of all."""
SOURCES = {
    4: {name: f"10.0.1.1{n}" for n, name in enumerate(LIMITS)},
    6: {name: f"2001:db8:1::1{n}" for n, name in enumerate(LIMITS)},
}
"""Each case has a source of its own, so that its bucket is full."""


def burst(name, family):
    about = {
        "closed port": {},
        "time exceeded": {"ttl": 1},
        "prohibit": {"to": unreachable("prohibit", family)},
        "too big": {"size": 1400, **({"flags": "DF"} if family == 4 else {})},
    }
    return [datagram(family, src=SOURCES[family][name], **about[name])] * 30


def datagram(family, size=4, to=None, **fields):
    return header(family, to, **fields) / UDP(sport=4000, dport=12) / bytes(size)


def unreachable(word, family):
    return f"198.51.{VOIDS[word]}.1" if family == 4 else f"2001:db8:f{VOIDS[word]}::1"


CASES = {
    f"closed port, {size} bytes, IPv{family}": [datagram(family, size)]
    for family in (4, 6)
    for size in (0, 4, 100, 520, 521, 1184, 1185)
}
CASES |= {
    f"{name}, IPv{family}": [packet]
    for family in (4, 6)
    for name, packet in {
        "time exceeded": datagram(family, ttl=1),
        "too big": datagram(family, 1400, **({"flags": "DF"} if family == 4 else {})),
        "too big with a TTL of 1": datagram(family, 1400, ttl=1, **({"flags": "DF"} if family == 4 else {})),
        "TOS": datagram(family, **({"tos": 0xB8} if family == 4 else {"tc": 0xB8})),
        "ping": header(family) / (ICMP(id=3, seq=4) if family == 4 else ICMPv6EchoRequest(id=3, seq=4)) / Raw(b"x"),
        "ping with a TOS": header(family, **({"tos": 0xFF} if family == 4 else {"tc": 0xFF}))
        / (ICMP(id=3) if family == 4 else ICMPv6EchoRequest(id=3)),
        "ping with a TTL of 1": header(family, ttl=1) / (ICMP() if family == 4 else ICMPv6EchoRequest()),
        "bad checksum": header(family) / UDP(sport=4000, dport=12, chksum=0x1234) / b"x",
        "unknown protocol": header(family, **({"proto": 99} if family == 4 else {"nh": 99})) / Raw(b"x"),
        "error": header(family, ttl=1) / Raw(bytes([3, 3, 0xFC, 0xFC, *[0] * 32]) if family == 4 else b""),
    }.items()
}
CASES |= {
    f"{word}, IPv{family}": [datagram(family, to=unreachable(word, family))] for family in (4, 6) for word in VOIDS
}
CASES |= {
    "UDP checksum 0, IPv4": [header(4) / UDP(sport=4000, dport=12, chksum=0) / b"x"],
    "UDP checksum 0, IPv6": [header(6) / UDP(sport=4000, dport=12, chksum=0) / b"x"],
    "later fragment, IPv4": [header(4, id=9, frag=8, proto=17) / Raw(bytes(32))],
    "fragments on the way, IPv4": [datagram(4, 1400)],
    "atomic fragment": [header(6) / IPv6ExtHdrFragment(id=9) / UDP(sport=4000, dport=12) / b"x"],
    "atomic fragment of an unknown protocol": [header(6) / IPv6ExtHdrFragment(id=9, nh=99) / Raw(b"x")],
    "destination options": [header(6) / IPv6ExtHdrDestOpt() / UDP(sport=4000, dport=12) / b"x"],
    **{
        f"destination option {option:#x}": [
            header(6)
            / IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=option, optlen=4, optdata=b"abcd")])
            / UDP(sport=4000, dport=12)
            / b"x"
        ]
        for option in (0x1E, 0x5E, 0x9E, 0xDE)
    },
    **{
        f"{left} segments left": [
            header(6)
            / IPv6ExtHdrRouting(type=99, addresses=["2001:db8:2::9"], segleft=left)
            / UDP(sport=4000, dport=12)
            / b"x"
        ]
        for left in (0, 1)
    },
    "hop-by-hop options behind others": [
        header(6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / UDP(sport=4000, dport=12) / b"x"
    ],
    "unknown protocol behind options": [header(6) / IPv6ExtHdrDestOpt(nh=99) / Raw(b"x")],
    "fragments, IPv6": fragment6(header(6) / IPv6ExtHdrFragment(id=5) / UDP(sport=4000, dport=12) / bytes(2000), 1280),
}


@pytest.fixture(scope="module")
def prober(network):
    made = Prober(network)
    yield made
    made.socket.close()


@pytest.mark.parametrize("name", CASES)
def test_errors_equal_those_of_linux_byte_for_byte(prober, name):
    packets = CASES[name]
    real = prober.ask(packets)
    assert [told(raw) for raw in real] == [told(raw) for raw in simulated(SCENARIO, packets)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", LIMITS)
def test_a_burst_of_errors_is_as_large_as_that_of_linux(network, prober, name, family):
    for node in ("router", "host"):
        network.run(f"{node}: {LIMITED}")
    real = prober.ask(burst(name, family), 0.05)
    for node in ("router", "host"):
        network.run(f"{node}: {UNLIMITED}")
    assert (6 if (name, family) == ("prohibit", 6) else LIMITS[name]) == len(real)
    assert len(real) == len(simulated(SCENARIO, burst(name, family)))


def test_tcp_is_reset_as_by_linux(prober):
    syn = header(4) / TCP(sport=4000, dport=443, flags="S", seq=100)
    fields = [
        (each.flags, each.seq, each.ack, each.window, each.dataofs)
        for raw in (*prober.ask([syn]), *simulated(SCENARIO, [syn]))
        for each in [IP(raw)[TCP]]
    ]
    assert fields[:1] * 2 == fields
