"""The lab's NAT beside nftables' masquerade: what comes back, byte for byte."""

from __future__ import annotations

import pytest
from lab_prober import Prober, simulated, told
from network import Network, address
from scanning import UNLIMITED
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

from udpprobe.lab.scenario import parse

pytestmark = [pytest.mark.live, pytest.mark.slow]

HOST = {family: address(family, 3, 2) for family in (4, 6)}
SCENARIO = parse(
    """
conclude = "as Linux"
[nodes]
you = { address = ["10.0.1.1/24", "2001:db8:1::1/64"] }
far = { address = ["10.0.2.2", "2001:db8:2::2"] }
host = { address = ["10.0.3.2", "2001:db8:3::2"] }
[nodes.router]
address = ["10.0.1.2", "2001:db8:1::2"]
nat = { inside = "you", address = ["10.0.2.1", "2001:db8:2::1"] }
[links]
"you - router - far - host" = {}
"far - host" = { mtu = 1400 }
""",
    "nat",
)
MASQUERADE = (
    "table inet hiding {\nchain p { type nat hook postrouting priority srcnat; oifname right masquerade; \n}\n}\n"
)


@pytest.fixture(scope="module")
def prober(tmp_path_factory):
    rules = tmp_path_factory.mktemp("nat") / "rules"
    rules.write_text(MASQUERADE)
    with Network("prober", "router", "far", "host") as made:
        for node in ("router", "far", "host"):
            made.run(f"{node}: {UNLIMITED}")
        made.run("far: ip link set right mtu 1400")
        made.run(f"router: nft -f {rules}")
        asking = Prober(made)
        yield asking
        asking.socket.close()


def datagram(family, size=4, ttl=64, **fields):
    if family == 4:
        header = IP(src=address(4, 1, 1), dst=HOST[4], id=7, ttl=ttl, flags="DF")
    else:
        header = IPv6(src=address(6, 1, 1), dst=HOST[6], hlim=ttl)
    return header / UDP(**({"sport": 4000, "dport": 12} | fields)) / bytes(size)


def beyond(family, upper):
    header = IP(src=address(4, 1, 1), dst=HOST[4], id=7) if family == 4 else IPv6(src=address(6, 1, 1), dst=HOST[6])
    return header / upper


CASES = {
    f"{name}, IPv{family}": packet
    for family in (4, 6)
    for name, packet in {
        "closed port": datagram(family),
        "closed port, long": datagram(family, 1300),
        "time exceeded at the NAT": datagram(family, ttl=1),
        "time exceeded behind it": datagram(family, ttl=2),
        "too big behind it": datagram(family, 1400),
        "wrong checksum, time exceeded": datagram(family, ttl=2, chksum=0x1234),
        "ping": beyond(family, ICMP(id=3, seq=4) / b"x" if family == 4 else ICMPv6EchoRequest(id=3, seq=4, data=b"x")),
        "another port": datagram(family, sport=4001),
    }.items()
}


@pytest.mark.parametrize("name", CASES)
def test_the_nat_passes_the_same_packets_as_linux(prober, name):
    packets = [CASES[name]]
    real = prober.ask(packets)
    assert 1 == len(real)
    assert [told(raw) for raw in real] == [told(raw) for raw in simulated(SCENARIO, packets)]


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_is_reset_through_a_nat(prober, family):
    syn = beyond(family, TCP(sport=4000, dport=443, flags="S", seq=100))
    real, ours = (
        ([IP(raw) if raw[0] >> 4 == 4 else IPv6(raw) for raw in some])
        for some in (prober.ask([syn]), simulated(SCENARIO, [syn]))
    )
    assert [(each.dst, each[TCP].dport, each[TCP].flags, each[TCP].ack) for each in real] == [
        (each.dst, each[TCP].dport, each[TCP].flags, each[TCP].ack) for each in ours
    ]
    assert 1 == len(ours)
