"""Families of addresses that are made to be confused: no two endpoints ever are, whatever the secret.

Each endpoint is asked so often that no other one is. Whoever is taken for another has another's count.
"""

from __future__ import annotations

import random

import builders as b
import pytest
from following import analyzer_of, frames_of, story_of_analyzer

from udpprobe.core.table import Table, secret_words

SECRETS = (0, 1, 0x9E3779B97F4A7C15, (1 << 64) - 1, 1 << 63)
CLIENT = "2001:db8::1"
TOP = 1 << 63
GOLDEN, MIXED, OTHER = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1


def in_ipv6(high, low):
    digits = f"{high & MASK:016x}{low & MASK:016x}"
    return ":".join(digits[at : at + 4] for at in range(0, 32, 4))


FAMILIES = {
    "top bits": [
        (high, low) for high in (0x2001 << 48, 0x2001 << 48 | 1 << 47, 0xA001 << 48) for low in (1, TOP | 1, TOP)
    ],
    "one bit each": [(0x2001 << 48 | 1 << bit, 1) for bit in range(48)]
    + [(0x2001 << 48, 1 << bit) for bit in range(64)],
    "halves exchanged": [(0x2001 << 48 | 5, 0x2001 << 48 | 6), (0x2001 << 48 | 6, 0x2001 << 48 | 5)],
    "undone by known factors": [
        (0x2001 << 48 | at, -at * factor & MASK)
        for factor in (GOLDEN, MIXED, OTHER, pow(GOLDEN, -1, 1 << 64), pow(MIXED, -1, 1 << 64))
        for at in range(1, 12)
    ],
    "upper half in the lower": [(0x2001 << 48 | at, at << 32 | at) for at in range(64)],
    "mapped and compatible": [(0, 0xFFFF_C633_6400 + at) for at in range(4)]
    + [(0, 0xC633_6400 + at) for at in range(4)]
    + [(0x0064_FF9B << 32, 0xC633_6400 + at) for at in range(4)],
    "consecutive": [(0x2001 << 48, at) for at in range(300)],
    "strided": [(0x2001 << 48, at << 40) for at in range(300)],
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", FAMILIES)
def test_similar_addresses_are_never_counted_as_one(name, secret):
    family = [in_ipv6(*each) for each in FAMILIES[name]]
    asked = {}
    packets = []
    for number, address in enumerate(family):
        for port in (53, 53 ^ 0x8000):
            asked[address, port] = number % 5 + 1 + (port > 99)
            packets += [b.datagram(CLIENT, address, 4000, port, bytes([n])) for n in range(asked[address, port])]
    random.Random(secret).shuffle(packets)
    found = story_of_analyzer(analyzer_of(frames_of(packets), secret=secret)).destinations
    assert len(asked) == len(found)
    assert {(b.packed(address), port): count for (address, port), count in asked.items()} == {
        (mapped(each.address), each.port): each.sent for each in found
    }


def mapped(address):
    return b.packed(address) if ":" in address else bytes(10) + b"\xff\xff" + b.packed(address)


@pytest.mark.parametrize("name", FAMILIES)
def test_differing_ports_and_addresses_do_not_cancel_out(name):
    """Errors find the datagram of their own conversation, though others differ by a port and half an address."""
    family = [in_ipv6(*each) for each in FAMILIES[name]][:100]
    packets = [
        b.datagram(CLIENT, address, 4000 + at % 2, 53 + at % 3, b"same data") for at, address in enumerate(family)
    ]
    errors = [b.port_unreachable(packet, "2001:db8:ff::1") for packet in reversed(packets)]
    story = story_of_analyzer(analyzer_of(frames_of([*packets, *errors])))
    assert [("exact", len(family) - at) for at in range(len(family))] == story.matches


# ---- the table itself


@pytest.mark.parametrize("secret", SECRETS)
def test_a_table_finds_each_of_many_keys_and_no_other(secret):
    table, choose = Table(4, 3, secret_words(secret)), random.Random(secret)
    words = [0, 1, TOP, TOP | 1, MASK, GOLDEN, 1 << 32, 0xFFFF_FFFF]
    keys = {tuple(choose.choice(words) for _ in range(3)) for _ in range(2000)}
    rows = {key: table.add_key(key) for key in keys}
    assert sorted(rows.values()) == list(range(len(keys))) == list(range(table.size))
    assert all(table.row_of(key) == row for key, row in rows.items())
    assert -1 == table.row_of((2, 2, 2))


def test_a_table_renumbers_the_rows_it_keeps():
    table = Table(2, 1, secret_words(1))
    for key in range(1000):
        row = table.add_key([key])
        table.words[2 * row + 1] = key * key
    table.keep(range(0, 1000, 3))
    assert [table.row_of([key]) for key in (0, 1, 2, 3, 999)] == [0, -1, -1, 1, 333]
    assert [table.words[2 * row + 1] for row in (0, 1, 333)] == [0, 9, 999 * 999]
    assert 334 == table.add_key([1])
    assert 0 == table.words[2 * 334 + 1]
