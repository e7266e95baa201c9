"""The Internet checksum of many messages at once, against one at a time."""

from __future__ import annotations

from ipaddress import ip_address

import builders as b
import numpy as np
import pytest

from udpprobe.core.checksum import address_sums, adds_up, word_sums

MESSAGES = [b"", b"\x01", b"\x01\x02", b"odd", bytes(range(256)), b"\xff" * 65535, b"\0" * 7, b"\xff\xff"]


def folded(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_sums_of_messages_are_those_of_each():
    data = np.frombuffer(b"".join(MESSAGES), np.uint8)
    ends = np.cumsum([len(message) for message in MESSAGES])
    sums = word_sums(data, ends - [len(message) for message in MESSAGES], ends)
    assert [0xFFFF ^ b.internet_checksum(message) for message in MESSAGES] == [folded(each) for each in sums.tolist()]


def test_no_messages_have_no_sums():
    none = np.empty(0, np.int64)
    assert [] == word_sums(np.zeros(9, np.uint8), none, none).tolist()


def test_messages_may_overlap_and_leave_gaps():
    data = np.frombuffer(b"abcdef", np.uint8)
    assert [0x6162 + 0x6364, 0x6263, 0x6600] == word_sums(data, np.array([0, 1, 5]), np.array([4, 3, 6])).tolist()


@pytest.mark.parametrize("address", ["2001:db8:1:2:3:4:5:6", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
def test_an_address_s_sum_is_that_of_its_words(address):
    packed = ip_address(address).packed
    high, low = (np.array([int.from_bytes(half)], np.uint64) for half in (packed[:8], packed[8:]))
    assert [sum(int.from_bytes(packed[at:at + 2]) for at in range(0, 16, 2))] == address_sums(high, low).tolist()


@pytest.mark.parametrize(("total", "right"), [
    (0xFFFF, True), (0x1FFFE, True), (0xFFFF_0000, True), (0xFFFE_0001, True), (0xFFFF_FFFF, True),
    (0, False), (0xFFFE, False), (0x10000, False), (0xFFFE_FFFF, False),
])
def test_it_adds_up_when_it_folds_to_all_ones(total, right):
    assert right == (folded(total) == 0xFFFF)
    assert [right] == adds_up(np.array([total])).tolist()
