"""Errors of a user, a file or the host. Data from the network never causes one.

One root, one catch (in `udpprobe.cli`), one line on standard error, one exit status each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class UdpprobeError(Exception):
    """It could not be done: no such file, no privilege, no route. Its text says what to do."""

    exit_status = 3


class UsageError(UdpprobeError):
    """The command line is wrong: a bad option, filter, verdict or time."""

    exit_status = 2


class CaptureError(UdpprobeError):
    """A file cannot be read, or is no capture."""


class NotACaptureError(CaptureError):
    """A file can be read, but is no capture."""


class UnsentError(UdpprobeError):
    """This host has no route to a destination.

    Args:
        text: for people.
        code: errno.
        zone: name of the interface of a link-local destination.
    """

    def __init__(self, text: str, code: int, zone: str | None = None) -> None:
        super().__init__(text)
        self.code, self.zone = code, zone


def meant(word: str, known: Iterable[str], alike_by: float = 0.6) -> str:
    """`: did you mean loop-3?`, with the known word closest to an unknown one; empty if none is close."""
    from difflib import get_close_matches  # noqa: PLC0415 - of mistakes alone

    alike = get_close_matches(word, list(known), n=1, cutoff=alike_by)
    return f": did you mean {alike[0]}?" if alike else ""


def raw_hint() -> str:
    """How to get permission for raw sockets."""
    import sys  # noqa: PLC0415 - of mistakes alone
    from pathlib import Path  # noqa: PLC0415 - as above

    return (
        f"run as root, or `setcap cap_net_raw+ep {Path(sys.executable).resolve()}`, which grants it to every script "
        "that this Python runs"
    )


class PrivilegeError(UdpprobeError):
    """This user may not do it; the text says what would help."""
