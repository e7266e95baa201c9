"""What the host says about itself, on any Linux."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from array import array
from ipaddress import IPv4Address, IPv6Address, ip_address
from shutil import which

import psutil
import pytest

from udpprobe.errors import UdpprobeError
from udpprobe.linux.hostfacts import (
    SourceAddress,
    families_of,
    own_addresses,
    reserve_neighbours,
    reserve_ports,
    source_of,
    sources_for,
)
from udpprobe.linux.netlink import interface_index, interface_mtu

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
MAPPED = 0xFFFF_0000_0000


def both_families():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
            opened.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


def test_own_addresses_equal_those_of_psutil():
    known = {
        ip_address(each.address.partition("%")[0])
        for some in psutil.net_if_addrs().values()
        for each in some
        if each.family in {socket.AF_INET, socket.AF_INET6}
    }
    assert known == own_addresses()
    assert IPv4Address("127.0.0.1") in own_addresses()


@pytest.mark.skipif(not which("ip"), reason="needs ip")
def test_a_point_to_point_link_has_its_own_address_and_not_the_peers():
    code = (
        "import subprocess; run = lambda *words: subprocess.run(['ip', *words], check=True); "
        "run('link', 'set', 'lo', 'up'); "
        "run('addr', 'add', '10.1.1.1', 'peer', '10.2.2.2/32', 'dev', 'lo'); "
        "run('addr', 'add', '2001:db8::1', 'peer', '2001:db8::2', 'dev', 'lo'); "
        "from udpprobe.linux.hostfacts import own_addresses; print(*sorted(map(str, own_addresses())))"
    )
    done = subprocess.run(["unshare", "-rn", sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no network namespace: {done.stderr}")
    found = set(done.stdout.split())
    assert {"10.1.1.1", "2001:db8::1"} <= found
    assert not {"10.2.2.2", "2001:db8::2"} & found


def test_a_missing_interface_has_no_mtu():
    assert interface_mtu("lo") > 1500
    with pytest.raises(OSError, match="No such device"):
        interface_mtu("nosuch0")


def test_own_addresses_have_no_zone():
    both_families()
    assert IPv6Address("::1") in own_addresses()
    assert {None} == {address.scope_id for address in own_addresses() if address.version == 6}


def test_an_error_about_an_unknown_interface_lists_the_known_ones():
    assert socket.if_nametoindex("lo") == interface_index("lo")
    with pytest.raises(UdpprobeError, match=r"no interface 'none0'; existing ones: .*lo"):
        interface_index("none0")


@pytest.mark.parametrize("family", [4, 6])
def test_the_source_for_an_own_address_is_that_address(family):
    both_families()
    address = int.from_bytes(socket.inet_pton(FAMILIES[family], LOOPBACK[family]), "big")
    assert SourceAddress(address | (MAPPED if family == 4 else 0), 0) == source_of(LOOPBACK[family])


def test_a_requested_source_address_is_used():
    assert SourceAddress(MAPPED | 0x7F000005, 0) == source_of("127.0.0.1", bind="127.0.0.5")


def test_a_requested_source_of_the_other_family_is_an_errno():
    assert SourceAddress(0, errno.EAFNOSUPPORT) == source_of("::1", bind="127.0.0.5")


def test_a_requested_source_of_another_host_is_an_error():
    with pytest.raises(UdpprobeError, match=r"cannot send from 203\.0\.113\.77: Cannot assign requested address"):
        source_of("127.0.0.1", bind="203.0.113.77")


def test_an_interface_without_a_route_is_an_errno():
    both_families()
    assert SourceAddress(0, errno.ENETUNREACH) == source_of("2001:db8::77", interface="lo")


def test_sources_are_columns_and_each_destination_is_looked_up_once(monkeypatch):
    both_families()
    asked = []
    monkeypatch.setattr(
        "udpprobe.linux.hostfacts.source_of",
        lambda address, zone, **_: asked.append((address, zone)) or source_of(address, zone),
    )
    high, low = array("Q", bytes(40)), array("Q", [MAPPED | 0x7F000001, 1, MAPPED | 0x7F000001, 1, 1])
    source_high, source_low, refused = sources_for(high, low, array("q", bytes(40)))
    assert [0] * 5 == source_high.tolist()
    assert low.tolist() == source_low.tolist()
    assert [0] * 5 == refused.tolist()
    assert [("127.0.0.1", 0), ("::1", 0)] == asked


def test_no_destinations_have_no_sources():
    none = array("Q")
    assert [0, 0, 0] == [len(column) for column in sources_for(none, none, array("q"))]


def test_a_reserved_port_is_taken_in_both_families_until_released():
    both_families()
    with reserve_ports() as reserved:
        for family in (4, 6):
            assert errno.EADDRINUSE == bound(family, reserved.port)
    assert [0, 0] == [bound(family, reserved.port) for family in (4, 6)]


def test_even_a_sharing_socket_cannot_get_a_reserved_port():
    both_families()
    with reserve_ports() as reserved:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            assert [errno.EADDRINUSE] * 2 == [bound(family, reserved.port, option) for family in (4, 6)]


def test_several_ports_are_reserved_at_once_and_differ():
    with reserve_ports([4], count=3) as reserved:
        assert 3 == len(set(reserved.ports))
        assert [errno.EADDRINUSE] * 3 == [bound(4, port) for port in reserved.ports]


def test_a_requested_port_is_reserved():
    with reserve_ports([4]) as free:
        port = free.port
    with reserve_ports([4], port=port) as reserved:
        assert (port,) == reserved.ports


@pytest.mark.parametrize("family", [4, 6])
def test_a_port_in_use_in_either_family_is_an_error_and_reserves_nothing(family):
    both_families()
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as opened:
        opened.bind((LOOPBACK[family], 0))
        port = opened.getsockname()[1]
        with pytest.raises(UdpprobeError, match=f"cannot send from UDP port {port}: Address already in use"):
            reserve_ports(port=port)
    assert [0, 0] == [bound(each, port) for each in (4, 6)]


@pytest.mark.parametrize("family", [4, 6])
def test_datagrams_to_a_reserved_port_are_neither_queued_nor_refused(family):
    both_families()
    with reserve_ports() as reserved, socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sender:
        sender.connect((LOOPBACK[family], reserved.port))
        for _ in range(100):
            sender.send(b"reply")  # a refused one would make the next raise ECONNREFUSED
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sender:
        sender.connect((LOOPBACK[family], reserved.port))
        sender.send(b"as soon as it is given back, the kernel refuses")
        with pytest.raises(ConnectionRefusedError):
            sender.send(b"next")


def bound(family, port, option=None):
    """errno of who tries to bind a port of the loopback address."""
    with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as opened:
        if option:
            opened.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            opened.bind((LOOPBACK[family], port))
        except OSError as error:
            return error.errno
        return 0


def test_neighbouring_ports_are_reserved_in_both_families():
    with reserve_neighbours(5) as reserved:
        assert list(range(reserved.port, reserved.port + 5)) == list(reserved.ports)
        with pytest.raises(UdpprobeError, match=f"cannot send from UDP port {reserved.port + 4}: "):
            reserve_ports(port=reserved.port + 4)
    reserve_ports(port=reserved.port + 4).close()


@pytest.fixture
def no_v6(monkeypatch):
    """A kernel that was built without IPv6."""
    opened = socket.socket

    def without(domain, *words, **options):
        if domain == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return opened(domain, *words, **options)

    monkeypatch.setattr("udpprobe.linux.hostfacts.socket.socket", without)


def families(*addresses):
    whole = [int(ip_address(each)) | (MAPPED if "." in each else 0) for each in addresses]
    return families_of(array("Q", [each >> 64 for each in whole]), array("Q", [each & (1 << 64) - 1 for each in whole]))


def test_the_families_are_those_of_the_addresses():
    both_families()
    assert [(4,), (6,), (4, 6)] == [
        families("192.0.2.1"),
        families("2001:db8::1", "::1"),
        families("2001:db8::1", "192.0.2.1"),
    ]


@pytest.mark.usefixtures("no_v6")
def test_destinations_of_a_missing_family_have_an_errno():
    assert [(4,), (4,)] == [families("2001:db8::1"), families("2001:db8::1", "192.0.2.1")]
    assert SourceAddress(0, errno.EAFNOSUPPORT) == source_of("2001:db8::1")
    with reserve_neighbours(3, families("2001:db8::1", "192.0.2.1")) as reserved:
        assert 3 == len(reserved.ports)


def test_reserving_in_one_family_leaves_the_other_free():
    both_families()
    with reserve_neighbours(2, (4,)) as reserved:
        assert [errno.EADDRINUSE, 0] == [bound(family, reserved.port) for family in (4, 6)]
