"""What is odd about a reported MTU, beside the datagram that was too big for it (RFC 1191; RFC 8201)."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import I64, U64
from udpprobe.core.notes import Note
from udpprobe.core.packets import FRAGMENTED, UNKNOWN_LENGTH, Errors, field

LEAST = {4: 68, 6: 1280}
"""What every link must carry, by family (RFC 791; RFC 8200, section 5)."""


def sent_length(errors: Errors, detail: U64) -> I64:
    """(n,) bytes of each datagram's IP packet: by the quote, or by the matched datagram's UDP length.

    Args:
        errors: the errors.
        detail: (n,) of the datagrams they were matched with, or of the quotes.
    """
    udp_length = field(detail, 32, 16).view(np.int64)
    header = np.where(errors.family == 4, 20, 40)
    usable = (udp_length >= 8) & (detail & FRAGMENTED == 0)
    matched = np.where(usable, udp_length + header, UNKNOWN_LENGTH)
    return np.where(errors.length < UNKNOWN_LENGTH, errors.length, matched)


def mtu_notes(errors: Errors, length: I64) -> I64:
    """(n,) bits of `Note` about each error's MTU, beside a datagram of `length` bytes."""
    mtu, least = errors.mtu, np.where(errors.family == 4, LEAST[4], LEAST[6])
    notes = np.where(mtu == 0, Note.MTU_ZERO, 0)
    notes |= np.where((mtu > 0) & (mtu < least), Note.MTU_BELOW_MINIMUM, 0)
    notes |= np.where((mtu > 0) & (mtu >= length), Note.MTU_NOT_SMALLER, 0)
    return notes
