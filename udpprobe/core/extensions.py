"""ICMP extensions (RFC 4884): MPLS labels (RFC 4950), interfaces (RFC 5837), and others by number."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from udpprobe.core.notes import Note

QUOTE_BYTES = 128
"""Where extensions start in a message without a length field (RFC 4884, section 5.5)."""

ROLES = ("incoming", "sub-ip", "outgoing", "next-hop")
"""Interface roles, RFC 5837, section 4.1."""

Objects = tuple[dict[str, Any], ...]


def extensions_of(message: bytes, family: int) -> tuple[Objects | None, Note]:
    """The extension objects of an ICMP message, and notes on them.

    Args:
        message: the ICMP message from its type on, as far as it was captured.
        family: 4 or 6.

    Returns:
        A dictionary per object, or None without an extension; and NO_EXTENSION where there is padding instead,
        BAD_EXTENSION where its checksum or an object's length is wrong.
    """
    declared = _declared_bytes(message, family)
    structure = message[8 + (declared or QUOTE_BYTES) :]
    if declared and not _is_structure(structure) and _is_structure(message[8 + QUOTE_BYTES :]):
        # Some routers pad the quote to 128 bytes, yet declare the length of the datagram in it.
        structure = message[8 + QUOTE_BYTES :]
    if len(structure) < 4 or not _can_be_extended(message, family):
        return None, Note(0)
    if structure[0] >> 4 != 2 or (not declared and not _checksum_holds(structure)):
        return None, Note.NO_EXTENSION if declared else Note(0)
    objects, whole = _objects(structure)
    return objects, Note(0) if whole and _checksum_holds(structure) else Note.BAD_EXTENSION


def _can_be_extended(message: bytes, family: int) -> bool:
    """Whether the type can carry extensions (RFC 4884, section 4)."""
    return message[0] in ((3, 11, 12) if family == 4 else (1, 3))


def _declared_bytes(message: bytes, family: int) -> int:
    """Length of the quote by the length field; 0 without a plausible one."""
    length = message[5] * 4 if family == 4 else message[4] * 8
    return length if _can_be_extended(message, family) and 8 + length <= len(message) else 0


def _is_structure(structure: bytes) -> bool:
    """Whether it is an extension structure with an object and a correct checksum."""
    return (
        len(structure) >= 8
        and structure[0] >> 4 == 2
        and structure[2:4] != b"\0\0"
        and _checksum_holds(structure)
        and bool(_objects(structure)[0])
    )


def _checksum_holds(structure: bytes) -> bool:
    """Whether the checksum is correct, or zero for none (RFC 4884, section 7)."""
    if structure[2:4] == b"\0\0":
        return True
    padded = structure + b"\0" * (len(structure) & 1)
    total = sum(int.from_bytes(padded[i : i + 2]) for i in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def _objects(structure: bytes) -> tuple[Objects, bool]:
    """Every object, and whether the last one ended where the structure does."""
    objects: list[dict[str, Any]] = []
    at = 4
    while at + 4 <= len(structure):
        length = int.from_bytes(structure[at : at + 2])
        if length < 4 or at + length > len(structure):
            return tuple(objects), False
        objects.append(_object(structure[at + 2], structure[at + 3], structure[at + 4 : at + length]))
        at += length
    return tuple(objects), at == len(structure)


def _object(kind: int, subtype: int, payload: bytes) -> dict[str, Any]:
    if kind == 1 and subtype == 1:
        return {"class": kind, "type": subtype, "mpls": _labels(payload)}
    if kind == 2:
        return {"class": kind, "type": subtype, "interface": _interface(subtype, payload)}
    return {"class": kind, "type": subtype, "data": payload.hex()}


def _labels(payload: bytes) -> list[dict[str, int]]:
    """RFC 4950: a label stack, top first; RFC 3032's entry."""
    entries = (int.from_bytes(payload[i : i + 4]) for i in range(0, len(payload) - 3, 4))
    return [
        {"label": entry >> 12, "traffic_class": entry >> 9 & 7, "bottom": entry >> 8 & 1, "ttl": entry & 255}
        for entry in entries
    ]


def _interface(subtype: int, payload: bytes) -> dict[str, Any]:
    """RFC 5837, section 4: the role, then index, address, name and MTU as the type's bits say."""
    about: dict[str, Any] = {"role": ROLES[subtype >> 6]}
    for bit, take in ((8, _index), (4, _address), (2, _name), (1, _mtu)):
        if subtype & bit:
            payload = take(payload, about)
    return about


def _index(payload: bytes, about: dict[str, Any]) -> bytes:
    if len(payload) >= 4:
        about["index"] = int.from_bytes(payload[:4])
    return payload[4:]


def _address(payload: bytes, about: dict[str, Any]) -> bytes:
    """An address family number (1 or 2), two reserved bytes, the address."""
    size = {1: 4, 2: 16}.get(int.from_bytes(payload[:2]), 0)
    if size and len(payload) >= 4 + size:
        about["address"] = str(ip_address(payload[4 : 4 + size]))
    return payload[4 + size :]


def _name(payload: bytes, about: dict[str, Any]) -> bytes:
    """A length that includes itself, then UTF-8 padded with zeros."""
    size = payload[0] if payload else 0
    about["name"] = payload[1:size].rstrip(b"\0").decode(errors="replace")
    return payload[max(size, 1) :]


def _mtu(payload: bytes, about: dict[str, Any]) -> bytes:
    if len(payload) >= 4:
        about["mtu"] = int.from_bytes(payload[:4])
    return payload[4:]
