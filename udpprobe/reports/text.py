"""Numbers, times, addresses and untrusted text in human-readable form, and tables of them."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, NamedTuple

from udpprobe.endpoints import endpoint_text

if TYPE_CHECKING:
    from udpprobe.core.model import Spread

NO_BREAK = "\u00a0"
MINUTE_NS = 60_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCALES = ((1e3, "k"), (1e6, "M"), (1e9, "G"))
_LINK_TYPES = {
    0: "BSD loopback",
    1: "Ethernet",
    9: "PPP",
    12: "raw IP",
    14: "raw IP",
    17: "old pflog",
    50: "PPP",
    51: "PPPoE",
    100: "ATM",
    101: "raw IP",
    104: "Cisco HDLC",
    105: "802.11",
    107: "frame relay",
    108: "OpenBSD loopback",
    109: "enc",
    113: "Linux cooked",
    117: "pflog",
    119: "802.11 with Prism",
    127: "802.11 with radiotap",
    138: "IEEE 1394",
    163: "802.11 with AVS",
    192: "PPI",
    197: "ERF",
    204: "PPP",
    205: "Cisco HDLC",
    206: "frame relay",
    226: "Solaris IPNET",
    228: "raw IPv4",
    229: "raw IPv6",
    239: "NFLOG",
    240: "netANALYZER",
    242: "InfiniBand",
    258: "pktap",
    276: "Linux cooked v2",
    281: "Broadcom switch tag",
    282: "Broadcom switch tag",
    284: "Marvell switch tag",
    285: "Marvell switch tag",
}
"""Names of common link layers (https://www.tcpdump.org/linktypes.html)."""
_GAP = 2
"""Spaces that tabulate puts between columns."""
_HEADER_PADDING = 2
"""Spaces that tabulate puts after a header."""
_LEAST = 30
"""Width in characters below which wrapped prose becomes hard to read."""
_ROWS_MEASURED = 1000
"""Rows of a Markdown table from which the widths of its columns are taken."""


# ---- words


def escape(text: str) -> str:
    r"""Untrusted text, in which characters that could control a terminal are written as `\x1b`, `\u202e` and so on."""
    return text if text.isprintable() else "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    # categories C*: controls, format characters (bidirectional overrides), lone surrogates, unassigned;
    # Zl and Zp are the line and paragraph separators
    if unicodedata.category(character)[0] == "C" or unicodedata.category(character) in {"Zl", "Zp"}:
        return character.encode("unicode_escape").decode("ascii")
    return character


def endpoint(address: str, port: int | None, zone: str | None = None) -> str:
    """`192.0.2.1:53`, `[2001:db8::1]:53`, `[fe80::1%eth0]:53`, or the address alone if there is no port."""
    return escape(endpoint_text(address, port, zone))


def no_name(_address: str) -> str:
    """No name for any address."""
    return ""


def no_service(_port: int) -> str:
    """No service for any port."""
    return ""


class Style(NamedTuple):
    """How to write text for people, apart from its width."""

    zone: tzinfo | None = UTC
    """Time zone of displayed times; None for this host's local zone."""
    is_coloured: bool = False
    """Whether verdicts and states are coloured by severity."""
    service: Callable[[int], str] = no_service
    """Returns the service registered for a port; empty if there is none."""
    name: Callable[[str], str] = no_name
    """Returns the name of an address; empty if it is unknown."""


PLAIN = Style()


_ADDRESS = re.compile(r"(?<![\w.:\[])(?:[\da-f]+(?:\.|::?)|::)(?:[\da-f]+(?:\.|::?))*[\da-f]+(?![\w%\]/])")
"""A candidate for an address. An address with a port is not one: `endpoint` writes those."""


def _is_address(word: str) -> bool:
    import ipaddress  # noqa: PLC0415 - where names are wanted

    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def addresses_in(text: str) -> list[str]:
    """The addresses mentioned in prose, without duplicates; those followed by a port are left out."""
    return list(dict.fromkeys(word for word in _ADDRESS.findall(text) if _is_address(word)))


def named(text: str, style: Style) -> str:
    """Prose with each address's name, if known, in parentheses after its first mention."""
    names = {address: name for address in addresses_in(text) if (name := style.name(address))}

    def with_name(found: re.Match[str]) -> str:
        name = names.pop(found[0], "")
        return f"{found[0]} ({escape(name)})" if name else found[0]

    return _ADDRESS.sub(with_name, text) if names else text


def local(time_ns: int, zone: tzinfo | None) -> datetime:
    """A time in a zone, to the microsecond; None is this host's local zone."""
    return (_EPOCH + timedelta(microseconds=time_ns // 1000)).astimezone(zone)


def zone_name(time_ns: int, zone: tzinfo | None) -> str:
    """The zone's abbreviation at that time: `UTC`, `CEST`."""
    return escape(local(time_ns, zone).tzname() or "local time")


def count(number: int) -> str:
    """At most five characters: `9999`, `12.3k`, `4.57M`."""
    if number < 10_000:
        return str(number)
    size, unit = next((scale for scale in _SCALES if number < scale[0] * 999.5), _SCALES[-1])
    return _three_digits(number / size) + unit


def _three_digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


def duration(span_ms: float) -> str:
    """`0.052 ms`, `31.4 ms`, `2.50 s`, `3 min 20 s`, `2 h 5 min`, `3.5 days`, `6.2 years`."""
    if span_ms < 1000:
        return (f"{span_ms:.3f}" if span_ms < 1 else _three_digits(span_ms)) + " ms"
    if span_ms < 60_000:
        return _three_digits(span_ms / 1000) + " s"
    minutes, seconds = divmod(round(span_ms / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, days = minutes // 60, minutes / 1440
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{days:.1f} days" if days < 730 else f"{days / 365.25:.1f} years"


LEAST_TIMEOUT_MS = 900
"""Linux sends three ARP or neighbour requests a second apart before it gives up, and other systems wait a second or
more. Nothing else delays a router's error that long."""


def is_timeout(reason: str, rtt_ms: Spread) -> bool:
    """Whether an error took so long because the last router was trying to resolve the host's link address."""
    return reason == "host-unreach" and rtt_ms.median >= LEAST_TIMEOUT_MS


def timeout_name(family: int) -> str:
    """The name of the timeout that delays the last router's error."""
    return "an ARP timeout" if family == 4 else "a neighbour discovery timeout"


def plural(number: int, noun: str) -> str:
    """`1 packet`, `12,345 packets`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def link_name(link_type: int) -> str:
    """The name of a LINKTYPE_ value."""
    return _LINK_TYPES.get(link_type, f"link type {link_type}")


def link_names(link_types: Iterable[int]) -> str:
    """The names of several link types, without duplicates: `Ethernet, raw IP`."""
    return ", ".join(dict.fromkeys(map(link_name, link_types)))


def glued(text: str) -> str:
    """A phrase that must not be broken across lines; `table` and `markdown` turn its spaces back into normal ones."""
    return text.replace(" ", NO_BREAK)


# ---- tables that fit a width without breaking words, so that an address can be copied


class Layout(NamedTuple):
    """One of several ways to lay out the same rows."""

    headers: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    """The cells of each row; a cell may have several lines."""
    elastic: int
    """The column that is wrapped to the width the others leave."""


def table(layouts: tuple[Layout, ...], width: int) -> str:
    """Draw the first layout that fits, or the last if none does.

    Args:
        layouts: the most readable first, the narrowest last. The last one overflows only where a word is too long.
        width: of the screen, in characters.
    """
    fitting = (layout for layout in layouts if _fits(layout, width))
    return _draw(next(fitting, layouts[-1]), width)


def _room(layout: Layout, width: int) -> int:
    others = [column for column in range(len(layout.headers)) if column != layout.elastic]
    return width - sum(_width(layout, column) + _GAP for column in others)


def _width(layout: Layout, column: int) -> int:
    lines = (len(line) for row in layout.rows for line in row[column].split("\n"))
    return max(_header_width(layout.headers[column]), *lines)


def _header_width(header: str) -> int:
    return max(map(len, header.split("\n"))) + _HEADER_PADDING


def _fits(layout: Layout, width: int) -> bool:
    words = [len(word) for row in layout.rows for word in re.split(r"[ \n]+", row[layout.elastic])]
    needed = max((_header_width(layout.headers[layout.elastic]), *words))
    return max(needed, min(_LEAST, _width(layout, layout.elastic))) <= _room(layout, width)


def _draw(layout: Layout, width: int) -> str:
    from tabulate import tabulate  # noqa: PLC0415 - the import takes 20 ms, which JSON does not need

    room = max(_room(layout, width), 1)
    rows = [
        [wrap(cell, room) if column == layout.elastic else cell for column, cell in enumerate(row)]
        for row in layout.rows
    ]
    text = tabulate(rows, layout.headers, tablefmt="simple", disable_numparse=True, preserve_whitespace=True)
    return text.replace(NO_BREAK, " ")


# ---- colours by severity

_COLOURS = {
    **dict.fromkeys(
        ("refused", "rejected", "too-big", "loop", "prohibited", "unreachable", "reassembly", "black-hole", "CRITICAL"),
        "31",
    ),
    **dict.fromkeys(("expired", "quenched", "malformed", "silent", "unsent", "WARNING"), "33"),
    **dict.fromkeys(("answered", "ok", "OK"), "32"),
    "UNKNOWN": "35",
}
"""SGR colour codes of verdicts and states: red for failures, yellow for possible failures, green for what works."""


def coloured(word: str, style: Style, text: str | None = None) -> str:
    """A verdict or state in its colour; with `text`, that text in the colour of the verdict or state."""
    text = word if text is None else text
    return f"\x1b[{_COLOURS[word]}m{text}\x1b[0m" if style.is_coloured and word in _COLOURS else text


def coloured_column(text: str, header: str, style: Style) -> str:
    """A table with its column of verdicts or states coloured. The column is found by its header, above the dashes."""
    lines = text.split("\n")
    rule = next((row for row, line in enumerate(lines) if line and set(line) <= {"-", " "}), None)
    if not style.is_coloured or rule is None:
        return text
    start = next(
        (
            run.start()
            for run in re.finditer("-+", lines[rule])
            if header in (line[run.start() : run.end()].strip() for line in lines[:rule])
        ),
        None,
    )
    if start is not None:
        for row in range(rule + 1, len(lines)):
            word = lines[row][start:].partition(" ")[0]
            lines[row] = lines[row][:start] + coloured(word, style) + lines[row][start + len(word) :]
    return "\n".join(lines)


def wrap(text: str, width: int) -> str:
    """Wrap every line at spaces only, and keep its indentation."""
    return "\n".join(_wrap_line(line, width) for line in text.split("\n"))


def _wrap_line(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


# ---- GitHub Markdown tables, whose cells are never wrapped


def without_tags(text: str) -> str:
    """Text in which Markdown finds no HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def markdown(headers: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """A whole table, without the final newline."""
    table = MarkdownTable(headers)
    return (table.add(rows) + table.end())[:-1]


class MarkdownTable:
    """A table whose rows arrive in batches. The first rows set the column widths; later cells may be wider."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._headers = [header.replace("\n", " ") for header in headers]
        self._widths: list[int] = []
        self._waiting: list[tuple[str, ...]] = []

    def add(self, rows: Sequence[tuple[str, ...]]) -> str:
        """Add rows. Returns the lines that can be written now."""
        self._waiting += (tuple(map(_markdown_cell, row)) for row in rows)
        return self._lines() if self._widths or len(self._waiting) >= _ROWS_MEASURED else ""

    def end(self) -> str:
        """The remaining lines."""
        return self._lines()

    def _lines(self) -> str:
        rows, self._waiting, lines = self._waiting, [], list[str]()
        if not self._widths:
            self._widths = [
                max((_header_width(header), *(len(row[column]) for row in rows)))
                for column, header in enumerate(self._headers)
            ]
            lines = [self._line(self._headers), f"|{'|'.join(':' + '-' * (width + 1) for width in self._widths)}|"]
        return "".join(f"{line}\n" for line in (*lines, *map(self._line, rows)))

    def _line(self, cells: Iterable[str]) -> str:
        return f"| {' | '.join(map(str.ljust, cells, self._widths))} |"


def _markdown_cell(text: str) -> str:
    return without_tags(text).replace("|", "\\|").replace(NO_BREAK, " ")
