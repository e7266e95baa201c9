"""`udpprobe analyze`: what captures show."""

from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from udpprobe.cli import options as opt
from udpprobe.cli.output import complain, guard_inputs, guard_outputs, names_for, opened, style_of
from udpprobe.cli.progress import shown
from udpprobe.cli.results import ReportWriter, failing_verdicts, finish, is_stream, verdicts_in
from udpprobe.errors import CaptureError, UsageError
from udpprobe.reports import OutputFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from udpprobe.capture.inputs import Inputs
    from udpprobe.core.model import Event, Report

EXAMPLES = """\
\b
Examples:
  udpprobe analyze capture.pcap
  udpprobe analyze --events --format ndjson capture.pcapng.gz
  tcpdump -i eth0 -U -w - udp or icmp or icmp6 | udpprobe analyze -
  udpprobe analyze --fail-on too-big,loop --format json -o out.json *.pcap
  udpprobe analyze --vantage /captures/berlin '/captures/paris/*.pcap.gz'
"""

_HEALTHY = frozenset({"answered", "silent"})
"""Verdicts of destinations that are shown only with --all."""


class GroupBy(StrEnum):
    """What a row of the report is about."""

    DESTINATION = "destination"
    HOST = "host"
    FLOW = "flow"
    REPORTER = "reporter"


Files = Annotated[
    list[str] | None,
    Argument(
        metavar="FILE...",
        show_default=False,
        help="pcap or pcapng, also in gzip or zstd; - is standard input. Also directories (searched recursively), "
        "quoted globs, and URLs.",
    ),
]
FilesFrom = Annotated[str | None, Option(metavar="FILE", help="More files, one a line; - is standard input.")]
Vantage = Annotated[
    bool,
    Option(
        "--vantage",
        help="Treat each FILE (directory, glob) as a capture point: its packets are not matched with "
        "the others', only counted together.",
    ),
]
Workers = Annotated[
    int | None,
    Option(
        min=1,
        max=1024,
        metavar="N",
        show_default=False,
        help="Reading threads (processes with `--cluster local`); by default one per core from 1 GiB on, else 1.",
    ),
]
Cluster = Annotated[
    str | None,
    Option(
        metavar="ADDRESS", help="Workers of this Dask scheduler (tcp://host:8786) read them; `local` starts some here."
    ),
]
Since = Annotated[
    str | None,
    Option(
        metavar="TIME", help="Only packets from TIME on: RFC 3339 (UTC where no zone is given), or seconds since 1970."
    ),
]
Until = Annotated[str | None, Option(metavar="TIME", help="Only packets before TIME.")]
Events = Annotated[bool, Option("--events", help="One row per ICMP error, in capture order.")]
Write = Annotated[
    str | None,
    Option(
        "--write",
        "-w",
        metavar="OUT.pcapng",
        show_default=False,
        help="The capture again, with packet comments on errors, their datagrams, and loops; of one FILE.",
    ),
]
OnlyInvolved = Annotated[bool, Option("--only-involved", help="With -w: only the packets that have such a comment.")]


def analyze(  # noqa: PLR0913 - a command's options are its arguments
    files: Files = None,
    *,
    files_from: FilesFrom = None,
    vantage: Vantage = False,
    workers: Workers = None,
    cluster: Cluster = None,
    bpf: opt.FilterOption = None,
    since: Since = None,
    until: Until = None,
    show_all: opt.AllOption = False,
    group_by: Annotated[GroupBy, Option(help="What each row stands for.")] = GroupBy.DESTINATION,
    events: Events = False,
    loop_ttl: opt.LoopTtlOption = 32,
    output_format: opt.ReportFormatOption = OutputFormat.TABLE,
    output: opt.OutputOption = None,
    color: opt.ColorOption = opt.Color.AUTO,
    utc: opt.UtcOption = False,
    resolve: opt.ResolveOption = False,
    asn_db: opt.AsnDbOption = None,
    asn_dns: opt.AsnDnsOption = False,
    fail_on: opt.FailOnOption = None,
    write: Write = None,
    only_involved: OnlyInvolved = False,
    progress: opt.ProgressOption = None,
) -> None:
    """Find the UDP datagram that caused each ICMP error in captures, and report what happened.

    Several files are one capture, in the order of their time stamps. If a file cannot be read, it is named, the others
    are read, and the exit status is 3; the same if no packet has a known link layer.
    """
    failing = failing_verdicts(fail_on)
    window = _window(since, until)
    if workers is not None and cluster not in {None, "local"}:
        raise UsageError("--workers is for threads and processes here; a Dask cluster has its own workers")
    if not files and files_from is None:
        raise UsageError("Missing argument 'FILE...', or --files-from")
    from udpprobe.capture.inputs import find_inputs  # noqa: PLC0415 - help needs none of it

    inputs = find_inputs(files or [], files_from, are_apart=vantage)
    guard_inputs(output, inputs.files)
    if write is not None:
        _guard_write(write, output, inputs.files)
    elif only_involved:
        raise UsageError("--only-involved needs -w")
    from udpprobe.commands import analyze as command  # noqa: PLC0415 - as above

    options = command.AnalyzeOptions(
        filter=bpf,
        since_ns=window[0],
        until_ns=window[1],
        all_destinations=show_all or bool(failing & _HEALTHY),
        group_by=group_by.value,
        loop_ttl=loop_ttl,
    )
    with _annotating(write, inputs, only_involved=only_involved) as (annotated, read):
        follow = partial(command.analyze, read, options, workers=workers, cluster=cluster)
        names = names_for(output_format, dns=resolve, asn_db=asn_db, asn_dns=asn_dns)
        with opened(output, stream=is_stream(output_format, events=events)) as out:
            # --fail-on answered checks healthy ones, but does not show them
            writer = ReportWriter(
                out,
                output_format,
                events=events,
                hide_healthy=not show_all and bool(failing & _HEALTHY),
                style=style_of(out, color, utc=utc, names=names),
                names=names,
            )
            report, interrupted = _follow(follow, writer, annotated, progress)
            writer.write(report)
        if annotated:
            if interrupted:
                complain(f"{write} is not written: not all was analyzed")
                raise KeyboardInterrupt
            annotated.finish(report)
    finish(verdicts_in(report), failing, interrupted=interrupted, failure=None if interrupted else _failure(report))


def _guard_write(write: str, output: str | None, files: "Sequence[str]") -> None:
    """Check that -w can write the capture again.

    Raises:
        UsageError: it would overwrite something, or there are several captures.
    """
    guard_inputs(write, files, option="-w")
    guard_outputs(output, write)
    if len(files) != 1:
        raise UsageError(f"-w writes one capture again, and there are {len(files)}; see mergecap(1)")


@contextmanager
def _annotating(
    write: str | None, inputs: "Inputs", *, only_involved: bool
) -> "Iterator[tuple[_Annotated | None, Inputs]]":
    """The writer of the annotated capture, if requested; and the inputs, because a pipe can be read only once."""
    if write is None:
        yield None, inputs
        return
    from msgspec.structs import replace  # noqa: PLC0415 - for this option

    from udpprobe.capture.content import is_stored  # noqa: PLC0415 - as above
    from udpprobe.capture.inputs import spooled  # noqa: PLC0415 - as above
    from udpprobe.capture.recorder import opened as opened_capture  # noqa: PLC0415 - as above

    (name,) = inputs.files
    if not is_stored(name):
        what = "standard input" if name == "-" else name
        complain(f"{what} is copied to a temporary file, because -w reads it twice")
    with opened_capture(write) as out, spooled(name) as path:
        yield _Annotated(path, out, only_involved=only_involved), replace(inputs, captures=((path,),))


class _Annotated:
    """The annotated capture."""

    def __init__(self, path: str, out: "IO[bytes]", *, only_involved: bool) -> None:
        from udpprobe.commands.annotate import Annotations  # noqa: PLC0415 - for this option

        self._path, self._out, self._only_involved = path, out, only_involved
        self._annotations = Annotations()
        self.take = self._annotations.take

    def finish(self, report: "Report") -> None:
        """Write it, now that everything is known."""
        self._annotations.take_loops(report.destinations)
        uncommented = self._annotations.write(self._path, self._out, only_involved=self._only_involved)
        if uncommented:
            complain(f"{uncommented} packets got no comment: their block type cannot hold one")


def _failure(report: "Report") -> CaptureError | None:
    """What could not be read."""
    if files := report.source.unread:
        more = f" (and {len(files) - 1} more: see `unread` in the report as JSON)" if files[1:] else ""
        return CaptureError(f"not all was read: {files[0].reason}{more}")
    if report.is_unreadable:
        from udpprobe.reports.text import link_names  # noqa: PLC0415 - for this failure

        return CaptureError(
            f"no packet could be read: unknown link layer ({link_names(report.source.link_types)}); "
            "capture as Ethernet or raw IP"
        )
    return None


def _window(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    first_ns = None if since is None else opt.parse_time(since)
    last_ns = None if until is None else opt.parse_time(until)
    if first_ns is not None and last_ns is not None and first_ns >= last_ns:
        raise UsageError(f"--since {since} is not before --until {until}")
    return first_ns, last_ns


def _follow(
    follow: "Callable[..., Report]", writer: ReportWriter, annotated: _Annotated | None, progress: bool | None
) -> tuple["Report", bool]:
    from udpprobe.commands.analyze import Interrupted  # noqa: PLC0415 - as above

    takers = [*([writer.take] if writer.wants_events else []), *([annotated.take] if annotated else [])]

    def on_each(events: "Sequence[Event]") -> None:
        for take in takers:
            take(events)

    on_events = None if not takers else takers[0] if len(takers) == 1 else on_each
    with shown(progress) as on_progress:
        try:
            return follow(on_events=on_events, on_progress=on_progress), False
        except Interrupted as interrupted:
            return interrupted.report, True
