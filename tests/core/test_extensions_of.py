"""ICMP extensions (RFC 4884): labels, interfaces, others by number; and padding that is none."""

from __future__ import annotations

import builders as b
import pytest

from udpprobe.core.extensions import extensions_of
from udpprobe.core.notes import Note

QUOTE = b.padded(b"quote")
LABELS = b.mpls_labels(16001, 16002, ttl=3)
TOLD_LABELS = {
    "class": 1,
    "type": 1,
    "mpls": [
        {"label": 16001, "traffic_class": 0, "bottom": 0, "ttl": 3},
        {"label": 16002, "traffic_class": 0, "bottom": 1, "ttl": 3},
    ],
}


def message(structure, family=4, *, declared=True, icmp_type=None):
    """A time exceeded with a quote of 128 bytes and an extension behind it."""
    kind = icmp_type if icmp_type is not None else {4: 11, 6: 3}[family]
    rest = b.quote_length(QUOTE, family) if declared else 0
    return bytes([kind, 0, 0, 0]) + rest.to_bytes(4, "big") + QUOTE + structure


def objects_of(*objects, **fields):
    """Objects as told; the extension is as it should be."""
    told, note = extensions_of(message(b.extension_structure(*objects), **fields), fields.get("family", 4))
    assert Note(0) == note
    return told


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("declared", [True, False])
def test_labels_are_reported_top_first(family, declared):
    assert (TOLD_LABELS,) == objects_of(LABELS, family=family, declared=declared)


def test_a_truncated_label_entry_is_left_out():
    assert ({"class": 1, "type": 1, "mpls": []},) == objects_of(b.extension_object(1, 1, b"\1\2\3"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"role": 0}, {"role": "incoming"}),
        ({"role": 1, "index": 3}, {"role": "sub-ip", "index": 3}),
        ({"role": 2, "address": "203.0.113.1"}, {"role": "outgoing", "address": "203.0.113.1"}),
        ({"role": 3, "address": "2001:db8::1"}, {"role": "next-hop", "address": "2001:db8::1"}),
        ({"role": 0, "name": "ge-0/0/1"}, {"role": "incoming", "name": "ge-0/0/1"}),
        ({"role": 0, "mtu": 1500}, {"role": "incoming", "mtu": 1500}),
        (
            {"role": 0, "index": 3, "address": "203.0.113.1", "name": "lo", "mtu": 9000},
            {"role": "incoming", "index": 3, "address": "203.0.113.1", "name": "lo", "mtu": 9000},
        ),
    ],
)
def test_an_interface_has_the_fields_that_its_bits_announce(fields, told):
    (found,) = objects_of(b.interface_information(**fields))
    assert told == found["interface"]


@pytest.mark.parametrize(
    ("c_type", "payload", "told"),
    [
        (8, b"\0\0", {"role": "incoming"}),
        (4, b"\0\1\0\0\x0a", {"role": "incoming"}),
        (4, b"\0\7\0\0" + bytes(16), {"role": "incoming"}),
        (4, b"", {"role": "incoming"}),
        (2, b"", {"role": "incoming", "name": ""}),
        (2, b"\0", {"role": "incoming", "name": ""}),
        (2, b"\x0aabc", {"role": "incoming", "name": "abc"}),
        (2, b"\x04\xff\xfe\0", {"role": "incoming", "name": "��"}),
        (1, b"\0\0\5", {"role": "incoming"}),
        (15, b"", {"role": "incoming", "name": ""}),
    ],
)
def test_a_truncated_interface_is_read_as_far_as_it_goes(c_type, payload, told):
    (found,) = objects_of(b.extension_object(2, c_type, payload))
    assert told == found["interface"]


@pytest.mark.parametrize(("number", "c_type"), [(1, 2), (3, 1), (247, 9)])
def test_an_unknown_object_is_reported_by_number(number, c_type):
    assert ({"class": number, "type": c_type, "data": "beef"},) == objects_of(
        b.extension_object(number, c_type, b"\xbe\xef")
    )


def test_several_objects_are_reported_in_order():
    found = objects_of(LABELS, b.extension_object(3, 1, b"x"), b.interface_information(0, 3))
    assert [1, 3, 2] == [each["class"] for each in found]


def test_a_structure_without_objects_is_an_empty_extension():
    assert () == objects_of()


def test_a_checksum_over_an_odd_number_of_bytes_is_verified():
    assert ({"class": 9, "type": 9, "data": "01"},) == objects_of(b.extension_object(9, 9, b"\1"))


def test_a_checksum_of_zero_means_none():
    assert ((TOLD_LABELS,), Note(0)) == extensions_of(message(b.extension_structure(LABELS, checksum=0)), 4)


@pytest.mark.parametrize(
    "structure",
    [
        b.extension_structure(LABELS, checksum=0x1234),
        b.extension_structure(LABELS + b"\0\3\1\1"),  # an object shorter than its own header
        b.extension_structure(LABELS + b"\0\x40\1\1"),  # one that reaches beyond the end
        b.extension_structure(LABELS + b"\0\x08"),  # the rest of one
    ],
)
def test_an_extension_with_a_wrong_checksum_is_noted(structure):
    assert ((TOLD_LABELS,), Note.BAD_EXTENSION) == extensions_of(message(structure), 4)


@pytest.mark.parametrize("structure", [bytes(16), b.extension_structure(LABELS, version=1)])
def test_padding_after_a_declared_quote_is_not_an_extension(structure):
    assert (None, Note.NO_EXTENSION) == extensions_of(message(structure), 4)


@pytest.mark.parametrize(
    "structure",
    [
        b"",
        b"\x20\0\0",
        bytes(16),
        b"0123456789",
        b.extension_structure(LABELS, checksum=0x1234),
    ],
)
def test_without_a_length_field_byte_128_needs_a_correct_checksum(structure):
    assert (None, Note(0)) == extensions_of(message(structure, declared=False), 4)


@pytest.mark.parametrize(
    ("family", "icmp_type", "can"),
    [
        (4, 3, True),
        (4, 11, True),
        (4, 12, True),
        (4, 4, False),
        (6, 1, True),
        (6, 3, True),
        (6, 2, False),
        (6, 4, False),
    ],
)
def test_only_some_messages_can_be_extended(family, icmp_type, can):
    found, note = extensions_of(message(b.extension_structure(LABELS), family, icmp_type=icmp_type), family)
    assert ((TOLD_LABELS,) if can else None, Note(0)) == (found, note)


@pytest.mark.parametrize("family", [4, 6])
def test_a_message_cut_anywhere_is_read_as_far_as_it_goes(family):
    whole = message(b.extension_structure(LABELS, b.interface_information(0, 3, "203.0.113.1", "lo")), family)
    for size in range(8, len(whole)):
        found, _ = extensions_of(whole[:size], family)
        assert found is None or len(found) < 2


def test_a_length_field_beyond_the_message_is_not_believed():
    cut = bytes([11, 0, 0, 0, 0, 200, 0, 0]) + QUOTE + b.extension_structure(LABELS)
    assert ((TOLD_LABELS,), Note(0)) == extensions_of(cut, 4)
