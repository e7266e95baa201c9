"""Answers that come from another port than was asked (TFTP, RFC 1350, 4)."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import I64, U64
from udpprobe.core.keys import endpoint_key, pair_key
from udpprobe.core.lookup import Bitmap, bitmap_of, latest_before
from udpprobe.core.summaries.episodes import QUIET_FRAMES, Open

NO_PORT = np.zeros(1, np.uint64)
SOON_NS = 30 * 10**9
"""How long after a conversation began an answer from another port still belongs to it."""


def asked_key(source: U64, high: U64, low: U64) -> U64:
    """(n,) key of an endpoint, by its own key, and the host that it asks."""
    return pair_key(source, endpoint_key(high, low, NO_PORT))


def questions_of(talks: Open, asked: Bitmap, rows: I64) -> I64:
    """(n,) for each of some conversations the row of the one that it may answer; -1 for none.

    That is the one which the host it was first sent to began last, from that port and with the host that sent it.

    Args:
        talks: all conversations.
        asked: has all of their `asked`.
        rows: (n,) those that are asked about.
    """
    way, back = talks.first_direction[rows], 1 - talks.first_direction[rows]
    client = talks.to[rows, way]
    key = asked_key(client, talks.high[rows, back], talks.low[rows, back])
    found = np.full(len(rows), -1)
    maybe = np.flatnonzero(asked.has(key) & (client != talks.to[rows, back]))
    if len(maybe):
        first = talks.first[:talks.size]
        near = np.flatnonzero(bitmap_of(key[maybe]).has(talks.asked[:talks.size]))
        near = near[np.argsort(first[near], kind="stable")]
        best = latest_before(talks.asked[near], first[near], key[maybe], first[rows[maybe]])
        found[maybe] = np.where(best >= 0, near[best], -1) if len(near) else -1
    return np.where((found >= 0) & (talks.first[rows] - talks.first[found] <= QUIET_FRAMES), found, -1)


def turn_round(talks: Open, question: int, answer: int) -> int | None:
    """Let a conversation answer another if that still waits: then its requests go the other way.

    Returns:
        How long that took, in nanoseconds; None if it does not answer it.
    """
    waited_ns = int(talks.first_ns[answer] - talks.first_ns[question])
    has_turned = talks.asking[question] != talks.first_direction[question]
    if (not 0 <= waited_ns <= SOON_NS or has_turned or talks.other_port[question]
            or talks.both[question] < talks.first[answer]):
        return None
    way = talks.first_direction[answer]
    talks.other_port[question], talks.asking[answer] = talks.port[answer, 1 - way], 1 - way
    return waited_ns
