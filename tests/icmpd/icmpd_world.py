"""Decoded errors, sockets by their addresses, and a book's record taken apart by `struct` alone."""

from __future__ import annotations

import json
import struct
from array import array
from ipaddress import ip_address

from udpprobe.core.decode import Decoder
from udpprobe.icmpd.protocol import Protocol
from udpprobe.icmpd.registry import ClientSocket, Errors

ME, ALSO_ME, OTHER, ROUTER = "10.99.1.1", "10.99.1.3", "10.99.2.2", "10.99.1.254"
ME6, OTHER6 = "fd99:1::1", "fd99:2::2"
SPORT = 5010


def number(address):
    """128 bits, IPv4 mapped."""
    packed = ip_address(address)
    return int(packed) | (0xFFFF << 32 if packed.version == 4 else 0)


OWN = {number(each) for each in (ME, ALSO_ME, ME6, "fe80::1")}


def is_own(address, _interface):
    return address in OWN


def arrived(*packets, interface=2):
    """The errors among IP packets, a millisecond apart."""
    longest = max((len(packet) for packet in packets), default=0)
    data = b"".join(packet.ljust(longest, b"\0") for packet in packets)
    decoder, lengths = Decoder(len(packets)), memoryview(array("q", map(len, packets)))
    decoder.receive(data, longest, lengths, memoryview(array("Q")), len(packets))
    errors = Errors(decoder.rows, data, lambda message: 1_000_000 * (message + 1))
    errors.load([interface] * len(packets))
    return errors


def udp_socket(address="", port=SPORT, *, family=None, carries=None, peer=None, zone=0):
    family = family or (6 if ":" in address else 4)
    return ClientSocket(
        family,
        frozenset(carries or {family}),
        port,
        number(address) if address else 0,
        zone,
        peer and (number(peer[0]), peer[1]),
    )


class World:
    """A protocol, and what its clients have heard."""

    def __init__(self, **options):
        self.protocol = Protocol(**options)
        self.heard = {}

    def connect(self, client, handed=None, byte=b"1", now_s=0.0, user=0):
        self.heard[client] = b""
        self.protocol.connected(client, now_s, user, is_trusted=user == 0)
        if handed is not None:
            self.protocol.received(client, byte, handed)
        return self.read(client)

    def read(self, client):
        """All that waits for a client."""
        said = b"".join(iter(lambda: self.protocol.take(client), b""))
        self.heard[client] += said
        return said

    def arrive(self, *packets, interface=2):
        errors = arrived(*packets, interface=interface)
        self.protocol.deliver(self.protocol.route(errors, is_own, lambda *_: False), errors)


def record(said):
    """Errno, type, code, address length, family, port, address, scope; the padding must be zero."""
    assert len(said) == 144
    number_, kind, code, pad, size, more, family = struct.unpack_from("=iBBHiIH", said)
    port = struct.unpack_from(">H", said, 18)[0]
    width, at = (4, 20) if family == 2 else (16, 24)
    used = at + width + (4 if family == 10 else 0)
    assert (0, 0, bytes(144 - used)) == (pad, more, said[used:])
    scope = struct.unpack_from("=I", said, 40)[0] if family == 10 else 0
    return number_, kind, code, size, family, port, str(ip_address(said[at : at + width])), scope


def records(said):
    return [record(said[at : at + 144]) for at in range(0, len(said), 144)]


def lines(said):
    return [json.loads(each) for each in said.splitlines()]
