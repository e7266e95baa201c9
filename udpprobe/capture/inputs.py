"""The captures that a command line names: files, globs, directories, URLs, and lists of these.

Commands that read their input more than once copy pipes to a temporary file.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Self

from msgspec import Struct, field
from msgspec.structs import replace

from udpprobe.capture.content import Named, OpenedFile, is_stored, is_url, local_path
from udpprobe.errors import CaptureError, UdpprobeError, UsageError
from udpprobe.files import read_at_most

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PAYING_BYTES = 1 << 30
"""From this size on, all cores are used by default."""


class Inputs(Struct, frozen=True):
    """The captures to read."""

    name: str
    """As given by the user, for the report."""
    captures: tuple[tuple[Named, ...], ...]
    """The files of each capture, merged by time stamps; captures are kept apart."""
    unread: dict[str, str] = field(default_factory=dict)
    """What could not even be listed, and why."""

    @classmethod
    def of(cls, *files: Named) -> Self:
        """These files as one capture."""
        return cls(", ".join(map(str, files)), (files,))

    @property
    def files(self) -> tuple[str, ...]:
        """Files with a name, by which other processes can open them."""
        return tuple(name for capture in self.captures for name in capture if isinstance(name, str))

    def for_others(self) -> Inputs:
        """The same with absolute names, for processes in other directories.

        Raises:
            UsageError: it has file objects.
        """
        return replace(self, captures=tuple(tuple(map(_for_others, files)) for files in self.captures))


def _for_others(name: Named) -> str:
    if isinstance(name, OpenedFile):
        raise UsageError(f"{name}: a cluster reads files by name, not file objects")
    return name if is_url(name) else os.path.abspath(local_path(name) or name)  # noqa: PTH100 - see _inside


def find_inputs(arguments: Sequence[str], files_from: str | None = None, *, are_apart: bool = False) -> Inputs:
    """Find the files that the arguments name.

    Args:
        arguments: files, "-" for standard input, globs, directories (searched recursively), URLs.
        files_from: a file with one of these per line, and comments after "#"; "-" is standard input.
        are_apart: whether each argument is a capture of its own, instead of all together.

    Raises:
        CaptureError: none of them names a file, or the list cannot be read.
        UsageError: standard input is named twice.
    """
    listed = [] if files_from is None else _lines_of(files_from)
    words = [*arguments, *listed]
    if [*words, files_from].count("-") > 1:
        raise UsageError("-: standard input can be read only once")
    unread: dict[str, str] = {}
    found = [_found(word, unread) for word in words]
    captures = found if are_apart else [tuple(name for names in found for name in names)]
    named = [*arguments, *([] if files_from is None else [files_from])]
    if not any(captures):
        raise CaptureError(next(iter(unread.values()), f"{', '.join(named)}: matches no capture"))
    return Inputs(", ".join(named), tuple(filter(None, captures)), unread)


def threads_for(files: Sequence[str], requested: int | None) -> int:
    """Number of threads for these files; one if any of them (a pipe) can be read only once.

    Args:
        files: of all captures.
        requested: by the user; None for as many as help.
    """
    if not all(map(is_stored, files)):
        return 1
    if requested is not None:
        return requested
    is_large = (
        any(map(is_url, files))
        or sum(
            os.path.getsize(local_path(name) or name)  # noqa: PTH202 - thousands
            for name in files
        )
        >= PAYING_BYTES
    )
    return len(os.sched_getaffinity(0)) if is_large else 1


def _lines_of(files_from: str) -> list[str]:
    try:
        text = read_at_most(files_from)
    except OSError as error:
        raise CaptureError(f"{files_from}: cannot be read: {error.strerror}") from error
    lines = [line.strip() for line in os.fsdecode(text).split("\n")]  # splitlines() also splits at form feeds
    return [line for line in lines if line and not line.startswith("#")]


def _found(word: str, unread: dict[str, str]) -> tuple[str, ...]:
    try:
        return tuple(_remote(word) if is_url(word) else _local(word, unread))
    except CaptureError as error:
        unread[word] = str(error)
        return ()


def _remote(url: str) -> Iterable[str]:
    if "*" not in url and not url.endswith("/"):
        return [url]
    from udpprobe.capture.content import names_behind  # noqa: PLC0415 - fsspec is an extra, and slow to import

    return names_behind(url)


def _local(word: str, unread: dict[str, str]) -> Iterable[str]:
    path = local_path(word) or word
    if os.path.isdir(path):  # noqa: PTH112 - as below
        return _inside(path, unread)
    # an existing name is literal, even with a star in it
    if os.path.lexists(path) or not glob.has_magic(path):
        return [word]
    if names := sorted(glob.glob(path, recursive=True)):  # noqa: PTH207 - expands as a shell does
        return [each for name in names for each in _found(name, unread)]
    raise CaptureError(f"{word}: no such file")


def _inside(directory: str, unread: dict[str, str]) -> list[str]:
    """The captures in a directory, sorted by path; other files are ignored."""
    from udpprobe.capture.files import is_capture  # noqa: PLC0415 - only directories need it

    def note(error: OSError) -> None:
        unread[error.filename] = f"{error.filename}: cannot be listed: {error.strerror}"

    found = sorted(
        os.path.join(path, name)  # noqa: PTH118 - thousands of them
        for path, _, names in os.walk(directory, onerror=note)
        for name in names
    )
    captures = [name for name in found if is_capture(name)]
    if not captures:
        raise CaptureError(unread.get(directory, f"{directory}: no capture in this directory"))
    return captures


HEAD_BYTES = 1 << 16
MOST_REPORT_BYTES = 1 << 30
"""Largest report in JSON: some million destinations."""


@contextmanager
def spooled(name: str) -> Iterator[str]:
    """A path that can be opened repeatedly: the file itself, or a temporary copy of a pipe.

    Args:
        name: of a file or a pipe; "-" is standard input.

    Raises:
        UdpprobeError: it does not exist, or there is no room for its copy; a CaptureError inside names the pipe.
    """
    if is_stored(name):
        yield name
        return
    from tempfile import NamedTemporaryFile  # noqa: PLC0415 - only pipes need it

    try:
        with NamedTemporaryFile(prefix="udpprobe-") as spool:
            try:
                if name == "-":
                    _copy(sys.stdin.buffer, spool)
                else:
                    with open(name, "rb") as pipe:  # noqa: PTH123 - see _inside
                        _copy(pipe, spool)
                yield spool.name
            except CaptureError as error:
                raise type(error)(str(error).replace(spool.name, name)) from error
    except OSError as error:
        raise UdpprobeError(f"{name}: cannot be read: {error.strerror or error}") from error


def _copy(pipe: IO[bytes], spool: IO[bytes]) -> None:
    """Copy a capture or a report; nothing else, because it may have no end, like /dev/zero."""
    from udpprobe.capture.files import CaptureFile  # noqa: PLC0415 - as above

    head = pipe.read(HEAD_BYTES)
    spool.write(head)
    spool.flush()
    if is_report(head):
        spool.write(pipe.read(MOST_REPORT_BYTES))
        if pipe.read(1):
            raise OSError(errno.EFBIG, f"a report of more than {MOST_REPORT_BYTES >> 30} GB")
    else:
        CaptureFile(spool.name).close()
        shutil.copyfileobj(pipe, spool)
    spool.flush()


def is_report(head: bytes) -> bool:
    """Whether a file that begins like this is JSON."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in {b"{", b"["}
