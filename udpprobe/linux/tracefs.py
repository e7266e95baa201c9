"""The kernel's own events, read in binary from a tracing instance of this process (Documentation/trace/ftrace.rst).

An instance has its own buffers and events, so other programs' tracing is not affected. It is called udpprobe-PID-… and
is removed at the end; if its process was killed, the next one removes it. A process holds a lock (flock) on its
instance, because its PID may be another process, or none, in the PID namespace of the observer. Page and event layouts
are read from the kernel's `format` files: they differ between kernels.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any, Self

from msgspec import Struct

from udpprobe.errors import PrivilegeError, UdpprobeError

PLACES = "/sys/kernel/tracing", "/sys/kernel/debug/tracing"
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
"""System calls with the same numbers on all architectures: they mount tracefs for this process only, without a mount
point."""
FSCONFIG_CMD_CREATE = 6
NAME = re.compile(r"udpprobe-\d+-[0-9a-f]{8}")
BUFFER_KIB = 1024
"""Per processor; some 14,000 events."""
PAGE_BYTES = 1 << 16
"""Largest page of the ring."""
MISSED, MISSED_COUNTED = 1 << 31, 1 << 30
"""Bits of a page's length: events were lost before it, and their number follows its data (linux/ring_buffer.c)."""
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
"""A record's type_len; lower values except 0 are its length in words."""
DELTA_BITS = 27
STAMP_MASK = (1 << 59) - 1
"""Bits of an absolute time stamp; the higher ones come from the page."""
FIELD = re.compile(r"field:(.*?)(\w+)(\[[^]]*\])?;\s*offset:(\d+);\s*size:(\d+);\s*signed:(\d);")
SYMBOL = re.compile(r'{ (\d+), "(\w+)" }')
_libc = ctypes.CDLL(None, use_errno=True)


class Field(Struct, frozen=True):
    """Position of an event's field."""

    offset: int
    size: int
    is_signed: bool
    is_array: bool

    def of(self, record: bytes) -> Any:  # noqa: ANN401 - a number, or the bytes of an array
        """Its value: 0 or fewer bytes if the record ends before it."""
        some = record[self.offset : self.offset + self.size]
        return some if self.is_array else int.from_bytes(some, sys.byteorder, signed=self.is_signed)


class Format(Struct, frozen=True):
    """An event's number, and its fields by name."""

    number: int
    fields: dict[str, Field]
    symbols: dict[int, str]
    """Words for numbers, from the event's own text."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a `format` file.

        Raises:
            ValueError: it is none.
        """
        found = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
        if not found:
            raise ValueError("no event's format")
        return cls(int(found[1]), fields_of(text), {int(number): word for number, word in SYMBOL.findall(text)})

    def read(self, record: bytes) -> dict[str, Any]:
        """The fields of a record by name."""
        return {name: field.of(record) for name, field in self.fields.items()}


def fields_of(text: str) -> dict[str, Field]:
    """The fields in a `format` file, or in `events/header_page`."""
    return {
        name: Field(int(offset), int(size), signed == "1", bool(array))
        for _, name, array, offset, size, signed in FIELD.findall(text)
    }


def records_of(page: bytes, header: Mapping[str, Field]) -> Iterator[tuple[int, bytes]]:
    """Time (nanoseconds of the buffer's clock) and bytes of each record in a page of the ring.

    A record that is cut off, or longer than the page, ends it.
    """
    time_ns = header["timestamp"].of(page)
    at = header["data"].offset
    end = min(at + _length(page, header), len(page))
    while at + 4 <= end:
        head = int.from_bytes(page[at : at + 4], sys.byteorder)
        kind, delta = (head & 31, head >> 5) if sys.byteorder == "little" else (head >> 27, head & (1 << 27) - 1)
        word = int.from_bytes(page[at + 4 : at + 8], sys.byteorder)
        if kind == TIME_STAMP:
            time_ns, at = word << DELTA_BITS | delta | time_ns & ~STAMP_MASK, at + 8
            continue
        time_ns += word << DELTA_BITS | delta if kind == TIME_EXTEND else delta
        if kind == TIME_EXTEND:
            at += 8
            continue
        size = word if kind in {0, PADDING} else 4 * kind
        begin = at + (8 if kind == 0 else 4)
        if not size or at + 4 + size > end or (kind == PADDING and not delta):
            return
        if kind != PADDING:
            yield time_ns, page[begin : at + 4 + size]
        at += 4 + (size + 3 & ~3)


def lost_before(page: bytes, header: Mapping[str, Field]) -> int:
    """Number of events lost between the page before and this one; 1 if the kernel gives no number."""
    commit = header["commit"].of(page)
    if not commit & MISSED:
        return 0
    at = header["data"].offset + _length(page, header)
    count = int.from_bytes(page[at : at + header["commit"].size], sys.byteorder) if commit & MISSED_COUNTED else 0
    return max(count, 1)


def _length(page: bytes, header: Mapping[str, Field]) -> int:
    return int(header["commit"].of(page) & (1 << 27) - 1)


class Record(Struct, frozen=True):
    """A kernel event."""

    event: str
    time_ns: int
    """Since 1970."""
    fields: dict[str, Any]


class Tracing:
    """Some events, until it is closed.

    Args:
        events: their names, such as `sock/inet_sk_error_report`; a filter for each, empty for none.

    Raises:
        PrivilegeError: this user may not.
        UdpprobeError: this kernel has no tracefs, or no such event.
    """

    def __init__(self, events: Mapping[str, str]) -> None:
        self.lost = 0
        """Events that were lost before they were read."""
        self._held = ExitStack()
        try:
            self._open(events)
        except OSError as error:
            self._held.close()
            kind = PrivilegeError if error.errno in {errno.EPERM, errno.EACCES} else UdpprobeError
            raise kind(_missing(error)) from None
        except BaseException:
            self._held.close()
            raise

    def _open(self, events: Mapping[str, str]) -> None:
        root = self._directory_of_tracefs()
        self.instances = self._directory("instances", root)
        """The directory of all instances."""
        own = self._own = self._instance()
        _write(own, "trace_clock", "mono")
        _write(own, "buffer_size_kb", str(BUFFER_KIB))
        self._header = fields_of(_read(own, "events/header_page") or _read(root, "events/header_page"))
        self.formats: dict[str, Format] = {}
        """By event name."""
        for event, wanted in events.items():
            self.formats[event] = self.format_of(event)
            if wanted:
                _write(own, f"events/{event}/filter", wanted)
        self._names = {each.number: event for event, each in self.formats.items()}
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        self._rings = [
            os.open(f"per_cpu/{cpu}/trace_pipe_raw", flags, dir_fd=own)
            for cpu in os.listdir(self._directory("per_cpu", own))  # noqa: PTH208 - of a descriptor
            if cpu.startswith("cpu")
        ]
        for ring in self._rings:
            self._held.callback(os.close, ring)
        for event in events:
            _write(own, f"events/{event}/enable", "1")

    def format_of(self, event: str) -> Format:
        """The format of an event, also of another one.

        Raises:
            UdpprobeError: there is no such event.
        """
        try:
            return Format.parse(_read(self._own, f"events/{event}/format"))
        except ValueError:
            raise UdpprobeError(f"this kernel has no event {event.replace('/', ':')}") from None

    def _instance(self) -> int:
        fcntl.flock(self.instances, fcntl.LOCK_EX)  # so that no other process removes it before it is locked
        try:
            remove_dead(self.instances)
            name = f"udpprobe-{os.getpid()}-{os.urandom(4).hex()}"
            os.mkdir(name, dir_fd=self.instances)
            self._held.callback(_remove, name, self.instances)
            own = self._directory(name, self.instances)
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            fcntl.flock(self.instances, fcntl.LOCK_UN)
        return own

    def _directory(self, name: str, parent: int | None = None) -> int:
        found = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        self._held.callback(os.close, found)
        return found

    def _directory_of_tracefs(self) -> int:
        for place in PLACES:
            with suppress(FileNotFoundError, NotADirectoryError):
                found = self._directory(place)
                os.stat("instances", dir_fd=found)
                return found
        found = _mounted_nowhere()
        self._held.callback(os.close, found)
        return found

    def read(self) -> list[Record]:
        """Events since the last call, in order of time."""
        since_1970_ns = _since_1970_ns()
        found: list[Record] = []
        for ring in self._rings:
            with suppress(BlockingIOError):
                while page := os.read(ring, PAGE_BYTES):
                    self.lost += lost_before(page, self._header)
                    found.extend(self._records(page, since_1970_ns))
        return sorted(found, key=lambda each: each.time_ns)

    def _records(self, page: bytes, since_1970_ns: int) -> Iterator[Record]:
        for time_ns, record in records_of(page, self._header):
            event = self._names.get(int.from_bytes(record[:2], sys.byteorder))  # common_type is always first
            if event:
                yield Record(event, time_ns + since_1970_ns, self.formats[event].read(record))

    def close(self) -> None:
        """Remove the instance."""
        self._held.close()


def _since_1970_ns() -> int:
    """Offset of the wall clock from the monotonic one, best of three readings, which may be interrupted."""
    readings = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(3)]
    before, today, _ = min(readings, key=lambda reading: reading[2] - reading[0])
    return today - before


def _mounted_nowhere() -> int:
    """Mount tracefs if it is not mounted at its usual places, as in a network namespace entered by `ip netns exec`."""
    context = _call(FSOPEN, b"tracefs", 1)
    try:
        _call(FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(FSMOUNT, context, 1, 0)
    finally:
        os.close(context)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def remove_dead(instances: int) -> None:
    """Remove instances of killed processes: their lock is free."""
    for name in filter(NAME.fullmatch, os.listdir(instances)):
        with suppress(OSError):
            instance = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=instances)
            try:
                fcntl.flock(instance, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(instance)
            _remove(name, instances)


def _remove(name: str, instances: int) -> None:
    with suppress(OSError):
        os.rmdir(name, dir_fd=instances)


def _read(directory: int, name: str) -> str:
    with (
        suppress(FileNotFoundError),
        open(
            name, encoding="ascii", errors="replace", opener=lambda path, flags: os.open(path, flags, dir_fd=directory)
        ) as file,
    ):
        return file.read()
    return ""


def _write(directory: int, name: str, text: str) -> None:
    written = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(written, text.encode())
    finally:
        os.close(written)


def _missing(error: OSError) -> str:
    if error.errno in {errno.EPERM, errno.EACCES}:
        return "the kernel's events need root (CAP_SYS_ADMIN)"
    if error.errno in {errno.ENODEV, errno.ENOSYS}:
        return "this kernel has no tracefs (CONFIG_TRACING)"
    return f"tracefs: {error.strerror or error}" + (f": {error.filename}" if error.filename else "")
