"""Files that somebody names, read as a whole and within bounds: a device or a pipe may have no end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from typing import TextIO

MOST_BYTES = 32 << 20
"""Of a list of targets or names: two millions."""
MOST_OF_A_LINE = 1 << 16


def read_at_most(path: str, most: int = MOST_BYTES) -> bytes:
    """All that is in a file.

    Args:
        path: of the file; "-" is standard input.
        most: bytes.

    Raises:
        OSError: it cannot be read, or holds more than that (EFBIG).
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
        OSError: a line is longer than MOST_OF_A_LINE, or there is more than that (EFBIG).
    """
    left = most
    while line := file.readline(MOST_OF_A_LINE + 1):
        left -= len(line)
        if len(line) > MOST_OF_A_LINE:
            raise OSError(errno.EFBIG, f"a line has more than {MOST_OF_A_LINE:,} characters")
        if left < 0:
            raise _too_large(most)
        yield line


def require_regular(path: str) -> None:
    """See to it that a path is that of a regular file, for a library that reads all of it.

    Raises:
        OSError: it is not, or is not there.
    """
    if not os.path.isfile(path) and os.stat(path):  # noqa: PTH113, PTH116 - one word each
        raise OSError(errno.EINVAL, "it is no regular file")


def _too_large(most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {most >> 20} MB")
