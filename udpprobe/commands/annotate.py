"""The capture again, with packet comments about its errors: `analyze -w`.

A datagram precedes the error about it, so the capture is read twice. The analysis decides which frames get a comment;
then everything is copied, with the comments added. Other pcapng blocks, and all options of packets, stay the same, byte
for byte.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import IO

from udpprobe import __version__
from udpprobe.capture.files import Arrival, CaptureFile
from udpprobe.capture.recorder import COMMENT, ENHANCED_PACKET, SECTION, clean, interface_block, section_block
from udpprobe.core.addresses import address_text
from udpprobe.core.blocks import FULL, PacketBlocks
from udpprobe.core.capture import BLOCK, FRAME, NUMBERED, Records
from udpprobe.core.decode import Decoder
from udpprobe.core.model import Destination, Event, Finding
from udpprobe.reports.text import endpoint, plural

ERRORS_NAMED = 3
"""Errors named in a datagram's comment; further ones are counted."""
FOUND = frozenset({FRAME, BLOCK, NUMBERED})
LAST = 1 << 62
"""Beyond every frame."""
OLD_PACKET = 2
BEFORE_FRAME = 28
"""Bytes of an enhanced or old packet block before its frame."""
ANY_LENGTH = b"\xff" * 8
"""Length of a section that lasts until the next one, or the end of the file (section 4.1)."""

_Passes = dict[tuple[str, int | None], list[tuple[int, str]]]
"""By address and port: times, and the comment on the frame with that time and destination."""


class Annotations:
    """Comments by frame. Texts are made when they are written: there may be a million."""

    def __init__(self) -> None:
        self._errors, self._causes, self._kinds = array("q"), array("q"), array("q")
        """Frames of errors and of their datagrams (0 for none), and what happened: an index of `_texts`."""
        self._texts: list[tuple[str, str, str]] = []
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._passes: _Passes = {}

    def take(self, events: Iterable[Event]) -> None:
        """Add errors, and the datagrams that caused them."""
        for event in events:
            key = _of_error(event), _of_datagram(event), _aside(event)
            number = self._numbers.setdefault(key, len(self._texts))
            if number == len(self._texts):
                self._texts.append(key)
            self._errors.append(event.frame)
            self._causes.append(event.matched_frame or 0)
            self._kinds.append(number)

    def take_loops(self, destinations: Iterable[Destination]) -> None:
        """Add the loops that datagrams were seen in."""
        for each in destinations:
            for finding in each.findings:
                if finding.verdict == "loop" and finding.icmp_type is None and finding.reporter is None:
                    self._passes.setdefault((each.address, each.port), []).extend(_passes_of(each, finding))

    def write(self, name: str, out: IO[bytes], *, only_involved: bool = False) -> int:
        """Copy the capture with its comments.

        Args:
            name: of the capture; opened once, or twice if datagrams went round a loop or only some packets are written.
            out: destination.
            only_involved: write only packets with a comment.

        Returns:
            Number of packets that could not get their comment: pcapng has no room for options in their blocks.

        Raises:
            CaptureError: it can no longer be read.
            OSError: the copy cannot be written.
        """
        passes: dict[int, list[str]] = {}
        numbered: list[int] = []
        if self._passes or only_involved:
            passes, numbered = self._find_passes(name)
        wanted = array("q", sorted({*self._errors, *self._causes, *passes} - {0}))
        comments = _Comments(self, wanted, passes, sorted({*wanted, *numbered}) if only_involved else None)
        writer: _Copied | _Converted | None = None
        for records in _filled(name):
            if writer is None:
                writer = (_Copied if records.is_pcapng else _Converted)(out, comments, only_involved=only_involved)
            writer.copy(records)
        return writer.without_room if writer else 0

    def _find_passes(self, name: str) -> tuple[dict[int, list[str]], list[int]]:
        """Comments on frames of passes; and Wireshark's numbers of blocks without a packet."""
        times = memoryview(array("q", sorted({time_ns for some in self._passes.values() for time_ns, _ in some})))
        remaining = {key: list(some) for key, some in self._passes.items()}
        decoder, passes, numbered = Decoder(64), dict[int, list[str]](), list[int]()
        for records in _filled(name):
            while (status := records.skip_to_times(times)) in FOUND:
                if status == FRAME:
                    passes[records.frame] = _passing(records, decoder, remaining)
                elif status == NUMBERED:
                    numbered.append(records.frame)
        return {frame: texts for frame, texts in passes.items() if texts}, numbered

    def errors(self) -> Iterator[tuple[int, int, int]]:
        """Frame, datagram's frame (0 for none) and text number of each error."""
        return zip(self._errors, self._causes, self._kinds, strict=True)

    def text(self, number: int) -> tuple[str, str, str]:
        """The comments on the error and on its datagram, and remarks on the error."""
        return self._texts[number]


# ---- texts


def _of_error(event: Event) -> str:
    quoted = event.quoted
    by = "" if event.reporter == quoted.destination and event.verdict == "refused" else f" by {event.reporter}"
    mtu = "" if event.mtu is None else f", MTU {event.mtu}"
    return f"{event.verdict or event.reason} {endpoint(quoted.destination, quoted.destination_port)}{by}{mtu}"


def _of_datagram(event: Event) -> str:
    if event.verdict != "too-big":
        return _of_error(event)
    mtu = f" of {event.mtu}" if event.mtu else ""
    return f"too big for its path: larger than the MTU{mtu} behind {event.reporter}"


def _aside(event: Event) -> str:
    """The Linux sockets that get the error, and its notes."""
    linux = event.linux or {}
    option = "IP_RECVERR" if event.family == 4 else "IPV6_RECVERR"
    kinds = [name for kind, name in (("connected", "connected"), ("recverr", option)) if linux.get(kind)]
    reach = f"only {' or '.join(kinds)} sockets" if kinds else "no socket"
    match = [f"matched by {event.match}"] if event.matched_frame and event.match != "exact" else []
    return "; ".join((f"would reach: {reach}", *match, *event.notes))


def _passes_of(each: Destination, finding: Finding) -> list[tuple[int, str]]:
    period = f" of {finding.loop.period} hops" if finding.loop and finding.loop.period else ""
    loop = f"a loop{period} on the way to {endpoint(each.address, each.port)}"
    first = (finding.first_time_ns, f"first pass of {loop}: a datagram comes round again")
    last = (finding.last_time_ns, f"last pass of {loop}, seen going round {plural(finding.count, 'time')}")
    return [first, last] if finding.first_time_ns != finding.last_time_ns else [first]


class _Comments:
    """Comments by frame.

    Args:
        annotations: their content.
        wanted: the frames, ascending.
        passes: by frame, of loops.
        kept: frames that are written, ascending; None for all.
    """

    def __init__(
        self, annotations: Annotations, wanted: Sequence[int], passes: dict[int, list[str]], kept: Sequence[int] | None
    ) -> None:
        self.wanted, self._annotations, self._passes, self._kept = wanted, annotations, passes, kept
        rows = list(annotations.errors())
        self._by_error = {error: (cause, kind) for error, cause, kind in rows}
        by_cause = sorted((cause, error, kind) for error, cause, kind in rows if cause)
        self._by_cause = {
            cause: [(error, kind) for _, error, kind in some]
            for cause, some in groupby(by_cause, key=lambda row: row[0])
        }

    def number(self, frame: int) -> int:
        """The number of a frame in the copy."""
        return frame if self._kept is None else bisect_left(self._kept, frame) + 1

    def of(self, frame: int) -> str:
        """The complete comment on a frame."""
        said = []
        if frame in self._by_error:
            cause, kind = self._by_error[frame]
            error, _, aside = self._annotations.text(kind)
            by = f"caused by frame {self.number(cause)}" if cause else "its datagram is not in this capture"
            said.append(f"{error}; {by}; {aside}")
        for kind, some in groupby(self._by_cause.get(frame, ()), key=lambda row: row[1]):
            frames = [str(self.number(error)) for error, _ in some]
            more = f" and {len(frames) - ERRORS_NAMED} more" if len(frames) > ERRORS_NAMED else ""
            which = f"frame{'s' if len(frames) > 1 else ''} {', '.join(frames[:ERRORS_NAMED])}{more}"
            said.append(f"{self._annotations.text(kind)[1]}; reported in {which}")
        return "; ".join((*said, *self._passes.get(frame, ())))


# ---- writing


def _filled(name: str) -> Iterator[Records]:
    """The records of a capture, each time there are more bytes; and once before there are any."""
    source = CaptureFile(name)
    source.records.tells_blocks = True
    try:
        yield source.records
        while source.fill() is not Arrival.END:
            yield source.records
    finally:
        source.close()


def _passing(records: Records, decoder: Decoder, remaining: _Passes) -> list[str]:
    """The comments on a frame, if it is a datagram of a loop at one of the recorded times; each is returned once."""
    said = []
    data = bytes(records.data[records.at : records.at + records.captured])
    for packet in decoder.packets(data, records.length, records.time_ns, records.link_type, records.frame):
        for port in () if packet.is_error else (packet.destination_port, None):
            some = remaining.get((address_text(*packet.destination), port), [])
            found = [each for each in some if each[0] == records.time_ns]
            said += [text for _, text in found]
            some[:] = [each for each in some if each not in found]
    return said


class _Copied:
    """Pcapng as it was, except for comments."""

    def __init__(self, out: IO[bytes], comments: _Comments, *, only_involved: bool) -> None:
        self._out, self._comments, self._only_involved = out, comments, only_involved
        self._next = 0
        self.without_room = 0

    def copy(self, records: Records) -> None:
        """Write all records that are there."""
        wanted, begun = self._comments.wanted, records.start
        while True:
            frame = wanted[self._next] if self._next < len(wanted) else LAST
            status = records.skip(frame)
            if status not in FOUND:
                break
            is_section = status == BLOCK and _kind(records) == SECTION
            is_wanted = status == FRAME and records.frame == frame
            if not self._only_involved and not (is_section or is_wanted):
                continue  # together with what follows
            if not self._only_involved:
                self._out.write(records.data[begun : records.record])
            begun = records.start
            block = bytes(records.data[records.record : records.start])
            if is_section:
                block = block[:16] + ANY_LENGTH + block[24:]  # it grows
            elif is_wanted:
                self._next += 1
                block = self._commented(block, frame, is_big=bool(records.is_big))
            self._out.write(block)
        if not self._only_involved:
            self._out.write(records.data[begun : records.start])

    def _commented(self, block: bytes, frame: int, *, is_big: bool) -> bytes:
        made = with_comment(block, self._comments.of(frame), is_big=is_big)
        self.without_room += made is None
        return made or block


def _kind(records: Records) -> int:
    return int.from_bytes(
        bytes(records.data[records.record : records.record + 4]), "big" if records.is_big else "little"
    )


def with_comment(block: bytes, text: str, *, is_big: bool) -> bytes | None:
    """A packet block with one more comment, after its other options.

    Args:
        block: an enhanced packet block, or an old one.
        text: the comment.
        is_big: whether its section is big-endian.

    Returns:
        None for blocks without room for options, and for broken ones.
    """
    order = ">" if is_big else "<"
    kind, size, captured = struct.unpack_from(f"{order}2I12xI", block)
    last, options = len(block) - 4, BEFORE_FRAME + (captured + 3 & -4)
    if kind not in {ENHANCED_PACKET, OLD_PACKET} or size != len(block) or options > last:
        return None
    at = options
    while at + 4 <= last:
        code, length = struct.unpack_from(f"{order}2H", block, at)
        if code == 0:
            break
        at += 4 + (length + 3 & -4)
    if at > last:
        at = options  # broken options; a reader stops there
    value = clean(text)
    added = struct.pack(f"{order}2H", COMMENT, len(value)) + value + bytes(-len(value) % 4)
    if at == last:
        added += bytes(4)  # opt_endofopt
    total = struct.pack(f"{order}I", size + len(added))
    return block[:4] + total + block[8:at] + added + block[at:last] + total


class _Converted:
    """The frames of a pcap file as pcapng."""

    def __init__(self, out: IO[bytes], comments: _Comments, *, only_involved: bool) -> None:
        self._out, self._comments, self._only_involved = out, comments, only_involved
        self._blocks = PacketBlocks()
        self._next = 0
        self.without_room = 0
        self._is_begun = False

    def copy(self, records: Records) -> None:
        """Write all records that are there."""
        if not self._is_begun:
            self._is_begun = True
            self._out.write(section_block(f"udpprobe {__version__}") + interface_block(records.link_type))
        wanted, blocks = self._comments.wanted, self._blocks
        while True:
            frame = wanted[self._next] if self._next < len(wanted) else LAST
            status = records.skip(frame) if self._only_involved else blocks.copy(records, frame)
            if status not in {FRAME, FULL}:
                break
            self._out.write(blocks.take())
            blocks.add(records)
            if status == FRAME and records.frame == frame:
                self._next += 1
                block = with_comment(blocks.take(), self._comments.of(frame), is_big=False)
                self._out.write(block or b"")
            elif self._only_involved:
                blocks.take()
        self._out.write(blocks.take())
