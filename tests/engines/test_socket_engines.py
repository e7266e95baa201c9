"""The engines of kernel UDP sockets on loopback, where every error is there at once, and no privilege is needed."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

import pytest
from engine_probes import PATIENCE_S, all_heard, answers, errors, heard, probes_to, send, sent
from scan_setup import halves

from udpprobe.core.verdicts import MEANINGS, meaning_of
from udpprobe.engines import kernel_sockets
from udpprobe.engines.connected import USUAL, Connected, ConnectedSocket
from udpprobe.engines.kernel_sockets import ICMP_ERRNOS
from udpprobe.engines.recverr import RecvErr
from udpprobe.errors import UdpprobeError
from udpprobe.linux.hostfacts import reserve_ports

IP_RECVTTL = 12  # linux/in.h; Python does not name it
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
AF = {4: socket.AF_INET, 6: socket.AF_INET6}
ENGINES = [RecvErr, Connected]
pytestmark = [pytest.mark.parametrize("family", [4, 6])]
BOTH = pytest.mark.parametrize("engine_class", ENGINES)


@pytest.fixture
def make():
    """Make an engine; it is closed in the end."""
    with contextlib.ExitStack() as engines:

        def made(engine_class, **options):
            engine = engine_class(**options)
            engines.callback(engine.close)
            return engine

        yield made


@contextlib.contextmanager
def ports_of(family, count):
    """Sockets on as many ports of the loopback address."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(AF[family], socket.SOCK_DGRAM)) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK[family], 0))
        yield sockets


def port_of(sock):
    return sock.getsockname()[1]


def closed_ports(family, count):
    """Ports that were free a moment ago; the first is for the engine itself."""
    with ports_of(family, count + 1) as sockets:
        first, *rest = map(port_of, sockets)
    return first, rest


def probes(family, source_port, ports, **fields):
    return probes_to([(LOOPBACK[family], LOOPBACK[family], port) for port in ports], source_port, **fields)


PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}


def refused(family, events):
    """The tasks that were, each by the host itself."""
    kind = (family, *PORT_UNREACHABLE[family], halves(LOOPBACK[family]), -1)
    assert {kind} >= {(each.family, each.icmp_type, each.icmp_code, each.reporter, each.mtu) for each in errors(events)}
    return sorted(each.task for each in errors(events))


@BOTH
def test_each_of_300_closed_ports_is_refused(family, engine_class, make):
    source_port, ports = closed_ports(family, 300)
    engine = make(engine_class)
    events = all_heard(engine, probes(family, source_port, ports), 600)
    assert [list(range(300))] * 2 == [refused(family, events), sent(events)]
    assert [] == engine.unsent()


@BOTH
def test_no_probe_is_lost_to_another_ones_error(family, engine_class, make):
    source_port, ports = closed_ports(family, 1)
    with ports_of(family, 1) as (silent,):
        silent.settimeout(PATIENCE_S)
        all_heard(make(engine_class), probes(family, source_port, [*ports, port_of(silent)]), 3)
        assert 8 == len(silent.recv(100))


@BOTH
def test_no_attempt_is_lost_to_the_error_of_the_one_before(family, engine_class, make):
    source_port, ports = closed_ports(family, 1)
    engine = make(engine_class)
    for attempt in range(3):
        send(engine, probes(family, source_port, ports, attempt=attempt))
    assert [0, 1, 2] == [each.attempt for each in errors(heard(engine, 6))]


@BOTH
def test_silence_makes_no_event(family, engine_class, make):
    source_port, _ = closed_ports(family, 0)
    with ports_of(family, 1) as (silent,):
        events = all_heard(make(engine_class), probes(family, source_port, [port_of(silent)]), wait_s=0.1)
    assert ([0], 1) == (sent(events), len(events))


@BOTH
@pytest.mark.parametrize("size", [0, 1, 5000])
def test_an_answer_of_any_length_is_received(family, engine_class, size, make):
    source_port, _ = closed_ports(family, 0)
    with ports_of(family, 1) as (server,):
        server.settimeout(PATIENCE_S)
        engine = make(engine_class)
        send(engine, probes(family, source_port, [port_of(server)]))
        _, client = server.recvfrom(100)
        server.sendto(bytes(size), client)
        events = heard(engine, 2)
        came_from = halves(LOOPBACK[family]), port_of(server)
    (answer,) = answers(events)
    assert (*came_from, halves(LOOPBACK[family]), source_port, bytes(size)) == answer[1:]
    assert {4: 28, 6: 48}[family] + size == answer.length
    assert events[0].time_ns <= answer.time_ns


def test_an_answer_from_another_port_reaches_only_recverr(family, make):
    for engine_class, frames, wait_s in ((RecvErr, 2, PATIENCE_S), (Connected, 1, 0.1)):
        source_port, _ = closed_ports(family, 0)
        with ports_of(family, 2) as (server, other):
            server.settimeout(PATIENCE_S)
            engine = make(engine_class)
            send(engine, probes(family, source_port, [port_of(server)]))
            other.sendto(b"!", server.recvfrom(100)[1])
            assert frames == len(heard(engine, 2, wait_s=wait_s))


@BOTH
def test_the_ttl_is_that_of_the_probe(family, engine_class, make):
    source_port, _ = closed_ports(family, 0)
    ask, told = {4: (IP_RECVTTL, socket.IP_TTL), 6: (socket.IPV6_RECVHOPLIMIT, socket.IPV6_HOPLIMIT)}[family]
    level = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}[family]
    with ports_of(family, 1) as (server,):
        server.setsockopt(level, ask, 1)
        server.settimeout(PATIENCE_S)
        send(make(engine_class), probes(family, source_port, [port_of(server)], ttl=7))
        _, ((of, kind, ttl),), _, _ = server.recvmsg(100, 100)
    assert (level, told, 7) == (of, kind, int.from_bytes(ttl, "little"))


@BOTH
def test_a_taken_source_port_is_reported_in_words(family, engine_class, make):
    with ports_of(family, 1) as (taken,), pytest.raises(UdpprobeError, match=f"port {port_of(taken)}: Address already"):
        send(make(engine_class), probes(family, port_of(taken), [9]))


@BOTH
def test_a_reserved_port_can_be_shared(family, engine_class, make):
    _, ports = closed_ports(family, 1)
    with reserve_ports() as reserved, ports_of(family, 1) as (server,):
        server.settimeout(PATIENCE_S)
        engine = make(engine_class)
        reserved.share()
        send(engine, probes(family, reserved.port, [*ports, port_of(server)]))
        server.sendto(b"!", server.recvfrom(100)[1])
        assert 4 == len(heard(engine, 4))


@BOTH
def test_a_missing_interface_is_reported_in_words(family, engine_class, make):
    with pytest.raises(UdpprobeError, match="no interface 'nosuch0'; existing ones: lo"):
        send(make(engine_class, interface="nosuch0"), probes(family, closed_ports(family, 0)[0], [9]))


@BOTH
def test_the_requested_interface_is_used(family, engine_class, make):
    source_port, ports = closed_ports(family, 1)
    events = all_heard(make(engine_class, interface="lo"), probes(family, source_port, ports), 2)
    assert [0] == refused(family, events)


def test_the_oldest_socket_is_read_before_it_is_closed(family, make):
    source_port, ports = closed_ports(family, 20)
    engine = make(Connected, most_sockets=3)
    events = all_heard(engine, probes(family, source_port, ports), 40)
    assert list(range(20)) == refused(family, events)


def test_an_error_about_a_probe_that_was_never_sent_is_foreign(family, make):
    """The kernel looks at no more than the port: what another socket sent from it is quoted too."""
    source_port, ports = closed_ports(family, 1)
    engine = make(RecvErr)
    with ports_of(family, 1) as (silent,):
        send(engine, probes(family, source_port, [port_of(silent)]))
        udp = next(iter(engine._sockets.values()))  # noqa: SLF001 a probe past the engine
        udp.socket.sendto(b"not ours", (LOOPBACK[family], *ports))
        assert 1 == len(heard(engine, faults=1))
    assert {"foreign": 1} == engine.state.faults


def test_a_quote_of_other_bytes_is_foreign(family, make):
    source_port, ports = closed_ports(family, 1)
    engine = make(RecvErr)
    send(engine, probes(family, source_port, ports))
    udp = next(iter(engine._sockets.values()))  # noqa: SLF001 a probe past the engine
    assert 2 == len(heard(engine, 2))
    udp.socket.sendto(b"not ours", (LOOPBACK[family], *ports))
    assert 0 == len(heard(engine, 1, faults=1))
    assert {"foreign": 1} == engine.state.faults


def test_the_usual_error_of_each_errno_gives_that_errno(family):
    assert {number: errno.errorcode[number] for number in USUAL[family]} == {
        number: meaning_of(family, *kind).connected for number, kind in USUAL[family].items()
    }


def test_every_errno_that_a_connected_socket_gets_has_its_usual_error(family):
    assert {row.connected for row in MEANINGS if row.family == family and row.connected} == {
        errno.errorcode[number] for number in USUAL[family]
    }
    assert set(USUAL[family]) <= ICMP_ERRNOS


def test_an_error_during_sending_is_reported_and_the_probe_is_resent(family, make, monkeypatch):
    source_port, ports = closed_ports(family, 1)
    engine = make(Connected)
    monkeypatch.setattr(ConnectedSocket, "pending", lambda _: 0)
    for attempt in range(3):
        send(engine, probes(family, source_port, ports, attempt=attempt))
    assert [0, 1, 2] == [each.attempt for each in errors(heard(engine, 6))]


@BOTH
def test_answers_lost_to_a_full_buffer_are_counted(family, engine_class, make, monkeypatch):
    monkeypatch.setattr(kernel_sockets, "BUFFER_BYTES", 1)  # the kernel gives its least
    source_port, _ = closed_ports(family, 0)
    with ports_of(family, 1) as (server,):
        server.settimeout(PATIENCE_S)
        engine = make(engine_class)
        send(engine, probes(family, source_port, [port_of(server)]))
        _, asker = server.recvfrom(100)
        for _ in range(200):
            server.sendto(b"answer", asker)
        found, end_s = [], time.monotonic() + PATIENCE_S
        while len(found) + (engine.state.dropped or 0) < 200 and time.monotonic() < end_s:
            found += answers(engine.receive(0.1).events)
    assert 0 < len(found) < 200
    assert 200 == len(found) + engine.state.dropped
