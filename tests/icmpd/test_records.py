"""The book's record, byte for byte as its client was seen to read it."""

import errno

import numpy as np
import pytest
from builders import datagram, error
from icmpd_world import ME, ME6, OTHER, OTHER6, SPORT, arrived, record

from udpprobe.core.verdicts import MEANINGS
from udpprobe.icmpd.records import errno_of, records_of

SENT, SENT6 = datagram(ME, OTHER, SPORT, 9, b"hello"), datagram(ME6, OTHER6, SPORT, 9, b"hello")
V4 = "10000000 00000000 0200 0009 0a630202"
V6 = "1c000000 00000000 0a00 0009 00000000 fd990002000000000000000000000002"


def whole(start, rest):
    given = bytes.fromhex(start + "0000" + rest)
    return given + bytes(144 - len(given))


@pytest.mark.parametrize(("packet", "said"), [
    (error(SENT, 3, 3), whole("6f0000000303", V4)),
    (error(SENT6, 1, 4), whole("6f0000000104", V6)),
    (error(SENT, 11, 0, reporter=ME), whole("710000000b00", V4)),
    (error(SENT6, 3, 0), whole("710000000300", V6)),
    (error(SENT, 3, 4, 1400), whole("5a0000000304", V4)),
    (error(SENT6, 2, 0, 1400), whole("5a0000000200", V6)),
    (error(SENT, 3, 1), whole("710000000301", V4)),
    (error(SENT6, 1, 0), whole("710000000100", V6)),
    (error(SENT, 3, 255), whole("7100000003ff", V4)),
])
def test_a_record_is_what_the_books_daemon_sent_but_for_zeros(packet, said):
    errors, _ = arrived(packet)
    assert said == records_of(errors, np.array([7])).tobytes()


def test_a_link_local_destination_has_the_scope_of_the_interface_it_was_heard_on():
    errors, _ = arrived(error(datagram("fe80::1", "fe80::2", SPORT, 9), 1, 4), error(SENT6, 1, 4))
    scopes = [record(bytes(row))[-1] for row in records_of(errors, np.array([7, 7]))]
    assert [7, 0] == scopes


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda row: f"{row.family}-{row.type}-{row.code}")
def test_errnos_are_the_books(meaning):
    said = errno_of(meaning.family, meaning.type, max(meaning.code, 0))
    wanted = {"malformed": 0, "refused": errno.ECONNREFUSED, "too-big": errno.EMSGSIZE}
    if meaning.code >= 0:
        assert wanted.get(meaning.verdict, errno.EHOSTUNREACH) == said
    assert errno_of(6, 100, 0) == 0


def test_no_errors_are_no_records():
    errors, _ = arrived(SENT)
    assert (0, 144) == records_of(errors, np.empty(0, np.int64)).shape
