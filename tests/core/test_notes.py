"""What is odd about an error, in words."""

from __future__ import annotations

import pytest

from udpprobe.core.notes import TEXTS, Note, plateau_below, texts_of


@pytest.mark.parametrize(
    ("length", "plateau"),
    [
        (65536, 65535),
        (65535, 32000),
        (1500, 1492),
        (1492, 1006),
        (1006, 508),
        (297, 296),
        (296, 68),
        (69, 68),
        (68, 68),
        (0, 68),
    ],
)
def test_the_estimate_is_rfc_1191_s_next_plateau_below_the_datagram(length, plateau):
    assert plateau == plateau_below(length)


def test_notes_have_a_fixed_order():
    bits = Note.TUNNELLED | Note.BAD_ICMP_CHECKSUM
    assert (TEXTS[Note.BAD_ICMP_CHECKSUM], TEXTS[Note.TUNNELLED]) == texts_of(int(bits), 1500)


def test_the_estimate_is_in_its_note():
    assert ("the router reports no MTU; RFC 1191's next plateau is 1492",) == texts_of(int(Note.MTU_ZERO), 1500)


def test_no_notes_and_missing_fields_have_no_words():
    assert () == texts_of(0, 0)
    assert () == texts_of(int(Note.NO_LENGTH | Note.NO_CHECKSUM), 0)


def test_no_two_notes_share_a_bit():
    assert len(Note) == sum(Note).bit_count()
