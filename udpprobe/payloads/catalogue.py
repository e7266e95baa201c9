"""All payloads of a scan, and which of them go to which port."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct

from udpprobe.core.probe import GENERIC, TOKEN_BYTES, VARIANTS, Payloads
from udpprobe.payloads.model import Payload

__all__ = ["BUILT_IN", "GENERIC", "PORTS", "VARIANTS", "Catalogue", "known_ports", "listing", "load"]

PORTS = 1 << 16

Row = tuple[str, str, int, str, str]
"""Of `listing`: name, ports, bytes, whether an answer is known, source."""

BUILT_IN = (*(Payload("token", (), bytes(TOKEN_BYTES + more), 0, TOKEN_BYTES, source="the probe's token and zeros")
              for more in range(VARIANTS)), Payload("empty", (), b"", source="no bytes at all"))
"""The first rows of every catalogue."""


class Catalogue(Struct, frozen=True, dict=True):
    """The table, and what is sent where."""

    rows: tuple[Payload, ...]
    """`BUILT_IN` first."""
    forced: tuple[int, ...] | None = None
    """Rows (or GENERIC) that go to every port, whatever it usually speaks."""

    def payloads(self) -> Payloads:
        """The rows, and the choices of them, as probes are crafted from."""
        return Payloads([(row.data, row.token_at, row.token_size) for row in self.rows], self.choices)

    def choice_of(self, port: int) -> int:
        """Which of `choices` a UDP port is sent."""
        return self._choices[1].get(port, 1)

    @property
    def choices(self) -> list[tuple[int, ...]]:
        """Rows (or GENERIC) that are sent in turn: to control ports, to ports of no known service, to all others."""
        return self._choices[0]

    @property
    def proving(self) -> list[int]:
        """By choice, the one that has the generic payload in turn with its rows; what the user asked for stays."""
        return self._choices[2]

    @cached_property
    def _choices(self) -> tuple[list[tuple[int, ...]], dict[int, int], list[int]]:
        choices, of_port = [(GENERIC,), self.forced or (GENERIC,)], {}
        numbers: dict[tuple[int, ...], int] = {}
        for port, rows in ({} if self.forced else self._by_port()).items():
            number = numbers.setdefault(tuple(rows), len(choices))
            if number == len(choices):
                choices.append(tuple(rows))
            of_port[port] = number
        plain = len(choices)
        proving = [number if number < 2 else plain + number - 2 for number in range(plain)]
        return choices + [(*rows, GENERIC) for rows in choices[2:]], of_port, proving

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


def known_ports() -> tuple[range, ...]:
    """The ports of the table: what is probed where nobody names one."""
    return tuple(range(port, port + 1) for port in sorted({port for row in load().rows for port in row.ports}))


def _payload(row: dict[str, Any]) -> Payload:
    """A row of the file; zeros at the end of its bytes are not written there."""
    data = bytes.fromhex(row.pop("hex")).ljust(row.pop("size", 0), b"\0")
    return Payload(ports=tuple(row.pop("ports")), data=data, **row)


def listing(catalogue: Catalogue) -> list[Row]:
    """The table for people, as `--list-payloads` shows it; of the generic payload only the shortest."""
    rows = (catalogue.rows[0], *catalogue.rows[VARIANTS:])
    return [(row.name, ",".join(map(str, row.ports)) or "any", len(row.data), "yes" if row.answer else "no", row.source)
            for row in rows]
