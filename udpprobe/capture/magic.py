"""What a file that is no capture looks like, so that the error can say so."""

from __future__ import annotations

CONVERT = "convert it with `editcap -F pcap in out`"
CONVERT_ETHERNET = "convert it with `editcap -F pcap -T ether in out`"

LOOKS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "an ELF program",
    b"MZ": "a Windows program",
    b"SQLite format 3": "an SQLite database",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"BZh": "bzip2; unpack it first",
    b"\xfd7zXZ": "xz; unpack it first",
    b"\x04\x22\x4d\x18": "lz4; unpack it first",
    b"snoop\0\0\0": f"a snoop capture; {CONVERT}",
    b"btsnoop\0": "a Bluetooth btsnoop capture",
    b"RTSS": f"a Microsoft Network Monitor capture; {CONVERT_ETHERNET}",
    b"GMBU": f"a Microsoft Network Monitor capture; {CONVERT_ETHERNET}",
    b"TRSNIFF data": f"a Sniffer capture; {CONVERT}",
    b"XCP\0": f"a NetXRay capture; {CONVERT}",
}
"""By first bytes."""


def looks_like(head: bytes) -> str:
    """Names what `head`, the first bytes of a file, looks like."""
    known = next((name for magic, name in LOOKS.items() if head.startswith(magic)), None)
    if not head:
        known = "nothing"
    elif known is None and _is_erf(head):
        known = f"an Endace ERF capture; {CONVERT_ETHERNET}"
    elif known is None and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        known = "text"
    return f"it looks like {known}" if known else f"it begins with the bytes {head[:4].hex(' ')}"


def _is_erf(head: bytes) -> bool:
    """Whether a record of an Endace card begins the file, which has no magic: it is told by what its fields allow.

    They are the time in units of 2^-32 s (little-endian; not before 1990), type, flags, the record's length, a counter
    of losses, and the packet's length (big-endian).
    """
    seconds, kind = int.from_bytes(head[4:8], "little"), head[8:9]
    record, packet = int.from_bytes(head[10:12], "big"), int.from_bytes(head[14:16], "big")
    if len(head) < 16 or seconds < 631_152_000:
        return False
    return 1 <= kind[0] & 0x7F <= 31 and 16 < record <= packet + 64 < 1 << 16
