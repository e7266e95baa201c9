"""What is to be probed."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from msgspec import Struct, field


def _column(typecode: str) -> array[int]:
    return field(default_factory=lambda: array(typecode))


class Destinations(Struct):
    """(n,) what is to be probed, in columns: each an address and a UDP port, none twice."""

    host: array[int] = _column("I")
    """0, 1, 2 …: one number for each address (and zone)."""
    high: array[int] = _column("Q")
    """The address in two halves, IPv4 mapped."""
    low: array[int] = _column("Q")
    port: array[int] = _column("H")
    zone: array[int] = _column("I")
    """Index of the interface of a link-local address (RFC 4007), else 0."""

    def __len__(self) -> int:
        return len(self.port)

    def add(self, host: int, address: tuple[int, int], ports: Sequence[int], zone: int = 0) -> None:
        """Append the ports of one host."""
        count = len(ports)
        self.host.extend(array("I", [host]) * count)
        self.high.extend(array("Q", [address[0]]) * count)
        self.low.extend(array("Q", [address[1]]) * count)
        self.zone.extend(array("I", [zone]) * count)
        if isinstance(ports, array) and ports.typecode == "H":
            self.port.extend(ports)
        else:
            self.port.extend(array("H", ports))

    def address(self, row: int) -> tuple[int, int]:
        """Both halves of one address."""
        return self.high[row], self.low[row]

    def take(self, rows: slice) -> Destinations:
        """Some of them."""
        return Destinations(self.host[rows], self.high[rows], self.low[rows], self.port[rows], self.zone[rows])

    @classmethod
    def concatenate(cls, some: Iterable[Destinations]) -> Destinations:
        """Several behind each other."""
        made = cls()
        for each in some:
            for name in cls.__struct_fields__:
                getattr(made, name).extend(getattr(each, name))
        return made
