"""Probes: the packets that Scapy would make, bits that nobody guesses, and quotes that prove who has seen them."""

from __future__ import annotations

import importlib.util
import os
import sys
from array import array
from ipaddress import ip_address
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from udpprobe.core import believer, probe, siphash
from udpprobe.core.believer import BELIEVED, DOUBTED, MISSED, Believer
from udpprobe.core.probe import (
    ANY_SIZE,
    CHECKSUM,
    DESTINATION,
    GENERIC,
    IDENT,
    SOURCE,
    SWAPPED,
    VARIANTS,
    Batch,
    Payloads,
    Prober,
    QuotedProbe,
)

IS_COMPILED = not probe.__file__.endswith(".py")
FORGERIES = int(os.environ.get("UDPPROBE_FORGERIES", "20000")) if IS_COMPILED else 1_000
"""Of each kind; 10,000,000 take a minute. An interpreted one takes 300 µs."""
FEW = 100_000
KEY = (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210)
HOST = {4: "198.51.100.7", 6: "2001:db8:1::7"}
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
OTHER = {4: "203.0.113.9", 6: "2001:db8:99::9"}
HEADER = {4: 28, 6: 48}
LAYER = {4: IP, 6: IPv6}
PORT, FIRST_PORT, PORTS, PORT_BITS = 4242, 40_000, 64, 6
FAMILIES = pytest.mark.parametrize("family", [4, 6])

ROWS = (
    (b"t" * 20, 4, 8),
    (b"ask", 0, 0),
    (b"id??rest", 2, 2),
    (b"", 0, 0),
    (b"?" * 99, 91, 8),
    (b"odd" * 7, 9, 7),
    (b"1" * 9, 8, 1),
)
WHOLE, BARE, SHORT, EMPTY, LONG, ODD, ONE = range(len(ROWS))
GENERIC_ROWS = tuple((bytes(8 + more), 0, 8) for more in range(VARIANTS))


def halves(address):
    parsed = ip_address(address)
    return divmod(int(parsed) | (0xFFFF << 32 if parsed.version == 4 else 0), 1 << 64)


def tasks_to(*destinations, choice=0, source_port=FIRST_PORT, module=probe):
    """A task for each (address, port)."""
    high, low = zip(*(halves(address) for address, _ in destinations), strict=True)
    n = len(destinations)
    return module.Tasks(
        array("Q", high),
        array("Q", low),
        array("H", [source_port] * n),
        array("H", [port for _, port in destinations]),
        array("H", [choice] * n),
    )


def prober(rows=ROWS, choices=None, *, key=KEY, sources=(), **options):
    choices = choices or [[row] for row in range(len(rows))]
    return Prober(
        key,
        Payloads(rows, choices),
        [halves(each) for each in sources or OWN.values()],
        first_port=FIRST_PORT,
        ports=PORTS,
        **options,
    )


SOURCE_OF = {4: 0, 6: 1}
"""Row of `prober`'s sources."""


def packet_of(family=4, row=WHOLE, *, port=PORT, by=None, **options):
    tasks = tasks_to((HOST[family], port), choice=row)
    return (by or prober()).craft_one(tasks, 0, source=SOURCE_OF[family], **options)


def quoted(packet, family=0):
    """As a decoder reads a quote."""
    family, found = family or packet[0] >> 4, QuotedProbe(packet)
    at = HEADER[family]
    size = {4: 4, 6: 16}[family]
    ends = [packet[at - 8 - 2 * size : at - 8 - size], packet[at - 8 - size : at - 8]]
    (found.source_high, found.source_low), (found.destination_high, found.destination_low) = map(
        halves, map(ip_address, ends)
    )
    found.ident = int.from_bytes(packet[4:6]) if family == 4 else int.from_bytes(packet[1:4]) & 0xFFFFF
    names = "source_port", "port", "udp_length", "checksum"
    for name, start in zip(names, range(at - 8, at, 2), strict=True):
        setattr(found, name, int.from_bytes(packet[start : start + 2]) if start + 2 <= len(packet) else -1)
    found.payload_at = at
    found.payload_end = max(len(packet), at)
    return found


def changed(packet, at, data):
    return packet[:at] + data + packet[at + len(data) :]


# ---- the hash

KEY_OF_AUTHORS = tuple(int.from_bytes(bytes(range(at, at + 8)), "little") for at in (0, 8))


def words_of(data):
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


@pytest.mark.parametrize(("length", "expected"), [(8, 0x93F5F5799A932462), (16, 0x3F2ACC7F57C29BDB)])
def test_siphash_2_4_is_that_of_its_authors_vectors(length, expected):
    assert expected == siphash.SipHash(KEY_OF_AUTHORS).of(words_of(bytes(range(length))), 2, 4)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "a3817f04ba25a8e66df67214c7550293"),
        (8, "3b62a9ba6258f5610f83e264f31497b4"),
        (16, "6ee2a4ca67b054bbfd3315bf85230577"),
        (40, "df6a301e95c95dad97ae0cc8c6913bd8"),
    ],
)
def test_siphash_2_4_of_128_bits_is_that_of_its_authors_vectors(length, expected):
    found = siphash.SipHash(KEY_OF_AUTHORS).of_128(words_of(bytes(range(length))), 2, 4)
    assert expected == b"".join(half.to_bytes(8, "little") for half in found).hex()


@pytest.mark.parametrize(
    ("length", "expected"), [(8, 0xEAD411E67EBE2EEA), (16, 0x8972188433A5C5B7), (40, 0x95BC321AB41D8206)]
)
def test_siphash_1_3_is_that_of_cpython_without_a_hash_seed(length, expected):
    assert expected == siphash.SipHash((0, 0)).of(words_of(bytes(range(length))))


@FAMILIES
def test_a_token_is_the_first_half_of_the_hash_of_addresses_ports_and_attempt(family):
    words = [*halves(OWN[family]), *halves(HOST[family]), FIRST_PORT << 48 | PORT << 32 | 3]
    token, mark = siphash.SipHash(KEY).of_128(words)
    packet = packet_of(family, WHOLE, attempt=3)
    assert token.to_bytes(8) == packet[HEADER[family] + 4 : HEADER[family] + 12]
    assert token.to_bytes(8) == prober().token_of(
        tasks_to((HOST[family], PORT)), 0, source=SOURCE_OF[family], attempt=3
    )
    assert 1 + (mark & 0xFFFF_FFFF) % {4: 0xFFFF, 6: 0xFFFFF}[family] == quoted(packet).ident


# ---- packets


def rebuilt(packet):
    """As Scapy makes it where the lengths and checksums are left to it."""
    parsed = LAYER[packet[0] >> 4](packet)
    del parsed[UDP].chksum, parsed[UDP].len
    for field in ("chksum", "len", "plen"):
        if field in parsed.fields:
            delattr(parsed, field)
    return bytes(parsed)


@FAMILIES
@pytest.mark.parametrize("row", range(len(ROWS)))
@pytest.mark.parametrize("size", [0, 64, 1501])
def test_lengths_and_checksums_are_those_that_scapy_computes(family, row, size):
    packet = packet_of(family, row, size=size)
    assert rebuilt(packet) == packet
    assert max(HEADER[family] + len(ROWS[row][0]), size) == len(packet)


@FAMILIES
def test_scapy_reads_the_fields_of_a_probe(family):
    parsed = LAYER[family](packet_of(family, ttl=9))
    ident = quoted(packet_of(family)).ident
    header = (parsed.ttl, parsed.id, str(parsed.flags)) if family == 4 else (parsed.hlim, parsed.fl, parsed.tc)
    assert ((9, ident, "DF") if family == 4 else (9, ident, 0)) == header
    assert (OWN[family], HOST[family], FIRST_PORT, PORT) == (parsed.src, parsed.dst, parsed.sport, parsed.dport)


@FAMILIES
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (WHOLE, lambda token: b"tttt" + token + b"t" * 8),
        (BARE, lambda _: b"ask"),
        (EMPTY, lambda _: b""),
        (SHORT, lambda token: b"id" + token[:2] + b"rest"),
        (LONG, lambda token: b"?" * 91 + token),
        (ODD, lambda token: b"oddoddodd" + token[:7] + b"ddodd"),
        (ONE, lambda token: b"1" * 8 + token[:1]),
    ],
)
def test_the_payload_has_as_much_of_the_token_as_fits(family, row, expected):
    by = prober()
    token = by.token_of(tasks_to((HOST[family], PORT)), 0, source=SOURCE_OF[family])
    assert expected(token) == packet_of(family, row, by=by)[HEADER[family] :]


@FAMILIES
def test_padding_is_filled_with_zeros(family):
    packet = packet_of(family, BARE, size=200)
    assert (200, b"ask" + bytes(197 - HEADER[family])) == (len(packet), packet[HEADER[family] :])


def test_a_checksum_of_0_is_sent_as_ffff():
    checksum = quoted(packet_of(4, EMPTY, port=0)).checksum
    packet = packet_of(4, EMPTY, port=checksum)  # adds so much to the sum
    assert 0xFFFF == quoted(packet).checksum
    assert rebuilt(packet) == packet


addresses = {4: st.integers(1, 2**32 - 1).map(ip_address), 6: st.integers(2**96, 2**128 - 1).map(ip_address)}
ports = st.integers(0, 65_535)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from((4, 6)).flatmap(lambda family: st.tuples(addresses[family], addresses[family])),
    st.tuples(ports, ports),
    st.integers(0, len(ROWS) - 1),
    st.sampled_from((0, 100, 1472, 1536, 4001)),
    st.integers(0, 255),
)
def test_scapy_agrees_on_any_address_and_port(ends, pair, row, size, ttl):
    sport, dport = pair
    by = prober(sources=(ends[0],))
    packet = by.craft_one(tasks_to((ends[1], dport), choice=row, source_port=sport), 0, size=size, ttl=ttl)
    assert rebuilt(packet) == packet


def test_a_reused_batch_holds_only_the_new_probes():
    destinations = [(HOST[4], 1), (HOST[6], 2), (HOST[6], 3), (HOST[4], 4)]
    tasks = tasks_to(*destinations)
    for task, row in enumerate((LONG, BARE, WHOLE, SHORT)):
        tasks.choice[task] = row
    by, batch = prober(), Batch(len(destinations), 152)
    for turn, size in product(range(3), (150, 0, 97)):
        asked = [(task + turn) % len(destinations) for task in range(len(destinations))]
        for row, task in enumerate(asked):
            batch.task[row], batch.source[row], batch.attempt[row] = (
                task,
                SOURCE_OF[6 if ":" in destinations[task][0] else 4],
                turn,
            )
            batch.ttl[row], batch.size[row] = 7 + row, size
        by.craft(tasks, batch, len(asked))
        for row, task in enumerate(asked):
            packet = bytes(batch.packets[row * 152 : row * 152 + batch.length[row]])
            assert by.craft_one(tasks, task, source=batch.source[row], attempt=turn, ttl=7 + row, size=size) == packet


def test_a_packet_that_does_not_fit_is_an_error():
    batch, tasks = Batch(2, 48), tasks_to((HOST[4], PORT), choice=LONG)
    with pytest.raises(ValueError, match="127 bytes has no room in 48"):
        prober().craft(tasks, batch, 1)
    with pytest.raises(ValueError, match="65536 bytes has no room"):
        packet_of(size=65_536)
    assert 65_535 == len(packet_of(size=65_535))


@pytest.mark.parametrize("stride", [0, 50])
def test_a_stride_must_be_whole_words(stride):
    with pytest.raises(ValueError, match="multiple of 4"):
        Batch(1, stride)


def test_a_missing_task_or_row_is_an_error():
    batch, tasks = Batch(1, 160), tasks_to((HOST[4], PORT), choice=99)
    for rows in ((5, 0), (0, 9), (0, 0)):
        batch.task[0], batch.source[0] = rows
        with pytest.raises(IndexError):
            prober().craft(tasks, batch, 1)
    with pytest.raises(IndexError):
        prober().craft(tasks_to((HOST[4], PORT)), Batch(1, 160), 2)


@pytest.mark.parametrize(
    ("rows", "choices"),
    [
        ([(b"abc", 1, 3)], [[0]]),
        ([(b"abc", 0, 9)], [[0]]),
        ([(b"abc", -1, 1)], [[0]]),
        ([(bytes(65_536), 0, 0)], [[0]]),
        ([(b"abc", 0, 1)], [[1]]),
        ([(b"abc", 0, 1)], [[]]),
        ([(b"abc", 0, 1)], [[-2]]),
        ([(b"abc", 0, 1)], [[GENERIC]]),
    ],
)
def test_payloads_that_do_not_fit_are_refused(rows, choices):
    with pytest.raises(ValueError, match="payload"):
        Payloads(rows, choices)


def test_a_generic_payload_varies_in_length_and_choices_alternate():
    by = prober((*GENERIC_ROWS, (b"x" * 90, 0, 8)), [[GENERIC], [8, GENERIC]])
    tasks = tasks_to(*((HOST[4], port) for port in range(400)))
    lengths = [len(by.craft_one(tasks, task)) - 28 for task in range(400)]
    assert set(range(8, 16)) == set(lengths)
    assert all(lengths.count(each) > 20 for each in range(8, 16))
    both = tasks_to((HOST[4], 1), choice=1)
    assert [True, False, True, False] == [len(by.craft_one(both, 0, attempt=attempt)) == 118 for attempt in range(4)]


# ---- bits


def test_id_and_checksum_are_independent():
    """Probes of all ports of a host draw 32 bits. Were the checksum a function of the id, as 2^16 is 1 modulo 65535,
    there would be no more pairs than ids."""
    many = 65_536 if IS_COMPILED else 4_096
    by, batch, tasks = prober(), Batch(1, 60), tasks_to(*((HOST[4], port) for port in range(many)))
    pairs = set()
    for port in range(many):
        batch.task[0] = port
        by.craft(tasks, batch, 1)
        ident, checksum = (int.from_bytes(batch.packets[at : at + 2]) for at in (4, 26))
        pairs.add((ident, (checksum + port) % 0xFFFF))
    assert len(pairs) >= many - 4
    for column in zip(*pairs, strict=True):
        assert 0.6 < len(set(column)) / many < (0.66 if IS_COMPILED else 1)  # 1 - 1/e, as of numbers drawn blindly
    assert 0 not in {ident for ident, _ in pairs}


@FAMILIES
def test_every_attempt_has_its_own_token_and_id_or_label(family):
    packets = [packet_of(family, attempt=attempt) for attempt in range(40)]
    assert 40 == len({packet[HEADER[family] :] for packet in packets})
    assert 40 == len({quoted(packet).ident for packet in packets})


def test_probes_of_a_flow_look_the_same_to_a_load_balancer():
    by = prober(label_per_flow=True)
    one, two = (packet_of(6, by=by, attempt=attempt, ttl=ttl) for attempt, ttl in ((0, 1), (1, 30)))
    assert [one[at] for at in (*range(7), *range(8, 46))] == [two[at] for at in (*range(7), *range(8, 46))]
    assert one[46:] != two[46:]
    assert quoted(packet_of(6, by=by, port=PORT + 1)).ident != quoted(one).ident
    first, second = (packet_of(4, by=by, attempt=attempt) for attempt in (0, 1))
    assert quoted(first).ident != quoted(second).ident


def test_source_ports_of_a_host_alternate_from_a_random_start():
    by = prober()
    first = [by.port_for((0, 0xFFFF << 32 | host), 0) for host in range(2000)]
    assert set(range(FIRST_PORT, FIRST_PORT + PORTS)) == set(first)
    assert all(10 < first.count(port) < 60 for port in set(first))
    assert PORTS == len({by.port_for(halves(HOST[4]), rank) for rank in range(PORTS)})


# ---- honest quotes


def found(packet, *, row=WHOLE, attempts=1, by=None, family=None, size=0):
    """(attempt, bits of its own, shared ones, differing ones, what was changed)"""
    by, family = by or prober(), family or packet[0] >> 4
    attempt = by.find(quoted(packet, family), tasks_to((HOST[family], PORT), choice=row), 0, attempts, size)
    return attempt, by.agree, by.shared, by.disagree, by.changed


OWN_BITS = {4: 16, 6: 20}


@FAMILIES
@pytest.mark.parametrize(
    ("row", "bits"), [(WHOLE, 64), (BARE, 0), (SHORT, 16), (EMPTY, 0), (LONG, 64), (ODD, 56), (ONE, 8)]
)
def test_a_whole_quote_agrees_in_all_bits(family, row, bits):
    assert (0, OWN_BITS[family] + bits, PORT_BITS, 0, 0) == found(packet_of(family, row), row=row)


@FAMILIES
@pytest.mark.parametrize(("row", "bits"), [(WHOLE, 16), (BARE, 0), (SHORT, 16), (ODD, 16), (ONE, 8)])
def test_8_bytes_of_udp_carry_the_checksum_s_bits(family, row, bits):
    packet = packet_of(family, row)
    assert (0, OWN_BITS[family] + bits, PORT_BITS, 0, 0) == found(packet[: HEADER[family]], row=row)
    assert (0, OWN_BITS[family], PORT_BITS, 0, CHECKSUM) == found(packet[: HEADER[family] - 4], row=row)


def test_the_checksum_counts_what_is_not_quoted_of_the_token():
    packet = packet_of()
    assert [(0, 16 + 8 * seen + min(16, 8 * (8 - seen)), PORT_BITS, 0, 0) for seen in range(9)] == [
        found(packet[: 32 + seen]) for seen in range(9)
    ]


def test_the_length_of_a_generic_payload_proves_bits_unless_padded():
    by = prober(GENERIC_ROWS, [[GENERIC]])
    packet = packet_of(by=by, row=0)
    assert (0, 16 + 3 + 16, PORT_BITS, 0, 0) == found(packet[:28], by=by, row=0)
    filled = packet_of(by=by, row=0, size=100)
    assert (0, 16 + 16, PORT_BITS, 0, 0) == found(filled[:28], by=by, row=0, size=100)


@FAMILIES
def test_the_attempt_is_found_and_more_attempts_weaken_the_proof(family):
    packets = [packet_of(family, SHORT, attempt=attempt) for attempt in range(40)]
    bits = OWN_BITS[family] + 16
    for attempts, less in ((1, 0), (2, 1), (3, 2), (40, 6)):
        assert [(attempt, bits - less, PORT_BITS, 0, 0) for attempt in range(attempts)] == [
            found(packet, row=SHORT, attempts=attempts) for packet in packets[:attempts]
        ]
    assert -1 == found(packets[5], row=SHORT, attempts=5)[0]


def test_the_source_address_of_a_probe_is_found():
    by = prober(sources=(OWN[4], OWN[6], OTHER[4]))
    packet = by.craft_one(tasks_to((HOST[4], PORT)), 0, source=2)
    assert (0, 80, PORT_BITS, 0, 0) == found(packet, by=by)
    assert 2 == by.source


def test_a_swapped_id_costs_one_bit_and_a_cleared_one_all():
    packet = packet_of()
    assert (0, 15 + 64, PORT_BITS, 0, SWAPPED) == found(changed(packet, 4, packet[5:3:-1]))
    assert (0, 64, PORT_BITS, 0, IDENT) == found(changed(packet, 4, bytes(2)))


@FAMILIES
def test_a_wrong_id_or_label_differs(family):
    packet = packet_of(family)
    wrong = bytes(byte ^ 0x5A for byte in packet[2:6])
    packet = changed(packet, 2, wrong[:2]) if family == 6 else changed(packet, 4, wrong[2:])
    assert (0, 64, PORT_BITS, OWN_BITS[family], IDENT) == found(packet)


@FAMILIES
def test_a_nat_may_or_may_not_adjust_the_checksum(family):
    packet = packet_of(family)
    at = {4: 12, 6: 8}[family]
    natted = changed(packet, at, ip_address(OTHER[family]).packed)
    natted = changed(natted, HEADER[family] - 8, b"\xee\xee")
    adapted = changed(natted, HEADER[family] - 2, rebuilt(natted)[HEADER[family] - 2 : HEADER[family]])
    for quote in (natted, adapted):
        assert (0, OWN_BITS[family] + 64, 0, 0, SOURCE) == found(quote)
        assert (0, OWN_BITS[family] + 15, 0, 0, SOURCE) == found(quote[: HEADER[family]])
    spoiled = changed(natted, HEADER[family] - 2, b"\x12\x34")
    assert (0, OWN_BITS[family] + 64, 0, 16, SOURCE | CHECKSUM) == found(spoiled)


@FAMILIES
@pytest.mark.parametrize("before", [6, 12])
def test_a_changed_destination_address_or_port_is_reported(family, before):
    packet = packet_of(family)
    where = HEADER[family] - before
    assert (0, OWN_BITS[family] + 64, PORT_BITS, 0, DESTINATION) == found(changed(packet, where, b"\x77\x77"))


@FAMILIES
def test_a_cleared_checksum_proves_nothing(family):
    packet = changed(packet_of(family, SHORT)[: HEADER[family]], HEADER[family] - 2, bytes(2))
    assert (0, OWN_BITS[family], PORT_BITS, 0, CHECKSUM) == found(packet, row=SHORT)


@FAMILIES
@pytest.mark.parametrize("kept", [0, 3, 4, 7])
def test_a_quote_padded_with_zeros_equals_a_short_one(family, kept):
    short = packet_of(family)[: HEADER[family] + kept]
    assert found(short) == found(short + bytes(100))


@FAMILIES
def test_a_different_length_or_payload_is_another_probe(family):
    packet = packet_of(family)
    for at, data in ((-4, b"\0\x99"), (1, b"?"), (5, b"??")):
        assert (-1, 0, 0, 0, 0) == found(changed(packet, HEADER[family] + at, data))


def test_the_size_can_be_taken_from_the_quote():
    packet = packet_of(4, SHORT, size=777)
    assert -1 == found(packet, row=SHORT)[0]
    assert (0, 32, PORT_BITS, 0, 0) == found(packet, row=SHORT, size=777)
    assert (0, 32, PORT_BITS, 0, 0) == found(packet, row=SHORT, size=ANY_SIZE)
    assert -1 == found(changed(packet, 24, b"\0\3"), row=SHORT, size=ANY_SIZE)[0]
    assert (0, 16, PORT_BITS, 0, CHECKSUM) == found(packet[:24], row=SHORT, size=ANY_SIZE)
    six = packet_of(6, SHORT, size=777)
    assert (0, 36, PORT_BITS, 0, 0) == found(six, row=SHORT, size=ANY_SIZE)


def test_the_label_of_a_flow_counts_as_shared():
    by = prober(label_per_flow=True, port_bits=14)
    packet = packet_of(6, by=by)
    assert (0, 64, 34, 0, 0) == found(packet, by=by)


def test_a_swapped_id_alone_is_not_rewriting():
    by, packet = prober(), packet_of()
    for quote, expected in (
        (packet, False),
        (changed(packet, 4, packet[5:3:-1]), False),
        (changed(packet, 20, b"\1\1"), True),
    ):
        found(quote, by=by)
        assert expected == by.is_rewritten


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from((4, 6)),
    st.sampled_from(range(len(ROWS))),
    st.integers(0, 200),
    st.integers(0, 255),
    st.integers(20, 200),
)
def test_a_corrupt_quote_never_raises_or_agrees_in_more_bits(family, row, at, difference, kept):
    packet = packet_of(family, row)
    spoiled = bytearray(packet)
    spoiled[at % len(packet)] ^= difference
    quote = bytes(spoiled[: max(kept, HEADER[family])])
    untouched = found(packet[: max(kept, HEADER[family])], row=row)
    assert sum(found(quote, row=row, family=family)[1:3]) <= sum(untouched[1:3])


# ---- who is believed

REFUSED = (0, 0, 3, 3, 0)


class Scan:
    """One that judges errors about its first task."""

    def __init__(self, family=4, row=WHOLE, *, tasks=1, attempts=2, size=0, **options):
        self.family, self.row, self.attempts, self.size = family, row, attempts, size
        self.by = prober(**options)
        self.tasks = tasks_to(*((HOST[family], PORT + task) for task in range(tasks)), choice=row)
        self.believer = Believer(tasks)

    def probe(self, task=0, attempt=0):
        return self.by.craft_one(self.tasks, task, source=SOURCE_OF[self.family], attempt=attempt, size=self.size)

    def judge(self, quote, *, task=0, error=REFUSED):
        attempt = self.by.find(quote, self.tasks, task, self.attempts, self.size)
        return self.believer.weigh(
            task, error, attempt, self.by.agree, self.by.shared, is_rewritten=self.by.is_rewritten
        )

    def receive(self, packet, **options):
        return self.judge(quoted(packet), **options)


@FAMILIES
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_an_honest_network_is_believed_at_once(family, row):
    scan = Scan(family, row, tasks=200)
    for task in range(200):
        assert BELIEVED == scan.receive(scan.probe(task)[: None if task % 2 else HEADER[family]], task=task)
    assert not scan.believer.is_forged(0)
    assert 0 == scan.believer.all_misses


def forge(scan, kind):
    """FORGERIES quotes by somebody who sees no probe of the first task, and how many of each verdict they got."""
    real, other = quoted(scan.probe()), quoted(scan.probe(task=1))
    forged, counts = quoted(scan.probe(task=1)), [0, 0, 0]
    for name in ("source_port", "port", "udp_length"):
        setattr(forged, name, getattr(real, name))  # guessed, or read in the source
    forged.payload_end = forged.payload_at
    for number in range(FORGERIES):
        KINDS[kind](forged, real, other, number)
        counts[scan.judge(forged)] += 1
    return counts


def around(value, number):
    """Guesses that hit in the middle, however many there are."""
    return (value + number - FORGERIES // 2) % 0x10000


def sweep_ids(forged, real, _other, number):
    forged.ident, forged.udp_length, forged.checksum = around(real.ident, number), -1, -1


def sweep_checksums(forged, real, _other, number):
    forged.ident, forged.checksum = 0, around(real.checksum, number)


def sweep_both(forged, _real, _other, number):
    forged.ident, forged.checksum = number * 40_503 % 0x10000, number * 29_789 % 0x10000


def sweep_checksums_behind_a_nat(forged, real, _other, number):
    forged.source_port, forged.ident, forged.checksum = 7, around(real.ident, number), -1


def know_neighbour(forged, real, other, number):
    """It got a probe of its own, and writes its neighbour's port into it; the checksum as that port makes it."""
    forged.payload_end = forged.payload_at + 20
    forged.ident, forged.checksum = other.ident, (other.checksum + other.port - real.port + number % 2) % 0xFFFF


def know_id(forged, real, _other, number):
    """By luck, and sweeps the rest."""
    forged.ident, forged.checksum = real.ident, around(real.checksum, number)


def replay(forged, _real, other, number):
    """A real error about another probe: as it came, or with one field after the other guessed anew."""
    forged.payload_end = forged.payload_at + 20
    forged.ident = other.ident if number % 3 else around(other.ident, number)
    forged.checksum = other.checksum if number % 2 else around(other.checksum, number)


KINDS = {
    each.__name__: each
    for each in (sweep_ids, sweep_checksums, sweep_both, sweep_checksums_behind_a_nat, know_neighbour, know_id, replay)
}


@pytest.mark.slow
@pytest.mark.forgery
@pytest.mark.parametrize(("family", "row"), [(4, WHOLE), (4, SHORT), (6, EMPTY)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_forgery_is_believed_and_the_host_is_believed_after_it(family, row, kind):
    scan = Scan(family, row, tasks=2)
    missed, doubted, believed = forge(scan, kind)
    assert (FORGERIES, 0) == (missed + doubted, believed)
    assert scan.believer.is_forged(0)
    assert not scan.believer.is_forged(1)
    if FORGERIES > FEW:
        return  # the misses take so many bits that a short token needs a third probe
    first = scan.receive(scan.probe())
    again = scan.receive(scan.probe(attempt=1))
    expected = {WHOLE: [BELIEVED, BELIEVED], SHORT: [DOUBTED, BELIEVED], EMPTY: [DOUBTED, DOUBTED]}
    assert expected[row] == [first, again]


def test_a_quote_that_ends_before_the_checksum_needs_two_probes():
    """RFC 792 has 8 bytes of UDP quoted, so fewer are what a forger likes best."""
    scan = Scan()
    heard = [scan.receive(scan.probe(attempt=attempt)[:24]) for attempt in (0, 1)]
    assert [DOUBTED, DOUBTED] == heard
    scan.attempts = 3
    assert BELIEVED == scan.receive(scan.probe(attempt=2)[:24])


def test_a_real_error_does_not_prove_one_about_another_task():
    many = 50 if IS_COMPILED else 12
    scan = Scan(tasks=many)
    quotes = [quoted(scan.probe(task)) for task in range(many)]
    for quote, task in product(quotes, range(many)):
        is_its_own = quote.port == PORT + task
        port, quote.port = quote.port, PORT + task
        assert (BELIEVED if is_its_own else MISSED) == scan.judge(quote, task=task)
        quote.port = port


@FAMILIES
def test_a_rewritten_source_needs_the_token_or_two_probes(family):
    at = {4: 12, 6: 8}[family]
    scan = Scan(family)
    one, two = (changed(scan.probe(attempt=attempt), at, ip_address(OTHER[family]).packed) for attempt in (0, 1))
    assert BELIEVED == scan.receive(one)
    scan = Scan(family)
    short = HEADER[family]
    assert [DOUBTED, DOUBTED, BELIEVED] == [scan.receive(quote[:short]) for quote in (one, one, two)]


def test_a_random_id_needs_the_token_or_two_probes():
    """As pf's `random-id` writes it."""
    scan = Scan()
    one, two = (changed(scan.probe(attempt=attempt), 4, b"\x77\x77") for attempt in (0, 1))
    assert BELIEVED == scan.receive(one)
    scan = Scan()
    assert [DOUBTED, DOUBTED] == [scan.receive(quote[:28]) for quote in (one, two)]
    scan = Scan(attempts=3)
    three = changed(scan.probe(attempt=2), 4, b"\x66\x66")
    assert [DOUBTED, DOUBTED, BELIEVED] == [scan.receive(quote[:28]) for quote in (one, two, three)]


def weigh(judge, attempt, bits, shared=0, *, destination=0, error=REFUSED, is_rewritten=False):
    return judge.weigh(destination, error, attempt, bits, shared, is_rewritten=is_rewritten)


def flooded(misses, destinations=2):
    judge = Believer(destinations)
    for _ in range(misses):
        assert MISSED == weigh(judge, -1, 0)
    return judge


def test_48_bits_are_always_proof():
    judge = flooded(100)
    assert BELIEVED == weigh(judge, 0, 48)
    assert BELIEVED == weigh(judge, 0, 42, 6, is_rewritten=True)
    assert DOUBTED == weigh(judge, 0, 41, 6)


def test_few_bits_are_proof_while_misses_of_the_destination_are_rare():
    assert BELIEVED == weigh(flooded(16), 0, 32, 6)
    assert DOUBTED == weigh(flooded(17), 0, 32, 6)
    assert BELIEVED == weigh(flooded(17), 0, 32, 6, destination=1)
    assert [False, True] == [flooded(misses).is_forged(0) for misses in (16, 17)]


def test_misses_of_all_destinations_weaken_each_proof():
    judge = Believer(1000)
    for destination in range(63):
        weigh(judge, -1, 0, destination=destination)
    assert BELIEVED == weigh(judge, 0, 16, 6, destination=999)
    weigh(judge, -1, 0, destination=63)
    assert DOUBTED == weigh(judge, 0, 16, 6, destination=999)
    assert BELIEVED == weigh(judge, 0, 17, 6, destination=998)


def test_without_misses_8_specific_bits_are_proof_and_7_are_not():
    assert BELIEVED == weigh(Believer(1), 0, 8)
    assert MISSED == weigh(Believer(1), 0, 7, 30)


def test_two_probes_must_draw_the_same_error():
    judge = flooded(20)
    other = (0, 0, 3, 1, 0)
    assert DOUBTED == weigh(judge, 0, 32)
    assert DOUBTED == weigh(judge, 1, 32, error=other)
    assert DOUBTED == weigh(judge, 0, 32)
    assert BELIEVED == weigh(judge, 1, 32)


@pytest.mark.parametrize(("misses", "bits", "probes"), [(20, 32, 2), (20, 19, 2), (20, 18, 3), (5000, 32, 2)])
def test_more_misses_need_more_probes(misses, bits, probes):
    judge = flooded(misses)
    heard = [weigh(judge, attempt, bits) for attempt in range(probes)]
    assert [DOUBTED] * (probes - 1) + [BELIEVED] == heard


def test_bits_of_the_port_are_not_counted_twice():
    judge = flooded(20)
    assert [DOUBTED, DOUBTED] == [weigh(judge, attempt, 18, 20) for attempt in (0, 1)]


def test_no_number_of_probes_proves_bits_that_the_misses_cover():
    judge = flooded(5000)
    assert {DOUBTED} == {weigh(judge, attempt, 12, 6) for attempt in range(100)}


def test_memory_of_doubted_errors_is_bounded():
    judge = flooded(20)
    for code in range(20):
        weigh(judge, 0, 32, error=(0, 0, 3, code, 0))
    assert DOUBTED == weigh(judge, 1, 32, error=(0, 0, 3, 11, 0))  # forgotten
    assert BELIEVED == weigh(judge, 1, 32, error=(0, 0, 3, 19, 0))


def test_the_miss_counter_saturates():
    judge = Believer(1)
    judge.misses[0] = 2**32 - 1
    assert MISSED == weigh(judge, -1, 0)
    assert 2**32 - 1 == judge.misses[0]


def test_the_oldest_of_many_doubted_destinations_are_forgotten():
    many = (1 << 16) + 1
    judge = Believer(many)
    for destination in range(many):
        assert DOUBTED == weigh(judge, 0, 32, destination=destination, is_rewritten=True)
    assert DOUBTED == weigh(judge, 1, 32, destination=0, is_rewritten=True)
    assert BELIEVED == weigh(judge, 1, 32, destination=many - 1, is_rewritten=True)


# ---- twins


def interpreted(module, **others):
    """The same file, read by Python, where there is no Cython."""
    name = module.__name__.rpartition(".")[2]
    spec = importlib.util.spec_from_file_location(f"{name}_interpreted", Path(module.__file__).with_name(f"{name}.py"))
    twin = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {"cython": None, **{f"udpprobe.core.{each}": others[each] for each in others}}):
        spec.loader.exec_module(twin)
    return twin


PLAIN, PLAIN_BELIEVER = interpreted(probe, siphash=interpreted(siphash)), interpreted(believer)
words = st.integers(0, 2**64 - 1)
shorts = st.integers(0, 65_535)


def story(module, inputs):
    """All that there is to know of a probe and of a quote of it."""
    key, ends, ports_and_row, (attempt, size, options), quote = inputs
    by = module.Prober(
        key,
        module.Payloads(ROWS, [[row] for row in range(len(ROWS))]),
        [ends[:2]],
        first_port=ports_and_row[0],
        ports=PORTS,
        **options,
    )
    tasks = module.Tasks(array("Q", ends[2:3]), array("Q", ends[3:4]), *(array("H", [each]) for each in ports_and_row))
    packet = by.craft_one(tasks, 0, attempt=attempt, size=size, ttl=attempt % 256)
    found = module.QuotedProbe(packet[: quote["kept"]])
    for name in FIELDS[:5]:
        setattr(found, name, getattr(by, name, len(packet) - by.header + 8) ^ quote[name])
    found.source_high, found.source_low = ends[0], ends[1] ^ quote["source"]
    found.destination_high, found.destination_low = ends[2:]
    found.payload_at, found.payload_end = min(by.header, quote["kept"]), min(quote["kept"], len(packet))
    attempts = [by.find(found, tasks, 0, attempt % 4 + 1, of) for of in (size, ANY_SIZE)]
    return packet, attempts, by.agree, by.shared, by.disagree, by.changed, by.port_for(ends[2:], attempt)


spoils = st.sampled_from((0, 0, 0, 1, 0x1234))


FIELDS = "ident", "udp_length", "checksum", "source_port", "port", "source"
mapped = st.integers(0xFFFF << 32, 0xFFFF_FFFF_FFFF)
stories = st.tuples(
    st.tuples(words, words),
    st.tuples(words, words, words, words) | st.tuples(st.just(0), mapped, st.just(0), mapped),
    st.tuples(shorts, shorts, st.integers(0, len(ROWS) - 1)),
    st.tuples(
        st.integers(0, 2**31 - 1) | st.integers(0, 3),
        st.sampled_from((0, 90, 1500)),
        st.fixed_dictionaries({"label_per_flow": st.booleans()}),
    ),
    st.fixed_dictionaries({**dict.fromkeys(FIELDS, spoils), "kept": st.integers(48, 200)}),
)


@settings(max_examples=300, deadline=None)
@given(stories)
def test_both_twins_of_the_prober_agree(inputs):
    assert story(PLAIN, inputs) == story(probe, inputs)


steps = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.integers(-1, 3), st.integers(0, 64), st.integers(0, 34), st.booleans()
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=80))
def test_both_twins_of_the_believer_agree(errors):
    judges = [module.Believer(3) for module in (PLAIN_BELIEVER, believer)]
    heard = [
        [
            judge.weigh(destination, (code,), attempt, bits, shared, is_rewritten=rewritten)
            for destination, code, attempt, bits, shared, rewritten in errors
        ]
        for judge in judges
    ]
    assert heard[0] == heard[1]
    assert [judge.all_misses for judge in judges[:1]] == [judge.all_misses for judge in judges[1:]]
