"""The command line: options in, exit status out; one file a command.

Nothing heavy is imported before it is needed: help loads neither NumPy nor Scapy nor rich. Every error a
user, a file or the host can cause ends here, as one line on standard error and an exit status.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from udpprobe import __version__
from udpprobe.cli.analyze import EXAMPLES as ANALYZE_EXAMPLES
from udpprobe.cli.analyze import analyze
from udpprobe.cli.check import EXAMPLES as CHECK_EXAMPLES
from udpprobe.cli.check import Plugin, check
from udpprobe.cli.demo import EXAMPLES as DEMO_EXAMPLES
from udpprobe.cli.demo import demo
from udpprobe.cli.explain import EXAMPLES as EXPLAIN_EXAMPLES
from udpprobe.cli.explain import explain
from udpprobe.cli.exporter import EXAMPLES as EXPORTER_EXAMPLES
from udpprobe.cli.exporter import exporter
from udpprobe.cli.icmpd import EXAMPLES as ICMPD_EXAMPLES
from udpprobe.cli.icmpd import icmpd
from udpprobe.cli.lab import EXAMPLES as LAB_EXAMPLES
from udpprobe.cli.lab import lab
from udpprobe.cli.mtu import EXAMPLES as MTU_EXAMPLES
from udpprobe.cli.mtu import mtu
from udpprobe.cli.scan import EXAMPLES as SCAN_EXAMPLES
from udpprobe.cli.scan import scan
from udpprobe.cli.trace import EXAMPLES as TRACE_EXAMPLES
from udpprobe.cli.trace import trace
from udpprobe.cli.watch import EXAMPLES as WATCH_EXAMPLES
from udpprobe.cli.watch import watch
from udpprobe.errors import UdpprobeError
from udpprobe.reports.text import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 128 + 2
"""What a shell reports of a program that SIGINT ended."""
CLOSED_PIPE = 128 + 13
"""Likewise SIGPIPE."""

# NumPy's BLAS would start a thread a core, for matrices that nobody multiplies here
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_WrongWords: type[Exception] = typer.BadParameter.__bases__[0]
"""The parser's own usage error: Click's, or since Typer carries a copy of Click, that one's."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})
app.command(short_help="What captures know of UDP datagrams that failed.", epilog=ANALYZE_EXAMPLES)(analyze)
app.command(short_help="Probe ports, and say what became of the datagrams.", epilog=SCAN_EXAMPLES)(scan)
app.command(short_help="The way to a port, and where it ends or loops.", epilog=TRACE_EXAMPLES)(trace)
app.command(short_help="Which packets fit through, and who limits them.", epilog=MTU_EXAMPLES)(mtu)
app.command(cls=Plugin, short_help="Whether services are as they should be.", epilog=CHECK_EXAMPLES)(check)
app.command(short_help="What fails on an interface, while it happens.", epilog=WATCH_EXAMPLES)(watch)
app.command(short_help="Probe what Prometheus asks for.", epilog=EXPORTER_EXAMPLES)(exporter)
app.command(short_help="Tell programs of their datagrams' ICMP errors.", epilog=ICMPD_EXAMPLES)(icmpd)
app.command(short_help="What ICMP errors mean, and who hears of them.", epilog=EXPLAIN_EXAMPLES)(explain)
app.command(short_help="Run a command inside an internet that misbehaves.", epilog=LAB_EXAMPLES,
            context_settings={"allow_interspersed_args": False})(lab)
app.command(short_help="See in a few seconds what udpprobe finds.", epilog=DEMO_EXAMPLES)(demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"udpprobe {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _udpprobe(
    context: typer.Context,
    _version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True,
                                           help="Show the version and exit.")] = False,
) -> None:
    """Say what happened to UDP datagrams, from the ICMP errors that almost nobody hears."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `udpprobe`.

    Args:
        arguments: the words behind the program's name; those of the process without.

    Returns:
        The exit status: 0 done, 1 a verdict of --fail-on was found, 2 usage, 3 could not be done, 130 Ctrl-C.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return CLOSED_PIPE
    except (UdpprobeError, OSError, MemoryError, _WrongWords) as error:
        text, status = _said_of(error)
        _complain(escape(" ".join(text.split())))
        return status


def _complain(line: str) -> None:
    # print takes None for standard output
    if sys.stderr is not None:
        print("udpprobe:", line, file=sys.stderr)  # noqa: T201 - the one line


def _run(arguments: list[str]) -> int:
    # the command itself rather than its `main`, which has exit statuses of its own for all of the above
    command = typer.main.get_command(app)
    try:
        with command.make_context("udpprobe", arguments) as context:
            command.invoke(context)
    except typer.Exit as exit_:
        return exit_.exit_code
    return 0


def _said_of(error: Exception) -> tuple[str, int]:
    match error:
        case UdpprobeError():
            return str(error), error.exit_status
        case OSError():
            _forget_stdout()
            return f"{error.filename or 'standard output'}: {error.strerror or error}", 3
        case MemoryError():
            return "out of memory", 3
        case _:
            return _usage(error), 2


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "udpprobe"
    text = error.format_message()  # type: ignore[attr-defined]  # Click's, either copy
    return f"{text.rstrip('.')} (see {path} --help)"


def _forget_stdout() -> None:
    # what is still buffered goes nowhere; the interpreter would try again at exit, and complain
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
