"""Options of several commands: format, output file, verdicts that fail, times; and those of probing."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from typer import Argument, CallbackParam, Option
from typer.models import OptionInfo

from udpprobe.errors import UsageError
from udpprobe.reports import OutputFormat

_PAGE_FORMATS = tuple(each for each in OutputFormat if each is not OutputFormat.PARQUET)
_TEXT_FORMATS = tuple(each for each in _PAGE_FORMATS if each is not OutputFormat.HTML)


def _one_of(formats: tuple[OutputFormat, ...], output_format: OutputFormat) -> OutputFormat:
    if output_format not in formats:
        what = (
            "the reports and events of analyze, scan and watch"
            if output_format is OutputFormat.PARQUET
            else "reports, traces, path MTUs and comparisons"
        )
        raise UsageError(f"--format {output_format} is for {what}; use {'|'.join(formats)}")
    return output_format


class Color(StrEnum):
    """When text is coloured."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def _is_text(output_format: OutputFormat) -> OutputFormat:
    return _one_of(_TEXT_FORMATS, output_format)


def _is_page(output_format: OutputFormat) -> OutputFormat:
    return _one_of(_PAGE_FORMATS, output_format)


FormatOption = Annotated[
    OutputFormat,
    Option("--format", metavar=f"[{'|'.join(_TEXT_FORMATS)}]", callback=_is_text, help="How the result is written."),
]
PageFormatOption = Annotated[
    OutputFormat,
    Option(
        "--format",
        metavar=f"[{'|'.join(_PAGE_FORMATS)}]",
        callback=_is_page,
        help="How the result is written; html is one page for a browser.",
    ),
]
ReportFormatOption = Annotated[OutputFormat, Option("--format", help="How the result is written.")]
OutputOption = Annotated[
    str | None,
    Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to FILE instead of standard output (-); a report appears there whole or not at all.",
    ),
]
FilterOption = Annotated[
    str | None, Option("--filter", metavar="BPF", help="Read only packets that match this pcap filter.")
]
AllOption = Annotated[bool, Option("--all", help="Show healthy destinations too.")]
LoopTtlOption = Annotated[
    int,
    Option(
        min=1,
        max=255,
        metavar="TTL",
        help="Count a datagram that left with this TTL or more and expired as looping.",
    ),
]
FailOnOption = Annotated[
    str | None, Option(metavar="VERDICT[,VERDICT]", help="Exit with status 1 when one of these verdicts was found.")
]
ColorOption = Annotated[
    Color, Option("--color", help="Colour of verdicts by severity; auto: on a terminal, unless NO_COLOR is set.")
]
UtcOption = Annotated[bool, Option("--utc", help="Times in UTC instead of this host's zone; in JSON they always are.")]
ResolveOption = Annotated[
    bool, Option("--resolve", help=("Name addresses by reverse DNS in tables; waits at most a second for names."))
]
AsnDbOption = Annotated[
    str | None,
    Option(
        "--asn-db",
        metavar="FILE",
        show_default=False,
        help=("Name autonomous systems and countries by this file in MaxMind's format; without it, $UDPPROBE_ASN_DB."),
    ),
]
AsnDnsOption = Annotated[
    bool,
    Option(
        "--asn-dns",
        help=(
            "Name autonomous systems by asking Team Cymru's zone over DNS: "
            "whoever runs it and the resolvers see addresses."
        ),
    ),
]
ProgressOption = Annotated[
    bool | None,
    Option(
        "--progress/--no-progress",
        show_default=False,
        help="A progress bar on standard error; shown by default on a terminal, after a second.",
    ),
]

_SECONDS = re.compile(r"(?P<whole>[+-]?\d{1,10})(?:\.(?P<fraction>\d+))?", re.ASCII)
_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<minute>\d\d:\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 UTC of an RFC 3339 time or of seconds since the epoch.

    The time of day may be missing (midnight), and so may the zone (UTC).

    Raises:
        UsageError: it is neither.
    """
    if seconds := _SECONDS.fullmatch(text):
        return int(f"{seconds['whole']}{seconds['fraction'] or '':0<9.9}")
    moment = _MOMENT.fullmatch(text)
    if not moment:
        raise _no_time(text)
    part = moment.groupdict("")
    try:
        when = datetime.fromisoformat(
            f"{part['date']}T{part['minute'] or '00:00'}:{part['second'] or '00'}{part['zone'].upper() or 'Z'}"
        )
    except ValueError:
        raise _no_time(text) from None
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    fraction_ns = int(f"{part['fraction']:0<9.9}")
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + fraction_ns


def _no_time(text: str) -> UsageError:
    return UsageError(f"{text!r} is not a time; use 2026-01-31T12:00:00Z or seconds since 1970")


SLOWEST_PPS, FASTEST_PPS = 0.001, 1e9
LONGEST_S = 86_400


def rate_of(value: float) -> float:
    """A rate in packets a second, 0 for no limit.

    Raises:
        UsageError: it is no number, or no rate that a nanosecond clock can keep.
    """
    if value == 0 or SLOWEST_PPS <= value <= FASTEST_PPS:
        return value
    raise UsageError(f"--rate {value:g}: give 0 for no limit, or {SLOWEST_PPS:g} to {FASTEST_PPS:,.0f}")


def seconds_of(parameter: CallbackParam, value: float) -> float:
    """A time to wait.

    Raises:
        UsageError: it is no number. The parser has checked the range.
    """
    if value == value:  # noqa: PLR0124 - all but NaN
        return value
    raise UsageError(f"{max(parameter.opts, key=len)} nan: give a number")


def seconds_or_none(parameter: CallbackParam, value: float | None) -> float | None:
    """The same for an option without a default."""
    return None if value is None else seconds_of(parameter, value)


def time_limit(help_text: str, *names: str, least_s: float = 0.01) -> OptionInfo:
    """An option for seconds to wait; its name is the parameter's where none is given."""
    option: OptionInfo = Option(
        *names, min=least_s, max=LONGEST_S, metavar="SECONDS", callback=seconds_of, help=help_text
    )
    return option


def family_of(*, only_v4: bool, only_v6: bool) -> int | None:
    """The only family of addresses that -4 and -6 leave; None for both."""
    return None if only_v4 == only_v6 else 4 if only_v4 else 6


def address_of(value: str | None) -> str | None:
    """An address of this host, to send from.

    Raises:
        UsageError: it is no address.
    """
    from ipaddress import ip_address  # noqa: PLC0415 - where it is given

    try:
        return value and str(ip_address(value))
    except ValueError:
        raise UsageError(f"--source-address {value!r} is not an IPv4 or IPv6 address") from None


class EngineName(StrEnum):
    """A way to send probes and to receive their replies."""

    RAW = "raw"
    RECVERR = "recverr"
    CONNECTED = "connected"


class CaptureMethod(StrEnum):
    """A way to capture packets."""

    RING = "ring"
    SCAPY = "scapy"


Targets = Annotated[
    list[str] | None,
    Argument(metavar="TARGET...", show_default=False, help="What to probe: hosts, with or without ports; see below."),
]
PortsOption = Annotated[
    list[str] | None,
    Option(
        "--ports",
        "-p",
        metavar="PORTS",
        show_default=False,
        help="Ports of targets that name none: 53,domain,1000-2000; - is all. May be repeated.",
    ),
]
AllowBroadcast = Annotated[
    bool, Option("--allow-broadcast", help="Probe multicast, broadcast and 0.0.0.0/8 addresses too.")
]
TargetsFile = Annotated[
    str | None,
    Option(metavar="FILE", help="More targets, between blanks or line ends, # before comments; - is standard input."),
]
Exclude = Annotated[
    list[str] | None,
    Option(
        metavar="TARGET[,TARGET]",
        show_default=False,
        help="Do not probe these: hosts, networks, host:port. May be repeated.",
    ),
]
OnlyV4 = Annotated[bool, Option("-4", help="Only IPv4 addresses.")]
OnlyV6 = Annotated[bool, Option("-6", help="Only IPv6 addresses.")]
Rate = Annotated[
    float,
    Option(
        min=0,
        metavar="PPS",
        callback=rate_of,
        help="Datagrams a second, to all hosts together; 0: as fast as this host sends.",
    ),
]
Retries = Annotated[int, Option(min=0, max=100, metavar="N", help="Further probes to a port that has not replied.")]
Timeout = Annotated[float, time_limit("Seconds to wait for a host that has not replied at all.")]
Payload = Annotated[
    str,
    Option(
        metavar="PAYLOAD",
        help=("auto (what the port's service speaks), empty, token, hex:..., file:..., or names from the table."),
    ),
]
Payloads = Annotated[
    str | None, Option(metavar="nmap:FILE", help="Use the payloads of an installed nmap's file first.")
]
ListPayloads = Annotated[bool, Option("--list-payloads", help="Show the table of payloads and exit.")]
Size = Annotated[
    int | None, Option(min=28, max=65535, metavar="BYTES", help="Pad every probe to an IP packet of this size.")
]
Ttl = Annotated[int, Option(min=1, max=255, metavar="TTL", help="TTL or hop limit of the probes.")]
SourcePort = Annotated[
    int | None,
    Option(min=1, max=65535, metavar="PORT", show_default=False, help="Send from this port instead of a free one."),
]
ProbeRate = Annotated[
    float, Option("--rate", min=0, metavar="PPS", callback=rate_of, help="Probes a second, at most; 0: no limit.")
]
OneSourceAddress = Annotated[
    str | None,
    Option("--source-address", metavar="ADDRESS", callback=address_of, help="Address of this host to send from."),
]
SourceAddress = Annotated[
    str | None,
    Option(
        metavar="A,B,...",
        help=("Addresses of this host to send from, in turn: many hosts limit errors per destination address."),
    ),
]
Interface = Annotated[
    str | None,
    Option(
        "--interface",
        "-i",
        metavar="IFACE",
        help=("Interface to send and listen on; also the zone of link-local targets."),
    ),
]
CaptureOption = Annotated[
    CaptureMethod | None,
    Option(
        "--capture",
        show_default=False,
        help=("The kernel's ring (AF_PACKET), or Scapy's sockets, as where there is no such ring."),
    ),
]
Write = Annotated[
    str | None,
    Option("--write", "-w", metavar="FILE.pcapng", help="Write probes and answers there, verdicts as packet comments."),
]
Control = Annotated[
    bool,
    Option(
        "--control/--no-control", help="Also probe ports that are almost certainly closed, to learn what silence means."
    ),
]
EngineOption = Annotated[
    EngineName | None,
    Option(
        "--engine",
        show_default=False,
        help=("How to send and listen: raw where this user may, else recverr (see udpprobe scan --help)."),
    ),
]
DryRun = Annotated[bool, Option("--dry-run", help="Show what would be sent, and send nothing.")]
Wait = Annotated[float, time_limit("Seconds to wait for a reply, after each probe.")]
LoopTtl = Annotated[
    int,
    Option(min=1, max=255, metavar="TTL", help="Count a probe that left with this TTL or more and expired as looping."),
]
Events = Annotated[bool, Option("--events", help="One row per ICMP error, in order of arrival.")]
