"""`udpprobe diff`: what changed between two reports."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from udpprobe.cli import options as opt
from udpprobe.cli.output import complain, guard_inputs, opened, width_of
from udpprobe.cli.progress import shown as shown_progress
from udpprobe.cli.results import finish
from udpprobe.errors import CaptureError, UdpprobeError, UsageError
from udpprobe.reports import OutputFormat

if TYPE_CHECKING:
    from udpprobe.capture.inputs import Inputs
    from udpprobe.core.model import Report

EXAMPLES = """\
BEFORE and AFTER are reports as JSON, which analyze, scan and watch write with --format json, or captures, which are
analyzed; - is standard input. Healthy destinations are compared too where the report has them: analyze and watch leave
them out without --all.

What differs: the verdict (worse is what stops the datagram earlier on its way); for the same verdict, who reported it;
the MTU; the share of unanswered datagrams, where it differs by 3 standard deviations (two-proportion z-test) and by 1
percentage point, and at least 5 were lost; the median RTT, where it differs by 1 ms, by a quarter (where fewer than 5
were answered: by as much again), and by three times (median - minimum) of either run.

--fail-on takes new, gone, worse, better, and new-VERDICT: a destination has that verdict now and had not before.

\b
Examples:
  udpprobe diff before.json after.json
  udpprobe diff --fail-on new-refused,worse mon.pcap tue.pcap
  udpprobe scan --format json 192.0.2.1 | udpprobe diff baseline.json -
"""

_HEALTHY = {"answered", "silent"}


def diff(
    before: Annotated[str, Argument(metavar="BEFORE", show_default=False, help="A report as JSON, or a capture.")],
    after: Annotated[str, Argument(metavar="AFTER", show_default=False, help="Likewise.")],
    *,
    show_all: Annotated[bool, Option("--all", help="Show destinations that are the same, too.")] = False,
    output_format: opt.PageFormatOption = OutputFormat.TABLE,
    output: opt.OutputOption = None,
    fail_on: Annotated[
        str | None, Option(metavar="CHANGE[,CHANGE]", help="Exit with status 1 when one of these was found.")
    ] = None,
    progress: opt.ProgressOption = None,
) -> None:
    """Compare two reports or captures: what is new, gone, worse, better or the same, for each destination."""
    from udpprobe.diff import compare, failing_changes, parse_failing  # noqa: PLC0415 - help does without

    failing = parse_failing(fail_on) if fail_on is not None else frozenset[str]()
    if before == after == "-":
        raise UsageError("-: standard input can be read only once")
    guard_inputs(output, [before, after], what="what is compared")
    from udpprobe.reports.diff import DIFF_FORMATS, shown  # noqa: PLC0415 - as above

    with opened(output, stream=False) as out:
        first, second = _read(before, progress), _read(after, progress)
        _warn(before, first, second)
        _warn(after, second, first)
        found = compare(first, second, (before, after))
        out.write(DIFF_FORMATS[output_format](shown(found, show_all=show_all), width_of(out)))
    unread = [each for side in (first, second) for each in getattr(side.source, "unread", ())]
    finish(
        failing_changes(found.destinations, failing) if failing else (),
        failing,
        interrupted=False,
        failure=CaptureError(f"not all was read: {unread[0].reason}") if unread else None,
    )


def _warn(name: str, side: Any, other: Any) -> None:  # noqa: ANN401 - as `_read`
    """Warn about what makes the comparison less conclusive."""
    label = "standard input" if name == "-" else name
    if getattr(side, "interrupted", False):
        complain(f"{label}: that run was interrupted; destinations it did not settle are not compared")
    if side.source.kind != "probe" and not _has_healthy(side) and _has_healthy(other):
        complain(f"{label}: has no healthy destinations, so the other report's look new or gone; write it with --all")


def _has_healthy(side: Any) -> bool:  # noqa: ANN401 - as `_read`
    return any(each.verdict in _HEALTHY for each in side.destinations)


def _read(name: str, progress: bool | None) -> Any:  # noqa: ANN401 - a report, read from JSON or just made
    """The report of one side.

    Raises:
        UdpprobeError: it is neither a report nor a capture, or cannot be read.
    """
    from udpprobe.capture.content import is_url, local_path  # noqa: PLC0415 - help does without
    from udpprobe.capture.inputs import Inputs, find_inputs, is_report, spooled  # noqa: PLC0415 - as above

    if name != "-" and (is_url(name) or not Path(local_path(name) or name).exists() or Path(name).is_dir()):
        return _analyzed(find_inputs([name]), progress)
    with spooled(name) as path:
        try:
            with Path(path).open("rb") as file:
                if is_report(file.read(1 << 10)):
                    from udpprobe.diff import read_report  # noqa: PLC0415 - as above

                    file.seek(0)
                    return read_report(file.read(), "standard input" if name == "-" else name)
        except OSError as error:
            raise UdpprobeError(f"{name}: cannot be read: {error.strerror or error}") from error
        return _analyzed(Inputs(name, ((path,),)), progress)


def _analyzed(inputs: "Inputs", progress: bool | None) -> "Report":
    from udpprobe.commands.analyze import AnalyzeOptions, analyze  # noqa: PLC0415 - as above

    with shown_progress(progress) as on_progress:
        return analyze(inputs, AnalyzeOptions(all_destinations=True), on_progress=on_progress)
