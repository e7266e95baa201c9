"""What is odd about a reported MTU, beside the datagram that was too big for it (RFC 1191; RFC 8201)."""

from __future__ import annotations

from udpprobe.core.notes import Note

LEAST = {4: 68, 6: 1280}
"""What every link must carry, by family (RFC 791; RFC 8200, section 5)."""

NOTHING = Note(0)
"""To make one of these takes a microsecond."""


def mtu_notes(family: int, mtu: int, length: int) -> Note:
    """What is odd about the MTU that an error reports.

    Args:
        family: 4 or 6.
        mtu: what it says; negative where it says nothing.
        length: bytes of the packet that was too big, or UNKNOWN_LENGTH.
    """
    if mtu < 0:
        return NOTHING
    if mtu == 0:
        return Note.MTU_ZERO
    notes = Note.MTU_BELOW_MINIMUM if mtu < LEAST[family] else NOTHING
    return notes | Note.MTU_NOT_SMALLER if mtu >= length else notes
