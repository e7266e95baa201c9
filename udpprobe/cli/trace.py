"""`udpprobe trace`: which way a datagram takes, and where it ends or loops."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple, TextIO

from typer import Argument, Option

from udpprobe.cli import scan_options as opt
from udpprobe.cli.options import (
    AsnDbOption,
    AsnDnsOption,
    Color,
    ColorOption,
    FailOnOption,
    OutputOption,
    PageFormatOption,
    UtcOption,
)
from udpprobe.cli.output import is_ascii, is_screen, load_ahead, names_for, opened, style_of, width_of
from udpprobe.cli.results import finish
from udpprobe.core.targets import TRACEROUTE_PORT, parse_target
from udpprobe.core.verdicts import parse_verdicts
from udpprobe.errors import UdpprobeError
from udpprobe.reports import Format

if TYPE_CHECKING:
    from udpprobe.cli.screen import Screen
    from udpprobe.commands.trace import Options, Traced
    from udpprobe.engines.wire import Endpoint
    from udpprobe.reports.text import Style
    from udpprobe.resolver import Names
    from udpprobe.tracing.model import Hop, TraceReport


EXAMPLES = """\
All probes of a flow look the same to load balancers, so they take one path; --flows N sends as many flows, which may
take others. A probe for each TTL leaves before the first reply is in. A router that answers only some of its probes is
asked again slowly, and the notes say where it limits its replies.

\b
Examples:
  udpprobe trace 192.0.2.1
  udpprobe trace dns.example:53
  udpprobe trace --flows 8 '[2001:db8::1]:443'
  udpprobe trace --format json --fail-on loop,silent 192.0.2.1:7
  udpprobe trace --watch --interval 1 192.0.2.1
  udpprobe trace --watch --interval 60 --format ndjson 192.0.2.1
  udpprobe trace --report-cycles 10 --format json -o ticket.json 192.0.2.1
"""

MaxTtl = Annotated[int, Option("--max-ttl", "-m", min=1, max=255, metavar="TTL", help="Highest TTL to try.")]
FirstTtl = Annotated[int, Option("--first-ttl", "-f", min=1, max=255, metavar="TTL", help="Lowest TTL to try.")]
Queries = Annotated[int, Option("--queries", "-q", min=1, max=100, metavar="N", help="Probes for each hop.")]
Timeout = Annotated[float, Option(min=0.01, max=opt.LONGEST_S, metavar="SECONDS", callback=opt.seconds_of, help=(
    "Seconds to wait for a reply where no later hop has replied."))]
Rate = Annotated[float, Option(
    min=0, metavar="PPS", callback=opt.rate_of, help="Probes a second, at most; 0: no limit.")]
Flows = Annotated[int, Option(min=1, max=64, metavar="N", help="Number of flows, each with a source port of its own.")]
SourceAddress = Annotated[str | None, Option(
    metavar="ADDRESS", callback=opt.address_of, help="Address of this host to send from.")]
Watch = Annotated[bool, Option("--watch", help=(
    "Repeat until Ctrl-C, keep statistics, and report what changes; on a terminal, a screen with keys."))]
ReportCycles = Annotated[int | None, Option("--report-cycles", min=1, max=10**9, metavar="N", help=(
    "As --watch, but end after N rounds with a report of their statistics."))]
Interval = Annotated[float, Option(
    min=0, max=opt.LONGEST_S, metavar="SECONDS", callback=opt.seconds_of, help="Pause between the rounds of --watch.")]


def trace(  # noqa: PLR0913 - a command's options are its arguments
    target: Annotated[str, Argument(metavar="HOST:PORT", help=(
        f"Where to; without a port, {TRACEROUTE_PORT}. Of a name's addresses, the system's first choice."))],
    *,
    only_v4: opt.OnlyV4 = False,
    only_v6: opt.OnlyV6 = False,
    max_ttl: MaxTtl = 30,
    first_ttl: FirstTtl = 1,
    queries: Queries = 3,
    flows: Flows = 1,
    timeout: Timeout = 4,
    rate: Rate = 1000,
    payload: opt.Payload = "auto",
    size: opt.Size = None,
    source_port: opt.SourcePort = None,
    source_address: SourceAddress = None,
    interface: opt.Interface = None,
    capture: opt.CaptureOption = None,
    allow_broadcast: opt.AllowBroadcast = False,
    watch: Watch = False,
    report_cycles: ReportCycles = None,
    interval: Interval = 10,
    output_format: PageFormatOption = Format.TABLE,
    output: OutputOption = None,
    color: ColorOption = Color.AUTO,
    utc: UtcOption = False,
    numeric: Annotated[bool, Option("-n", help="Do not name routers by reverse DNS.")] = False,
    asn_db: AsnDbOption = None,
    asn_dns: AsnDnsOption = False,
    fail_on: FailOnOption = None,
) -> None:
    """Find the routers on the way to a UDP port, and where it ends: at the port, a filter, in a loop, in silence.

    The verdict is the destination's, in the words of scan.
    """
    failing = frozenset(parse_verdicts(fail_on)) if fail_on is not None else frozenset()
    family = None if only_v4 == only_v6 else 4 if only_v4 else 6
    from udpprobe.engines.wire import endpoint_named  # noqa: PLC0415 - help does without the core

    endpoint = endpoint_named(target, "trace", family, interface, allow_broadcast=allow_broadcast)
    from udpprobe.commands.trace import Options  # noqa: PLC0415 - as above

    options = Options(
        max_ttl=max_ttl, first_ttl=first_ttl, queries=queries, timeout_s=timeout, rate_pps=rate, flows=flows,
        interface=interface, source_address=source_address, source_port=source_port or 0, payload=payload,
        size=size or 0, capture=capture or "auto")
    names = names_for(output_format, dns=not numeric, asn_db=asn_db, asn_dns=asn_dns)
    typed = parse_target(target).host
    watch = watch or report_cycles is not None
    with opened(output, stream=output_format is Format.NDJSON) as out:
        told = _Output(out, output_format, style_of(out, color, utc=utc, names=names),
                       typed if isinstance(typed, str) else None, names, is_report=report_cycles is not None)
        shown = None
        if watch and is_screen(output_format, output):
            from udpprobe.cli.screen import Screen  # noqa: PLC0415 - when it is shown

            shown = Screen(told.name, style_of(sys.stdout, color, utc=utc), numeric=numeric, asn_db=asn_db,
                           interval_s=interval)
        how = _How(interval if watch else None, report_cycles)
        verdicts, last = _follow(endpoint, options, told, how, shown)
    is_whole = told.rounds.count == report_cycles or (shown is not None and shown.has_quit)
    # a watch ends with q, after its cycles, or with Ctrl-C, be it in a round or in a pause
    interrupted = not is_whole if watch else last is not None and last.interrupted
    finish(verdicts, failing, interrupted=interrupted,
           failure=UdpprobeError(last.failure) if last is not None and last.failure else None)


class _How(NamedTuple):
    """How often."""

    interval_s: float | None
    """Between rounds; None for one round."""
    rounds: int | None
    """At most; None for no limit."""


def _follow(endpoint: "Endpoint", options: "Options", output: "_Output", how: _How,
            screen: "Screen | None") -> tuple[set[str | None], "Traced | None"]:
    """Every verdict that was found, and the last round."""
    from udpprobe.commands.trace import trace as rounds  # noqa: PLC0415 - as above

    load_ahead("udpprobe.reports.trace", output.format)
    verdicts, traced = set(), None
    on_hops = output.take_hops if output.format is Format.NDJSON else None
    with screen or _live(output, is_watch=how.interval_s is not None) as on_change:
        for traced in rounds(endpoint, options, on_change, on_hops=on_hops, interval_s=how.interval_s,
                             rounds=how.rounds, wish=screen.wish if screen else None):
            verdicts.add(traced.report.verdict)
            if screen:
                screen.take(traced.report)
            output.take(traced, more=how.interval_s is not None, is_shown=screen is not None)
    output.finish()
    return verdicts, traced


class _Output:
    """Where the rounds go.

    Args:
        out: what is written to.
        output_format: how.
        style: of text for people.
        name: of the target, as it was typed.
        names: what looks up names of routers.
        is_report: whether a table is of the statistics at the end, and nothing before.
    """

    def __init__(self, out: TextIO, output_format: Format, style: "Style", name: str | None = None,
                 names: "Names | None" = None, *, is_report: bool = False) -> None:
        from udpprobe.tracing.statistics import Rounds  # noqa: PLC0415 - as above

        self.out, self.format, self.style, self.name, self.names = out, output_format, style, name, names
        self.is_live = output_format is Format.TABLE and out.isatty()
        self.rounds = Rounds()
        self._is_report = is_report
        self._is_watch = self._is_told = False
        self._told_ttl = 0
        """The last hop of this round that was written."""

    def look_up(self, report: "TraceReport") -> None:
        """Begin to look up names of the routers that are known by now."""
        if self.names:
            self.names.ask(each.address for hop in report.hops for each in hop.reporters)

    def text(self, report: "TraceReport") -> str:
        """A report in the format that was asked for."""
        from msgspec.structs import replace  # noqa: PLC0415 - as above

        from udpprobe.reports.trace import TRACE_FORMATS, trace_table  # noqa: PLC0415 - as above

        report = replace(report, name=self.name)
        if self.format is Format.TABLE:
            return trace_table(report, width_of(self.out), self.style)
        return TRACE_FORMATS[self.format](report, width_of(self.out))

    def take_hops(self, hops: "Sequence[Hop]") -> None:
        """Hops that are settled: a line each, at once."""
        from udpprobe.reports.trace import hop_lines  # noqa: PLC0415 - as above

        self._write(hop_lines(hops))
        self._told_ttl = hops[-1].ttl

    def take(self, traced: "Traced", *, more: bool, is_shown: bool = False) -> None:
        """A round: at once to a stream of lines; of a table the first, and then what changes.

        Args:
            traced: it.
            more: whether others follow.
            is_shown: whether a screen shows them.
        """
        report, is_first = traced.report, self.rounds.report() is None
        changes = self.rounds.take(report)
        self._is_watch = more
        self.look_up(report)
        if self.names and not more:
            self.names.wait()
        if self._told_ttl:
            from msgspec.structs import replace  # noqa: PLC0415 - as above

            report = replace(report, hops=tuple(hop for hop in report.hops if hop.ttl > self._told_ttl))
            self._told_ttl = 0
        if self.format is Format.NDJSON:
            self._write(self.text(report))
        elif self.format is Format.TABLE and more and not is_shown and not self._is_report:
            from udpprobe.reports.trace import change_lines  # noqa: PLC0415 - as above

            self._write(self.text(report) if is_first else change_lines(changes, self.style))

    def _write(self, text: str) -> None:
        self._is_told = True
        self.out.write(text)
        self.out.flush()

    def finish(self) -> None:
        """The last round, or the statistics of all, where none was written yet."""
        report = self.rounds.report()
        if report is None or self._is_told:
            return
        from msgspec.structs import replace  # noqa: PLC0415 - as above

        if not self._is_watch:
            report = replace(report, hops=tuple(replace(hop, statistics=None) for hop in report.hops))
        elif self.format is Format.TABLE:
            from udpprobe.reports.screen import statistics_table  # noqa: PLC0415 - as above

            self.out.write(statistics_table(replace(report, name=self.name), width_of(self.out), self.style,
                                            is_ascii=is_ascii(self.out)))
            return
        self.out.write(self.text(report))


@contextmanager
def _live(output: _Output, *, is_watch: bool) -> Iterator["Callable[[TraceReport], None] | None"]:
    """What shows a table while it fills; None where nobody looks."""
    if is_watch or not output.is_live:
        yield output.look_up if output.names else None
        return
    from rich.console import Console  # noqa: PLC0415 - when it is shown
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    with Live(console=Console(file=sys.stdout), auto_refresh=False, transient=True) as live:
        def on_change(report: "TraceReport") -> None:
            output.look_up(report)
            live.update(Text.from_ansi(output.text(report)), refresh=True)

        yield on_change
