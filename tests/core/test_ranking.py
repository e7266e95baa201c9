"""Whom a report is about, in order."""

from __future__ import annotations

from ipaddress import ip_address

import builders as b
from builders import CLIENT, sent, with_refusal
from following import EVERYTHING, analyzer_of, frames_of, story_of
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from udpprobe.core import destinations
from udpprobe.core.model import Destination
from udpprobe.core.verdicts import VERDICTS
from udpprobe.report import Question, conclude

ALIKE = [
    "10.0.0.1",
    "10.0.0.10",
    "10.0.0.2",
    "100.0.0.1",
    "1.0.0.1",
    "255.255.255.255",
    "10::",
    "10::1",
    "100::",
    "::1",
    "1::",
    "10:0:0:1::",
    "2001:db8::a",
    "2001:db8::1:a",
    "2001:db8:1:2:3:4:5:6",
    "2001:db8:1111:2222:3333:4444:5555:6",
]
# An IPv4-mapped IPv6 address is shown as the IPv4 one.
unmapped = st.ip_addresses().filter(lambda address: getattr(address, "ipv4_mapped", None) is None)
addresses = st.sampled_from(ALIKE) | unmapped.map(str)


def key(found):
    """What a report is sorted by, of a row of it."""
    source = (found.source.encode() + b"\0", found.source_port) if found.source else ()
    return (
        VERDICTS.index(found.verdict),
        -found.errors,
        -found.sent,
        found.address.encode() + b"\0",
        found.port,
        *source,
    )


@examples(50)
@given(
    st.lists(st.tuples(addresses, st.integers(1, 300), st.integers(1, 3), st.integers(0, 2)), max_size=40),
    st.sampled_from(("destination", "flow")),
)
def test_equal_destinations_are_sorted_by_their_text(asked, by):
    packets = []
    for address, port, count, refused in asked:
        family = ip_address(address).version
        made = [b.datagram(CLIENT[family], address, 40000 + count, port, b"0123456789") for _ in range(count)]
        packets += [*made, *(b.port_unreachable(each) for each in made[:refused])]
    rows = story_of(packets, question=Question(32, True, by)).destinations
    assert {(address, port) for address, port, *_ in asked} == {(each.address, each.port) for each in rows}
    assert sorted(rows, key=key) == list(rows)


def test_a_row_is_made_only_on_demand(monkeypatch):
    made = []
    monkeypatch.setattr(destinations, "Destination", lambda **fields: made.append(fields) or Destination(**fields))
    packets = [b.datagram(CLIENT[4], f"198.51.100.{n}", 40000, 53, b"?") for n in range(1, 200)]
    rows = conclude(analyzer_of(frames_of(packets)), EVERYTHING)[0]
    assert (199, []) == (len(rows), made)
    assert ["198.51.100.1", "198.51.100.10"] == [each.address for each in rows[:2]]
    assert 2 == len(made)


def test_closing_an_analyzer_gives_the_same_report_and_frees_conversations():
    analyzer = analyzer_of(frames_of([packet for n in range(1, 100) for packet in with_refusal(sent(n))]))
    before = [*map(tuple, conclude(analyzer, EVERYTHING))]
    assert before == [*map(tuple, conclude(analyzer, EVERYTHING, is_final=True))]
    assert 0 == analyzer.conversations.table.size
