"""Temporary copies of pipes, for commands that read their input more than once."""

from __future__ import annotations

import errno
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from udpprobe.errors import CaptureError, UdpprobeError

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD_BYTES = 1 << 16
MOST_REPORT_BYTES = 1 << 30
"""Of a report in JSON: some million destinations."""


@contextmanager
def spooled(name: str) -> Iterator[str]:
    """A path that can be opened repeatedly: of the file itself, or of a temporary copy of a pipe.

    Args:
        name: of a file or a pipe; "-" is standard input.

    Raises:
        UdpprobeError: there is no such thing, or no room for its copy; a CaptureError inside names the pipe.
    """
    from udpprobe.capture.content import is_stored  # noqa: PLC0415 - help does without

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
                    with Path(name).open("rb") as pipe:
                        _copy(pipe, spool)
                yield spool.name
            except CaptureError as error:
                raise type(error)(str(error).replace(spool.name, name)) from error
    except OSError as error:
        raise UdpprobeError(f"{name}: cannot be read: {error.strerror or error}") from error


def _copy(pipe: IO[bytes], spool: IO[bytes]) -> None:
    """Copy a capture or a report; nothing else, which may have no end, as /dev/zero."""
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
