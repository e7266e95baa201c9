"""The one path: batches in, a summary at the end, errors told as they become known."""

from __future__ import annotations

import builders as b
import pytest
from crafting import sent, told
from feeding import EVERYTHING, batch_of, repeated, story_of

from udpprobe.core.batch import tick
from udpprobe.core.decoding.decode import CHUNK_FRAMES
from udpprobe.core.following.events import events_of
from udpprobe.core.following.pipeline import DIGESTED_ROWS, MOST_PENDING, Pipeline
from udpprobe.core.summaries.conclude import conclude

FRAMES = [frame for n in range(1, 4) for frame in told(sent(n))]


def told_by(known):
    """Frames of the errors that became known."""
    return [frame for resolved in known for frame in resolved.errors.frame.tolist()]


def test_a_batch_alone_tells_nothing_and_a_tick_tells_all():
    pipeline = Pipeline()
    assert [] == pipeline.feed(batch_of(FRAMES))
    assert [2, 4, 6] == told_by(pipeline.feed(tick(1)))
    assert [] == pipeline.feed(tick(2))
    assert [] == pipeline.finish()


def test_the_end_tells_all():
    pipeline = Pipeline()
    pipeline.feed(batch_of(FRAMES))
    assert [2, 4, 6] == told_by(pipeline.finish())


def test_messages_are_kept_only_when_asked_for_and_change_no_report():
    pipeline = Pipeline(keep_messages=False)
    pipeline.feed(batch_of(FRAMES))
    (resolved,) = pipeline.finish()
    assert 0 == len(resolved.data)
    assert story_of(FRAMES).destinations == conclude(pipeline.summary, EVERYTHING)[0]


def test_slices_of_what_became_known_are_in_order_and_have_their_own_messages():
    pipeline, many = Pipeline(keep_messages=True), [*FRAMES, *told(sent(4, 6))]
    pipeline.feed(batch_of(many))
    (resolved,) = pipeline.finish()
    slices = list(resolved.slices(3))
    frames = [some.errors.frame.tolist() for some in slices]
    events = [event for some in slices for event in events_of(some, pipeline.summary, 32)]

    assert [[2, 4, 6], [8]] == frames
    assert len(resolved.data) > max(len(some.data) for some in slices)
    assert events_of(resolved, pipeline.summary, 32) == events


@pytest.mark.slow
def test_very_many_errors_do_not_wait_for_the_end():
    pipeline = Pipeline()
    error = b.port_unreachable(sent(1))
    assert [] == pipeline.feed(repeated(error, CHUNK_FRAMES - 1))
    assert MOST_PENDING == len(told_by(pipeline.feed(repeated(error, 1, first=CHUNK_FRAMES))))


def test_a_full_chunk_alone_tells_nothing_yet():
    pipeline = Pipeline()
    assert [] == pipeline.feed(repeated(sent(1), CHUNK_FRAMES))
    assert CHUNK_FRAMES == pipeline.summary.packets


def test_datagrams_are_counted_beyond_what_is_digested_at_a_time():
    pipeline = Pipeline()
    spread = repeated(sent(1, id=0), 2 * DIGESTED_ROWS + 1)
    spread.time_ns = spread.time_ns * 10**6
    pipeline.feed(spread)
    pipeline.finish()
    ((destination,), _) = conclude(pipeline.summary, EVERYTHING)
    assert (2 * DIGESTED_ROWS + 1, 48 * (2 * DIGESTED_ROWS + 1)) == (destination.sent, destination.sent_bytes)


def test_who_wants_to_gets_all_datagrams_copies_too():
    heard = []
    pipeline = Pipeline(on_datagrams=lambda datagrams: heard.extend(datagrams.frame.tolist()))
    pipeline.feed(batch_of([*FRAMES, FRAMES[0]], times_ns=[0] * 7))
    pipeline.finish()
    assert [1, 3, 5, 7] == heard
