"""Sending between real kernels: what a host refuses, and what arrives."""

from __future__ import annotations

import contextlib
import errno
import socket

import pytest
from engine_probes import crafted_for, data_of
from network import Network, address
from record import play

from udpprobe.engines import BATCHES
from udpprobe.engines.raw import Raw, RawSender
from udpprobe.errors import UdpprobeError
from udpprobe.linux.hostfacts import SourceAddress, reserve_ports, source_of
from udpprobe.linux.netlink import interface_index, outgoing_interface

pytestmark = [pytest.mark.live, pytest.mark.slow]
CLIENT, SERVER = ({family: address(family, 1, end) for family in (4, 6)} for end in (1, 2))
SECOND = {4: "10.0.1.7", 6: "2001:db8:1::7"}
DOMAINS = {4: socket.AF_INET, 6: socket.AF_INET6}
LISTENING, FORBIDDEN = 7000, 7001
REFUSING_ROUTES = {"unreachable": errno.EHOSTUNREACH, "prohibit": errno.EACCES, "blackhole": errno.EINVAL}
NETS = {4: "198.51.100.{}", 6: "2001:db8:ffff::{}"}
NOWHERE = {4: "203.0.113.9", 6: "2001:db8:dead::9"}
BEHIND = {"gateway": "198.18.0.1", "gateway6": "2001:db8:18::1", "mixed": "198.18.0.2"}
"""The server's, beyond a gateway of the same and of the other family."""
MTU = 1500


@pytest.fixture(scope="module")
def network():
    with Network("client", "server") as made:
        play(
            made,
            [
                f"client: output: udp dport {FORBIDDEN} drop",
                *(f"client: ip -{family} route del default" for family in (4, 6)),
                *(
                    f"client: ip route add {kind} {NETS[family].format(n)}"
                    for family in (4, 6)
                    for n, kind in enumerate(REFUSING_ROUTES, 1)
                ),
                f"client: ip addr add {SECOND[4]}/32 dev right",
                f"client: ip addr add {SECOND[6]}/128 dev right preferred_lft 0",  # for who asks for it only
                *(f"client: ip -{family} rule add from {SECOND[family]} table 77" for family in (4, 6)),
                *(f"client: ip -{family} route add blackhole default table 77" for family in (4, 6)),
                *(f"server: ip addr add {address} dev lo" for address in BEHIND.values()),
                f"client: ip route add {BEHIND['gateway']} via {SERVER[4]}",
                f"client: ip route add {BEHIND['gateway6']} via {SERVER[6]}",
                f"client: ip route add {BEHIND['mixed']} via inet6 {SERVER[6]}",
            ],
        )
        yield made


@pytest.fixture(params=[4, 6])
def family(request):
    return request.param


@pytest.fixture
def listening(network, family):
    """A socket of the server."""
    with network.inside("server"), socket.socket(DOMAINS[family], socket.SOCK_DGRAM) as opened:
        opened.bind((("0.0.0.0", "::")[family == 6], LISTENING))
        opened.settimeout(3)
        yield opened


def errnos_of(network, addresses, ports=None, **probe):
    return sent_to(network, addresses, ports, **probe)[0]


def sent_to(network, addresses, ports=None, **probe):
    """(n,) errnos, and the batch that was sent."""
    crafted_from = {"source": CLIENT[6 if ":" in addresses[0] else 4], **probe}
    batch, count, zones = crafted_for(addresses, ports or [LISTENING] * len(addresses), **crafted_from)
    with network.inside("client"), RawSender() as sending:
        unsent = dict(sending.send(batch, count, zones))
    return [unsent.get(row, 0) for row in range(count)], batch


def test_a_refused_packet_has_its_errno_and_the_rest_arrives(network, family, listening):
    refusing = [NETS[family].format(n) for n in range(1, 4)]
    addresses = [SERVER[family], *refusing, SERVER[family], NOWHERE[family], SERVER[family]]
    expected = [0, *REFUSING_ROUTES.values(), 0, errno.ENETUNREACH, 0]
    errnos, batch = sent_to(network, addresses)
    assert expected == errnos
    assert [data_of(batch, row) for row in (0, 4, 6)] == [listening.recv(100) for _ in range(3)]


def test_an_unusable_source_has_the_errno_of_sending(network, family):
    addresses = [*(NETS[family].format(n) for n in range(1, 4)), NOWHERE[family]]
    with network.inside("client"):
        assert [*REFUSING_ROUTES.values(), errno.ENETUNREACH] == [source_of(each).errno for each in addresses]
        assert 0 == source_of(SERVER[family]).errno


def test_the_clients_firewall_refuses_with_eperm(network, family, listening):
    errnos, batch = sent_to(network, [SERVER[family]] * 2, [FORBIDDEN, LISTENING])
    assert [errno.EPERM, 0] == errnos
    assert data_of(batch, 1) == listening.recv(100)


def test_a_packet_longer_than_the_link_is_refused_and_the_next_is_not(network, family, listening):
    assert [errno.EMSGSIZE] * 2 == errnos_of(network, [SERVER[family]] * 2, size=MTU + 1)
    assert [0] == errnos_of(network, [SERVER[family]], size=MTU)
    assert MTU - {4: 28, 6: 48}[family] == len(listening.recv(2000))


def test_a_source_is_routed_by_its_own_rule(network, family, listening):
    assert [errno.EINVAL] == errnos_of(network, [SERVER[family]], source=SECOND[family])
    assert [0] == errnos_of(network, [SERVER[family]])
    assert CLIENT[family] == listening.recvfrom(100)[1][0]
    with network.inside("client"):
        assert SourceAddress(0, errno.EINVAL) == source_of(SERVER[family], bind=SECOND[family])


def test_a_link_local_destination_is_reached_through_its_zone(network):
    with network.inside("server"), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        opened.bind(("::", LISTENING))
        opened.settimeout(3)
        with network.inside("client"):
            zone = interface_index("right")
        assert [0] == errnos_of(network, ["fe80::ff:fe00:102"], source="fe80::ff:fe00:101", zone=zone)
        assert "fe80::ff:fe00:101" == opened.recvfrom(100)[1][0].partition("%")[0]


def test_a_broadcast_leaves(network):
    with network.inside("server"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("0.0.0.0", LISTENING))
        opened.settimeout(3)
        assert [0] == errnos_of(network, ["10.0.1.255"])
        assert CLIENT[4] == opened.recvfrom(100)[1][0]
    with network.inside("client"):
        assert 0 == source_of("10.0.1.255").errno


def test_the_requested_interface_is_the_one_used(network, family, listening):
    crafted = crafted_for([SERVER[family]], [LISTENING], source=CLIENT[family])
    for interface in ("right", "lo"):
        with network.inside("client"), RawSender(interface=interface) as sending:
            sending.send(*crafted)
    listening.recv(100)
    with pytest.raises(TimeoutError):
        silent(listening).recv(100)


# ---- on a thread of its own


@pytest.fixture
def engine(network):
    """Sends on a thread, because it does not capture what it sends."""
    with network.inside("client"):
        opened = Raw(ports=(40000, 40000), interface=None, bulk=True, sees_own=False)
        yield opened
        opened.close()


def test_a_thread_sends_batches_in_order_and_reports_refusals(network, family, listening, engine):
    refusing, left = NETS[family].format(1), []
    with network.inside("client"):
        batches = [
            crafted_for([SERVER[family], refusing], [LISTENING, LISTENING], source=CLIENT[family], size=100 + number)
            for number in range(2 * BATCHES)
        ]
    for number, batch in enumerate(batches):
        engine.send(*batch, lambda rows, number=number: left.append((number, list(rows))))
    engine.flush()
    assert [(number, [0, 1]) for number in range(2 * BATCHES)] == left
    assert [data_of(batch, 0) for batch, *_ in batches] == [listening.recv(200) for _ in batches]
    assert [(1, errno.EHOSTUNREACH, 100 + number) for number in range(2 * BATCHES)] == engine.unsent()
    assert [] == engine.unsent()


def test_a_failure_on_the_thread_is_raised_to_the_sender(network, engine, monkeypatch):
    def fail(*_):
        raise UdpprobeError("no such family")

    monkeypatch.setattr(RawSender, "send", fail)
    with network.inside("client"):
        engine.send(*crafted_for([SERVER[4]], [LISTENING], source=CLIENT[4]))
    with pytest.raises(UdpprobeError, match="no such family"):
        engine.flush()


def silent(opened):
    opened.settimeout(0.2)
    return opened


def test_a_full_queue_of_the_interface_loses_nothing(network, family, listening):
    network.run("client: tc qdisc add dev right root tbf rate 4mbit burst 1600 limit 3000")
    try:
        errnos, batch = sent_to(network, [SERVER[family]] * 150, size=300)
        assert [0] * 150 == errnos
        assert [data_of(batch, row) for row in range(150)] == [listening.recv(400) for _ in range(150)]
    finally:
        network.run("client: tc qdisc del dev right root")


def test_a_reply_to_a_reserved_port_draws_no_port_unreachable(network, family):
    with network.inside("client"), reserve_ports() as reserved:
        for port, expected in ((reserved.port, 0), (reserved.port ^ 1, errno.ECONNREFUSED)):
            assert expected == error_of(network, CLIENT[family], port), port
    assert errno.ECONNREFUSED == error_of(network, CLIENT[family], reserved.port)


def error_of(network, host, port):
    """What the server hears when it sends to the client."""
    with network.inside("server"), socket.socket(DOMAINS[6 if ":" in host else 4], socket.SOCK_DGRAM) as opened:
        opened.connect((host, port))
        opened.settimeout(0.3)
        opened.send(b"reply")
        with contextlib.suppress(TimeoutError):
            try:
                opened.recv(100)
            except OSError as error:
                if error.errno:
                    return error.errno
                raise
        return 0


def test_a_port_that_one_family_has_taken_is_not_reserved(network):
    with network.inside("client"), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        network.run("client: sysctl -q net.ipv4.ip_local_port_range='40000 40001'")
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::", 40000))
        with reserve_ports() as reserved:
            assert 40001 == reserved.port
            with pytest.raises(UdpprobeError, match="UDP port"):
                reserve_ports()


@pytest.mark.parametrize("way", ["direct", *BEHIND])
def test_the_interface_is_the_kernels(network, way):
    target = BEHIND.get(way, SERVER[4])
    family = 6 if way == "gateway6" else 4
    own, other, nowhere = (
        socket.inet_pton(DOMAINS[family], each) for each in (CLIENT[family], target, NOWHERE[family])
    )
    with network.inside("client"):
        assert interface_index("right") == outgoing_interface(own, other)
        assert interface_index("lo") == outgoing_interface(own, own)
        assert 0 == outgoing_interface(own, nowhere)


def test_a_link_local_destination_leaves_by_its_interface(network):
    own, other = (socket.inet_pton(socket.AF_INET6, f"fe80::ff:fe00:10{end}") for end in (1, 2))
    with network.inside("client"):
        index = interface_index("right")
        assert index == outgoing_interface(own, other, index)
