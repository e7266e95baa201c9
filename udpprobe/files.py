"""Files named by the user.

Reading is bounded, because a device or a pipe may have no end. Reports (-o) and captures (-w) are written completely or
not at all.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 32 << 20
"""Most bytes of a list of targets or names: two million entries."""
MOST_OF_A_LINE = 1 << 16


def read_at_most(path: str, most: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: of the file; "-" is standard input.
        most: bytes.

    Raises:
        OSError: it cannot be read, or is longer (EFBIG).
    """
    if path == "-":
        data = sys.stdin.buffer.read(most + 1)
    else:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib alone takes 3 ms to import
            data = file.read(most + 1)
    if len(data) > most:
        raise _too_large(most)
    return data


def lines_at_most(file: TextIO, most: int = MOST_BYTES) -> Iterator[str]:
    """The lines of a file, one by one.

    Args:
        file: open for reading.
        most: characters of all lines together.

    Raises:
        OSError: a line is longer than MOST_OF_A_LINE, or the file is too long (EFBIG).
    """
    remaining = most
    while line := file.readline(MOST_OF_A_LINE + 1):
        remaining -= len(line)
        if len(line) > MOST_OF_A_LINE:
            raise OSError(errno.EFBIG, f"a line has more than {MOST_OF_A_LINE:,} characters")
        if remaining < 0:
            raise _too_large(most)
        yield line


def require_regular(path: str) -> None:
    """Check that a path is a regular file, before a library reads all of it.

    Raises:
        OSError: it is not, or does not exist.
    """
    if not os.path.isfile(path) and os.stat(path):  # noqa: PTH113, PTH116 - one word each
        raise OSError(errno.EINVAL, "it is not a regular file")


def _too_large(most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {most >> 20} MB")


@contextmanager
def atomic_file(target: Path) -> Iterator[int]:
    """A temporary file beside the target, which gets the target's name and mode once it is complete.

    Its name is unpredictable and must not exist (mkstemp(3): O_EXCL). So in a directory where others can write, such as
    /tmp, nobody can place a link to another file there.

    Yields:
        The descriptor to write to. This function closes it.
    """
    from pathlib import Path  # noqa: PLC0415 - see read_at_most
    from tempfile import mkstemp  # noqa: PLC0415 - the import takes 5 ms, and only writing needs it

    descriptor, draft = mkstemp(dir=target.parent, prefix=".udpprobe-")
    try:
        try:
            yield descriptor
            os.fchmod(descriptor, _mode_of(target))
            os.fsync(descriptor)  # without it, a crash of the system may leave an empty file under the name
        finally:
            os.close(descriptor)
        Path(draft).replace(target)
    finally:
        Path(draft).unlink(missing_ok=True)


def _mode_of(target: Path) -> int:
    """The mode for a file: that of the file it replaces, or that of the user's new files."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0o077)  # the only way to read it; files that another thread creates meanwhile are private
    os.umask(mask)
    return 0o666 & ~mask
