"""Whose socket a datagram came from, and what it can see of an error: asked of this host's own kernel."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from ipaddress import ip_address

import builders as b
import pytest

from udpprobe.core.advice import is_probed_only
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.kernel import MODES
from udpprobe.core.model import Process
from udpprobe.core.notes import OWN_SOCKET, SCANNER, says
from udpprobe.core.verdicts import meaning_of
from udpprobe.linux import sockets as module
from udpprobe.linux.hostfacts import own_addresses, reserve_ports
from udpprobe.linux.sockdiag import MESSAGE, udp_socket, udp_sockets
from udpprobe.linux.sockets import SEES, Sender, Sockets
from udpprobe.report import events_of

CLOSED, OTHER = 9, 10
DOMAINS = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}
RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
SHARING = """
import socket, sys
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
taken.bind(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux's")


@pytest.fixture(params=list(DOMAINS))
def host(request):
    return request.param


@pytest.fixture
def opened(host):
    with socket.socket(DOMAINS[host], socket.SOCK_DGRAM) as made:
        yield made


@pytest.fixture
def sockets():
    return Sockets(own_addresses, idle_share=-1)  # look each time


def frames_of(host, source_port, port=CLOSED):
    datagram = b.datagram(host, host, source_port, port, b"x")
    return [datagram, b.port_unreachable(datagram)]


def fed(analyzer, frames):
    analyzer.feed_frames((n, frame, len(frame), 101) for n, frame in enumerate(frames))
    analyzer.flush()


def look_up_new(sockets, *several):
    """Let an analyzer follow frames, and sockets be looked for after each time."""
    analyzer = Analyzer(7)
    analyzer.ports = sockets.ports
    sockets.look_up_new()
    for frames in several:
        fed(analyzer, frames)
        sockets.look_up_new()


def sender_of(sockets, host, source_port):
    analyzer = Analyzer(7, keeps_events=True)
    fed(analyzer, frames_of(host, source_port))
    [kept] = analyzer.take_events()
    return sockets.senders(list(events_of(analyzer, kept, 32)))[0]


def bound(opened, host):
    opened.bind((host, 0))
    return opened.getsockname()[1]


def connected(opened, host, port=CLOSED):
    opened.connect((host, port))
    return opened.getsockname()[1]


def test_an_unconnected_socket_is_blind(sockets, opened, host):
    sender = sender_of(sockets, host, bound(opened, host))
    assert os.getpid() == sender.process.pid
    assert "blind" == sender.sees


def test_an_unconnected_wildcard_socket_is_blind(sockets, opened, host):
    opened.bind(("", 0))
    assert "blind" == sender_of(sockets, host, opened.getsockname()[1]).sees


def test_a_connected_socket_sees_the_errno(sockets, opened, host):
    sender = sender_of(sockets, host, connected(opened, host))
    assert (os.getpid(), "connected") == (sender.process.pid, sender.sees)
    assert "its next call gives ECONNREFUSED" in sender.note(meaning_of(4, 3, 3))


def test_a_socket_connected_elsewhere_is_blind_for_other_destinations(sockets, opened, host):
    sender = sender_of(sockets, host, connected(opened, host, OTHER))
    assert ("blind", "elsewhere") == (sender.sees, sender.state)


def test_recverr_is_reported_even_if_the_socket_is_connected(sockets, opened, host):
    opened.setsockopt(*RECVERR[opened.family], 1)
    port = connected(opened, host)
    assert "recverr" == sender_of(sockets, host, port).sees


def test_an_ipv6_socket_may_send_over_ipv4(sockets):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        port = bound(opened, "::")
        assert "blind" == sender_of(sockets, "127.0.0.1", port).sees
        opened.setsockopt(*RECVERR[socket.AF_INET], 1)
        assert "recverr" == sender_of(sockets, "127.0.0.1", port).sees


def test_an_ipv4_socket_does_not_match_ipv6_on_its_port(sockets):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        assert Sender(None, "unknown") == sender_of(sockets, "::1", bound(opened, "0.0.0.0"))


def test_a_socket_bound_to_another_address_does_not_match(sockets):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        assert sender_of(sockets, "127.0.0.1", bound(opened, "127.0.0.2")).process is None


def test_a_socket_seen_sending_is_known_after_it_is_closed(sockets, opened, host):
    port = connected(opened, host)
    look_up_new(sockets, frames_of(host, port))
    opened.close()
    sender = sender_of(sockets, host, port)
    assert (os.getpid(), "connected") == (sender.process.pid, sender.sees)


def test_a_socket_left_to_a_child_belongs_to_the_child(sockets, opened, host):
    port = bound(opened, host)
    assert os.getpid() == sender_of(sockets, host, port).process.pid
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[opened.fileno()]
    ) as child:
        opened.close()
        assert child.pid == sender_of(sockets, host, port).process.pid
        child.stdin.close()


def test_a_socket_never_seen_is_unknown(sockets, opened, host):
    port = connected(opened, host)
    opened.close()
    sender = sender_of(sockets, host, port)
    assert (None, "unknown") == (sender.process, sender.sees)
    assert "of this host, by an unknown process; whether its socket gets the error is unknown" == sender.note(
        meaning_of(4, 3, 3)
    )


def test_senders_on_other_hosts_are_not_looked_up(sockets, monkeypatch):
    monkeypatch.setattr(module, "udp_sockets", lambda: pytest.fail("the kernel was asked"))
    assert [None, None] == [sender_of(sockets, host, 53) for host in ("192.0.2.1", "2001:db8::1")]
    look_up_new(sockets, frames_of("192.0.2.1", 53))


def test_with_two_processes_on_a_port_neither_is_named(sockets):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        port = bound(opened, "127.0.0.1")
        with subprocess.Popen(
            [sys.executable, "-c", SHARING, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            other.stdout.readline()
            assert Sender(None, "unknown") == sender_of(sockets, "127.0.0.1", port)
            other.stdin.close()


def test_many_datagrams_from_known_ports_cost_one_look_up(opened, host, monkeypatch):
    looks = []
    monkeypatch.setattr(module, "udp_sockets", lambda: looks.append(1) or [])
    sockets, port = Sockets(own_addresses), bound(opened, host)
    look_up_new(sockets, *[frames_of(host, port)] * 10)
    assert [1] == looks


@pytest.fixture
def slow_looks(monkeypatch):
    """A clock that a test may set, and when it was looked at all sockets: each look takes a second."""
    clock, looks = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])

    def slow():
        looks.append(clock[0])
        clock[0] += 1.0
        return []

    monkeypatch.setattr(module, "udp_sockets", slow)
    return clock, looks


def test_slow_look_ups_are_rare(slow_looks, monkeypatch):
    clock, looks = slow_looks
    monkeypatch.setattr(module.time, "thread_time", lambda: clock[0])
    sockets = Sockets(lambda: [ip_address("127.0.0.1")])
    for second in range(100):
        clock[0] = max(clock[0], second)
        sender_of(sockets, "127.0.0.1", 53)
    assert 10 >= len(looks)


def test_waiting_for_the_processor_does_not_make_look_ups_rarer(slow_looks):
    sockets = Sockets(lambda: [ip_address("127.0.0.1")])
    for _ in range(10):
        sender_of(sockets, "127.0.0.1", 53)
    assert 10 == len(slow_looks[1])


def test_with_an_idle_share_of_0_each_error_has_its_own_look_up(slow_looks, monkeypatch):
    clock, looks = slow_looks
    monkeypatch.setattr(module.time, "thread_time", lambda: clock[0])
    sockets = Sockets(lambda: [ip_address("127.0.0.1")], idle_share=-1)
    for _ in range(10):
        sender_of(sockets, "127.0.0.1", 53)
    assert 10 == len(looks)


def test_without_an_answer_of_the_kernel_the_socket_is_unknown(sockets, monkeypatch):
    def refuse():
        raise PermissionError

    monkeypatch.setattr(module, "udp_sockets", refuse)
    assert Sender(None, "unknown") == sender_of(sockets, "127.0.0.1", 53)


def test_ipv6_options_of_an_inaccessible_process_are_unknown(sockets, monkeypatch):
    monkeypatch.setattr(module, "holders_of", lambda *_: {})
    for state in ("unknown", "connected"):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
            port = connected(opened, "::1") if state == "connected" else bound(opened, "::1")
            assert Sender(None, state) == sender_of(sockets, "::1", port)


def test_closed_sockets_are_forgotten_after_a_while(sockets, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        port = bound(opened, "127.0.0.1")
        assert sender_of(sockets, "127.0.0.1", port).process
    clock[0] = module.REMEMBERED_S
    assert sender_of(sockets, "127.0.0.1", port).process
    clock[0] += 1
    assert sender_of(sockets, "127.0.0.1", port).process is None


def test_an_old_kernel_reports_no_options():
    head = MESSAGE.pack(
        socket.AF_INET,
        7,
        *(port.to_bytes(2) for port in (4000, 0)),
        socket.inet_aton("192.0.2.1") + bytes(12),
        bytes(16),
        77,
    )
    other = struct.pack("=HHB3x", 5, 8, 0)
    told = udp_socket(head + other)
    assert (4000, 77, False, None) == (told.port, told.inode, told.is_connected, told.recverr)
    assert udp_socket(head + other + struct.pack("=HHH2x", 6, 22, 1)).recverr is True
    assert udp_socket(head + struct.pack("=HHH2x", 6, 22, 0xFFFE)).recverr is False
    assert udp_socket(head + b"\0\0\0\0").recverr is None  # a length that lies is no endless loop


def test_the_kernel_lists_this_process_s_sockets(opened, host):
    port = connected(opened, host)
    [found] = [each for each in udp_sockets() if each.inode == os.fstat(opened.fileno()).st_ino]
    assert (port, CLOSED, True) == (found.port, found.peer_port, found.is_connected)
    assert found.address == found.peer


@pytest.mark.parametrize(
    ("state", "mode", "error", "text"),
    [
        ("unconnected", "WANT", (4, 3, 3), "is unconnected: it gets no error"),
        (
            "unconnected",
            None,
            (4, 3, 4),
            "is unconnected: it gets no error, or with IP_PMTUDISC_DO EMSGSIZE for larger datagrams from now on",
        ),
        ("unconnected", "DO", (4, 3, 4), "is unconnected: from now on, sending larger datagrams fails with EMSGSIZE"),
        ("unconnected", "WANT", (6, 2, 0), "it gets no error; from now on, larger datagrams leave in fragments"),
        ("unconnected", "PROBE", (6, 2, 0), "larger datagrams still leave whole (IP_PMTUDISC_PROBE)"),
        ("elsewhere", "WANT", (4, 3, 3), "another address: it gets no error"),
        ("elsewhere", "DO", (4, 3, 4), "another address: from now on, sending larger datagrams fails with EMSGSIZE"),
        ("recverr", "WANT", (4, 3, 4), "has IP_RECVERR: it gets EMSGSIZE and the whole error"),
        ("connected", None, (4, 3, 4), "its next call gives EMSGSIZE"),
        ("connected", "DONT", (4, 3, 4), "Linux does not report this one"),
        ("recverr", "OMIT", (6, 2, 0), "Linux does not report this one"),
        ("connected", "WANT", (4, 3, 1), "Linux does not report this one"),
        ("recverr", "WANT", (4, 11, 1), "Linux does not report this one"),
    ],
)
def test_what_a_socket_sees_is_described_in_words(state, mode, error, text):
    note = Sender(Process("dnsmasq", 812), state, mode).note(meaning_of(*error))
    assert note.startswith("dnsmasq[812]; ")
    assert text in note


@pytest.mark.parametrize("state", SEES)
@pytest.mark.parametrize("is_reported", [None, True, False])
@pytest.mark.parametrize("keeps_port", [False, True])
@pytest.mark.parametrize("error", [(4, 3, 3), (4, 3, 4), (4, 11, 1)])
def test_advice_knows_every_note_on_a_socket_and_a_scanner_s(state, is_reported, keeps_port, error):
    sender = Sender(Process("dnsmasq", 812), state, "WANT", keeps_port=keeps_port)
    notes = ("inside a tunnel", sender.note(meaning_of(*error), is_reported))
    assert says(notes, OWN_SOCKET)
    assert keeps_port == says(notes, SCANNER) == is_probed_only(notes)


@pytest.mark.parametrize("mode", MODES)
def test_the_path_mtu_discovery_mode_is_read_from_the_socket(sockets, opened, host, mode):
    opened.setsockopt(*DISCOVER[opened.family], MODES.index(mode))
    assert mode == sender_of(sockets, host, bound(opened, host)).mode


def test_a_mode_set_after_the_first_datagram_is_read_again(sockets, opened, host):
    port = bound(opened, host)
    assert "WANT" == sender_of(sockets, host, port).mode
    opened.setsockopt(*DISCOVER[opened.family], MODES.index("DO"))
    assert "DO" == sender_of(sockets, host, port).mode


@pytest.mark.parametrize(
    ("buffers", "keeps"), [("RCVBUF SNDBUF", True), ("RCVBUF", False), ("SNDBUF", False), ("", False)]
)
def test_a_socket_with_no_receive_buffer_belongs_to_a_scanner(sockets, opened, host, buffers, keeps):
    for name in buffers.split():
        opened.setsockopt(socket.SOL_SOCKET, getattr(socket, f"SO_{name}"), 0)
    opened.bind((host, 0))
    sender = sender_of(sockets, host, opened.getsockname()[1])
    assert keeps == sender.keeps_port
    assert keeps == ("it probes" in sender.note(meaning_of(4, 3, 3), is_reported=False))


@pytest.mark.parametrize("family", [4, 6])
def test_drops_of_a_scanners_socket_are_not_reported(sockets, family):
    host = {4: "127.0.0.1", 6: "::1"}[family]
    sockets.refresh()
    with reserve_ports([family]) as kept, socket.socket(DOMAINS[host], socket.SOCK_DGRAM) as sender:
        port = kept.port
        for _ in range(5):
            sender.sendto(b"x", (host, port))
        limit_s = time.monotonic() + 30
        while sum(each.drops for each in udp_sockets() if each.port == port) != 5 and time.monotonic() < limit_s:
            time.sleep(0.01)
        sockets.refresh()
        assert [] == [each for each in sockets.receive_drops() if each.port == port]
