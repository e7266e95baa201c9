"""What a live capture hears."""

from __future__ import annotations

import time

PATIENCE_S = 20
LINK_BYTES = {1: 14, 101: 0}
HEADERS_BYTES = {4: 28, 6: 48}


def heard(capture, at_least=1, *, for_s=0.15):
    """So many frames, and those that come behind them until nothing does for a while."""
    rows, end_s = [], time.monotonic() + PATIENCE_S
    while (found := capture.receive(for_s)) or (len(rows) < at_least and time.monotonic() < end_s):
        rows += found.frames
    return rows


def packet_of(row):
    return row.data[LINK_BYTES[row.link_type]:]


def payload_of(row):
    packet = packet_of(row)
    return packet[HEADERS_BYTES[packet[0] >> 4]:]


def is_error(row):
    packet = packet_of(row)
    return packet[9 if packet[0] >> 4 == 4 else 6] in {1, 58}
