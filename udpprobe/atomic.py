"""Files that appear whole or not at all: reports (-o) and captures (-w) alike."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_file(target: Path) -> Iterator[int]:
    """A draft beside the target, which takes the target's name and mode once all is written.

    Its name is one that nobody can foresee, and must not be there yet (mkstemp(3): O_EXCL). So where others may write
    too, such as in /tmp, nobody can put a link there that leads to another file.

    Yields:
        The descriptor of the draft, which stays the caller's to write to and this function's to close.
    """
    descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=".udpprobe-")
    try:
        try:
            yield descriptor
            os.fchmod(descriptor, _mode_of(target))
            os.fsync(descriptor)  # else a crash of the system may leave an empty file under the name
        finally:
            os.close(descriptor)
        Path(draft).replace(target)
    finally:
        Path(draft).unlink(missing_ok=True)


def _mode_of(target: Path) -> int:
    """Who may read and write a file: as before, or as the user's new files are."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0o077)  # there is no other way to ask for it; what a thread makes meanwhile is private
    os.umask(mask)
    return 0o666 & ~mask
