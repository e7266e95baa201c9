"""`udpprobe icmpd`: the daemon, and its counters."""

import json
import signal
import socket
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit, Option

from udpprobe.cli.options import FormatOption, OutputOption
from udpprobe.cli.output import opened, say, width_of
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports import OutputFormat

EXAMPLES = """\
\b
Examples:
  udpprobe icmpd --user nobody --allow-group users
  udpprobe icmpd --socket /tmp/icmpd --allow-user '*'   for UNP's client
  udpprobe icmpd status
"""
READ_BYTES = 65536


class Action(StrEnum):
    """What to do."""

    RUN = "run"
    STATUS = "status"


def icmpd(  # noqa: PLR0913 - a command's options are its arguments
    action: Annotated[
        Action, Argument(metavar="run|status", help="Run the daemon, or print the counters of a running one.")
    ] = Action.RUN,
    *,
    path: Annotated[
        str | None,
        Option(
            "--socket",
            metavar="PATH",
            help="Where clients connect; /run/udpprobe/icmpd.sock, or below "
            "$XDG_RUNTIME_DIR for users other than root.",
        ),
    ] = None,
    allow_user: Annotated[
        list[str] | None,
        Option(metavar="USER", help="Who may register sockets besides its own user; * is all. May be repeated."),
    ] = None,
    allow_group: Annotated[list[str] | None, Option(metavar="GROUP", help="Also users in this group.")] = None,
    mode: Annotated[
        str | None, Option(metavar="OCTAL", help="Permissions of the socket; 600, or 666 where others are allowed.")
    ] = None,
    user: Annotated[str | None, Option(metavar="USER", help="Become this user once the raw sockets are open.")] = None,
    queue: Annotated[
        int, Option(min=1, max=1_000_000, metavar="N", help="Errors to queue for a client that does not read.")
    ] = 1024,
    output_format: FormatOption = OutputFormat.TABLE,
    output: OutputOption = None,
) -> None:
    """Tell programs which of their UDP datagrams drew which ICMP error: the daemon of UNP 28.7.

    A program passes it a UDP socket, and gets every error that quotes one of its datagrams, connected or not.
    """
    if action is Action.STATUS:
        from udpprobe.reports.lists import status_text  # noqa: PLC0415 - help does not need it

        status = ask_status(path)
        with opened(output, stream=False) as out:
            out.write(status_text(status, output_format, width_of(out)))
        return
    from udpprobe.icmpd.daemon import DaemonOptions, run  # noqa: PLC0415 - help needs none of it

    options = DaemonOptions(
        Path(path) if path else None, _mode(mode), user, tuple(allow_user or ()), tuple(allow_group or ()), queue
    )
    if run(options, _say, _report_status) == signal.SIGINT:
        raise Exit(130)


def _mode(octal: str | None) -> int | None:
    try:
        found = None if octal is None else int(octal, 8)
    except ValueError:
        found = -1
    if found is not None and not 0 <= found <= 0o777:
        raise UsageError(f"--mode {octal!r} is not a file mode; use 660")
    return found


def _say(line: str) -> None:
    with suppress(OSError):  # a closed log must not affect clients
        say(line, "udpprobe icmpd")


def _report_status(status: dict[str, Any]) -> None:
    counts = " ".join(f"{name}={count}" for name, count in status["counts"].items() if count)
    _say(f"{status['clients']} clients, {status['sockets']} sockets; {counts or 'no errors'}")


def ask_status(path: str | None) -> dict[str, Any]:
    """The counters of a running daemon.

    Raises:
        UdpprobeError: none runs there, or it refuses this user.
    """
    from udpprobe.icmpd.client import usual_path  # noqa: PLC0415 - help does not need it

    where = path or usual_path()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.settimeout(5)
            connection.connect(where)
            connection.sendall(b"S")
            said = b"".join(iter(lambda: connection.recv(READ_BYTES), b""))
        except OSError as error:
            raise UdpprobeError(f"no icmpd at {where}: {error.strerror or error}") from None
    if not said.startswith(b"{"):
        raise UdpprobeError(f"icmpd at {where} does not permit this user")
    found: dict[str, Any] = json.loads(said)
    return found
