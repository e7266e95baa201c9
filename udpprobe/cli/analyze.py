"""`udpprobe analyze`: what a capture knows."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from udpprobe.cli.ending import Ending, is_stream, status_of
from udpprobe.cli.options import FailOnOption, OutputOption, ProgressOption, ReportFormatOption, parse_time
from udpprobe.cli.output import guard_inputs, opened
from udpprobe.cli.progress import shown
from udpprobe.core.verdicts import parse_verdicts
from udpprobe.errors import UsageError
from udpprobe.reports.formats import Format

if TYPE_CHECKING:
    from udpprobe.core.model import Report
    from udpprobe.observe import Options

EXAMPLES = """\
\b
Examples:
  udpprobe analyze capture.pcap
  udpprobe analyze --events --format ndjson capture.pcapng.gz
  tcpdump -i eth0 -U -w - udp or icmp or icmp6 | udpprobe analyze -
  udpprobe analyze --fail-on too-big,loop --format json -o out.json *.pcap
"""

_HEALTHY = frozenset({"answered", "silent"})
"""Verdicts of destinations that are shown with --all only."""


class GroupBy(StrEnum):
    """What one row of the report is about."""

    DESTINATION = "destination"
    HOST = "host"
    FLOW = "flow"
    REPORTER = "reporter"


def analyze(  # noqa: PLR0913 - a command's options are its arguments
    files: Annotated[list[str], typer.Argument(
        metavar="FILE...", help="pcap or pcapng, also in gzip or zstd; - is standard input.")],
    *,
    bpf: Annotated[str | None, typer.Option("--filter", metavar="BPF",
                                            help="Only packets that this pcap filter lets through.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Only packets from TIME on: RFC 3339 (UTC "
                                              "where no zone is given), or seconds since 1970.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only packets before TIME.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Healthy destinations too.")] = False,
    group_by: Annotated[GroupBy, typer.Option(help="What a row is about.")] = GroupBy.DESTINATION,
    events: Annotated[bool, typer.Option("--events",
                                         help="One row an ICMP error, in capture order.")] = False,
    loop_ttl: Annotated[int, typer.Option(
        min=1, max=255, metavar="TTL",
        help="A datagram that left with this TTL or more and expired was in a loop.")] = 32,
    output_format: ReportFormatOption = Format.TABLE,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
    progress: ProgressOption = None,
) -> None:
    """Find, for every ICMP error in captures, the UDP datagram that caused it, and say what happened.

    Several files are one capture, in the order of their time stamps.
    """
    failing = frozenset(parse_verdicts(fail_on)) if fail_on is not None else frozenset()
    window = _window(since, until)
    guard_inputs(output, files)
    from udpprobe.observe import Options  # noqa: PLC0415 - NumPy comes with it, and help does without

    options = Options(filter=bpf, since_ns=window[0], until_ns=window[1],
                      all_destinations=show_all or bool(failing & _HEALTHY), group_by=group_by.value,
                      loop_ttl=loop_ttl)
    with opened(output, stream=is_stream(output_format, events=events)) as out:
        ending = Ending(out, output_format, events=events, show_all=show_all)
        report, interrupted = _follow(files, options, ending, progress)
        ending.write(report)
    raise typer.Exit(status_of(report, failing, interrupted=interrupted))


def _window(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    first_ns = None if since is None else parse_time(since)
    last_ns = None if until is None else parse_time(until)
    if first_ns is not None and last_ns is not None and first_ns >= last_ns:
        raise UsageError(f"--since {since} is not before --until {until}")
    return first_ns, last_ns


def _follow(files: list[str], options: "Options", ending: Ending,
            progress: bool | None) -> tuple["Report", bool]:
    from udpprobe import observe  # noqa: PLC0415 - as above

    on_events = ending.take if ending.events else None
    with shown(progress) as on_progress:
        try:
            return observe.analyze(files, options, on_events=on_events, on_progress=on_progress), False
        except observe.Interrupted as interrupted:
            return interrupted.report, True
