"""Captures of one kind of trouble each: a million refused destinations; two interfaces recorded out of order."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .captures import CHUNK, RANDOM, START_S, STEP_NS, Traffic, put_u16, write
from .layouts import Chunk

BLOCK = 20_000
"""Packets that one interface's share is written of before the other's: 40 ms, more than errors are behind."""

PAYLOAD = 24
V4, V6 = 4, 6
IP_BYTES = {V4: 20, V6: 40}
ETHER = {V4: b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0", V6: b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x86\xdd"}
ERROR_AT = {family: 14 + ip + 8 for family, ip in IP_BYTES.items()}  # where the quote begins
WIDTH = ERROR_AT[V6] + IP_BYTES[V6] + 8
CLIENT = {V4: b"\x0a\0\0\x01", V6: bytes.fromhex("20010db8000000000000000000000001")}
NETWORK = {V4: b"\x64\x40\0\0", V6: bytes.fromhex("20010db8000100000000000000000000")}


def make_destinations(path: Path, destinations: int) -> None:
    """One datagram to each, and 10 ms later its refusal; every other destination is one of IPv6."""
    order, is_error = _alternating(destinations, RANDOM.error_behind)
    frame = np.empty((2, destinations), np.int64)
    frame[is_error.astype(np.int64), order] = np.arange(1, 2 * destinations + 1)
    truth = list(
        zip(
            frame[1].tolist(),
            frame[0].tolist(),
            np.where(order_is_v6(np.arange(destinations)), V6, V4).tolist(),
            strict=True,
        )
    )
    write(path, _refusals(order, is_error), sorted(truth), "full", "pcap")


def _alternating(count: int, behind: int) -> tuple[np.ndarray, np.ndarray]:
    """Which destination each packet is about, and whether it is the error: errors come `behind` datagrams later."""
    number = np.arange(count)
    places = np.concatenate([2 * number, 2 * (number + behind) + 1])
    sequence = np.argsort(places)
    return np.tile(number, 2)[sequence], sequence >= count


def order_is_v6(number: np.ndarray) -> np.ndarray:
    return number % 2 == 1


def _refusals(order: np.ndarray, is_error: np.ndarray) -> Iterator[Chunk]:
    for start in range(0, len(order), CHUNK):
        number, error = order[start : start + CHUNK], is_error[start : start + CHUNK]
        rows, length = np.zeros((len(number), WIDTH), np.uint8), np.zeros(len(number), np.int64)
        for family in (V4, V6):
            for wanted in (False, True):
                here = np.flatnonzero((order_is_v6(number) == (family == V6)) & (error == wanted))
                packets = (_errors if wanted else _datagrams)(family, number[here])
                rows[here, : packets.shape[1]] = packets
                length[here] = packets.shape[1] if wanted else packets.shape[1] + PAYLOAD
        time_ns = START_S * 1_000_000_000 + np.arange(start, start + len(number)) * STEP_NS
        yield Chunk(rows, length, time_ns, {})


def _datagrams(family: int, number: np.ndarray) -> np.ndarray:
    """Ethernet, IP and UDP headers of the datagrams to these destinations."""
    size = 8 + PAYLOAD
    udp = struct.pack("!HHHH", 40_000, 53, size, 0)
    if family == V4:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, 17, 0)
    else:
        ip = struct.pack("!IHBB", 6 << 28, size, 17, 64)
    head = ETHER[family] + ip + CLIENT[family] + NETWORK[family] + udp
    rows = np.tile(np.frombuffer(head, np.uint8), (len(number), 1))
    udp_at = 14 + IP_BYTES[family]
    _put_destination(rows, udp_at, number, family)
    if family == V4:
        put_u16(rows, np.full(len(rows), 18), number & 0xFFFF)
        put_u16(rows, np.full(len(rows), 24), checksums(rows[:, 14:34]))
    put_u16(rows, np.full(len(rows), udp_at + 6), np.maximum(number * 40_503 & 0xFFFF, 1))
    return rows


def _put_destination(rows: np.ndarray, end: int, number: np.ndarray, family: int) -> None:
    """The number as the last 32 bits of the address that ends there; IPv4 keeps its network's 10 bits."""
    base = int.from_bytes(NETWORK[family][-4:], "big")
    whole = base + number
    put_u16(rows, np.full(len(rows), end - 4), whole >> 16)
    put_u16(rows, np.full(len(rows), end - 2), whole & 0xFFFF)


def _errors(family: int, number: np.ndarray) -> np.ndarray:
    """Port unreachable from each destination, with its datagram's headers quoted."""
    quote = _datagrams(family, number)[:, 14:]
    size = 8 + quote.shape[1]
    destination, source = (quote[:, 16:20], quote[:, 12:16]) if family == V4 else (quote[:, 24:40], quote[:, 8:24])
    if family == V4:
        ip, icmp = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, 1, 0), b"\x03\x03"
    else:
        ip, icmp = struct.pack("!IHBB", 6 << 28, size, 58, 64), b"\x01\x04"
    start = np.tile(
        np.frombuffer(ETHER[family][6:12] + ETHER[family][:6] + ETHER[family][12:] + ip, np.uint8), (len(number), 1)
    )
    body = np.tile(np.frombuffer(icmp.ljust(8, b"\0"), np.uint8), (len(number), 1))
    rows = np.concatenate([start, destination, source, body, quote], axis=1)
    icmp_at = np.full(len(rows), ERROR_AT[family] - 8)
    pseudo = (
        destination.astype(np.uint8),
        source,
        np.tile(np.frombuffer(struct.pack("!II", size, 58), np.uint8), (len(number), 1)),
    )
    covered = [rows[:, ERROR_AT[family] - 8 :], *(pseudo if family == V6 else ())]
    put_u16(rows, icmp_at + 2, checksums(np.concatenate(covered, axis=1)))
    if family == V4:
        put_u16(rows, np.full(len(rows), 24), checksums(rows[:, 14:34]))
    return rows


def checksums(rows: np.ndarray) -> np.ndarray:
    """RFC 1071 over each row, of an even number of bytes."""
    total = np.ascontiguousarray(rows).view(">u2").sum(axis=1, dtype=np.int64)
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def make_disordered(path: Path, packets: int, *, is_ordered: bool = False) -> None:
    """Two interfaces' packets, as dumpcap writes them: of every 40 ms first what one of them has seen.

    That one has all errors, and so these stand before many of their datagrams. `is_ordered`: the same packets in
    order of time.
    """
    traffic = Traffic(1, RANDOM)
    truth: list[tuple[int, int, int]] = []
    chunks = (traffic.chunk(min(CHUNK, packets - start)) for start in range(0, packets, CHUNK))
    write(path, _by_interface(chunks, traffic, truth, is_ordered=is_ordered), truth, "s128", "pcapng", interfaces=2)


def _by_interface(
    chunks: Iterator[Chunk], traffic: Traffic, truth: list[tuple[int, int, int]], *, is_ordered: bool
) -> Iterator[Chunk]:
    rng = np.random.default_rng(2)
    places = [np.zeros(1, np.int64)]  # the frame number of every packet by its number in time; none is 0
    done = 0
    for chunk in chunks:
        count = len(chunk.rows)
        interface = rng.integers(0, 2, count)
        interface[list(chunk.errors)] = 0
        order = np.arange(count) if is_ordered else np.lexsort((interface, np.arange(count) // BLOCK))
        place = np.empty(count, np.int64)
        place[order] = np.arange(count)
        places.append(place + done + 1)
        done += count
        yield Chunk(
            chunk.rows[order],
            chunk.length[order],
            chunk.time_ns[order],
            {int(place[row]): error for row, error in chunk.errors.items()},
            interface[order],
        )
    frame = np.concatenate(places)
    truth += sorted((int(frame[error]), int(frame[matched]), family) for error, matched, family in traffic.truth)
