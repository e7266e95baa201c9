"""Many records at once are told as one by one."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from samples import ANSWERED, EVENT, EVENT_V6, LONE, LONG_V6, LOOP, REFUSED, TOO_BIG, UNREACHABLE_V6, report

from udpprobe.core.model import Destination, Finding, Loop, Spread
from udpprobe.core.verdicts import VERDICTS, meaning_of
from udpprobe.reports import machine
from udpprobe.reports.bulk import CHUNK, chunks, objects
from udpprobe.reports.plain import plain, report_object

WORDS = st.sampled_from(["", '100 %s "quoted"', "caf\udce9\x1b", LONG_V6]) | st.text()
COUNTS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 4 * 10**18)
SPREADS = st.none() | st.builds(Spread, *[st.floats(0, 1e9)] * 3)
NOTES = st.lists(WORDS, max_size=2).map(tuple)
FINDINGS = st.builds(
    Finding, verdict=st.none() | st.sampled_from(VERDICTS), errno=st.none() | WORDS,
    linux=st.sampled_from([None, meaning_of(4, 3, 3).linux]), family=st.sampled_from([4, 6]),
    icmp_type=st.none() | COUNTS, icmp_code=st.none() | COUNTS, reason=WORDS, reporter=st.none() | WORDS, count=COUNTS,
    first_time_ns=TIMES, last_time_ns=TIMES, mtu=st.none() | COUNTS, match=WORDS, rtt_ms=SPREADS,
    loop=st.none() | st.builds(Loop, NOTES, st.none() | COUNTS), notes=NOTES)
DESTINATIONS = st.builds(
    Destination, address=WORDS, port=st.none() | COUNTS, verdict=WORDS, errno=st.none() | WORDS,
    meaning=st.none() | WORDS, sent=COUNTS, sent_bytes=COUNTS, answered=COUNTS, errors=COUNTS, rtt_ms=SPREADS,
    findings=st.lists(FINDINGS, max_size=3).map(tuple), notes=NOTES, source=st.none() | WORDS,
    source_port=st.none() | COUNTS)


@given(st.lists(DESTINATIONS, min_size=1, max_size=5))
def test_many_destinations_are_told_as_each_alone(destinations):
    assert [json.dumps(plain(each)) for each in destinations] == objects(destinations)


def test_nested_lists_and_truths_are_told_too():
    assert [json.dumps(plain(each)) for each in (EVENT, EVENT_V6)] == objects([EVENT, EVENT_V6])
    source = report().source
    assert [json.dumps(plain(source))] == objects([source])


def test_nothing_is_lost_between_chunks():
    many = [replace(ANSWERED, port=port) for port in range(2 * CHUNK + 1)]
    assert [json.dumps(plain(each)) for each in many] == [text for texts in chunks(many) for text in texts]
    assert [] == list(chunks([]))


def test_a_report_in_pieces_is_the_whole_report():
    told = report(REFUSED, TOO_BIG, LOOP, ANSWERED, UNREACHABLE_V6, unmatched=[LONE, LONE], faults={"truncated": 3})
    for each in (told, report(), report(REFUSED), report(unmatched=[LONE])):
        members = report_object(each)
        text = "".join(machine.report_json(each, 80))
        assert members == json.loads(text)
        assert list(members) == list(json.loads(text))
        lines = [line.removesuffix(",") for line in text.splitlines() if line.startswith('{"address"')]
        assert [json.dumps(one) for one in (*members["destinations"], *members["unmatched"])] == lines
