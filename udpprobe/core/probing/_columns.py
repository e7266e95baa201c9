"""Probes: datagrams sent on purpose, which can be told from 8 quoted bytes and which nobody can guess.

A probe's token is a keyed hash of its addresses and ports. It stands in what every ICMP error quotes (the
IPv4 id, or the IPv6 flow label; by way of the payload also the UDP checksum) and, where the payload has room,
in the payload. Nothing about a probe has to be remembered to know it again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U8, U64
from udpprobe.core.packets import Columns, u64

Key = tuple[int, int]
"""128 secret bits in two halves."""

TOKEN_BYTES = 8


@dataclass(slots=True)
class Payloads(Columns):
    """(k,) what probes may carry."""

    data: U8
    """(k, width) the bytes, zeros behind their end."""
    length: I64
    token_at: I64
    """Where in it the token goes; of no meaning where `token_size` is 0."""
    token_size: I64
    """How many bytes of the token have room there, 0 to TOKEN_BYTES."""


@dataclass(slots=True)
class Probes(Columns):
    """(n,) probes; enough to craft them, and to know their errors again."""

    task: I64
    """Which destination of the scan it is for: a row of `Destinations`."""
    source_high: U64
    source_low: U64
    destination_high: U64
    destination_low: U64
    ports: U64
    """source port << 16 | destination port"""
    zone: I64
    payload: I64
    """Row of `Payloads`."""
    attempt: I64
    """0 for the first probe of a task, 1 for the second …"""
    ttl: I64
    token: U64


def token_of(key: Key, source: tuple[U64, U64], destination: tuple[U64, U64], ports: U64) -> U64:
    """(n,) the token of each flow.

    Args:
        key: secret of this scan.
        source: (n,) high and low halves of the source addresses.
        destination: (n,) likewise.
        ports: (n,) source port << 16 | destination port.
    """
    return siphash(key, (*source, *destination, ports))


def siphash(key: Key, words: tuple[U64, ...], *, compressions: int = 1, finalizations: int = 3) -> U64:
    """(n,) SipHash (Aumasson and Bernstein, 2012) of each row of `words`, whose bytes are its little-endian ones."""
    k0, k1 = u64(key[0]), u64(key[1])
    n = len(words[0])
    state: list[U64] = [np.full(n, k ^ u64(constant)) for k, constant in (
        (k0, 0x736F6D6570736575), (k1, 0x646F72616E646F6D), (k0, 0x6C7967656E657261), (k1, 0x7465646279746573))]
    for word in (*words, np.array([8 * len(words) % 256 << 56], np.uint64)):
        state[3] = state[3] ^ word
        _rounds(state, compressions)
        state[0] = state[0] ^ word
    state[2] = state[2] ^ u64(0xFF)
    _rounds(state, finalizations)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _rounds(state: list[U64], times: int) -> None:
    for _ in range(times):
        for a, b, turn in ((0, 1, 13), (2, 3, 16)):
            state[a] += state[b]
            state[b] = _rotated(state[b], turn) ^ state[a]
        state[0] = _rotated(state[0], 32)
        for a, b, turn in ((2, 1, 17), (0, 3, 21)):
            state[a] += state[b]
            state[b] = _rotated(state[b], turn) ^ state[a]
        state[2] = _rotated(state[2], 32)


def _rotated(word: U64, bits: int) -> U64:
    return word << u64(bits) | word >> u64(64 - bits)


def ip_id(probes: Probes) -> U64:
    """(n,) IPv4 id of each probe: never 0, which the kernel would replace; another one for each attempt."""
    return (probes.token + probes.attempt.view(np.uint64)) % u64(0xFFFF) + u64(1)


def flow_label(probes: Probes) -> U64:
    """(n,) IPv6 flow label of each probe (RFC 6437), another one for each attempt."""
    return (probes.token + probes.attempt.view(np.uint64)) & u64(0xFFFFF)
