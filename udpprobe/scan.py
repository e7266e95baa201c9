"""Craft, send, listen, conclude: what `scan` does."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from udpprobe.core.model import Event, Report
from udpprobe.core.probes import Destinations


@dataclass(frozen=True, slots=True)
class Options:
    """How to probe, and how to report it."""

    rate_pps: float = 1000
    """Datagrams a second, of all hosts together; 0 for as many as this host sends."""
    retries: int = 2
    """How often a port that said nothing is asked again, where a closed one would have spoken."""
    timeout_s: float = 4
    """How long a host that was never heard of is waited for: a router looks for a host for 3 s."""
    payload: str = "auto"
    payload_file: str | None = None
    """`nmap:FILE`: payloads by port from there, before the own ones."""
    size: int = 0
    """Bytes of the IP packet that every probe is filled up to; 0 for no filling."""
    ttl: int = 64
    source_port: int = 0
    """0 for one that the kernel chooses."""
    source_addresses: tuple[str, ...] = ()
    """Instead of the one that the kernel would take."""
    interface: str | None = None
    """Where probes leave, and answers are listened for; None for wherever the kernel routes them."""
    write: str | None = None
    """File that gets the probes and the answers."""
    control: bool = True
    """Whether closed ports are asked too, to learn what silence means."""
    engine: str = "auto"
    """`raw`, `recverr`, `connected`, or `auto`: raw where that is allowed, else recverr."""
    loop_ttl: int = 32


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan has come."""

    decided: int
    total: int
    sent: int
    remaining_s: float | None
    """An estimate; None where nothing is known yet."""


OnEvents = Callable[[Sequence[Event]], None]
OnProgress = Callable[[Progress], None]
OnWarning = Callable[[str], None]


def scan(destinations: Destinations, options: Options, *, on_events: OnEvents | None = None,
         on_progress: OnProgress | None = None, on_warning: OnWarning | None = None) -> Report:
    """Probe destinations and report what became of the probes.

    Args:
        destinations: what to probe.
        options: how.
        on_events: gets every ICMP error that proves to be about a probe, as it becomes known.
        on_progress: hears how far the scan has come, several times a second.
        on_warning: hears what the user should know.

    Raises:
        UsageError: an option is off: an unknown payload, interface or address.
        PrivilegeError: raw sockets are not allowed, and `engine` is `raw`.
        UdpprobeError: the host cannot do it.
        observe.Interrupted: on Ctrl-C, once all that was heard by then is told.
    """
    raise NotImplementedError(secrets.token_hex(1), destinations, options, on_events, on_progress, on_warning)
