"""`udpprobe watch`: failures on an interface as they happen."""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option
from typer.core import TyperCommand

from udpprobe.cli import options as opt
from udpprobe.cli.output import complain, guard_outputs, names_for, opened, say, style_of, width_of
from udpprobe.cli.results import ReportWriter, failing_verdicts, finish, is_stream, verdicts_in
from udpprobe.core.verdicts import VERDICTS
from udpprobe.errors import UdpprobeError, UsageError, meant
from udpprobe.reports import OutputFormat
from udpprobe.reports.text import escape

if TYPE_CHECKING:
    from udpprobe.capture.frames import SourceState
    from udpprobe.commands.watch import Stopped, WatchOptions
    from udpprobe.core.model import Report
    from udpprobe.interrupt import Interrupted

EXAMPLES = """\
For datagrams of this host it names the process, and says whether its socket gets the error: a connected one gets the
errno from its next call, one with IP_RECVERR the whole error, any other nothing.

\b
Examples:
  udpprobe watch
  udpprobe watch -i eth0 --filter 'port 53' --duration 60 --format json
  udpprobe watch --events
  udpprobe watch --format ndjson | jq -r 'select(.sees == "blind") | .notes[]'
  udpprobe watch --kernel on --format ndjson | jq 'select(.reported == false)'
  udpprobe watch -w errors.pcapng --rotate 100MB --keep 10
  udpprobe watch --sent --duration 60
  udpprobe watch --fail-on blind,ignored -- ./client 192.0.2.7

With -- COMMAND it runs a program to its end. Then it reports, on standard error or to -o FILE, for each socket of the
program and its children: ICMP errors that arrived, and those it was told of, was blind to, or ignored (told, yet it
kept sending to the same destination). The exit status is the program's; 1 if --fail-on (verdicts, blind, ignored) found
something; 3 if it found nothing, but some sockets closed too early to see their owner; 127 if there is no such program;
126 if it cannot be run.
"""

REDRAWN_S, IDLE_SHARE = 1.0, 10
"""Least interval of redrawing the table; a long table takes at most a tenth of the time."""
LIST_FORMATS = tuple(each for each in OutputFormat if each not in {OutputFormat.HTML, OutputFormat.PARQUET})
"""Formats of a program's report."""
NO_ERRORS = frozenset({"answered", "silent", "unsent"})
"""Verdicts without an ICMP error."""
IGNORED, BLIND = "ignored", "blind"
"""Findings about a program's sockets, besides verdicts."""
LONGEST_S = 100 * 365 * 86_400
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


class Watching(TyperCommand):
    """Options, and after -- a program with its own options; without -- there is none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - the parser's own types
        """See typer."""
        at = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:at])
        if extra := ctx.params.get("command"):
            from udpprobe.cli.usage_errors import EXTRA  # noqa: PLC0415 - of mistakes alone

            raise UsageError(f"{' '.join(extra)!r}: {EXTRA['watch']}")
        if at == len(args) - 1:
            raise UsageError("-- without a command; give the program and its arguments after it")
        ctx.params["command"] = args[at + 1 :] or None
        return rest


SETTINGS = {"cls": Watching}


class Kernel(StrEnum):
    """Whether to use the kernel's own events."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def parse_size(text: str) -> int:
    """Bytes of `64k`, `100MB`, `1G`.

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"(\d{1,12})\s*([KMG]?)B?", text, re.ASCII | re.IGNORECASE)
    if not found or not int(found[1]):
        raise UsageError(f"{text!r} is not a size; use 64kB, 100MB or 1GB")
    return int(found[1]) * UNITS[found[2].upper()]


def _is_number(seconds: float | None) -> float | None:
    """The seconds; the range alone would let "nan" through."""
    if seconds is not None and math.isnan(seconds):
        raise UsageError("--duration nan: give seconds")
    return seconds


Command = Annotated[
    list[str] | None, Argument(metavar="[-- COMMAND...]", help="A program to run and watch, and its arguments.")
]
Interface = Annotated[
    str | None, Option("--interface", "-i", metavar="IFACE", help="Listen on this interface; on all without it.")
]
Events = Annotated[bool, Option("--events", help="A line for each ICMP error, at once, instead of the table.")]
Write = Annotated[
    str | None,
    Option(
        "--write",
        "-w",
        metavar="FILE.pcapng",
        help="Write errors and their datagrams to this file, with packet comments.",
    ),
]
Rotate = Annotated[
    str, Option(metavar="SIZE", help="Size at which FILE is full: it becomes FILE.1, that one FILE.2 and so on.")
]
Keep = Annotated[int, Option(min=1, max=10_000, metavar="N", help="Number of files to keep.")]
Sent = Annotated[
    bool,
    Option(
        "--sent",
        help="Also report which ICMP errors this host sends, to whom, for which port and why, and how many its "
        "rate limits suppress (in the table and JSON).",
    ),
]
KernelEvents = Annotated[
    Kernel | None,
    Option(
        help="Let the kernel's own events tell which socket got an error (tracefs, root): auto uses them if "
        "available, else the sockets' states.",
        show_default="auto",
    ),
]
Duration = Annotated[
    float | None,
    Option(min=0, max=LONGEST_S, metavar="SECONDS", callback=_is_number, help="Stop after this many seconds."),
]
Count = Annotated[int | None, Option("--count", "-c", min=1, metavar="N", help="Stop after this many errors.")]
Verbose = Annotated[
    bool, Option("--verbose", "-v", help="Print on standard error what is captured, even if that is not a terminal.")
]


def watch(  # noqa: PLR0913 - a command's options are its arguments
    command: Command = None,
    *,
    interface: Interface = None,
    capture: opt.CaptureOption = None,
    bpf: opt.FilterOption = None,
    events: Events = False,
    show_all: opt.AllOption = False,
    loop_ttl: opt.LoopTtlOption = 32,
    write: Write = None,
    rotate: Rotate = "100MB",
    keep: Keep = 10,
    sent: Sent = False,
    kernel: KernelEvents = None,
    duration: Duration = None,
    count: Count = None,
    verbose: Verbose = False,
    output_format: opt.ReportFormatOption = OutputFormat.TABLE,
    output: opt.OutputOption = None,
    color: opt.ColorOption = opt.Color.AUTO,
    utc: opt.UtcOption = False,
    resolve: opt.ResolveOption = False,
    asn_db: opt.AsnDbOption = None,
    asn_dns: opt.AsnDnsOption = False,
    fail_on: opt.FailOnOption = None,
) -> None:
    """Listen, without sending, and report which UDP datagrams fail, why, and which programs never learn of it.

    It ends with Ctrl-C, and then reports as analyze does. NDJSON has one line per error, as soon as it is known.
    """
    failing = _findings(fail_on) if command and fail_on is not None else failing_verdicts(fail_on)
    if write == "-":
        raise UsageError("-w rotates files; standard output cannot be rotated")
    guard_outputs(output, write)
    from udpprobe.commands.watch import WatchOptions  # noqa: PLC0415 - help does without

    options = WatchOptions(
        interface=interface,
        filter=bpf,
        write=write,
        rotate_bytes=parse_size(rotate),
        keep=keep,
        duration_s=duration,
        count=count,
        all_destinations=show_all,
        loop_ttl=loop_ttl,
        capture=capture or "auto",
        kernel=kernel or "auto",
        sent=sent,
    )
    says_missing = verbose or kernel is not None
    if command:
        given = {
            "--events": events,
            "--all": show_all,
            "--sent": sent,
            "--duration": duration is not None,
            "--count": count is not None,
            "--utc": utc,
            "--resolve": resolve,
            "--asn-db": asn_db is not None,
            "--asn-dns": asn_dns,
        }
        _guard_command(given, output_format)
        raise Exit(_run(options, command, output, output_format, failing, verbose=verbose, says_missing=says_missing))
    events = events or output_format is OutputFormat.NDJSON
    names = names_for(output_format, dns=resolve, asn_db=asn_db, asn_dns=asn_dns)
    with opened(output, stream=is_stream(output_format, events=events, is_live=True)) as out:
        style = style_of(out, color, utc=utc, names=names)
        writer = ReportWriter(out, output_format, events=events, style=style, names=names, is_live=True)
        report, why = _follow(options, writer, verbose=verbose, says_missing=says_missing)
        writer.write(report)
    finish(
        verdicts_in(report),
        failing,
        interrupted=why is not None,
        failure=why if isinstance(why, UdpprobeError) else None,
    )


def _guard_command(given: Mapping[str, bool], output_format: OutputFormat) -> None:
    """Check that a program is watched with options that go with it.

    Raises:
        UsageError: an option that was given, or the format, does not.
    """
    for option, is_given in given.items():
        if is_given:
            raise UsageError(f"{option} does not go with -- COMMAND, which reports its sockets when it ends")
    if output_format not in LIST_FORMATS:
        raise UsageError(f"--format {output_format} does not go with -- COMMAND: use {', '.join(LIST_FORMATS)}")


def _findings(words: str) -> frozenset[str]:
    """The findings that `--fail-on` names for a program: verdicts of ICMP errors, `blind` and `ignored`."""
    found = frozenset(word.strip() for word in words.split(","))
    known = (*(verdict for verdict in VERDICTS if verdict not in NO_ERRORS), BLIND, IGNORED)
    strange = sorted(found.difference(known))
    if strange:
        raise UsageError(f"--fail-on {strange[0]!r}: give {', '.join(known)}{meant(strange[0], known)}")
    return found


def _run(
    options: "WatchOptions",
    command: list[str],
    output: str | None,
    output_format: OutputFormat,
    failing: frozenset[str],
    *,
    verbose: bool,
    says_missing: bool,
) -> int:
    """Exit status of a watched program; the report goes to standard error, because standard output is the program's."""
    from udpprobe.commands.program import watch_program  # noqa: PLC0415 - as above
    from udpprobe.commands.watch import Listeners  # noqa: PLC0415 - as above
    from udpprobe.reports.lists import program_text  # noqa: PLC0415 - as above

    with nullcontext(sys.stderr) if output is None else opened(output, stream=False) as out:
        outcome = watch_program(
            options,
            command,
            os.environ,
            Listeners(
                on_start=partial(say, _listening(options)) if verbose else lambda: None,
                on_warning=say if says_missing else lambda _: None,
            ),
        )
        if out is not None:
            out.write(program_text(outcome.sockets, output_format, width_of(out), is_all=not outcome.strays))
            out.flush()
    if outcome.strays:
        errors = "1 ICMP error is" if outcome.strays == 1 else f"{outcome.strays} ICMP errors are"
        complain(
            f"{errors} about datagrams from sockets that had closed or were too many to tell apart: perhaps the "
            "program's"
        )
    if outcome.running:
        processes = "1 process" if outcome.running == 1 else f"{outcome.running} processes"
        complain(f"{processes} of the program still run{'s' if outcome.running == 1 else ''}, no longer watched")
    if outcome.lost:
        complain(f"warning: the kernel dropped {outcome.lost} packets before they were read: errors may be missing")
    found = failing & {word for each in outcome.sockets for word in each.findings}
    if found:
        complain(f"--fail-on: found {', '.join(sorted(found))}")
    if outcome.failure:
        raise outcome.failure
    if failing and outcome.strays and not found:
        raise UdpprobeError("--fail-on: sockets closed too early to tell what was found")
    return 1 if found else outcome.status


def _follow(
    options: "WatchOptions", writer: ReportWriter, *, verbose: bool, says_missing: bool
) -> tuple["Report", "Stopped | Interrupted | None"]:
    """The report, and what interrupted the watch, if anything."""
    from udpprobe.commands import watch as watching  # noqa: PLC0415 - as above
    from udpprobe.interrupt import Interrupted  # noqa: PLC0415 - as above

    warn_at = 1
    with _screen(writer) as show:

        def on_progress(state: "SourceState", report: Callable[[], "Report"]) -> None:
            nonlocal warn_at
            if (dropped := state.dropped or 0) >= warn_at:
                warn_at = 2 * dropped
                say(
                    f"warning: the kernel dropped {dropped} packets before they were read: some errors or their "
                    f"datagrams are missing; a --filter reduces the load"
                )
            show(report)

        says_start = verbose or (sys.stderr is not None and sys.stderr.isatty())
        on_start = partial(say, _listening(options)) if says_start else lambda: None
        on_events = writer.take if writer.wants_events else lambda _: None
        on_warning = say if says_missing or says_start else lambda _: None
        listeners = watching.Listeners(on_events, on_progress, on_start, on_warning)
        try:
            return watching.watch(options, listeners), None
        except (watching.Stopped, Interrupted) as why:
            return why.report, why


def _listening(options: "WatchOptions") -> str:
    """`listening on eth0 for UDP and ICMP errors, filter "port 53", for 60 s; Ctrl-C stops it and reports`."""
    where = f"on {options.interface}" if options.interface else "on all interfaces"
    only = f", filter {options.filter!r}" if options.filter else ""
    span = f", for {options.duration_s:g} s" if options.duration_s is not None else ""
    return escape(f"listening {where} for UDP and ICMP errors{only}{span}; Ctrl-C stops it and reports")


@contextmanager
def _screen(writer: ReportWriter) -> "Iterator[Callable[[Callable[[], Report]], None]]":
    """Shows the table while it grows; does nothing without a terminal."""
    if writer.format is not OutputFormat.TABLE or writer.events or not writer.out.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - when it is shown
    from rich.live import Live  # noqa: PLC0415 - as above

    with Live(console=Console(file=sys.stdout), auto_refresh=False, transient=True) as live:
        yield _Screen(live.update, writer).show


class _Screen:
    """A table on a terminal."""

    def __init__(self, update: Callable[..., None], writer: ReportWriter) -> None:
        self._update, self._writer = update, writer
        self._due_s = 0.0

    def show(self, report: "Callable[[], Report]") -> None:
        start_s = time.monotonic()
        if start_s < self._due_s:
            return
        from rich.text import Text  # noqa: PLC0415 - as above

        from udpprobe.reports.table import latest_first  # noqa: PLC0415 - as above

        text = self._writer.text(latest_first(report()), width_of(self._writer.out))
        self._update(Text.from_ansi(text), refresh=True)
        self._due_s = start_s + max(REDRAWN_S, IDLE_SHARE * (time.monotonic() - start_s))
