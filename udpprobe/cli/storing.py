"""Pipes for commands that must read them more than once, or look what is in them."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from udpprobe.errors import CaptureError, UdpprobeError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def stored(name: str) -> Iterator[str]:
    """A path that can be opened as often as one likes: of the file itself, or of a temporary copy of a pipe.

    Args:
        name: of a file or a pipe; "-" is standard input.

    Raises:
        UdpprobeError: there is no such thing, or no room for its copy; a CaptureError inside calls it by its name.
    """
    from udpprobe.capture.content import is_stored  # noqa: PLC0415 - help does without

    if is_stored(name):
        yield name
        return
    from tempfile import NamedTemporaryFile  # noqa: PLC0415 - for pipes

    try:
        with NamedTemporaryFile(prefix="udpprobe-") as spool:
            if name == "-":
                shutil.copyfileobj(sys.stdin.buffer, spool)
            else:
                with Path(name).open("rb") as pipe:
                    shutil.copyfileobj(pipe, spool)
            spool.flush()
            try:
                yield spool.name
            except CaptureError as error:
                raise type(error)(str(error).replace(spool.name, name)) from error
    except OSError as error:
        raise UdpprobeError(f"{name}: cannot be read: {error.strerror or error}") from error
