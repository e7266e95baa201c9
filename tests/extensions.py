"""What an ICMP error may carry behind its quote: RFC 4884's structure, objects of RFC 4950 and RFC 5837.

`padded(quote) + extension_structure(mpls_labels(16001))` is a quote for `builders.error`.
"""

from __future__ import annotations

import struct

from builders import internet_checksum, mpls, or_else, packed


def padded(quote, size=128):
    return quote + b"\0" * (size - len(quote))


def quote_length(quote, family):
    """The `rest` of an error that says how long its quote is, in words of 32 (ICMP) or 64 bits (ICMPv6)."""
    return len(quote) // 4 << 16 if family == 4 else len(quote) // 8 << 24


def extension_structure(*objects, version=2, checksum=None):
    header, body = struct.pack("!H", version << 12), b"".join(objects)
    right = internet_checksum(header + b"\0\0" + body)
    return header + struct.pack("!H", or_else(checksum, right)) + body


def extension_object(class_num, c_type, payload):
    return struct.pack("!HBB", 4 + len(payload), class_num, c_type) + payload


def mpls_labels(*labels, ttl=1):
    """RFC 4950."""
    return extension_object(1, 1, mpls(b"", *labels, ttl=ttl))


def interface_information(role=0, index=None, address=None, name=None, mtu=None):
    """RFC 5837; role 0 incoming, 1 sub-IP, 2 outgoing, 3 next hop."""
    text = b"" if name is None else name.encode()
    text += b"\0" * (-(1 + len(text)) % 4)
    parts = ((8, index, lambda: struct.pack("!I", index)),
             (4, address, lambda: struct.pack("!HH", 2 if ":" in address else 1, 0) + packed(address)),
             (2, name, lambda: bytes([1 + len(text)]) + text),
             (1, mtu, lambda: struct.pack("!I", mtu)))
    present = [(bit, build()) for bit, value, build in parts if value is not None]
    c_type = role << 6 | sum(bit for bit, _ in present)
    return extension_object(2, c_type, b"".join(part for _, part in present))
