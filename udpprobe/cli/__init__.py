"""The command line: options in, exit status out; one file a command.

Nothing heavy is imported before it is needed: help loads nothing beyond the parser, and a command no other one. Every
error a user, a file or the host can cause ends here, as one line on standard error and an exit status.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from udpprobe import __version__
from udpprobe.cli.parser import HELP, Command, Exit, WrongWords, echo, paragraphs, section
from udpprobe.errors import UdpprobeError
from udpprobe.reports.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 128 + 2
"""What a shell reports of a program that SIGINT ended."""
CLOSED_PIPE = 128 + 13
"""Likewise SIGPIPE."""

COMMANDS = {
    "analyze": "What captures know of UDP datagrams that failed.",
    "diff": "What changed from one report or capture to another.",
    "scan": "Probe ports, and say what became of the datagrams.",
    "trace": "The way to a port, and where it ends or loops.",
    "mtu": "Which packets fit through, and who limits them.",
    "check": "Whether services are as they should be.",
    "watch": "What fails on an interface, while it happens.",
    "exporter": "Probe what Prometheus asks for.",
    "icmpd": "Tell programs of their datagrams' ICMP errors.",
    "explain": "What ICMP errors mean, and who hears of them.",
    "lab": "Run a command inside an internet that misbehaves.",
    "demo": "See in a few seconds what udpprobe finds.",
}
"""In the order of help. The function of a command is in the module of its name, with EXAMPLES and perhaps SETTINGS."""


def _called(arguments: Sequence[str]) -> None:
    """Do what the words say; a command is loaded when it is called, for that takes some milliseconds."""
    words = list(arguments)
    word = words.pop(0) if words else ""
    if word == "--version":
        from udpprobe.core import is_compiled  # noqa: PLC0415 - no other word needs the core here

        echo(f"udpprobe {__version__} ({'compiled' if is_compiled() else 'interpreted'})")
    elif word in {"-h", "--help"}:
        echo(_help())
    elif word.startswith("-"):
        raise WrongWords(f"No such option: {word.partition('=')[0]}", "udpprobe")
    elif not word:
        echo(_help(), err=True)
        raise Exit(2)
    elif word not in COMMANDS:
        raise WrongWords(f"No such command {word!r}{_meant(word)}", "udpprobe")
    else:
        module = import_module(f"udpprobe.cli.{word}")
        command = Command(f"udpprobe {word}", getattr(module, word), module.EXAMPLES,
                          **getattr(module, "SETTINGS", {}))
        getattr(module, "run", Command.run)(command, words)


def _meant(word: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only where it is needed

    alike = " or ".join(map(repr, get_close_matches(word, COMMANDS)))
    return f". Did you mean {alike}?" if alike else ""


def _help() -> str:
    return "\n".join([
        "Usage: udpprobe [OPTIONS] COMMAND [ARGS]...",
        *paragraphs("Say what happened to UDP datagrams, from the ICMP errors that almost nobody hears."),
        *section("Options", [("--version", "Show the version and exit."), ("-h, --help", HELP)]),
        *section("Commands", list(COMMANDS.items()))])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `udpprobe`.

    Args:
        arguments: the words behind the program's name; those of the process without.

    Returns:
        The exit status: 0 done, 1 a verdict of --fail-on was found, 2 usage, 3 could not be done, 130 Ctrl-C.
    """
    try:
        _called(sys.argv[1:] if arguments is None else arguments)
    except Exit as ended:
        return ended.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return CLOSED_PIPE
    except (UdpprobeError, OSError, MemoryError) as error:
        text, status = _said_of(error)
        _complain(escape(" ".join(text.split())))
        return status
    return 0


def _complain(line: str) -> None:
    # print takes None for standard output
    if sys.stderr is not None:
        print("udpprobe:", line, file=sys.stderr)  # noqa: T201 - the one line


def _said_of(error: Exception) -> tuple[str, int]:
    match error:
        case UdpprobeError():
            return str(error), error.exit_status
        case OSError():
            _forget_stdout()
            return f"{error.filename or 'standard output'}: {error.strerror or error}", 3
        case _:
            return "out of memory", 3


def _forget_stdout() -> None:
    # what is still buffered goes nowhere; the interpreter would try again at exit, and complain
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
