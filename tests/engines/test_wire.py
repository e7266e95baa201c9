"""The wire to one destination, on the loopback interface."""

from __future__ import annotations

import os
import socket
import time
from ipaddress import ip_address

import pytest

from udpprobe.core.addresses import mapped_address
from udpprobe.engines.wire import Endpoint, Listener, Wire, payload_for
from udpprobe.errors import UdpprobeError
from udpprobe.replies import Probe

needs_raw = pytest.mark.skipif(os.geteuid() != 0, reason="needs raw sockets")
LOOPBACK = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


def wire_to(host, port, payload="auto", **options):
    high, low = divmod(mapped_address(ip_address(host)), 1 << 64)
    return Wire(Endpoint((high, low), port), payload_for(port, payload), **options)


def heard(listener, count, wait_s=20):
    until_s, replies = time.monotonic() + wait_s, []
    while len(replies) < count and time.monotonic() < until_s:
        replies += listener.receive(0.05)
    return replies


@needs_raw
@LOOPBACK
@pytest.mark.parametrize("payload", ["auto", "empty", "hex:0102"])
def test_refusals_are_assigned_to_probes_for_every_payload(host, payload):
    with wire_to(host, 9, payload, flows=2) as wire, Listener([wire]) as listener:
        probes = [Probe(3, 1), Probe(4, 64, flow=1), Probe(5, 64, size=500)]
        assert [0, 0, 0] == wire.send(probes)
        replies = heard(listener, 3)
    assert [(3, "error"), (4, "error"), (5, "error")] == [(each.number, each.kind) for each in replies]
    assert {host} == {each.event.reporter for each in replies}
    assert all(0 < each.rtt_ms < 1000 for each in replies)
    assert ("lo", host, host, {}) == (wire.interface, wire.source, wire.target.address, listener.faults)


@needs_raw
@LOOPBACK
def test_an_answer_is_received_without_a_socket_on_the_source_port(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((host, 0))
        server.settimeout(20)
        with wire_to(host, server.getsockname()[1]) as wire, Listener([wire]) as listener:
            wire.send([Probe(7, 64)])
            data, client = server.recvfrom(100)
            server.sendto(data, client)
            (reply,) = heard(listener, 1)
    assert (7, "answer", True) == (reply.number, reply.kind, reply.is_sure)
    assert wire.least_size == len(data) + (48 if ":" in host else 28)


@needs_raw
@LOOPBACK
def test_one_listener_receives_for_two_wires_in_order_of_time(host):
    with wire_to(host, 9) as one, wire_to(host, 10) as other, Listener([one, other], "lo") as listener:
        for number, wire in enumerate((other, one, other)):
            wire.send([Probe(number, 64)])
        replies = heard(listener, 3)
    assert [0, 1, 2] == [each.number for each in replies]
    assert [10, 9, 10] == [each.event.quoted.destination_port for each in replies]


@needs_raw
def test_packets_dropped_by_the_kernel_are_a_fault():
    with wire_to("127.0.0.1", 9) as wire, Listener([wire]) as listener:
        assert {} == listener.faults
        listener._capture.state.dropped = 7  # noqa: SLF001 - a flood would take too long
        assert {"kernel-dropped": 7} == listener.faults


@needs_raw
def test_a_missing_route_is_reported():
    with pytest.raises(UdpprobeError, match=r"cannot send from 203\.0\.113\.1"):
        wire_to("127.0.0.1", 9, source_address="203.0.113.1").close()
    with pytest.raises(UdpprobeError, match="no interface"):
        wire_to("127.0.0.1", 9, interface="nothing0")


def test_a_port_gets_the_payload_of_its_service():
    assert ("dns", "token", "empty") == (payload_for(53).name, payload_for(40_000).name, payload_for(53, "empty").name)
