"""All payloads of a scan, and which of them go to which port."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from udpprobe.core.batch import I64
from udpprobe.core.probing.probes import TOKEN_BYTES, Payloads
from udpprobe.payloads.model import Payload

GENERIC = -1
"""In `Catalogue.order`: one of the first `VARIANTS` rows, by the probe's token."""

VARIANTS = 8
"""Lengths of the generic payload: a UDP length is quoted in every ICMP error, so it carries three bits."""

PORTS = 1 << 16

Row = tuple[str, str, int, str, str]
"""Of `listing`: name, ports, bytes, whether an answer is known, source."""

BUILT_IN = (*(Payload("token", (), bytes(TOKEN_BYTES + more), 0, TOKEN_BYTES, source="the probe's token and zeros")
              for more in range(VARIANTS)), Payload("empty", (), b"", source="no bytes at all"))
"""The first rows of every catalogue."""


@dataclass(frozen=True)
class Catalogue:
    """The table, and what is sent where."""

    rows: tuple[Payload, ...]
    """What `Probes.payload` counts in; `BUILT_IN` first."""
    forced: tuple[int, ...] | None = None
    """Rows (or GENERIC) that go to every port, whatever it usually speaks."""

    def columns(self) -> Payloads:
        """The rows as columns."""
        data = np.zeros((len(self.rows), max(len(row.data) for row in self.rows)), np.uint8)
        for place, row in zip(data, self.rows, strict=True):
            place[:len(row.data)] = np.frombuffer(row.data, np.uint8)
        length, at, size = (np.array(column, np.int64) for column in zip(
            *((len(row.data), row.token_at, row.token_size) for row in self.rows), strict=True))
        return Payloads(data, length, at, size)

    def candidates(self, ports: I64) -> tuple[I64, I64]:
        """What is sent to each of (n,) UDP ports, in turn: (n,) first and (n,) count of entries of `order`."""
        _, first, count = self._plan
        return first[ports], count[ports]

    @property
    def order(self) -> I64:
        """Rows, or GENERIC; the candidates of a port stand together."""
        return self._plan[0]

    @cached_property
    def _plan(self) -> tuple[I64, I64, I64]:
        rest = self.forced or (GENERIC,)
        order, first, count = list(rest), np.zeros(PORTS, np.int64), np.full(PORTS, len(rest))
        for port, rows in ({} if self.forced else self._by_port()).items():
            first[port], count[port] = len(order), len(rows)
            order += rows
        return np.array(order, np.int64), first, count

    def _by_port(self) -> dict[int, list[int]]:
        rows = defaultdict(list)
        for number, row in enumerate(self.rows):
            for port in row.ports:
                rows[port].append(number)
        return rows


@cache
def load() -> Catalogue:
    """The table that comes with the package."""
    text = Path(__file__).with_name("payloads.toml").read_text("utf-8")
    return Catalogue((*BUILT_IN, *map(_payload, tomllib.loads(text)["payload"])))


def _payload(row: dict[str, Any]) -> Payload:
    """A row of the file; zeros at the end of its bytes are not written there."""
    data = bytes.fromhex(row.pop("hex")).ljust(row.pop("size", 0), b"\0")
    return Payload(ports=tuple(row.pop("ports")), data=data, **row)


def listing(catalogue: Catalogue) -> list[Row]:
    """The table for people, as `--list-payloads` shows it; of the generic payload only the shortest."""
    rows = (catalogue.rows[0], *catalogue.rows[VARIANTS:])
    return [(row.name, ",".join(map(str, row.ports)) or "any", len(row.data), "yes" if row.answer else "no", row.source)
            for row in rows]
