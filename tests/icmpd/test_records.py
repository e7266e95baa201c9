"""The book's record, byte for byte as its client was seen to read it."""

import errno

import pytest
from builders import datagram, error
from icmpd_world import ME, ME6, OTHER, OTHER6, SPORT, arrived, record

from udpprobe.core.verdicts import MEANINGS
from udpprobe.icmpd.records import errno_of, record_of

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
    [(error, _)] = arrived(packet)
    assert said == record_of(error, 7)


def test_a_link_local_destination_has_the_scope_of_the_interface_it_was_heard_on():
    arrivals = arrived(error(datagram("fe80::1", "fe80::2", SPORT, 9), 1, 4), error(SENT6, 1, 4), interface=7)
    scopes = [record(record_of(*each))[-1] for each in arrivals]
    assert [7, 0] == scopes


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda row: f"{row.family}-{row.type}-{row.code}")
def test_errnos_are_the_books(meaning):
    said = errno_of(meaning.family, meaning.type, max(meaning.code, 0))
    wanted = {"malformed": 0, "refused": errno.ECONNREFUSED, "too-big": errno.EMSGSIZE}
    if meaning.code >= 0:
        assert wanted.get(meaning.verdict, errno.EHOSTUNREACH) == said
    assert errno_of(6, 100, 0) == 0



def test_what_the_book_has_no_errno_for_is_no_record():
    [(malformed, _)] = arrived(error(SENT, 12, 0))
    assert record_of(malformed, 7) is None
