"""Addresses with ports as people write them, and the names of UDP services, from this host's /etc/services."""

from __future__ import annotations

from functools import lru_cache


def endpoint_text(address: str, port: int | None, zone: str | None = None) -> str:
    """`192.0.2.1:53`, `[2001:db8::1]:53`, `[fe80::1%eth0]:53`, or the address alone if there is no port."""
    address = f"{address}%{zone}" if zone else address
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@lru_cache(1 << 10)
def port_of(name: str) -> int | None:
    """The UDP port of a service such as `domain`; None if this host does not know the name."""
    import socket  # noqa: PLC0415 - most ports are numbers

    try:
        return socket.getservbyname(name, "udp")
    except (OSError, UnicodeError, ValueError):
        return None


def services() -> list[str]:
    """The names of the UDP services in /etc/services (services(5)), with aliases; empty if it cannot be read."""
    try:
        with open("/etc/services", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - pathlib takes 10 ms
            lines = [line.partition("#")[0].split() for line in file]
    except OSError:
        return []
    return [name for words in lines if words[1:] and words[1].endswith("/udp") for name in (words[0], *words[2:])]


@lru_cache(1 << 16)
def name_of(port: int) -> str:
    """The service registered for a UDP port; empty if there is none."""
    import socket  # noqa: PLC0415 - as above

    try:
        return socket.getservbyport(port, "udp")
    except (OSError, OverflowError):
        return ""
