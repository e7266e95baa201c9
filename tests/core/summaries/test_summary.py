"""What is known of a part, and that two parts' merge to that of both."""

from __future__ import annotations

from crafting import ROUTER, TIME_EXCEEDED, said, sent, told
from feeding import EVERYTHING, MS, batch_of, follow

from udpprobe.core.batch import tick
from udpprobe.core.summaries.conclude import conclude
from udpprobe.core.summaries.summary import Summary


def summary_of(*batches):
    return follow(batches).summary


def totals(summary):
    return (summary.packets, summary.bytes, summary.first_ns, summary.last_ns, summary.link_types)


def test_frames_bytes_times_and_links_are_counted():
    summary = summary_of(batch_of([sent(1), sent(2)], lengths=[100, 200]), tick(5), batch_of([b""], 1, first=9))
    assert (3, 300, 1 * MS, 9 * MS, {1, 101}) == totals(summary)


def test_several_links_in_one_batch_are_all_told():
    assert {1, 101, 113} == summary_of(batch_of([b"", b"", b""], [113, 1, 101])).link_types


def test_times_may_run_backwards():
    assert (3, 7) == totals(summary_of(batch_of([b""] * 3, times_ns=[7, 3, 5])))[2:4]


def test_nothing_seen_has_no_times():
    assert (0, 0, None, None, set()) == totals(Summary())


PARTS = [
    [batch_of(told(sent(1))), batch_of([b"\x45"], first=3)],
    [batch_of([sent(1, ttl=ttl, id=ttl) for ttl in (64, 62, 60)] + [sent(2)], first=10)],
    [batch_of([sent(3, ttl=64), said(sent(3, ttl=1), TIME_EXCEEDED, reporter=ROUTER[4])], 101, first=20)],
    [],
]


def test_parts_merge_to_the_whole_in_any_order():
    whole = summary_of(*(batch for part in PARTS for batch in part))
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        first, *rest = (summary_of(*PARTS[number]) for number in order)
        for other in rest:
            first.merge(other)
        assert totals(whole) == totals(first)
        assert whole.faults == first.faults
        assert conclude(whole, EVERYTHING) == conclude(first, EVERYTHING)
