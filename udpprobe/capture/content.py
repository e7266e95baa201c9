"""What a name stands for (file, pipe, standard input or URL) and how to read its bytes.

fsspec reads a URL (s3://, gs://, https:// …) in ranges; its libraries handle credentials.
"""

from __future__ import annotations

import os
import re
import select
import stat
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from udpprobe.errors import CaptureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

PIPE_BYTES, FILE_BYTES = 1 << 16, 1 << 18
"""Bytes per read. A pipe holds no more, and a larger buffer would be allocated for nothing each time."""

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


class ByteStream(Protocol):
    """A stream of bytes."""

    @property
    def done_bytes(self) -> int:
        """Bytes read from the file itself, before decompression."""
        ...

    def read(self, timeout_s: float) -> bytes | None:
        """Bytes that arrive within the time; empty at the end; None if nothing arrived.

        Raises:
            CaptureError: reading fails.
        """
        ...


class Content(ByteStream, Protocol):
    """The bytes behind a name, compressed or not."""

    is_live: bool
    """Whether another program may still be writing: a pipe."""
    is_seekable: bool
    """Whether any range can be read."""
    total_bytes: int | None
    """None if unknown."""

    def read_at(self, first: int, room: memoryview, most: int) -> int:
        """Fill `room`, or a part of it, with the bytes from `first` on; only if seekable.

        Args:
            first: offset in the file.
            room: where the bytes go.
            most: bytes from there that will be needed.

        Returns:
            Number of bytes read; 0 at the end of the file.

        Raises:
            CaptureError: reading fails.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


class OpenedFile:
    """A file object that the caller has opened and closes; read once from its current position.

    Args:
        file: binary.
    """

    is_live = is_seekable = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.total_bytes: int | None = None
        self.done_bytes = 0

    def __str__(self) -> str:
        name = getattr(self._file, "name", None)
        return name if isinstance(name, str) else "file object"

    def read(self, _timeout_s: float) -> bytes | None:
        """See ByteStream.

        Raises:
            UsageError: it returns text.
            CaptureError: reading fails.
        """
        try:
            chunk = self._file.read(FILE_BYTES)
        except (OSError, ValueError) as error:  # ValueError: closed file, or text that is no UTF-8
            raise CaptureError(f"{self}: reading stopped: {error}") from error
        if isinstance(chunk, str):
            raise UsageError(f"{self}: is opened in text mode; open it in binary mode ('rb')")
        self.done_bytes += len(chunk or b"")
        return chunk

    def read_at(self, first: int, room: memoryview, most: int) -> int:
        """See Content; never called, because it is not seekable."""
        raise NotImplementedError

    def close(self) -> None:
        """See Content; its owner closes the file."""


Named = str | OpenedFile
"""The source of a capture: a path, a URL, "-" for standard input, or a file object."""


def is_url(name: str) -> bool:
    """Whether fsspec reads it; a file:// URL is a path."""
    return local_path(name) is None


def local_path(name: str) -> str | None:
    """The path of a name or a file:// URL; None for other URLs."""
    url = _URL.fullmatch(name)
    if url is None:
        return name
    return url["rest"] if url["scheme"] == "file" else None


def is_stored(name: Named) -> bool:
    """Whether it can be opened again: a regular file or a URL."""
    if isinstance(name, OpenedFile):
        return False
    path = local_path(name)
    return path is None or (path != "-" and os.path.isfile(path))  # noqa: PTH113 - pathlib alone takes 3 ms to import


def open_content(name: Named) -> Content:
    """Open a file, a pipe, a URL, or standard input, which is "-"; a file object is open already.

    Raises:
        CaptureError: it cannot be opened, or is a directory.
    """
    if isinstance(name, OpenedFile):
        return name
    path = local_path(name)
    if path is not None:
        return LocalFile(name, path)
    return Remote(name)


class LocalFile:
    """A file, pipe or socket of this host. A file is read, not mapped: if it shrinks meanwhile, it just ends.

    Args:
        name: as the user gave it.
        path: its path; "-" for standard input.

    Raises:
        CaptureError: it cannot be opened, or is a directory; or, later, reading fails.
    """

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._fd = _open(name, path)
        status = os.fstat(self._fd)
        if stat.S_ISDIR(status.st_mode):
            self.close()
            raise CaptureError(f"{name}: is a directory; name a capture file")
        self.is_live = not stat.S_ISREG(status.st_mode)
        self.is_seekable = not self.is_live and not os.lseek(self._fd, 0, os.SEEK_CUR)
        self.total_bytes = status.st_size if self.is_seekable else None
        self.done_bytes = 0
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()

    def close(self) -> None:
        """See Content."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, timeout_s: float) -> bytes | None:
        """See ByteStream."""
        if self.is_live and not self._poll.poll(timeout_s * 1000):
            return None
        try:
            chunk = os.read(self._fd, PIPE_BYTES if self.is_live else FILE_BYTES)
        except OSError as error:
            raise CaptureError(f"{self._name}: reading stopped: {error.strerror}") from error
        self.done_bytes += len(chunk)
        return chunk

    def read_at(self, first: int, room: memoryview, most: int) -> int:
        """See Content. Bytes appended after opening are not read."""
        most = min(most, (self.total_bytes or 0) - first)
        if most <= 0:
            return 0
        try:
            count = os.preadv(self._fd, [room[:most]], first)
        except OSError as error:
            raise CaptureError(f"{self._name}: reading stopped: {error.strerror}") from error
        self.done_bytes = first + count
        return count


def _open(name: str, path: str) -> int:
    try:
        return os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise CaptureError(f"{name}: no such file") from error
    except PermissionError as error:
        raise CaptureError(f"{name}: no permission to read it") from error
    except OSError as error:
        raise CaptureError(f"{name}: cannot be opened: {error.strerror}") from error


FIRST_BYTES, MOST_BYTES = 1 << 16, 8 << 20
"""Bytes per request: few at first, because often only the beginning is needed; then doubled each time."""


class Remote:
    """The Content of a URL.

    Args:
        url: any that fsspec has a library for.

    Raises:
        CaptureError: it cannot be opened; or, later, reading fails.
    """

    is_live = False

    def __init__(self, url: str) -> None:
        self._url = url
        with _named_errors(url):
            self._file: Any = _opened(url, cache_type="none")
            self.is_seekable = _has_ranges(url, self._file)
            if not self.is_seekable:
                self._file = _opened(url, block_size=0)
        self.total_bytes: int | None = getattr(self._file, "size", None)
        self.done_bytes = 0
        self._next_bytes = FIRST_BYTES
        self._chunk, self._chunk_first = memoryview(b""), 0

    def close(self) -> None:
        """See Content."""
        with _named_errors(self._url):
            self._file.close()

    def read(self, _timeout_s: float) -> bytes:
        """See ByteStream; waits as long as it takes."""
        return self._ask(MOST_BYTES)

    def read_at(self, first: int, room: memoryview, most: int) -> int:
        """See Content. It may request a longer range than `room`, and keeps the rest."""
        skipped = first - self._chunk_first
        if not 0 <= skipped < len(self._chunk):
            with _named_errors(self._url):
                self._file.seek(first)
            self.done_bytes = first
            self._chunk, self._chunk_first, skipped = memoryview(self._ask(most)), first, 0
        some = self._chunk[skipped : skipped + len(room)]
        room[: len(some)] = some
        return len(some)

    def _ask(self, most: int) -> bytes:
        with _named_errors(self._url):
            chunk: bytes = self._file.read(min(self._next_bytes, most))
        self._next_bytes = min(2 * self._next_bytes, MOST_BYTES)
        self.done_bytes += len(chunk)
        return chunk


def names_behind(url: str) -> list[str]:
    """The URLs that a URL with wildcards, or of a directory, stands for, sorted by name.

    Raises:
        CaptureError: they cannot be listed.
    """
    with _named_errors(url):
        files, path = _fsspec(url).core.url_to_fs(url)
        is_pattern = any(sign in path for sign in "*?[")
        found = files.glob(path) if is_pattern else files.find(path) if files.isdir(path) else [path]
        return [files.unstrip_protocol(each) for each in sorted(found)]


def _opened(url: str, **options: object) -> Any:  # noqa: ANN401 - fsspec has no types
    files, path = _fsspec(url).core.url_to_fs(url)
    return files.open(path, "rb", **options)


def _has_ranges(url: str, file: Any) -> bool:  # noqa: ANN401 - likewise
    """Whether any range can be read; some web servers send only from the start."""
    if not file.seekable() or file.size is None:
        return False
    if url.startswith("http"):
        file.seek(1)
        try:
            file.read(1)
        except ValueError:
            return False
        file.seek(0)
    return True


def _fsspec(url: str) -> ModuleType:
    try:
        import fsspec  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise CaptureError(f"{url}: needs fsspec; install udpprobe[cluster]") from error
    return fsspec


@contextmanager
def _named_errors(url: str) -> Iterator[None]:
    try:
        yield
    except CaptureError:
        raise
    except FileNotFoundError as error:
        # fsspec also reports "not found" for hosts it cannot connect to
        reason = error.__cause__
        if reason is None or isinstance(reason, FileNotFoundError):
            raise CaptureError(f"{url}: no such file") from error
        raise CaptureError(f"{url}: cannot be reached: {_first_line(reason)}") from error
    except Exception as error:  # each of fsspec's libraries has its own exceptions
        raise CaptureError(f"{url}: cannot be read: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
