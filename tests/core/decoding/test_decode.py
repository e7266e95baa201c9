"""The decoder: chunks of batches, whole or in pieces, common and odd frames together."""

from __future__ import annotations

from collections import Counter

import builders as b
import numpy as np
import pytest
from crafting import CLIENT, PORT, host, said, sent, told
from feeding import batch_of, repeated
from wraps import TUNNELS

from udpprobe.core.batch import PADDING_BYTES, tick
from udpprobe.core.decoding.decode import (
    CHUNK_FRAMES,
    WALKED_BYTES,
    Decoder,
    copy_frames,
    decode_odd,
    excerpt,
    join_frames,
)
from udpprobe.core.packets import FRAGMENTED, TUNNELLED

ETHERNET = 1


def decoded(*batches):
    decoder = Decoder()
    for batch in batches:
        decoder.feed(batch)
    return decoder.take()


def test_nothing_fed_is_an_empty_chunk():
    chunk = decoded()
    assert (0, 0, Counter()) == (len(chunk.datagrams), len(chunk.errors), chunk.faults)


def test_a_tick_alone_tells_the_time():
    assert 5 == decoded(tick(5)).now_ns
    assert 7 == decoded(batch_of([sent(1)], now_ns=7), batch_of([sent(1)], first=2)).now_ns


def test_datagrams_stand_in_the_order_of_frames_whichever_way_they_were_decoded():
    frames = [b.ethernet(sent(1)), b.ethernet(sent(2, 6)), b.ethernet(sent(3, options=bytes(4))),
              b.ethernet(b.qinq(sent(4)), b.QINQ_TYPE), b.ethernet(sent(5))]
    datagrams = decoded(batch_of(frames, ETHERNET)).datagrams
    assert [1, 2, 3, 4, 5] == datagrams.frame.tolist()
    assert [40001, 40002, 40003, 40004, 40005] == (datagrams.ports >> np.uint64(16)).tolist()


def test_a_tunnel_s_datagram_stands_before_the_one_inside():
    datagrams = decoded(batch_of([TUNNELS["vxlan"][1](sent(1))])).datagrams
    assert [4789, PORT] == (datagrams.ports & np.uint64(0xFFFF)).tolist()
    assert [0, int(TUNNELLED)] == (datagrams.detail & np.uint64(0xFF)).tolist()


def test_the_first_of_several_fragments_is_marked():
    frames = [b.fragments(sent(1, family, size=3000), 1448)[0] for family in (4, 6)]
    assert [int(FRAGMENTED)] * 2 == (decoded(batch_of(frames)).datagrams.detail & np.uint64(0xFF)).tolist()


def test_every_field_of_a_datagram_is_kept():
    packet = sent(1, ttl=9, id=0x4321)
    datagrams = decoded(batch_of([packet], times_ns=[77], first=5)).datagrams
    assert ([5], [77], [9], [28], [48]) == tuple(column.tolist() for column in (
        datagrams.frame, datagrams.time_ns, datagrams.ttl, datagrams.udp_length, datagrams.ip_length))
    assert [0x4321 << 32 | 28 << 16 | int.from_bytes(packet[26:28])] == (datagrams.detail >> np.uint64(16)).tolist()


def test_a_decoder_is_full_at_so_many_frames_and_empty_after_it_was_taken():
    decoder = Decoder()
    decoder.feed(repeated(sent(1), CHUNK_FRAMES - 1))
    assert not decoder.full
    decoder.feed(batch_of([sent(1)], first=CHUNK_FRAMES))
    assert decoder.full
    assert CHUNK_FRAMES == len(decoder.take().datagrams)
    assert not decoder.full
    assert 0 == len(decoder.take().datagrams)


def test_the_source_may_use_its_bytes_again():
    batch = batch_of(told(sent(1, options=bytes(4))))
    batch.data = batch.data.copy()
    decoder = Decoder()
    decoder.feed(batch)
    batch.data[:] = 0xFF
    chunk = decoder.take()
    assert (1, 1, Counter()) == (len(chunk.datagrams), len(chunk.errors), chunk.faults)


def test_a_batch_keeps_what_a_walk_needs_of_a_long_frame():
    long = b.datagram(CLIENT[4], host(1), 5000, PORT, bytes(9000), options=bytes(4))
    copied = copy_frames(batch_of([long, sent(2)]))
    assert [WALKED_BYTES, len(sent(2))] == copied.captured.tolist()
    assert [len(long), len(sent(2))] == copied.length.tolist()
    assert PADDING_BYTES == copied.data.size - copied.offset[-1] - copied.captured[-1]
    assert Counter() == decoded(batch_of([long])).faults


def test_batches_joined_are_one_batch():
    parts = [copy_frames(batch_of(frames, first=first))
             for frames, first in (([sent(1)], 1), ([sent(2), sent(3)], 2), ([b""], 4))]
    joined = join_frames(parts)
    frames = [bytes(joined.data[at:at + size]) for at, size in zip(joined.offset, joined.captured, strict=True)]
    assert [sent(1), sent(2), sent(3), b""] == frames
    assert [1, 2, 3, 4] == joined.frame.tolist()


def test_errors_can_be_kept_without_the_frames_they_came_in():
    frames = [frame for n in (1, 2, 3) for frame in told(sent(n))]
    _, errors, data, _ = decode_odd(batch_of(frames))
    kept, own = excerpt(errors, data)
    messages = [own[start:end].tobytes() for start, end in zip(kept.message, kept.message_end, strict=True)]
    assert [said(sent(n))[20:] for n in (1, 2, 3)] == messages


@pytest.mark.parametrize("link_type", [ETHERNET, 113, 276])
def test_who_sent_a_frame_is_told_by_links_that_know_it(link_type):
    wrap = {ETHERNET: b.ethernet, 113: b.sll, 276: b.sll2}[link_type]
    frames = [wrap(sent(1)), wrap(sent(1, options=bytes(4)))]
    common, odd = decoded(batch_of(frames, link_type)).datagrams.link.tolist()
    assert common == odd != 0


def test_links_that_do_not_know_it_are_mute():
    assert [0, 0] == decoded(batch_of([sent(1), sent(1, options=bytes(4))])).datagrams.link.tolist()


def test_faults_are_counted_over_all_batches():
    batches = [batch_of([b"\x45", sent(1)]), batch_of([b"\x60", b"\x10"], first=3), batch_of([b"\x45"], first=5)]
    assert {"short-ipv4": 2, "short-ipv6": 1, "bad-ip-version": 1} == decoded(*batches).faults
