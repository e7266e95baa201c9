"""Payloads a user asks for: by name, in hexadecimal, from a file."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from msgspec.structs import replace

from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.payloads.catalogue import GENERIC, Catalogue
from udpprobe.payloads.model import Payload

MAX_BYTES = 65_507
"""Most that fits into a UDP datagram over IPv4 (RFC 768, RFC 791)."""


def chosen(catalogue: Catalogue, text: str) -> Catalogue:
    """What `--payload` asks for: `auto`, `empty`, `token`, `hex:…`, `file:…`, or names from the table.

    Args:
        catalogue: the table.
        text: the option's value; several names, separated by commas, are sent in turn.

    Raises:
        UsageError: an unknown name, bad hexadecimal digits, or more than fits into a datagram.
        UdpprobeError: the file cannot be read.
    """
    if text == "auto":
        return catalogue
    kind, colon, value = text.partition(":")
    if colon and kind in READERS:
        given = Payload(kind, (), _bounded(READERS[kind](value)), source="given by --payload")
        return Catalogue((*catalogue.rows, given), (len(catalogue.rows),))
    return replace(catalogue, forced=tuple(_row(catalogue, name.strip()) for name in text.split(",")))


def _row(catalogue: Catalogue, name: str) -> int:
    if name == "token":
        return GENERIC
    names = [row.name for row in catalogue.rows]
    if name not in names:
        raise UsageError(f"no payload is called {name!r}{_near(names, name)}; --list-payloads shows all")
    return names.index(name)


def _near(names: list[str], name: str) -> str:
    near = get_close_matches(name, ["auto", *dict.fromkeys(names)])
    return f" ({', '.join(near)}?)" if near else ""


def _from_hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits.replace(":", ""))
    except ValueError:
        raise UsageError(f"'hex:{digits}' is not made of pairs of hexadecimal digits") from None


def _from_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)     # not all of it: a device may have no end
    except OSError as error:
        raise UdpprobeError(f"cannot read the payload {name}: {error.strerror}") from error


READERS = {"hex": _from_hex, "file": _from_file}


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise UsageError(f"the payload is larger than the {MAX_BYTES} bytes that fit into a datagram")
    return data
