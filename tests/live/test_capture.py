"""Live capture between real kernels, by Scapy's sockets and by the ring: client, router, server."""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
from builders import datagram, ethernet
from network import Network, address
from record import play
from scanning import UNLIMITED

from udpprobe.capture.live import open_capture
from udpprobe.errors import UdpprobeError

PATIENCE_S = 20
LINK_BYTES = {1: 14, 101: 0}
HEADERS_BYTES = {4: 28, 6: 48}


def heard(capture, at_least=1, *, for_s=0.15):
    """So many frames, and those that come behind them until nothing does for a while."""
    rows, end_s = [], time.monotonic() + PATIENCE_S
    while (found := capture.receive(for_s)) or (len(rows) < at_least and time.monotonic() < end_s):
        rows += found.frames
    return rows


def packet_of(row):
    return row.data[LINK_BYTES[row.link_type] :]


def payload_of(row):
    packet = packet_of(row)
    return packet[HEADERS_BYTES[packet[0] >> 4] :]


def is_error(row):
    packet = packet_of(row)
    return packet[9 if packet[0] >> 4 == 4 else 6] in {1, 58}


pytestmark = [pytest.mark.live, pytest.mark.slow]
CLIENT, ROUTER, SERVER = (
    {family: address(family, link, end) for family in (4, 6)} for link, end in ((1, 1), (1, 2), (2, 2))
)
DOMAINS = {4: socket.AF_INET, 6: socket.AF_INET6}
CLOSED, OTHER = 7000, 7001
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 1, 0x1000  # linux/if_tun.h
FILTER = f"udp port {CLOSED} or icmp or icmp6[icmp6type] = 1"


@pytest.fixture(scope="module")
def network():
    with Network("client", "router", "server") as made:
        play(made, [f"{node}: {UNLIMITED}" for node in made.names])
        yield made


@pytest.fixture(params=[False, True], ids=["scapy", "ring"])
def bulk(request):
    return request.param


@pytest.fixture(params=[4, 6])
def family(request):
    return request.param


def capturing(network, node, bulk, interface=None, expression=FILTER):
    with network.inside(node):
        return open_capture(expression, interface=interface, bulk=True, capture="ring" if bulk else "scapy")


def sent(network, node, host, *payloads, port=CLOSED):
    """Send datagrams, and give the time before and after."""
    family = 6 if ":" in host else 4
    with network.inside(node), socket.socket(DOMAINS[family], socket.SOCK_DGRAM) as opened:
        before_ns = time.time_ns()
        for payload in payloads:
            opened.sendto(payload, (host, port))
        return before_ns, time.time_ns()


@pytest.mark.parametrize("interface", [None, "right"])
def test_departing_and_arriving_packets_are_captured_once_and_in_order(network, bulk, family, interface):
    with capturing(network, "client", bulk, interface) as capture:
        before_ns, after_ns = sent(network, "client", SERVER[family], b"probe")
        datagram, error = heard(capture, 2)
    assert b"probe" == payload_of(datagram)
    assert packet_of(error).endswith(b"probe")
    assert [False, True] == [is_error(row) for row in (datagram, error)]
    assert [1, 2] == [datagram.number, error.number]
    assert before_ns <= datagram.time_ns <= after_ns
    assert datagram.time_ns < error.time_ns < after_ns + 1_000_000_000
    assert [len(row.data) for row in (datagram, error)] == [row.length for row in (datagram, error)]
    assert (101 if bulk else 1) == datagram.link_type
    assert 0 == capture.state.dropped


def test_times_have_nanoseconds(network, bulk):
    with capturing(network, "client", bulk) as capture:
        sent(network, "client", SERVER[4], *[b"x"] * 16)
        assert any(row.time_ns % 128 for row in heard(capture, 16))  # a float would have every 256th


def test_loopback_shows_a_packet_once(network, bulk, family):
    own = {4: "127.0.0.1", 6: "::1"}[family]
    for interface in (None, "lo"):
        with capturing(network, "client", bulk, interface) as capture:
            sent(network, "client", own, b"a", b"b")
            rows = heard(capture, 4)
        assert [b"a", b"b"] == [payload_of(row) for row in rows if not is_error(row)]
        assert 4 == len(rows)


def test_all_interfaces_are_captured_together(network, bulk, family):
    with capturing(network, "router", bulk) as capture:
        sent(network, "client", SERVER[family], *[b"%d" % n for n in range(50)])
        rows = heard(capture, 200)
    assert [row.number for row in rows] == list(range(1, 201))  # 50, their errors; each comes and leaves
    assert [row.time_ns for row in rows] == sorted(row.time_ns for row in rows)
    seen = [payload_of(row) for row in rows if not is_error(row)]
    assert sorted(2 * [b"%d" % n for n in range(50)]) == sorted(seen)


def test_no_packet_is_missed_after_opening(network, bulk):
    for _ in range(10):
        with capturing(network, "client", bulk, "right") as capture:
            sent(network, "client", SERVER[4], b"first")
            assert b"first" == payload_of(heard(capture, for_s=0.05)[0])


def test_no_packet_bypasses_the_filter_during_opening(network, bulk):
    flooding = [True]

    def flood():
        while flooding:
            sent(network, "client", SERVER[4], *[b"noise"] * 50, port=OTHER)

    thread = Thread(target=flood)
    thread.start()
    try:
        for interface in (None, "right") * 5:
            with capturing(network, "client", bulk, interface, f"udp port {CLOSED}") as capture:
                assert [] == heard(capture, 0, for_s=0.01)
    finally:
        flooding.clear()
        thread.join()


def test_the_kernels_drops_are_counted(network, bulk):
    """What was sent is heard or counted."""
    count = 60_000
    with capturing(network, "client", bulk, expression=f"udp port {CLOSED}") as capture:
        sent(network, "client", SERVER[4], *[bytes(1400)] * count)
        rows = 0
        end_s = time.monotonic() + PATIENCE_S
        while (batch := capture.receive(0.2)) or (count > rows + capture.state.dropped and time.monotonic() < end_s):
            rows += len(batch)
        emptied_ns = time.time_ns()
        assert emptied_ns <= capture.receive(0).now_ns  # and time goes on
    assert capture.state.dropped > 0
    assert count == rows + capture.state.dropped


def test_a_long_packet_is_whole_or_keeps_its_length(network, bulk):
    with capturing(network, "client", bulk, "lo", f"udp port {CLOSED}") as capture:
        sent(network, "client", "127.0.0.1", bytes(60_000))
        [row] = heard(capture)
    link_bytes = LINK_BYTES[row.link_type]
    assert (60_028 + link_bytes, 2048 if bulk else 60_042) == (row.length, len(row.data))


def test_a_ring_survives_wrapping_around(network):
    with capturing(network, "client", True, "right", f"udp dst port {CLOSED}") as capture:
        for turn in range(4):
            payloads = [struct.pack("I", n) * 250 for n in range(turn * 25_000, (turn + 1) * 25_000)]
            sent(network, "client", SERVER[4], *payloads)
            rows = heard(capture, len(payloads), for_s=0.05)
            assert payloads == [payload_of(row) for row in rows]
            assert [row.number for row in rows] == list(range(turn * 25_000 + 1, (turn + 1) * 25_000 + 1))
    assert 0 == capture.state.dropped


def test_a_ring_left_unread_for_a_while_loses_nothing(network):
    """Every few milliseconds a block is handed over, however little is in it."""
    with capturing(network, "client", True, "right", f"udp dst port {CLOSED}") as capture:
        for n in range(160):
            sent(network, "client", SERVER[4], b"%d" % n)
            time.sleep(0.004)
        assert [b"%d" % n for n in range(160)] == [payload_of(row) for row in heard(capture, 160)]


def test_an_idle_capture_advances_its_time(network, bulk):
    with capturing(network, "client", bulk, expression="udp port 9") as capture:
        waits_ns = []
        for _ in range(5):
            before_ns = time.time_ns()
            batch = capture.receive(0.02)
            after_ns = time.time_ns()
            assert 0 == len(batch)
            assert before_ns <= batch.now_ns <= after_ns
            waits_ns.append(after_ns - before_ns)
    assert min(waits_ns) < 200_000_000  # a busy machine may prolong each but not all of them


def test_time_does_not_overtake_a_packet_not_yet_delivered(network, bulk):
    with capturing(network, "client", bulk, expression=f"udp dst port {CLOSED}") as capture:
        for _ in range(50):
            capture.receive(0)
            _, after_ns = sent(network, "client", SERVER[4], b"x")
            [row] = (capture.receive(0) or capture.receive(PATIENCE_S)).frames
            assert row.time_ns <= after_ns  # it would be set to what was promised


def test_a_packet_that_came_after_reading_began_is_in_the_next_batch(network, monkeypatch):
    """Or it could be ahead of one that came earlier by an interface that had been read before."""
    with capturing(network, "client", False, expression=f"udp dst port {CLOSED}") as capture:
        before_ns, after_ns = sent(network, "client", SERVER[4], b"late")
        with monkeypatch.context() as patched:
            patched.setattr(time, "time_ns", lambda: before_ns)
            batch = capture.receive(0.2)
            assert (0, before_ns) == (len(batch), batch.now_ns)
        [row] = capture.receive(PATIENCE_S).frames
    assert before_ns < row.time_ns <= after_ns


def test_a_packet_is_delivered_within_milliseconds(network, bulk):
    waits_ns = []
    with capturing(network, "client", bulk, expression=f"udp dst port {CLOSED}") as capture:
        for _ in range(30):
            before_ns, _ = sent(network, "client", SERVER[4], b"x")
            assert 1 == len(capture.receive(PATIENCE_S))
            waits_ns.append(time.time_ns() - before_ns)
    assert sorted(waits_ns)[7] < 10_000_000  # a busy machine delays some


def test_frames_without_ip_are_not_captured(network, bulk):
    """A bridge's BPDU, whose bytes are ICMP's where IP would have them (IEEE 802.1D: priority 0x8001)."""
    bpdu = bytes.fromhex("424203 0000 00 00 00 8001 020000000001") + bytes(40)
    with capturing(network, "router", bulk) as capture:
        with network.inside("client"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as opened:
            opened.bind(("right", 0))
            opened.send(ethernet(bpdu, len(bpdu)))
        sent(network, "client", ROUTER[4], b"after")
        assert b"after" == payload_of(heard(capture)[0])


def test_capturing_resumes_when_an_interface_comes_back_up(network, bulk):
    network.run("client: ip link add spare type veth peer name other")
    play(network, ["client: ip addr add 10.0.7.1/24 dev spare", "client: ip link set other up"])
    try:
        with pytest.raises(UdpprobeError, match="cannot capture on spare: Network is down"):
            capturing(network, "client", bulk, "spare")
        with capturing(network, "client", bulk, None, f"udp port {CLOSED}") as everywhere:
            network.run("client: ip link set spare up")
            with capturing(network, "client", bulk, "spare", f"udp port {CLOSED}") as capture:
                network.run("client: ip link set spare down")
                started_s = time.monotonic()
                assert [0, 0] == [len(capture.receive(0.1)) for _ in range(2)]
                assert 0.1 <= time.monotonic() - started_s  # told once, and not over and over
                assert {"interface-down": 1} == capture.state.faults
                network.run("client: ip link set spare up")
                network.run("client: ip neigh replace 10.0.7.2 lladdr 02:00:00:00:07:02 dev spare")
                sent(network, "client", "10.0.7.2", b"again")
                assert [b"again"] == [payload_of(row) for row in heard(capture)]
            assert [b"again"] * 2 == [payload_of(row) for row in heard(everywhere, 2)]  # at both ends
    finally:
        network.run("client: ip link del spare")


def test_a_link_without_a_header_is_captured(network, bulk):
    network.run("client: ip tuntap add dev point mode tun")
    try:
        with network.inside("client"), Path("/dev/net/tun").open("r+b", buffering=0) as held:
            fcntl.ioctl(held, TUNSETIFF, struct.pack("16sH", b"point", IFF_TUN | IFF_NO_PI))
            play(network, ["client: ip link set point up", "client: ip addr add 10.0.8.1/24 dev point"])
            with capturing(network, "client", bulk, "point") as capture:
                sent(network, "client", "10.0.8.2", b"out")
                held.write(datagram("10.0.8.2", "10.0.8.1", 9, OTHER, b"in"))
                out, error = heard(capture, 2)
    finally:
        network.run("client: ip tuntap del dev point mode tun")
    assert (101, b"out") == (out.link_type, payload_of(out))
    assert (101, True) == (error.link_type, is_error(error))


@pytest.mark.parametrize(
    ("interface", "expression", "message"),
    [("nowhere", "udp", "no interface 'nowhere'; existing ones: lo, right"), (None, "udp prt 5", "syntax error")],
)
def test_mistakes_of_the_user_are_reported(network, bulk, interface, expression, message):
    with pytest.raises(UdpprobeError, match=message):
        capturing(network, "client", bulk, interface, expression)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [("-all", "PrivilegeError: capturing needs CAP_NET_RAW"), ("-all,+net_raw", "captures")],
)
def test_one_capability_is_enough(network, bulk, capabilities, expected):
    code = f"from udpprobe.capture.live import open_capture; open_capture('udp', capture={'ring' if bulk else 'scapy'!r}).close()"
    line = f"client: setpriv --bounding-set={capabilities} --inh-caps={capabilities} {sys.executable} -c"
    done = subprocess.run(
        [*network.command(line), f"{code}; print('captures')"],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert expected in (done.stdout or done.stderr)
