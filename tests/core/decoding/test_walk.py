"""Walking headers: a step takes all packets of a kind; what is short or wrong ends with a fault by name."""

from __future__ import annotations

from collections import Counter

import numpy as np

from udpprobe.core.decoding.walk import FAULTY, MAX_LAYERS, Walk

A, B, C = 1, 2, 3


def walk_of(data, kinds, *, cut=None):
    """A packet a byte string, each with what stands at its start."""
    sizes = np.array([len(each) for each in data], np.int64)
    start = np.cumsum(sizes) - sizes
    bytes_ = np.frombuffer(b"".join(data) + bytes(128), np.uint8)
    return Walk(bytes_, start, start + sizes, np.array(kinds, np.int64),
                cut=np.zeros(len(data), np.bool_) if cut is None else np.array(cut))


def rows(*numbers):
    return np.array(numbers, np.int64)


def test_fields_are_read_big_endian_at_the_cursor():
    walk = walk_of([bytes(range(1, 17)), bytes(range(101, 117))], [A, A])
    walk.skip(rows(1), 2, A)
    assert [1, 103] == walk.u8(rows(0, 1)).tolist()
    assert [0x0203, 0x6869] == walk.u16(rows(0, 1), 1).tolist()
    assert [0x01020304, 0x6768696A] == walk.u32(rows(0, 1)).tolist()
    assert [0x0102030405060708] == walk.u64(rows(0)).tolist()


def test_a_step_takes_all_packets_of_a_kind():
    seen = []

    def handler(walk, some):
        seen.append(some.tolist())
        walk.skip(some, 1, B)
    walk = walk_of([b"xx"] * 3, [A, C, A])
    walk.run({A: handler}, rows(0, 1, 2))
    assert [[0, 2]] == seen
    assert [B, C, B] == walk.kind.tolist()


def test_what_a_handler_does_not_pass_on_ends_there():
    walk = walk_of([b"xx"] * 2, [A, A])
    walk.run({A: lambda walk, some: walk.skip(some[:1], 1, B)}, rows(0, 1))
    assert [B, 0] == walk.kind.tolist()


def test_packets_that_are_not_walked_stay_where_they_are():
    walk = walk_of([b"xx"] * 2, [A, A])
    walk.run({A: lambda walk, some: walk.skip(some, 1, B)}, rows(1))
    assert ([A, B], [0, 3]) == (walk.kind.tolist(), walk.cursor.tolist())


def test_a_packet_that_goes_on_for_ever_is_stopped():
    steps = []

    def again(walk, some):
        steps.append(1)
        walk.kind[some] = A
    walk = walk_of([b"xx"], [A])
    walk.run({A: again}, rows(0))
    assert (MAX_LAYERS, Counter({"too-many-headers": 1})) == (len(steps), walk.fault_counts())


def test_what_is_not_there_is_short_or_cut():
    walk = walk_of([b"xxxx", b"x", b"x"], [A] * 3, cut=[False, False, True])
    assert [True, False, False] == walk.need(rows(0, 1, 2), 2, "thing").tolist()
    assert {"short-thing": 1, "cut-thing": 1} == walk.fault_counts()
    assert [A, FAULTY, FAULTY] == walk.kind.tolist()


def test_a_size_may_differ_by_packet():
    walk = walk_of([b"xxxx", b"xxxx"], [A, A])
    assert [True, False] == walk.need(rows(0, 1), rows(4, 5), "thing").tolist()


def test_what_is_wrong_is_a_fault_by_name():
    walk = walk_of([b"x"] * 3, [A] * 3)
    assert [True, False, False] == walk.check(rows(0, 1, 2), np.array([True, False, False]), "bad-thing").tolist()
    walk.fail(rows(), "never")
    assert {"bad-thing": 2} == walk.fault_counts()


def test_packets_that_fail_alike_at_different_steps_are_one_fault():
    walk = walk_of([b"x"] * 3, [A] * 3)
    for row in (0, 2):
        walk.fail(rows(row), "bad-thing")
    assert {"bad-thing": 2} == walk.fault_counts()


def test_packets_without_a_fault_are_not_counted():
    assert Counter() == walk_of([b"x"], [A]).fault_counts()
