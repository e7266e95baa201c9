"""Captures that have a URL (s3://, gs://, https:// …), read in ranges by fsspec; credentials are its libraries' own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from udpprobe.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FIRST_BYTES, MOST_BYTES = 1 << 16, 8 << 20
"""Bytes per request: few at first, for files of which only the beginning is wanted, then twice as many each time."""


class Remote:
    """What a URL names; a Content.

    Args:
        url: any that fsspec has a library for.

    Raises:
        CaptureError: it cannot be opened; or, later, read on.
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
        """See Content. A range is asked for that may be longer than `room`, and the rest is kept."""
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
    """The URLs that a URL with wildcards, or of a directory, stands for, in the order of their names.

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
    """Whether any part can be read by itself; some web servers send only from the start."""
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
        # fsspec says "not found" also of hosts it cannot connect to
        reason = error.__cause__
        if reason is None or isinstance(reason, FileNotFoundError):
            raise CaptureError(f"{url}: no such file") from error
        raise CaptureError(f"{url}: cannot be reached: {_first_line(reason)}") from error
    except Exception as error:  # each of fsspec's libraries raises errors of its own
        raise CaptureError(f"{url}: cannot be read: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
