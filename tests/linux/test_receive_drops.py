"""What sockets of this host dropped: by counters that a test says, and by the kernel's own."""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import ip_address

import pytest

from udpprobe.core.addresses import mapped_address
from udpprobe.core.model import Process, ReceiveDrops
from udpprobe.linux import receive_drops as module
from udpprobe.linux.receive_drops import MOST_DROPPING, DropCounters, full_buffers_of
from udpprobe.linux.sockdiag import MESSAGE, UdpSocket, udp_socket, udp_sockets

UNBOUND = Process("unbound", 812)
SNMP = """\
Ip: Forwarding DefaultTTL
Ip: 1 64
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
Udp: 39 1 4102 55 4102 0
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors
UdpLite: 0 0 7 0 7 0
"""


def udp(drops, inode=1, address="", port=53):
    number = mapped_address(ip_address(address)) if address else 0
    return UdpSocket(":" not in address, number, port, 0, 0, False, inode, None, drops)


@pytest.fixture
def full(monkeypatch):
    """How often buffers were full, each time that the kernel is asked."""
    made = [0, 10**6]
    monkeypatch.setattr(module, "full_buffers", lambda: made.pop(0))
    return made


def seen(*looks, process=UNBOUND):
    counters = DropCounters()
    for look in looks:
        counters.see(look, lambda _: process)
    return counters.found()


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("looks", "count"),
    [
        (([udp(7)], [udp(7)]), None),
        (([udp(7)], [udp(9)]), 2),
        (([], [udp(3)]), 3),
        (([udp(7)], [udp(9)], []), 2),
        (([udp(0)], [udp(2)], [udp(5)]), 5),
        (([udp(2**32 - 1)], [udp(4)]), 5),
        (([udp(7)], [udp(9, 2)]), 9),
        (([udp(None)], [udp(None)]), None),
    ],
)
def test_drops_before_the_first_reading_do_not_count(looks, count):
    assert [count] * (count is not None) == [each.count for each in seen(*looks)]


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    ("address", "text"), [("", "0.0.0.0"), ("::", "::"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1")]
)
def test_the_socket_is_named_by_its_own_address(address, text):
    assert (ReceiveDrops(UNBOUND, text, 53, 4, "buffer-full"),) == seen([], [udp(4, address=address)])


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [(5, 12, "buffer-full"), (5, 13, "buffer-full"), (5, 11, None), (None, 12, None), (5, None, None)],
)
def test_drops_are_buffer_full_if_the_counters_rose_as_much(full, before, after, reason):
    full[:] = before, after
    assert [(4, reason), (3, reason)] == [(each.count, each.reason) for each in seen([], [udp(3), udp(4, 2)])]


@pytest.mark.usefixtures("full")
def test_the_sockets_with_most_drops_are_remembered():
    found = seen([], [udp(n, n) for n in range(1, MOST_DROPPING + 2)])
    assert (MOST_DROPPING // 2, MOST_DROPPING + 1) == (len(found), found[0].count)


def test_full_buffers_are_counted_in_both_families():
    assert 4102 == full_buffers_of(SNMP)
    assert 77 == full_buffers_of("Udp6InDatagrams 5\nUdp6RcvbufErrors                \t77\nUdpLite6RcvbufErrors 3\n")
    assert [0, 0, 0] == list(map(full_buffers_of, ("", "Udp: InDatagrams\nUdp: 3\n", "Udp6InDatagrams 5\n")))


@pytest.mark.parametrize(("numbers", "drops"), [((0,) * 8 + (4102,), 4102), ((0,) * 8, None), ((), None)])
def test_an_old_kernel_reports_no_drops(numbers, drops):
    head = MESSAGE.pack(socket.AF_INET, 7, bytes(2), bytes(2), bytes(16), bytes(16), 77)
    memory = struct.pack(f"=HH{len(numbers)}I", 4 + 4 * len(numbers), 7, *numbers)
    assert drops == udp_socket(head + memory).drops


@pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux's")
@pytest.mark.parametrize(
    ("domain", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1")]
)
def test_the_kernel_counts_datagrams_that_do_not_fit(domain, host):
    counters = DropCounters()
    counters.see(udp_sockets(), lambda _: None)
    with socket.socket(domain, socket.SOCK_DGRAM) as sink, socket.socket(domain, socket.SOCK_DGRAM) as sender:
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sink.bind((host, 0))
        for _ in range(50):
            sender.sendto(b"x", sink.getsockname()[:2])
        counters.see(udp_sockets(), lambda _: UNBOUND)
        sink.setblocking(False)
        kept = 0
        try:
            while sink.recv(10):
                kept += 1
        except BlockingIOError:
            pass
        assert 0 < kept < 50
        address = host.removeprefix("::ffff:")
        assert [(UNBOUND, 50 - kept)] == [
            (each.process, each.count)
            for each in counters.found()
            if (each.address, each.port) == (address, sink.getsockname()[1])
        ]
