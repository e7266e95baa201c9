"""Probes as packets: Scapy, which rebuilds every length and checksum, gets the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from engine_probes import KEY, halves, probes_to
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from scan_setup import (
    BARE,
    DATA,
    EMPTY,
    HEADER,
    HOST,
    LENGTH,
    LONG,
    OWN,
    SHORT_TOKEN,
    WHOLE_TOKEN,
    packets_of,
    payloads,
    plan_of,
)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from udpprobe.core.probing.craft import TEMPLATES, Crafter
from udpprobe.core.probing.probes import Payloads, flow_label, ip_id, token_of

LAYER = {4: IP, 6: IPv6}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def probes_of(family, *rows, attempt=0, ttl=64):
    """A probe to a port of its own for each payload."""
    probes = probes_to([(HOST[family], 1000 + n) for n in range(len(rows))], OWN[family][0], 40_000,
                       attempt=attempt, ttl=ttl)
    probes.payload = np.array(rows)
    return probes


def crafted(probes, **options):
    return packets_of(Crafter(payloads(), **options).craft(probes), len(probes))


def rebuilt(packet):
    """As Scapy makes it where the lengths and checksums are left to it."""
    parsed = LAYER[packet[0] >> 4](packet)
    del parsed[UDP].chksum, parsed[UDP].len
    for field in ("chksum", "len", "plen"):
        if field in parsed.fields:
            delattr(parsed, field)
    return bytes(parsed)


def test_templates_are_as_scapy_makes_them():
    v4 = IP(src="0.0.0.0", dst="0.0.0.0", id=0, flags="DF", chksum=0) / UDP(sport=0, dport=0, chksum=0)
    v6 = IPv6(src="::", dst="::") / UDP(sport=0, dport=0, chksum=0)
    assert {4: bytes(v4), 6: bytes(v6)} == TEMPLATES


@FAMILIES
@pytest.mark.parametrize("payload", range(len(DATA)))
@pytest.mark.parametrize("size", [0, 64, 1501])
def test_lengths_and_checksums_are_those_that_scapy_computes(family, payload, size):
    (packet,) = crafted(probes_of(family, payload), size=size)
    assert rebuilt(packet) == packet
    assert max(HEADER[family] + LENGTH[payload], size) == len(packet)


@FAMILIES
def test_a_probe_s_fields_stand_where_scapy_finds_them(family):
    probes = probes_of(family, WHOLE_TOKEN, attempt=2, ttl=9)
    parsed = LAYER[family](crafted(probes)[0])
    header = (parsed.ttl, parsed.id, str(parsed.flags)) if family == 4 else (parsed.hlim, parsed.fl, parsed.tc)
    expected = (9, int(ip_id(probes)[0]), "DF") if family == 4 else (9, int(flow_label(probes)[0]), 0)
    assert (OWN[family][0], HOST[family], 40_000, 1000) == (parsed.src, parsed.dst, parsed.sport, parsed.dport)
    assert expected == header


@FAMILIES
@pytest.mark.parametrize(("payload", "expected"), [
    (WHOLE_TOKEN, lambda token: b"tttt" + token + b"t" * 8), (BARE, lambda _: b"ask"),
    (SHORT_TOKEN, lambda token: b"id" + token[:2] + b"rest"), (EMPTY, lambda _: b""),
    (LONG, lambda token: b"?" * 91 + token),
])
def test_as_much_of_the_token_as_has_room_stands_in_the_payload(family, payload, expected):
    probes = probes_of(family, payload)
    (packet,) = crafted(probes)
    assert expected(int(probes.token[0]).to_bytes(8)) == packet[HEADER[family]:]


@FAMILIES
def test_what_is_filled_up_is_filled_with_zeros(family):
    (packet,) = crafted(probes_of(family, BARE), size=200)
    assert (200, b"ask" + bytes(197 - HEADER[family])) == (len(packet), packet[HEADER[family]:])


def test_a_checksum_that_comes_out_as_0_is_sent_as_ffff():
    probes = probes_of(4, EMPTY)
    packet = crafted(probes)[0]
    payload = Payloads(np.frombuffer(packet[26:28], np.uint8)[None], np.array([2]), np.array([0]), np.array([0]))
    probes.ports -= np.uint64(4)    # both lengths that the sum counts grow by 2
    probes.payload[:] = 0
    assert [b"\xff\xff"] == [packet[26:28] for packet in packets_of(Crafter(payload).craft(probes), 1)]


def test_a_mixture_keeps_its_order_and_makes_sets_of_one_family_and_width():
    mixed = [HOST[4], HOST[6], HOST[6], HOST[4]]
    probes = probes_to([(address, n) for n, address in enumerate(mixed, 7)], OWN[4][0], 40_000)
    probes.payload = np.array([LONG, BARE, LONG, BARE])
    sets = Crafter(payloads()).craft(probes)
    assert [(4, [3]), (4, [0]), (6, [1]), (6, [2])] == [(each.family, each.rows.tolist()) for each in sets]
    assert [7, 8, 9, 10] == [LAYER[packet[0] >> 4](packet).dport for packet in packets_of(sets, 4)]


def test_no_probes_are_no_packets():
    assert [] == Crafter(payloads()).craft(probes_of(4, BARE).take(np.empty(0, np.int64)))


addresses = {4: st.integers(1, 2**32 - 1).map(lambda number: number | 0xFFFF << 32),
             6: st.integers(2**96, 2**128 - 1)}
ports = st.integers(0, 65_535)


@examples(60)
@given(st.sampled_from((4, 6)).flatmap(lambda family: st.tuples(addresses[family], addresses[family])), ports, ports,
       st.integers(0, len(DATA) - 1), st.sampled_from((0, 100, 1472, 1536, 4001)))
def test_scapy_agrees_on_any_address_and_port(ends, sport, dport, payload, size):
    probes = probes_of(4, payload)
    (source, destination), low = ends, 2**64 - 1
    for column, number in (("source", source), ("destination", destination)):
        setattr(probes, f"{column}_high", np.array([number >> 64], np.uint64))
        setattr(probes, f"{column}_low", np.array([number & low], np.uint64))
    probes.ports = np.array([sport << 16 | dport], np.uint64)
    (packet,) = crafted(probes, size=size)
    assert rebuilt(packet) == packet


def test_the_token_in_a_packet_is_that_of_its_flow():
    (packet,) = crafted(probes_of(4, WHOLE_TOKEN))
    source, destination = (tuple(np.array([half], np.uint64) for half in halves(each)) for each in (OWN[4][0], HOST[4]))
    expected = token_of(KEY, source, destination, np.array([40_000 << 16 | 1000], np.uint64))
    assert int(expected[0]).to_bytes(8) == packet[32:40]


@pytest.mark.parametrize("size", [0, 300])
def test_lengths_are_those_of_the_packets(size):
    crafter = Crafter(payloads(), size=size)
    plan = plan_of((HOST[4], 53), (HOST[6], 53), payload=(WHOLE_TOKEN, BARE))
    probes = plan.probes(np.array([0, 1]), np.zeros(2, np.int64), np.array([0, 1]))
    assert [len(each) for each in packets_of(crafter.craft(probes), 2)] == crafter.lengths_of(probes).tolist()
