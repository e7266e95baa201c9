"""Names of addresses, looked up beside the work: reverse DNS, and AS numbers from a local file or over DNS.

A look-up never holds anything up: it runs in a thread that does not keep the program from ending, and whoever wants
names waits for a second at most, in all.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

from udpprobe.cymru import system_of
from udpprobe.errors import UdpprobeError
from udpprobe.reading import require_regular

AT_ONCE = 16
"""Look-ups under way at a time."""
PATIENCE_S = 1.0
"""How long names are waited for, from the first that was asked for on."""
MOST = 4096
"""Addresses that are looked up; a report may have a million."""


class Names:
    """What addresses are called.

    Args:
        dns: whether DNS is asked.
        asn_db: a file of autonomous systems, in MaxMind's format.
        asn_dns: whether Team Cymru is asked for those that the file does not know.

    Raises:
        UdpprobeError: the file cannot be read, or the library that reads it is missing.
    """

    def __init__(self, *, dns: bool = True, asn_db: str | None = None, asn_dns: bool = False) -> None:
        self._systems = _Systems(asn_db) if asn_db else None
        self._askers: list[Callable[[str], str]] = [*([_name_of] if dns else []), *([system_of] if asn_dns else [])]
        self._found: dict[tuple[str, Callable[[str], str]], str] = {}
        self._asked: set[str] = set()
        self._waiting: SimpleQueue[tuple[str, Callable[[str], str]]] = SimpleQueue()
        self._threads = 0
        self._news = threading.Condition()
        self._began_s: float | None = None

    def ask(self, addresses: Iterable[str | None]) -> None:
        """Begin to look up those that were not asked for yet."""
        for address in addresses:
            if address and address not in self._asked and len(self._asked) < MOST:
                self._asked.add(address)
                for asker in self._askers:
                    self._began_s = self._began_s or time.monotonic()
                    self._waiting.put((address, asker))
                    self._start()

    def _start(self) -> None:
        if self._threads < AT_ONCE:
            self._threads += 1
            threading.Thread(target=self._work, name="names", daemon=True).start()

    def _work(self) -> None:
        while True:
            address, asker = self._waiting.get()
            name = asker(address)
            with self._news:
                self._found[address, asker] = name
                self._news.notify_all()

    def wait(self, most_s: float = PATIENCE_S) -> None:
        """Until all is looked up that was asked for, or the time is over, or the caller's own."""
        if self._began_s is None:
            return
        with self._news:
            self._news.wait_for(
                lambda: len(self._found) >= len(self._asked) * len(self._askers),
                max(min(self._began_s + PATIENCE_S - time.monotonic(), most_s), 0),
            )

    def of(self, address: str) -> str:
        """What is known: `router.example, AS64500 Example, DE`; empty for nothing."""
        system = (self._systems.of(address) if self._systems else "") or self._found.get((address, system_of), "")
        return ", ".join(filter(None, (self._found.get((address, _name_of), ""), system)))


def _name_of(address: str) -> str:
    try:
        name, _ = socket.getnameinfo((address.partition("%")[0], 0), socket.NI_NAMEREQD)
    except (OSError, UnicodeError):
        return ""
    return name.rstrip(".")


class _Systems:
    """Autonomous systems by address, as MaxMind, DB-IP and IPinfo publish them."""

    def __init__(self, path: str) -> None:
        try:
            import maxminddb  # noqa: PLC0415 - an extra
        except ImportError:
            raise UdpprobeError("--asn-db needs maxminddb; install udpprobe[asn]") from None
        try:
            require_regular(path)
            self._file = maxminddb.open_database(path)
        except OSError as error:
            raise UdpprobeError(f"cannot read {path}: {error.strerror or error}") from error
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise UdpprobeError(f"{path} is no MaxMind database") from error
        self._broken: tuple[type[Exception], ...] = (maxminddb.InvalidDatabaseError, ValueError)

    def of(self, address: str) -> str:
        """`AS64500 Example, DE`."""
        try:
            found = self._file.get(address.partition("%")[0])
        except self._broken:
            return ""
        return _told(found) if isinstance(found, dict) else ""


def _told(found: dict[str, Any]) -> str:
    number = found.get("autonomous_system_number") or str(found.get("asn") or "").upper().removeprefix("AS")
    owner = found.get("autonomous_system_organization") or found.get("as_name") or found.get("name") or ""
    country: Any = found.get("country") or found.get("country_code") or ""
    if isinstance(country, dict):
        country = country.get("iso_code") or ""
    system = " ".join(str(part) for part in (f"AS{number}" if number else "", owner) if part)
    return ", ".join(filter(None, (system, str(country))))
