"""What a file that is no capture looks like, so that the error can say so."""

from __future__ import annotations

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
    b"snoop\0\0\0": "a snoop capture; convert it with editcap",
    b"btsnoop\0": "a Bluetooth btsnoop capture",
    b"RTSS": "a Network Monitor capture; convert it with editcap",
    b"GMBU": "a Network Monitor capture; convert it with editcap",
    b"TRSNIFF data": "a Sniffer capture; convert it with editcap",
    b"XCP\0": "a NetXRay capture; convert it with editcap",
}
"""By first bytes."""


def looks_like(head: bytes) -> str:
    """Names what `head`, the first bytes of a file, looks like."""
    known = next((name for magic, name in LOOKS.items() if head.startswith(magic)), None)
    if not head:
        known = "nothing"
    elif known is None and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        known = "text"
    return f"it looks like {known}" if known else f"it begins with the bytes {head[:4].hex(' ')}"
