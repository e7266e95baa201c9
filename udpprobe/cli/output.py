"""Destinations of results: standard output, a stream in a file, or a file that appears whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import UTC
from importlib import import_module
from os.path import samestat
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from udpprobe.cli.options import Color
from udpprobe.endpoints import name_of
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.files import atomic_file
from udpprobe.reports import OutputFormat
from udpprobe.reports.text import Style, no_name, no_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from enum import StrEnum

    from udpprobe.resolver import Names

PLAIN_WIDTH = 80
"""Columns of a table that is not for a terminal."""


@contextmanager
def opened(path: str | None, *, stream: bool) -> Iterator[TextIO]:
    """A command's output, opened before the work begins, so that errors show early.

    Args:
        path: a file; standard output for None or "-".
        stream: write lines to the file at once. Otherwise they go to a temporary file beside it, which is renamed when
            complete; pipes, devices and targets of links are written in place in any case.

    Raises:
        UdpprobeError: it cannot be written.
    """
    if path is None or path == "-":
        with _stdout() as out:
            yield out
        return
    try:
        with _in_place(path) if stream or not _is_replaceable(path) else _whole(path) as out:
            yield out
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UdpprobeError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _stdout() -> Iterator[TextIO]:
    if sys.stdout is None:
        raise UdpprobeError("standard output is closed; name a file with -o")
    try:
        descriptor = sys.stdout.fileno()
    except OSError:
        yield sys.stdout  # a replacement that is no real file
        return
    # With an unbuffered Python, sys.stdout silently loses the end of a long text. It also fails on file names that do
    # not fit the locale.
    with os.fdopen(descriptor, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False) as out:
        yield out


def _is_replaceable(path: str) -> bool:
    """Whether another file may replace it: a regular file, or none yet."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return True


def _in_place(path: str) -> TextIO:
    return Path(path).open("w", encoding="utf-8", errors="backslashreplace")


@contextmanager
def _whole(path: str) -> Iterator[TextIO]:
    with (
        atomic_file(Path(path)) as descriptor,
        os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as out,
    ):
        yield out


def guard_inputs(
    path: str | None, inputs: Sequence[str], *, option: str = "-o", what: str = "the capture itself"
) -> None:
    """Check that the result does not overwrite its inputs.

    Args:
        path: of the result.
        inputs: files; "-" is standard input.
        option: that gave `path`.
        what: name of the inputs.

    Raises:
        UsageError: it would.
    """
    if path is None or path == "-":
        return
    for source in inputs:
        with suppress(OSError):
            there = Path(path).stat()
            if stat.S_ISREG(there.st_mode) and samestat(there, _status_of(source, 0)):
                raise UsageError(f"{option} {path} would overwrite {what}")


def guard_outputs(output: str | None, write: str | None) -> None:
    """Check that report (-o) and capture (-w) have different destinations.

    Raises:
        UsageError: they have the same.
    """
    if write is not None and _are_same("-" if output is None else output, write):
        where = "standard output" if output in {None, "-"} else write
        raise UsageError(f"the capture (-w) and the report (-o) cannot both go to {where}")


def _are_same(one: str, other: str) -> bool:
    with suppress(OSError):
        return samestat(_status_of(one, 1), _status_of(other, 1))
    return Path(one).resolve() == Path(other).resolve()


def _status_of(path: str, standard: int) -> os.stat_result:
    """Status of a file, or of the descriptor that "-" stands for."""
    return os.fstat(standard) if path == "-" else Path(path).stat()


def complain(text: str) -> None:
    """Print a line on stderr."""
    from udpprobe.reports.text import escape  # noqa: PLC0415 - most have nothing to say

    say(escape(" ".join(text.split())))


def say(line: str, program: str = "udpprobe") -> None:
    """Print a line on stderr as it is, at once."""
    # print takes None for standard output
    if sys.stderr is not None:
        print(f"{program}: {line}", file=sys.stderr, flush=True)  # noqa: T201 - its own line


def width_of(out: TextIO) -> int:
    """Width of a table there, in columns."""
    if not out.isatty():
        return PLAIN_WIDTH
    return max(PLAIN_WIDTH, _columns())


def is_screen(output_format: OutputFormat, output: str | None) -> bool:
    """Whether standard output is a terminal to draw on, and not used for a document.

    Args:
        output_format: of the result.
        output: its file, if any.
    """
    is_free = output_format is OutputFormat.TABLE or output not in {None, "-"}
    return is_free and sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in {None, "dumb"}


def is_ascii(out: TextIO) -> bool:
    """Whether other characters than ASCII may be displayed wrongly there."""
    return not out.isatty() or "utf" not in (getattr(out, "encoding", None) or "").lower()


def style_of(out: TextIO, color: Color = Color.AUTO, *, utc: bool = True, names: Names | None = None) -> Style:
    """Style of text.

    Args:
        out: its destination.
        color: the user's choice; `auto` follows https://no-color.org.
        utc: whether times are in UTC, not in this host's zone.
        names: looks up names of addresses.
    """
    is_terminal = out.isatty()
    wanted = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    is_coloured = wanted if color is Color.AUTO else color is Color.ALWAYS
    # output to a file or pipe is the same on every host
    return Style(
        UTC if utc else None, is_coloured, name_of if is_terminal else no_service, names.of if names else no_name
    )


def names_for(output_format: StrEnum, *, dns: bool, asn_db: str | None, asn_dns: bool) -> Names | None:
    """Looks up names for people; None for other formats, whose readers can do so and should not have to wait.

    Args:
        output_format: of the result.
        dns: whether to ask DNS for names.
        asn_db: a file of autonomous systems; by default the environment's.
        asn_dns: whether to ask DNS for autonomous systems.

    Raises:
        UdpprobeError: the file cannot be read.
    """
    path = asn_db or os.environ.get("UDPPROBE_ASN_DB")
    if output_format not in {"table", "plugin"} or not (dns or path or asn_dns):
        return None
    from udpprobe.resolver import Names  # noqa: PLC0415 - help does not need it

    return Names(dns=dns, asn_db=path, asn_dns=asn_dns)


def load_ahead(reports: str, output_format: OutputFormat) -> None:
    """Load the report's writer in the background, while packets are under way.

    Args:
        reports: its module.
        output_format: tables need tabulate too.
    """
    modules = [reports, "tabulate"] if output_format in {OutputFormat.TABLE, OutputFormat.MARKDOWN} else [reports]
    threading.Thread(target=lambda: [import_module(each) for each in modules], name="load", daemon=True).start()


def _columns() -> int:
    """Width of the terminal, as by shutil.get_terminal_size(), without its imports."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size().columns or PLAIN_WIDTH
    except (OSError, ValueError):
        return PLAIN_WIDTH
