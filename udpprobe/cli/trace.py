"""`udpprobe trace`: the path of a datagram, and where it ends or loops."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

from typer import Argument, Option

from udpprobe.cli import options as opt
from udpprobe.cli.output import complain, is_ascii, is_screen, load_ahead, names_for, opened, style_of, width_of
from udpprobe.cli.results import failing_verdicts, finish
from udpprobe.core.targets import TRACEROUTE_PORT, parse_target
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports import OutputFormat

if TYPE_CHECKING:
    from udpprobe.cli.screen import Screen
    from udpprobe.commands.trace import Traced, TraceOptions
    from udpprobe.engines.wire import Endpoint
    from udpprobe.reports.text import Style
    from udpprobe.resolver import Names
    from udpprobe.tracing.model import Hop, Target, TraceReport


EXAMPLES = """\
All probes of a flow look the same to load balancers, so they take one path; --flows N sends N flows, which may take
different paths. Probes for all TTLs leave before the first reply arrives. A router that answers only some probes is
probed again slowly, and a note says if it limits its replies.

\b
Examples:
  udpprobe trace 192.0.2.1
  udpprobe trace dns.example:53
  udpprobe trace --flows 8 '[2001:db8::1]:443'
  udpprobe trace --format json --fail-on loop,silent 192.0.2.1:7
  udpprobe trace --watch 192.0.2.1 dns.example:53 '[2001:db8::1]:443'
  udpprobe trace --watch --interval 60 --format ndjson 192.0.2.1
  udpprobe trace --report-cycles 10 --format json -o ticket.json 192.0.2.1
"""

Targets = Annotated[
    list[str],
    Argument(
        metavar="HOST:PORT...",
        help=f"Where to; without a port, {TRACEROUTE_PORT}. Of a name's addresses, the system's first choice.",
    ),
]
MaxTtl = Annotated[int, Option("--max-ttl", "-m", min=1, max=255, metavar="TTL", help="Highest TTL to try.")]
FirstTtl = Annotated[int, Option("--first-ttl", "-f", min=1, max=255, metavar="TTL", help="Lowest TTL to try.")]
Queries = Annotated[
    int | None,
    Option(
        "--queries", "-q", min=1, max=100, metavar="N", show_default="3; with --watch 1", help="Probes for each hop."
    ),
]
Timeout = Annotated[float, opt.time_limit("Seconds to wait for a reply where no later hop has replied.")]
Flows = Annotated[int, Option(min=1, max=64, metavar="N", help="Number of flows, each with a source port of its own.")]
Watch = Annotated[
    bool,
    Option(
        "--watch",
        help=("Repeat until Ctrl-C, keep statistics, and report what changes; on a terminal, a screen with keys."),
    ),
]
ReportCycles = Annotated[
    int | None,
    Option(
        "--report-cycles",
        "-c",
        min=1,
        max=10**9,
        metavar="N",
        help=("As --watch, but end after N rounds with a report of their statistics."),
    ),
]
Interval = Annotated[
    float | None,
    Option(
        min=0,
        max=opt.LONGEST_S,
        metavar="SECONDS",
        callback=opt.seconds_or_none,
        show_default="1 for each target, up to 10 where a router limits its replies",
        help="Pause between the rounds of --watch.",
    ),
]


def trace(  # noqa: PLR0913 - a command's options are its arguments
    targets: Targets,
    *,
    only_v4: opt.OnlyV4 = False,
    only_v6: opt.OnlyV6 = False,
    max_ttl: MaxTtl = 30,
    first_ttl: FirstTtl = 1,
    queries: Queries = None,
    flows: Flows = 1,
    timeout: Timeout = 4,
    rate: opt.ProbeRate = 1000,
    payload: opt.Payload = "auto",
    size: opt.Size = None,
    source_port: opt.SourcePort = None,
    source_address: opt.OneSourceAddress = None,
    interface: opt.Interface = None,
    capture: opt.CaptureOption = None,
    allow_broadcast: opt.AllowBroadcast = False,
    watch: Watch = False,
    report_cycles: ReportCycles = None,
    interval: Interval = None,
    output_format: opt.PageFormatOption = OutputFormat.TABLE,
    output: opt.OutputOption = None,
    color: opt.ColorOption = opt.Color.AUTO,
    utc: opt.UtcOption = False,
    numeric: Annotated[bool, Option("-n", help="Do not name routers by reverse DNS.")] = False,
    asn_db: opt.AsnDbOption = None,
    asn_dns: opt.AsnDnsOption = False,
    fail_on: opt.FailOnOption = None,
) -> None:
    """Find the routers on the path to a UDP port, and where it ends: at the port, a filter, in a loop, in silence.

    The verdict is the destination's, in the words of scan. Several targets are traced in parallel.
    """
    failing = failing_verdicts(fail_on)
    if output_format is OutputFormat.HTML and len(targets) > 1:
        raise UsageError("--format html is one page of one target; here are several")
    family = opt.family_of(only_v4=only_v4, only_v6=only_v6)
    endpoints, failures = _endpoints_of(targets, family, interface, allow_broadcast=allow_broadcast)
    from udpprobe.commands.trace import TraceOptions  # noqa: PLC0415 - help does without the core

    is_watch = watch or report_cycles is not None
    options = TraceOptions(
        max_ttl=max_ttl,
        first_ttl=first_ttl,
        queries=queries or (1 if is_watch else 3),
        timeout_s=timeout,
        rate_pps=rate,
        flows=flows,
        interface=interface,
        source_address=source_address,
        source_port=source_port or 0,
        payload=payload,
        size=size or 0,
        capture=capture or "auto",
    )
    names = names_for(output_format, dns=not numeric, asn_db=asn_db, asn_dns=asn_dns)
    typed = [name for name, _ in endpoints]
    with opened(output, stream=output_format is OutputFormat.NDJSON) as out:
        style = style_of(out, color, utc=utc, names=names)
        writer = _Output(
            out, output_format, style, typed, names, is_watch=is_watch, is_report=report_cycles is not None
        )
        screen = None
        if is_watch and is_screen(output_format, output):
            style = style_of(sys.stdout, color, utc=utc)
            screen = _screen(typed, style, asn_db, asn_dns=asn_dns, has_names=not numeric)
        load_ahead("udpprobe.reports.trace", output_format)
        _trace(writer, screen, [endpoint for _, endpoint in endpoints], options, interval, report_cycles)
        writer.finish()
    failures += writer.failures
    for failure in failures[:-1]:
        complain(failure)
    # a watch ends with q, after its cycles, or with Ctrl-C during a round or a pause
    is_whole = writer.has_rounds(report_cycles) or (screen is not None and screen.has_quit)
    interrupted = not is_whole if is_watch else writer.is_interrupted
    finish(writer.verdicts, failing, interrupted=interrupted, failure=UdpprobeError(failures[-1]) if failures else None)


def _trace(
    writer: "_Output",
    screen: "Screen | None",
    endpoints: "Sequence[Endpoint]",
    options: "TraceOptions",
    interval_s: float | None,
    cycles: int | None,
) -> None:
    """Trace, and show the rounds."""
    from udpprobe.commands.trace import trace_all  # noqa: PLC0415 - help does without the core

    with screen or _live(writer) as on_change:
        for place, traced in trace_all(
            endpoints,
            options,
            on_change,
            interval_s=interval_s,
            on_hops=writer.take_hops if writer.format is OutputFormat.NDJSON else None,
            rounds=cycles if writer.is_watch else 1,
            key_command=screen.key_command if screen else None,
        ):
            if screen:
                screen.take(place, traced)
            writer.take(place, traced, is_shown=screen is not None)


def _screen(
    typed: "Sequence[str | None]", style: "Style", asn_db: str | None, *, asn_dns: bool, has_names: bool
) -> "Screen":
    from udpprobe.cli.screen import Screen  # noqa: PLC0415 - when it is shown
    from udpprobe.resolver import Names  # noqa: PLC0415 - as above

    asn_db = asn_db or os.environ.get("UDPPROBE_ASN_DB")
    return Screen(typed, style, Names(asn_db=asn_db, asn_dns=asn_dns), has_names=has_names)


def _endpoints_of(
    targets: "Sequence[str]", family: int | None, interface: str | None, *, allow_broadcast: bool
) -> "tuple[list[tuple[str | None, Endpoint]], list[str]]":
    """The targets with their names as typed; of several, why some have no address.

    Raises:
        UsageError: one is no target, or more than one destination.
        UdpprobeError: none has an address.
    """
    from udpprobe.engines.wire import endpoint_named  # noqa: PLC0415 - help does without the core

    found: list[tuple[str | None, Endpoint]] = []
    failures = []
    for text in targets:
        host = parse_target(text).host
        try:
            endpoint = endpoint_named(text, "trace", family, interface, allow_broadcast=allow_broadcast)
        except UsageError:
            raise
        except UdpprobeError as error:
            failures.append(str(error))
        else:
            found.append((host if isinstance(host, str) else None, endpoint))
    if not found:
        for failure in failures[:-1]:
            complain(failure)
        raise UdpprobeError(failures[-1])
    return found, failures


class _OfTarget:
    """The rounds to one target."""

    def __init__(self, name: str | None) -> None:
        from udpprobe.tracing.statistics import Rounds  # noqa: PLC0415 - help does without

        self.name, self.rounds = name, Rounds()
        self.last: Traced | None = None
        """The last round."""
        self.is_written = False
        self.written_ttl = 0
        """The last hop of this round that was written."""
        self.running: TraceReport | None = None
        """The results of a round so far."""


class _Output:
    """Writes the rounds.

    Args:
        out: destination.
        output_format: how.
        style: of text for people.
        typed: names of the targets as typed; None for addresses.
        names: looks up names of routers.
        is_watch: whether there is more than one round.
        is_report: whether a table has only the statistics at the end.
    """

    def __init__(
        self,
        out: TextIO,
        output_format: OutputFormat,
        style: "Style",
        typed: "Sequence[str | None]",
        names: "Names | None" = None,
        *,
        is_watch: bool,
        is_report: bool,
    ) -> None:
        self.out, self.format, self.style, self.names = out, output_format, style, names
        self.is_live = output_format is OutputFormat.TABLE and out.isatty() and not is_watch
        self._targets = [_OfTarget(name) for name in typed]
        self.verdicts: set[str | None] = set()
        """Those of all rounds."""
        self.is_watch, self._is_report = is_watch, is_report

    def has_rounds(self, count: int | None) -> bool:
        """Whether each target has had so many rounds, or cannot have any."""
        return all(each.rounds.count == count or each.rounds.is_unsent for each in self._targets)

    @property
    def failures(self) -> list[str]:
        """Why targets could not be traced."""
        return [each.last.failure for each in self._targets if each.last and each.last.failure]

    @property
    def is_interrupted(self) -> bool:
        """Whether the last round of a target was."""
        return any(each.last.interrupted for each in self._targets if each.last)

    def look_up(self, _: int, report: "TraceReport") -> None:
        """Begin to look up names of the routers known so far."""
        if self.names:
            self.names.ask(each.address for hop in report.hops for each in hop.reporters)

    def running(self, place: int, report: "TraceReport") -> str:
        """The results of all targets so far, during their only round."""
        self._targets[place].running = report
        return "\n".join(self._text(each, each.running) for each in self._targets if each.running)

    def _text(self, target: _OfTarget, report: "TraceReport") -> str:
        """A report in the requested format."""
        from msgspec.structs import replace  # noqa: PLC0415 - help does without

        from udpprobe.reports.trace import trace_table, traces_text  # noqa: PLC0415 - as above

        report = replace(report, name=target.name)
        if self.format is OutputFormat.TABLE:
            return trace_table(report, width_of(self.out), self.style)
        return traces_text([report], self.format, width_of(self.out))

    def take_hops(self, place: int, target: "Target", hops: "Sequence[Hop]") -> None:
        """Print settled hops: a line each, at once."""
        from udpprobe.reports.trace import hop_lines  # noqa: PLC0415 - as above

        self._write(self._targets[place], hop_lines(hops, target))
        self._targets[place].written_ttl = hops[-1].ttl

    def take(self, place: int, traced: "Traced", *, is_shown: bool = False) -> None:
        """Print a round: at once as a line; in a table only the first, and then changes.

        Args:
            place: of the target.
            traced: the round.
            is_shown: whether a screen shows them.
        """
        target, report = self._targets[place], traced.report
        target.last = traced
        self.verdicts.add(report.verdict)
        is_first = target.rounds.report() is None
        changes = target.rounds.take(report)
        self.look_up(place, report)
        if self.format is OutputFormat.NDJSON:
            from msgspec.structs import replace  # noqa: PLC0415 - as above

            self._write(
                target,
                self._text(
                    target, replace(report, hops=tuple(hop for hop in report.hops if hop.ttl > target.written_ttl))
                ),
            )
            target.written_ttl = 0
        elif self.format is OutputFormat.TABLE and self.is_watch and not (is_shown or self._is_report):
            from udpprobe.reports.trace import change_lines, target_of  # noqa: PLC0415 - as above

            whither = target_of(report) if len(self._targets) > 1 else ""
            self._write(target, self._text(target, report) if is_first else change_lines(changes, self.style, whither))

    def _write(self, target: _OfTarget, text: str) -> None:
        target.is_written = True
        self.out.write(text)
        self.out.flush()

    def finish(self) -> None:
        """Print each target's last round, or the statistics, if none was printed yet."""
        from msgspec.structs import replace  # noqa: PLC0415 - as above

        if self.names and not self.is_watch:
            self.names.wait()
        reports = [
            replace(report, name=target.name)
            for target in self._targets
            if not target.is_written and (report := target.rounds.report()) is not None
        ]
        if not reports:
            return
        if not self.is_watch:
            reports = [
                replace(report, hops=tuple(replace(hop, statistics=None) for hop in report.hops)) for report in reports
            ]
        from udpprobe.reports.trace import trace_table, traces_text  # noqa: PLC0415 - as above

        width = width_of(self.out)
        if self.format is not OutputFormat.TABLE:
            self.out.write(traces_text(reports, self.format, width))
        elif self.is_watch:
            from udpprobe.reports.screen import statistics_table  # noqa: PLC0415 - as above

            self.out.write(
                "\n".join(
                    statistics_table(report, width, self.style, is_ascii=is_ascii(self.out)) for report in reports
                )
            )
        else:
            self.out.write("\n".join(trace_table(report, width, self.style) for report in reports))


@contextmanager
def _live(output: _Output) -> Iterator["Callable[[int, TraceReport], None] | None"]:
    """Shows a table while it fills; None without a terminal."""
    if not output.is_live:
        yield output.look_up if output.names else None
        return
    from rich.console import Console  # noqa: PLC0415 - when it is shown
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    with Live(console=Console(file=sys.stdout), auto_refresh=False, transient=True) as live:

        def on_change(place: int, report: "TraceReport") -> None:
            output.look_up(place, report)
            live.update(Text.from_ansi(output.running(place, report)), refresh=True)

        yield on_change
