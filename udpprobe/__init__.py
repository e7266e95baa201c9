"""udpprobe: what happened to UDP datagrams, from the ICMP errors that hardly any program sees.

    import udpprobe

    for destination in udpprobe.analyze("capture.pcap").destinations:
        print(destination.address, destination.port, destination.verdict, destination.advice)

`analyze`, `scan`, `trace`, `mtu` and `check` do the same as the commands of these names: they return the model of the
report, raise an exception of `udpprobe.errors`, and print nothing. `Follower` follows packets as they come.

Below that, imports go from left to right and never back; `make check` holds them to it:

    cli, api -> commands -> scanning, tracing, pmtud | capture, engines | reports -> report -> core -> errors

The core, compiled, follows one packet at a time: `decode` reads its headers, `flows` counts it in its conversation,
`recent` finds for an ICMP error the datagram that caused it, `findings` counts what was found. `report` turns these
counters into verdicts. The core has no clock, socket or file; time comes with the packets.

Names are loaded when they are first used: importing the package, or starting a command, loads nothing else.
"""

from os import environ as _environ

TYPE_CHECKING = False  # typing's own would cost each start some milliseconds
if TYPE_CHECKING:
    from udpprobe import errors
    from udpprobe.api import Follower, analyze, check, mtu, scan, to_json, trace
    from udpprobe.checking.states import Checked, Outcome
    from udpprobe.core.model import Destination, Event, Finding, Report, Unmatched
    from udpprobe.errors import CaptureError, PrivilegeError, UdpprobeError, UsageError
    from udpprobe.interrupt import Interrupted
    from udpprobe.pmtud.model import MtuReport
    from udpprobe.tracing.model import TraceReport

__version__ = "0.2.0"

__all__ = [
    "CaptureError",
    "Checked",
    "Destination",
    "Event",
    "Finding",
    "Follower",
    "Interrupted",
    "MtuReport",
    "Outcome",
    "PrivilegeError",
    "Report",
    "TraceReport",
    "UdpprobeError",
    "Unmatched",
    "UsageError",
    "__version__",
    "analyze",
    "check",
    "errors",
    "mtu",
    "scan",
    "to_json",
    "trace",
]

_HOMES = {
    "api": ("Follower", "analyze", "check", "mtu", "scan", "to_json", "trace"),
    "checking.states": ("Checked", "Outcome"),
    "core.model": ("Destination", "Event", "Finding", "Report", "Unmatched"),
    "errors": ("CaptureError", "PrivilegeError", "UdpprobeError", "UsageError"),
    "interrupt": ("Interrupted",),
    "pmtud.model": ("MtuReport",),
    "tracing.model": ("TraceReport",),
}
"""Module -> the public names that it defines. No module of the package may be called like one of them: it would take
the name's place once it is imported."""


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 - every start would wait for it

    if name == "errors":
        return import_module("udpprobe.errors")
    for module, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"udpprobe.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'udpprobe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if _environ.get("UDPPROBE_PURE") == "1":
    from udpprobe import _twins

    _twins.interpret(f"{__path__[0]}/core")
