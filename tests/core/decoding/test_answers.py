"""What an answer carried: from a frame of any link, the first for each task."""

from __future__ import annotations

import builders as b
import numpy as np
import pytest
from feeding import RAW, batch_of
from samples import destination
from scan_setup import plan_of

from udpprobe.core.decoding.answers import EXCERPT_BYTES, FirstAnswers, data_of
from udpprobe.core.scanning.outcome import with_notes

ETHERNET, SLL, SLL2, NULL = 1, 113, 276, 0
HOST, CLIENT = "198.51.100.1", "192.0.2.1"
HOST6, CLIENT6 = "2001:db8:1::1", "2001:db8::1"


def answer(data, **fields):
    return b.datagram(HOST, CLIENT, 53, 40000, data, **fields)


def answer6(data):
    return b.datagram(HOST6, CLIENT6, 53, 40000, data)


def column(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(("link_type", "framed"), [
    (RAW, bytes), (ETHERNET, b.ethernet), (SLL, b.sll), (SLL2, b.sll2), (NULL, b.null_loop),
    (ETHERNET, lambda packet: b.ethernet(b.vlan(packet), b.VLAN_TYPE))])
@pytest.mark.parametrize("packet", [answer(b"said"), answer6(b"said"), answer(b"said", options=b"\x01" * 4),
                                    b.ipv6(HOST6, CLIENT6, b.hop_by_hop(b.udp(53, 40000, b"said")), 0)])
def test_the_data_is_found_behind_all_headers(packet, link_type, framed):
    assert [b"said"] == data_of(batch_of([framed(packet)], link_type))


def test_the_padding_of_a_short_frame_is_no_data():
    assert [b"x", b"x"] == data_of(batch_of([b.ethernet(answer(b"x")) + bytes(17),
                                             b.ethernet(b.ipv4(HOST, CLIENT, b.udp(53, 40000, b"x") + b"pad"))],
                                            ETHERNET))


@pytest.mark.parametrize("packet", [b"", answer(b"said")[:27], b.ipv4(HOST, CLIENT, b"12345678", 6),
                                    answer(b"said", length=7), answer(b"said", length=0), answer(b"")])
def test_where_there_is_no_data_there_are_no_bytes(packet):
    assert [b"", b"next"] == data_of(batch_of([packet, answer(b"next")]))


def test_what_was_cut_is_given_as_far_as_it_goes():
    assert [b"sa"] == data_of(batch_of([answer(b"said")[:30]], lengths=[32]))
    first, _ = b.fragments(answer(b"0123456789" * 2), 16)
    assert [b"01234567"] == data_of(batch_of([first]))
    assert [bytes(EXCERPT_BYTES)] == data_of(batch_of([answer(bytes(EXCERPT_BYTES + 1))]))


def test_no_frames_have_no_data():
    assert [] == data_of(batch_of([]))


def test_the_first_answer_to_each_task_is_kept():
    answers = FirstAnswers(3)
    batch = batch_of([answer(b"a"), answer(b"probe"), answer(b"b"), answer(b"again")], first=11)
    answers.take(batch, column(11, 13, 14), column(0, 2, 2))
    assert {0: b"a", 2: b"b"} == answers.data
    answers.take(batch_of([answer(b"late"), answer(b"new")], first=15), column(15, 16), column(0, 1))
    assert {0: b"a", 1: b"new", 2: b"b"} == answers.data


def test_an_answer_to_no_task_is_left_out():
    answers = FirstAnswers(1)
    answers.take(batch_of([answer(b"a")], first=1), column(1), column(-1))
    answers.take(batch_of([answer(b"b")], first=2), column(), column())
    assert {} == answers.data


def test_a_destination_gets_a_note_by_its_task():
    plan = plan_of(("198.51.100.7", 53), ("198.51.100.7", 123))
    refused, answered = (destination("198.51.100.7", port, "answered", notes=("odd",)) for port in (53, 123))
    assert [("odd",), ("odd", "answers as ntp")] == [
        each.notes for each in with_notes([refused, answered], plan, {1: "answers as ntp", 2: "of a control port"})]
