"""What a program under test was told of the errors about its datagrams, in all formats of a list."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from udpprobe.core.model import Process
from udpprobe.reports import OutputFormat
from udpprobe.reports.lists import ROWS_FORMATS, Listing
from udpprobe.reports.text import endpoint, escape

SCHEMA = "udpprobe.program/1"
COLUMNS = ("address", "port", "process", "pid", "errors", "told", "blind", "ignored", "unknown", "too_big", "verdicts")
"""In JSON, NDJSON and CSV."""
TABLE_COLUMNS = ("socket", "errors", "told", "blind", "ignored", "verdicts")
NOTHING = "udpprobe: no ICMP errors about the program's datagrams\n"


class SocketErrors(Struct, frozen=True):
    """ICMP errors about the datagrams of one socket."""

    address: str
    """That its datagrams left from."""
    port: int
    process: Process
    errors: int
    """ICMP errors that arrived about its datagrams."""
    told: int
    """Those that Linux gave it an errno for."""
    blind: int
    """Those of which Linux told it nothing."""
    ignored: int
    """Those it was told of, and sent on all the same to the same destination."""
    verdicts: tuple[str, ...]
    """Of the errors, the most frequent first."""
    too_big: int
    """Those that say a datagram was too big."""

    @property
    def unknown(self) -> int:
        """Those of which nobody knows whether it was told."""
        return self.errors - self.told - self.blind

    @property
    def findings(self) -> frozenset[str]:
        """Words of `--fail-on` that are true of it."""
        return frozenset((*self.verdicts, *(["blind"] if self.blind else ()), *(["ignored"] if self.ignored else ())))


def program_text(
    sockets: Sequence[SocketErrors], output_format: OutputFormat, width: int, *, is_all: bool = True
) -> str:
    """A row per socket. If there is none, a sentence; nothing at all if `is_all` is false, as errors may be missing."""
    if output_format not in {OutputFormat.TABLE, OutputFormat.MARKDOWN}:
        rows = [
            (
                each.address,
                each.port,
                each.process.name,
                each.process.pid,
                each.errors,
                each.told,
                each.blind,
                each.ignored,
                each.unknown,
                each.too_big,
                each.verdicts,
            )
            for each in sockets
        ]
        return ROWS_FORMATS[output_format](Listing(SCHEMA, "sockets", COLUMNS, rows, 0), width)
    if not sockets:
        return NOTHING if is_all else ""
    shown = [
        (
            f"{endpoint(each.address, each.port)} {escape(each.process.name)}[{each.process.pid}]",
            str(each.errors),
            str(each.told),
            str(each.blind),
            str(each.ignored),
            ", ".join(each.verdicts),
        )
        for each in sockets
    ]
    return ROWS_FORMATS[output_format](Listing(SCHEMA, "sockets", TABLE_COLUMNS, shown, 0, prose=5), width)
