"""Builders for link layers and tunnels that few captures hold; as builders.py, from the formats' own documents."""

from __future__ import annotations

import struct

import builders as b

WLAN_MACS = bytes.fromhex("020000000001 020000000002 020000000003")
FOURTH = bytes.fromhex("020000000004")
SNAP = b"\xaa\xaa\x03\0\0\0"


# ---- IEEE 802.11


def snap(packet):
    return SNAP + b.ethertype_of(packet).to_bytes(2, "big") + packet


def wlan(body, *, subtype=0, flags=1, quality=None, sequence=0x0010, control=b""):
    """A data frame. `quality` is the QoS control; `control` the HT control behind it."""
    is_quality = quality is not None
    start = bytes([0x08 | (subtype | 8 * is_quality) << 4, flags]) + b"\0\0" + WLAN_MACS
    start += struct.pack("<H", sequence) + (FOURTH if flags & 3 == 3 else b"")
    return start + (struct.pack("<H", quality) + control if is_quality else b"") + body


def msdu(packet, length=None):
    inner = snap(packet)
    start = bytes.fromhex("020000000001 020000000002") + b.or_else(length, len(inner)).to_bytes(2, "big")
    return start + inner


def amsdu(*packets, flags=1, **fields):
    """Several packets in one frame, each but the last padded to four bytes."""
    parts = [msdu(packet) for packet in packets]
    body = b"".join(part + bytes(-len(part) % 4) for part in parts[:-1]) + parts[-1]
    return wlan(body, quality=0x0080, flags=flags, **fields)


def radiotap(frame, *, present=(0,), fields=b"", version=0, length=None):
    masks = b"".join(struct.pack("<I", word | (number + 1 < len(present)) << 31) for number, word in enumerate(present))
    size = b.or_else(length, 4 + len(masks) + len(fields))
    return struct.pack("<BBH", version, 0, size) + masks + fields + frame


def with_flags(flags):
    """Radiotap's time, and its flags behind it."""
    return {"present": (3,), "fields": bytes(8) + bytes([flags])}


def padded_wlan(packet):
    """The header of 26 bytes is padded to 28 by the driver, which says so."""
    frame = wlan(b"", quality=0)
    return radiotap(frame + bytes(2) + snap(packet), **with_flags(0x20))


def ppi(frame, link_type=105, fields=b"", length=None):
    return struct.pack("<BBHI", 0, 0, b.or_else(length, 8 + len(fields)), link_type) + fields + frame


def prism(frame, order="<", length=144):
    return struct.pack(order + "II", 0x44, length) + bytes(136) + frame


def avs(frame, length=64):
    return struct.pack("!II", 0x80211001, length) + bytes(56) + frame


# ---- what hosts log


def is_six(packet):
    """Also of no packet at all."""
    return packet[:1] >= b"\x60"


def pflog(packet, size=61, family6=24):
    """A header of `size` bytes as it says, and padding up to four."""
    return (
        bytes([size, family6 if is_six(packet) else 2, 1, 0])
        + b"em0".ljust(16, b"\0")
        + bytes((size + 3 & ~3) - 20)
        + packet
    )


def old_pflog(packet):
    return bytes(28) + packet


def enc(packet, order="little"):
    return (2 if b.family_of(packet) == 4 else 24).to_bytes(4, order) + bytes(8) + packet


def pktap(frame, link_type=1, size=108, kind=1):
    start = struct.pack("<III", size, kind, link_type) + b"en0".ljust(24, b"\0")
    return start.ljust(size, b"\0") + frame


def attribute(number, value, order="<"):
    return struct.pack(order + "HH", 4 + len(value), number) + value + bytes(-len(value) % 4)


def nflog(packet, order="<", family=None, before=None):
    """The packet's hook and EtherType, the rule's prefix, the packet."""
    family = b.or_else(family, 10 if is_six(packet) else 2)
    header = struct.pack("!HBB", b.IP6_TYPE if is_six(packet) else b.IP4_TYPE, 1, 0)
    before = b.or_else(before, attribute(1, header, order) + attribute(10, b"drop: \0", order))
    return struct.pack("!BBH", family, 0, 5) + before + attribute(9, packet, order)


# ---- others


def erf(frame, kind=2, extensions=0):
    more = bytes([kind | 0x80 * (extensions > 0)])
    record = bytes(8) + more + bytes(7)
    for left in range(extensions, 0, -1):
        record += bytes([0x83 if left > 1 else 3]) + bytes(7)
    return record + (bytes(2) if kind == 2 else b"") + frame


def frame_relay(packet, address=b"\x18\x41", pad=b""):
    return address + b"\x03" + pad + (b"\xcc" if b.family_of(packet) == 4 else b"\x8e") + packet


def frame_relay_snap(packet):
    return b"\x18\x41\x03\x00\x80" + bytes(3) + b.ethertype_of(packet).to_bytes(2, "big") + packet


def frame_relay_cisco(packet):
    return b"\x18\x41" + b.ethertype_of(packet).to_bytes(2, "big") + packet


def bridged_atm(packet):
    return b"\xaa\xaa\x03\x00\x80\xc2\x00\x07\0\0" + b.ethernet(packet)


def typed(size, behind=0):
    """A link layer of so many bytes, then an EtherType, then `behind` bytes."""
    return lambda packet: bytes(size) + b.ethertype_of(packet).to_bytes(2, "big") + bytes(behind) + packet


# ---- tunnels


def erspan(frame, version=2, *, session=1, is_cut=False, frame_type=0, subheader=b""):
    """GRE and ERSPAN: `version` 1, 2 or 3 of the three types."""
    if version == 1:
        return b.gre(frame, 0x88BE)
    start = struct.pack("!HH", (version - 1) << 12 | 1, is_cut << 10 | session)
    if version == 2:
        return b.gre(start + bytes(4) + frame, 0x88BE, sequence=7)
    end = struct.pack("!IH", 6, 0) + bytes([frame_type << 2, bool(subheader)])
    return b.gre(start + end + subheader + frame, 0x22EB, sequence=7)


def etherip(frame, version=b"\x30\0"):
    return version + frame


def l2tp(packet, flags=0x0002, fields=b"\0\1\0\1"):
    return struct.pack("!H", flags) + fields + b.ppp(packet)


def gue(packet, hlen=0):
    return struct.pack("!BBH", hlen, 4 if b.family_of(packet) == 4 else 41, 0) + bytes(4 * hlen) + packet


def capwap(frame, flags=0, hlen=2, *, is_wlan=False, offset=0):
    """Flags are those of the lowest byte and F: 0x80 is F, 0x40 L, 8 K."""
    word = hlen << 19 | is_wlan << 9 | is_wlan << 8 | flags
    return struct.pack("!IHH", word, 1, offset << 3) + bytes(4 * hlen - 8) + frame


def swapped_wlan(packet):
    frame = wlan(snap(packet), quality=0)
    return frame[1::-1] + frame[2:]


def vxlan_gpe(payload, number):
    return bytes([0x0C, 0, 0, number]) + b"\0\0\x2a\0" + payload


def wireguard(kind, size):
    return bytes([kind, 0, 0, 0]) + bytes(range(1, 256))[: size - 4].ljust(size - 4, b"x")
