"""What several commands take: the format, the file, the verdicts that fail, a moment."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from typer import Option

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
        raise UsageError(f"--format {output_format} is for {what}; here it is {'|'.join(formats)}")
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
FailOnOption = Annotated[
    str | None, Option(metavar="VERDICT[,VERDICT]", help="Exit with status 1 when one of these verdicts was found.")
]
ColorOption = Annotated[
    Color, Option("--color", help="Colour of verdicts by severity; auto: on a terminal, unless NO_COLOR is set.")
]
UtcOption = Annotated[bool, Option("--utc", help="Times in UTC instead of this host's zone; in JSON they always are.")]
ResolveOption = Annotated[
    bool, Option("--resolve", help=("Name addresses by reverse DNS in tables; waits for names a second at most."))
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
    """Nanoseconds since 1970 UTC of an RFC 3339 moment or of seconds since the epoch.

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
    return UsageError(f"{text!r} is no time; say 2026-01-31T12:00:00Z or seconds since 1970")
