"""What a name stands for: a file, a pipe, standard input, or something with a URL; and how its bytes are reached."""

from __future__ import annotations

import os
import re
import stat
from typing import Protocol

from udpprobe.errors import CaptureError
from udpprobe.sources.feed import Descriptor, Feed
from udpprobe.sources.octets import MappedFile, Octets

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)


class Content(Protocol):
    """The bytes behind a name, compressed or not."""

    @property
    def feed(self) -> Feed:
        """From the first byte on."""
        ...

    is_live: bool
    """Whether somebody may still be writing: a pipe."""
    is_seekable: bool
    """Whether any part of it may be read by itself."""
    total_bytes: int | None
    """None where that cannot be known."""

    def octets(self, first: int, stop: int, window_bytes: int, buffer_bytes: int) -> Octets:
        """The bytes from `first` on, for records that begin before `stop`; for what is seekable."""
        ...


def is_url(name: str) -> bool:
    """Whether it is read by way of fsspec; a file:// URL is a path."""
    return local_path(name) is None


def local_path(name: str) -> str | None:
    """The path that a name or a file:// URL stands for; None for other URLs."""
    url = _URL.fullmatch(name)
    if url is None:
        return name
    return url["rest"] if url["scheme"] == "file" else None


def is_stored(name: str) -> bool:
    """Whether it may be opened as often as one likes: a regular file, or something with a URL."""
    path = local_path(name)
    return path is None or (path != "-" and os.path.isfile(path))  # noqa: PTH113 - pathlib alone takes 3 ms to import


def open_content(name: str) -> Content:
    """Opens a file, a pipe, a URL, or standard input, which is "-".

    Raises:
        CaptureError: it cannot be opened, or is a directory.
    """
    path = local_path(name)
    if path is not None:
        return _File(name, path)
    from udpprobe.sources.remote import Remote  # noqa: PLC0415 - only who has such a name pays for it

    return Remote(name)


class _File:
    """A local file or pipe."""

    def __init__(self, name: str, path: str) -> None:
        self._fd = _open(name, path)
        self.feed: Feed = Descriptor(self._fd, name)     # closes it
        status = os.fstat(self._fd)
        if stat.S_ISDIR(status.st_mode):
            raise CaptureError(f"{name}: is a directory; name a capture file")
        self._size = status.st_size
        self.is_live = not stat.S_ISREG(status.st_mode)
        self.is_seekable = not self.is_live and not os.lseek(self._fd, 0, os.SEEK_CUR)
        self.total_bytes = self._size if self.is_seekable else None

    def octets(self, first: int, stop: int, window_bytes: int, _buffer_bytes: int) -> Octets:
        """See Content."""
        return MappedFile(self._fd, self._size, window_bytes, first=first, stop=stop)


def _open(name: str, path: str) -> int:
    try:
        return os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise CaptureError(f"{name}: no such file") from error
    except PermissionError as error:
        raise CaptureError(f"{name}: no permission to read it") from error
    except OSError as error:
        raise CaptureError(f"{name}: cannot be opened: {error.strerror}") from error
