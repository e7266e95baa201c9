"""Filters pass the frames that libpcap passes, and are counted where libpcap has none."""

from __future__ import annotations

import builders as b
import cypcap
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from udpprobe.capture.filter import compile_program, filter_of
from udpprobe.core.filter import Filter, packed
from udpprobe.errors import UsageError

PROFILE = examples(20)
DATAGRAMS = [b.datagram("10.0.0.1", "10.0.0.2", 4000, port, b"?") for port in (53, 123, 53, 500)]

EXPRESSIONS = [
    "",
    "udp",
    "udp port 53",
    "icmp or icmp6 or udp",
    "not port 53",
    "greater 100",
    "less 60",
    "len % 7 = 2",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[2:2] > 100",
    "ip[6:2] & 0x1fff = 0",
    "ether[0] & 1 = 1",
    "vlan and udp",
    "mpls 5 and ip",
    "pppoes and ip",
    "host 10.0.0.1",
    "net 10.0.0.0/8",
    "ip6 host 2001:db8::1",
    "portrange 50-600",
    "udp[8:4] + 5 * ip[2:2] - 3 > 77",
    "ip[0] / 4 != 3",
    "(ip[8] << 3) >> udp[1] & 15 ^ 3 = 1",
    "-ip[3:1] = 3",
    "ip[ip[3] & 7] / (ip[5] & 3) > 1",
    "ip[ip[4]:2] % (ip[5] & 3) = 1",
    "udp[ip[0]:2] < 200",
    "ip6 protochain 17",
    "ip protochain 17",
    "ip[8] << ip[9] > ip[1] >> ip[2]",
]


def passing(apply, packet, length=None, link_type=1):
    apply.load(packet)
    return bool(apply.passes(0, len(packet), len(packet) if length is None else length, link_type))


@st.composite
def packets(draw):
    """Datagrams and rubbish, some bytes of them changed."""
    source, destination = draw(st.sampled_from([("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")]))
    packet = bytearray(
        b.ethernet(b.datagram(source, destination, draw(st.sampled_from([53, 600])), 123, draw(st.binary(max_size=30))))
    )
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(packet) - 1), st.integers(0, 255)), max_size=4)):
        packet[at] = value
    return bytes(packet) if draw(st.booleans()) else draw(st.binary(max_size=80))


@pytest.mark.parametrize("expression", EXPRESSIONS)
@PROFILE
@given(packets(), st.integers(0, 100), st.integers(0, 2000), st.sampled_from([1, 12, 113]), st.binary(max_size=3))
def test_a_frame_passes_if_libpcap_lets_it_pass(expression, packet, captured, length, link_type, before):
    try:
        program = compile_program(expression, link_type)
    except UsageError:
        return
    captured = min(captured, len(packet))
    expected = program.offline_filter(cypcap.Pkthdr(0, captured, length), packet[:captured])
    apply = filter_of(expression)
    apply.load(before + packet + b"\xff" * 8)

    assert bool(expected) == bool(apply.passes(len(before), captured, length, link_type))


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [("udp port 53", [0, 2]), ("", [0, 1, 2, 3]), ("icmp", []), ("not port 53", [1, 3]), ("greater 1000", [])],
)
def test_only_frames_that_match_pass(expression, numbers):
    apply = filter_of(expression)

    assert numbers == [number for number, packet in enumerate(DATAGRAMS) if passing(apply, b.ethernet(packet))]


@pytest.mark.parametrize("link_type", [101, 228, 12, 14])
def test_raw_ip_is_filtered_under_each_of_its_link_types(link_type):
    apply = filter_of("udp port 123")

    assert [False, True] == [passing(apply, packet, link_type=link_type) for packet in DATAGRAMS[:2]]


def test_greater_compares_the_length_on_the_wire():
    apply = filter_of("greater 1000")

    assert passing(apply, b.ethernet(DATAGRAMS[0]), 1500)
    assert not passing(apply, b.ethernet(DATAGRAMS[0]))


def test_each_link_type_has_its_own_filter_program():
    apply = filter_of("udp port 53")
    frames = [(1, b.ethernet(DATAGRAMS[0])), (101, DATAGRAMS[0]), (101, b.ethernet(DATAGRAMS[0])), (1, DATAGRAMS[0])]

    assert [True, True, False, False] == [passing(apply, frame, link_type=link_type) for link_type, frame in frames]


@pytest.mark.parametrize(
    ("expression", "said"), [("udp prot 53", "syntax error"), ("host nosuchhost.invalid", "unknown host")]
)
def test_a_bad_expression_is_a_usage_error_in_one_line(expression, said):
    with pytest.raises(UsageError, match=rf"^--filter: [^\n]*{said}[^\n]*$"):
        filter_of(expression)


@pytest.mark.parametrize(("link_type", "expression"), [(65_000, "udp"), (147, "udp"), (228, "vlan 5")])
def test_frames_of_a_link_type_that_libpcap_cannot_filter_are_counted(link_type, expression):
    apply = filter_of(expression)

    assert not any(passing(apply, packet, link_type=link_type) for packet in DATAGRAMS)
    assert len(DATAGRAMS) == apply.unfilterable


PASS = (0x06, 0, 0, 1)


@pytest.mark.parametrize(
    "program",
    [
        [],
        [(0x00, 0, 0, 0)],
        [(0x15, 1, 0, 0), PASS],
        [(0x15, 0, 1, 0), PASS],
        [(0x05, 0, 0, 1), PASS],
        [(0x05, 0, 0, 0xFFFF_FFFE), PASS],
        [(0x02, 0, 0, 16), PASS],
        [(0x60, 0, 0, 16), PASS],
        [(0x34, 0, 0, 0), PASS],
        [(0x94, 0, 0, 0), PASS],
        [(0x28, 0, 0, 0xFFFF_F000), PASS],
        [(0x99, 0, 0, 0), PASS],
        [(0x8C, 0, 0, 0), PASS],
    ],
)
def test_a_program_that_jumps_out_of_bounds_is_refused(program):
    with pytest.raises(ValueError, match="filter"):
        packed(program)


def test_a_program_that_never_ends_rejects():
    apply = Filter(lambda _: [(0x05, 0, 0, 0xFFFF_FFFF), PASS])

    assert not passing(apply, b"frame")


def test_a_program_is_compiled_once():
    asked = []
    apply = Filter(lambda link_type: asked.append(link_type) or [PASS])

    assert [True] * 3 == [passing(apply, b"", link_type=link_type) for link_type in (5, 7, 5)]
    assert [5, 7] == asked


def test_an_incomplete_frame_raises():
    apply = Filter(lambda _: [(0x20, 0, 0, 0), PASS])
    apply.load(b"abc")
    with pytest.raises(IndexError):
        apply.passes(0, 100, 100, 1)


BIG = 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("operation", "a", "other", "expected"),
    [
        (0x00, BIG, 2, 1),
        (0x10, 1, 2, BIG),
        (0x20, 1 << 31, 6, 0),
        (0x20, 3, 5, 15),
        (0x30, 17, 5, 3),
        (0x40, 5, 2, 7),
        (0x50, 7, 10, 2),
        (0x60, 3, 31, 1 << 31),
        (0x60, 3, 32, 0),
        (0x70, BIG, 31, 1),
        (0x70, BIG, 32, 0),
        (0x90, 17, 5, 2),
        (0xA0, 6, 3, 5),
    ],
)
def test_arithmetic_is_that_of_32_bits(operation, a, other, expected):
    """By a constant, and by X, which comes from memory."""
    end = [(0x15, 0, 1, expected), PASS, (0x06, 0, 0, 0)]
    by_constant = [(0x00, 0, 0, a), (operation | 0x04, 0, 0, other), *end]
    by_x = [
        (0x01, 0, 0, other),
        (0x03, 0, 0, 5),
        (0x01, 0, 0, 0),
        (0x61, 0, 0, 5),
        (0x00, 0, 0, a),
        (0x02, 0, 0, 6),
        (0x00, 0, 0, 0),
        (0x60, 0, 0, 6),
        (operation | 0x0C, 0, 0, 0),
        *end,
    ]
    for program in (by_constant, by_x):
        assert passing(Filter(lambda _, program=program: program), b"")


@pytest.mark.parametrize(
    "program",
    [
        [(0x00, 0, 0, 5), (0x84, 0, 0, 0), (0x15, 0, 1, BIG - 4), PASS, (0x06, 0, 0, 0)],  # negation
        [(0x00, 0, 0, 7), (0x07, 0, 0, 0), (0x00, 0, 0, 0), (0x87, 0, 0, 0), (0x16, 0, 0, 0)],  # to X and back
        [(0x81, 0, 0, 0), (0x87, 0, 0, 0), (0x15, 0, 1, 3), PASS, (0x06, 0, 0, 0)],  # the length in X
    ],
)
def test_other_instructions_are_executed_correctly(program):
    assert passing(Filter(lambda _: program), b"abc")


@pytest.mark.parametrize("operation", [0x3C, 0x9C])
def test_a_division_by_an_x_of_0_rejects(operation):
    assert not passing(Filter(lambda _: [(0x00, 0, 0, 9), (operation, 0, 0, 0), PASS]), b"")
