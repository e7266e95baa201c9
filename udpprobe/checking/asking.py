"""What is asked of a check: targets, how they are probed, and how they should be."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from udpprobe.checking.thresholds import Range, State
from udpprobe.core.targets import Target, meant_with_port, parse_ports, parse_target
from udpprobe.errors import UsageError


class Expectation(Struct, frozen=True):
    """How a destination should be."""

    expect: str = "answered"
    silence: State | None = None
    """What silence counts as that proves nothing; None for what `expect` makes of it."""
    warning: Range | None = None
    """Of the round trip, in milliseconds."""
    critical: Range | None = None
    min_mtu: int = 0
    """Bytes of the IP packet that must fit through; 0 for whatever does."""
    no_loop: bool = False


class Probing(Struct, frozen=True):
    """How a target is probed; those that are probed alike share a scan."""

    payload: str = "auto"
    family: int | None = None
    interface: str | None = None
    allow_broadcast: bool = False


class Ask(Struct, frozen=True):
    """One target, and what is expected of it."""

    name: str
    target: Target
    expectation: Expectation = Expectation()
    probing: Probing = Probing()
    group: str | None = None


def target_with_port(text: str, ports: str | None = None) -> Target:
    """What a word such as `dns.example:53` asks for.

    Args:
        text: as `parse_target` has it.
        ports: of a target that names none.

    Raises:
        UsageError: it is no target, or has no port.
    """
    target = parse_target(text)
    if target.ports is None and ports is None:
        if meant := meant_with_port(target):
            raise UsageError(f"{text!r} is an address without a port; did you mean {meant}?")
        raise UsageError(f"{text!r} names no port; say which service, as in {text}:53")
    return target if target.ports else replace(target, ports=parse_ports(ports or ""))
