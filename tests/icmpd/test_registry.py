"""Whose datagram it was: by family, port and addresses, and never by the port alone."""

import random
from collections import Counter

import pytest
from builders import (
    FRAGMENT,
    datagram,
    destination_options,
    error,
    fragment,
    hop_by_hop,
    ip,
    ipv6,
    port_unreachable,
    udp,
)
from icmpd_world import ALSO_ME, ME, ME6, OTHER, OTHER6, SPORT, World, record, records, udp_socket

from udpprobe.icmpd.registry import Registry

SENT, SENT6 = datagram(ME, OTHER, SPORT, 9, b"hello"), datagram(ME6, OTHER6, SPORT, 9, b"hello")
REFUSED, REFUSED6 = port_unreachable(SENT), port_unreachable(SENT6)
MAPPED = f"::ffff:{ME}"


@pytest.mark.parametrize(
    ("handed", "packet", "is_for_it"),
    [
        (udp_socket(), REFUSED, True),
        (udp_socket(), REFUSED6, False),
        (udp_socket(family=6), REFUSED6, True),
        (udp_socket(family=6), REFUSED, False),
        (udp_socket(family=6, carries={4, 6}), REFUSED, True),
        (udp_socket(ME, family=6, carries={4}), REFUSED, True),
        (udp_socket(port=SPORT + 1), REFUSED, False),
        (udp_socket(ME), REFUSED, True),
        (udp_socket(ALSO_ME), REFUSED, False),
        (udp_socket(ME6), REFUSED6, True),
        (udp_socket(ME, peer=(OTHER, 9)), REFUSED, True),
        (udp_socket(ME, peer=(OTHER, 10)), REFUSED, False),
        (udp_socket(ME, peer=("10.99.2.3", 9)), REFUSED, False),
        (udp_socket(), port_unreachable(datagram("192.0.2.1", OTHER, SPORT, 9)), False),
        (udp_socket("fe80::1", zone=2), port_unreachable(datagram("fe80::1", OTHER6, SPORT, 9)), True),
        (udp_socket("fe80::1", zone=3), port_unreachable(datagram("fe80::1", OTHER6, SPORT, 9)), False),
    ],
)
def test_an_error_is_for_a_socket_whose_family_port_and_addresses_agree(handed, packet, is_for_it):
    world = World()
    assert world.connect(1, handed) == b"1"
    world.arrive(packet)
    assert is_for_it == bool(world.read(1))
    assert {"errors": 1, "foreign": int(not is_for_it), "delivered": int(is_for_it)} == {
        name: world.protocol.counts[name] for name in ("errors", "foreign", "delivered")
    }


def test_two_clients_of_one_port_on_two_addresses_get_their_own_errors():
    world = World()
    for client, address in enumerate([ME, ALSO_ME]):
        world.connect(client, udp_socket(address))
    world.arrive(REFUSED)
    assert [1, 0] == [len(records(world.read(client))) for client in (0, 1)]


def test_two_clients_of_one_socket_both_get_its_errors():
    world = World()
    for client in (1, 2):
        world.connect(client, udp_socket())
    world.arrive(REFUSED)
    assert world.read(1) == world.read(2) != b""


@pytest.mark.parametrize(
    "sent",
    [
        ipv6(ME6, OTHER6, hop_by_hop(udp(SPORT, 9)), 0),
        ipv6(ME6, OTHER6, destination_options(udp(SPORT, 9)), 60),
        ipv6(ME6, OTHER6, fragment(udp(SPORT, 9, b"x" * 16), more=True), FRAGMENT),
        ip(ME, OTHER, udp(SPORT, 9), options=b"\1" * 8),
    ],
)
def test_headers_before_udp_are_walked(sent):
    world = World()
    world.connect(1, udp_socket(family=6 if sent[0] >> 4 == 6 else 4))
    world.arrive(port_unreachable(sent))
    assert record(world.read(1))[5] == 9


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        (error(SENT, 3, 3, checksum=0x1234), "bad-icmp-checksum"),
        (error(SENT, 3, 3, quote=SENT[:27]), "no-ports"),
        (error(SENT, 3, 3, quote=SENT[:22]), "no-ports"),
        (error(ip(ME, OTHER, udp(SPORT, 9, b"x" * 16), frag_offset=185), 3, 3), "quotes-later-fragment"),
        (error(ipv6(ME6, OTHER6, fragment(udp(SPORT, 9), offset=181), FRAGMENT), 1, 4), "quotes-later-fragment"),
    ],
)
def test_invalid_errors_are_counted_and_not_delivered(packet, name):
    world = World()
    for client, family in enumerate([4, 6]):
        world.connect(client, udp_socket(family=family))
    world.arrive(packet)
    assert [b"", b""] == [world.read(client) for client in (0, 1)]
    assert world.protocol.counts[name] == 1


def test_a_new_socket_replaces_the_old_one_and_leaves_nothing_behind():
    registry = Registry()
    registry.add(1, udp_socket())
    registry.add(2, udp_socket())
    registry.add(1, udp_socket(port=7))
    assert (2, 7) == (len(registry), registry.get(1).port)
    for client in (1, 2, 3):
        registry.remove(client)
    assert (0, {}) == (len(registry), registry._by_port)  # noqa: SLF001 - nothing else shows a leak


def test_the_registry_knows_how_many_share_a_port():
    registry, dice, ports = Registry(), random.Random(28), {}
    for _ in range(500):
        client, port = dice.randrange(20), dice.randrange(4)
        if dice.random() < 0.5:
            registry.add(client, udp_socket(port=SPORT + port))
            ports[client] = port
        else:
            registry.remove(client)
            ports.pop(client, None)
        assert max(Counter(ports.values()).values(), default=0) == registry.most_sharing
