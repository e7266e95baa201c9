"""Where results go: standard output, a stream in a file, or a file that appears whole or not at all."""

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
"""Columns of a table that no terminal shows."""


@contextmanager
def opened(path: str | None, *, stream: bool) -> Iterator[TextIO]:
    """What a command writes to; open before the work begins, so that it is not done in vain.

    Args:
        path: a file; standard output where it is None or "-".
        stream: lines go to the file as they come. Otherwise they go to a temporary file beside it, which takes its
            name when all is written; pipes, devices and what a link points to are written in place in any case.

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
        yield sys.stdout  # a stand-in, which is no file at all
        return
    # sys.stdout itself loses the end of a long text without a word when Python runs unbuffered, and knows no
    # answer to a file's name that does not fit the locale
    with os.fdopen(descriptor, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False) as out:
        yield out


def _is_replaceable(path: str) -> bool:
    """Whether another file may take its place: a regular one, or none yet."""
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
    """See to it that the result does not replace what it is made from.

    Args:
        path: where the result goes.
        inputs: files; "-" is standard input.
        option: that named `path`.
        what: the inputs are.

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
    """See to it that report (-o) and capture (-w) do not go to one place.

    Raises:
        UsageError: they would.
    """
    if write is not None and _are_same("-" if output is None else output, write):
        where = "standard output" if output in {None, "-"} else write
        raise UsageError(f"the capture (-w) and the report (-o) cannot both go to {where}")


def _are_same(one: str, other: str) -> bool:
    with suppress(OSError):
        return samestat(_status_of(one, 1), _status_of(other, 1))
    return Path(one).resolve() == Path(other).resolve()


def _status_of(path: str, standard: int) -> os.stat_result:
    """Of a file, or of the descriptor that "-" stands for."""
    return os.fstat(standard) if path == "-" else Path(path).stat()


def complain(text: str) -> None:
    """Say something in a line on stderr."""
    from udpprobe.reports.text import escape  # noqa: PLC0415 - most have nothing to say

    # print takes None for standard output
    if sys.stderr is not None:
        print("udpprobe:", escape(" ".join(text.split())), file=sys.stderr)  # noqa: T201 - its own line


def width_of(out: TextIO) -> int:
    """Columns a table may take there."""
    if not out.isatty():
        return PLAIN_WIDTH
    return max(PLAIN_WIDTH, _columns())


def is_screen(output_format: OutputFormat, output: str | None) -> bool:
    """Whether standard output is a terminal that can be drawn on, and not taken by a document.

    Args:
        output_format: of the result.
        output: the file it goes to, if any.
    """
    is_free = output_format is OutputFormat.TABLE or output not in {None, "-"}
    return is_free and sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in {None, "dumb"}


def is_ascii(out: TextIO) -> bool:
    """Whether other characters than ASCII's may come out wrong there."""
    return not out.isatty() or "utf" not in (getattr(out, "encoding", None) or "").lower()


def style_of(out: TextIO, color: Color = Color.AUTO, *, utc: bool = True, names: Names | None = None) -> Style:
    """How text looks there.

    Args:
        out: where it goes.
        color: what the user wants; https://no-color.org is heeded where that is no more than the usual.
        utc: whether times are in UTC, not in this host's zone.
        names: what looks up what addresses are called.
    """
    is_terminal = out.isatty()
    wanted = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    is_coloured = wanted if color is Color.AUTO else color is Color.ALWAYS
    # what goes to a file or a pipe is the same on every host
    return Style(
        UTC if utc else None, is_coloured, name_of if is_terminal else no_service, names.of if names else no_name
    )


def names_for(output_format: StrEnum, *, dns: bool, asn_db: str | None, asn_dns: bool) -> Names | None:
    """What looks up names for people; None for other formats, whose readers can do so, and are not kept waiting.

    Args:
        output_format: of the result.
        dns: whether DNS may be asked for names.
        asn_db: a file of autonomous systems; that of the environment without.
        asn_dns: whether DNS may be asked for autonomous systems.

    Raises:
        UdpprobeError: the file cannot be read.
    """
    path = asn_db or os.environ.get("UDPPROBE_ASN_DB")
    if output_format not in {"table", "plugin"} or not (dns or path or asn_dns):
        return None
    from udpprobe.resolver import Names  # noqa: PLC0415 - help does not need it

    return Names(dns=dns, asn_db=path, asn_dns=asn_dns)


def load_ahead(reports: str, output_format: OutputFormat) -> None:
    """Load what will write a report, in the background: while packets are under way there is time for it.

    Args:
        reports: the module that does it.
        output_format: how; tables need tabulate too.
    """
    modules = [reports, "tabulate"] if output_format in {OutputFormat.TABLE, OutputFormat.MARKDOWN} else [reports]
    threading.Thread(target=lambda: [import_module(each) for each in modules], name="load", daemon=True).start()


def _columns() -> int:
    """Of the terminal, as shutil.get_terminal_size() finds them, without all that it loads."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size().columns or PLAIN_WIDTH
    except (OSError, ValueError):
        return PLAIN_WIDTH
