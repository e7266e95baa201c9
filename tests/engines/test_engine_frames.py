"""Made-up packets: the core reads them as it reads real ones."""

from __future__ import annotations

from ipaddress import ip_address

import builders as b
import pytest
from crafting import CLIENT, PORT, PORT_UNREACHABLE, ROUTER, host, sent
from feeding import story_of

from udpprobe.engines.frames import MOST_CAPTURED, Tape, answer, error

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def packed(address):
    return ip_address(address).packed


@FAMILIES
@pytest.mark.parametrize("data", [b"", b"odd", b"even"])
def test_an_answer_is_the_packet_that_others_build(family, data):
    ours = answer(packed(host(1, family)), packed(CLIENT[family]), (PORT, 40001), data)
    fields = {"id": 0, "df": True} if family == 4 else {}
    assert b.datagram(host(1, family), CLIENT[family], PORT, 40001, data, **fields) == ours


@FAMILIES
@pytest.mark.parametrize("size", [0, 10, 1400])
def test_an_error_is_the_packet_that_others_build(family, size):
    datagram = sent(1, family, size)
    kind = {4: (3, 4), 6: (2, 0)}[family]
    fields = {"id": 0, "df": True} if family == 4 else {}
    assert b.error(datagram, *kind, 1300, reporter=ROUTER[family], **fields) \
        == error(packed(ROUTER[family]), datagram, kind, 1300)


@pytest.mark.parametrize(("family", "kind", "rest"), [
    (4, (12, 0), 20 << 24), (6, (4, 0), 20), (4, (11, 0), 0), (6, (1, 4), 0), (6, (3, 0), 0)])
def test_an_errors_info_stands_where_its_type_has_it(family, kind, rest):
    packet = error(packed(ROUTER[family]), sent(1, family), kind, 20)
    assert rest.to_bytes(4) == packet[{4: 24, 6: 44}[family]:][:4]


@FAMILIES
def test_the_core_finds_the_datagram_of_a_made_error(family):
    datagram = sent(1, family)
    story = story_of([datagram, error(packed(host(1, family)), datagram, PORT_UNREACHABLE[family])])
    assert "refused" == story.only.verdict
    assert [({4: "exact", 6: "flow"}[family], 1)] == story.matches


def test_a_checksum_that_comes_out_as_none_is_sent_as_ones():
    zero_summing = next(data for data in (n.to_bytes(2) for n in range(1 << 16))
                        if answer(bytes(4), bytes(4), (1, 2), data)[26:28] == b"\xff\xff")
    assert b.internet_checksum(b.pseudo_header("0.0.0.0", "0.0.0.0", 10, b.UDP)
                               + answer(bytes(4), bytes(4), (1, 2), zero_summing)[20:]) == 0


class TestTape:
    def test_frames_come_in_the_order_of_their_times_and_are_numbered_on(self):
        tape = Tape()
        tape.add(20, b"late" * 10)
        tape.add(10, b"early" * 10)
        first = tape.until(30)
        tape.add(40, b"later" * 10)
        second = tape.until(50)
        assert ([1, 2], [10, 20], 30) == (first.frame.tolist(), first.time_ns.tolist(), first.now_ns)
        assert ([3], [40], 50) == (second.frame.tolist(), second.time_ns.tolist(), second.now_ns)
        assert b"early" == first.data[first.offset[0]:][:5].tobytes()

    def test_what_is_later_than_now_waits(self):
        tape = Tape()
        tape.add(10, b"x")
        assert 0 == len(tape.until(9))
        assert 1 == len(tape)
        assert [10] == tape.until(10).time_ns.tolist()

    def test_time_does_not_go_back(self):
        tape = Tape()
        tape.until(100)
        assert 100 == tape.until(90).now_ns

    def test_a_long_packet_is_cut_but_its_length_is_told(self):
        tape = Tape()
        tape.add(1, bytes(5000))
        batch = tape.until(1)
        assert ([MOST_CAPTURED], [5000]) == (batch.captured.tolist(), batch.length.tolist())

    def test_every_frame_has_its_padding(self):
        tape = Tape()
        tape.add(1, b"x")
        batch = tape.until(1)
        assert batch.offset[-1] + 128 <= batch.data.size
