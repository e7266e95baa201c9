"""The command line: options in, exit status out; one file per command.

Nothing heavy is imported before it is needed: help loads neither Scapy nor rich, and a command loads no other one.
Every error that a user, a file or the host can cause ends here, as one line on standard error and an exit status.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from udpprobe import __version__
from udpprobe.errors import UdpprobeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 128 + 2
"""The exit status in a shell of a program that SIGINT ended."""
COMPLETE = "_UDPPROBE_COMPLETE"
"""Set by a shell that asks for completions."""
CLOSED_PIPE = 128 + 13
"""The same for SIGPIPE."""

# pyarrow and Dask load NumPy, whose BLAS would start a thread per core for matrix operations that are not used here
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""The parser's own usage error: Click's, or that of the copy of Click inside newer Typers."""

COMMANDS = {
    "analyze": "Find the UDP datagrams in captures that failed, and why.",
    "diff": "Show what changed between two reports or captures.",
    "scan": "Probe ports, and report what happened to the datagrams.",
    "trace": "Show the path to a port, and where it ends or loops.",
    "mtu": "Find the path MTU to a port, and who limits it.",
    "check": "Check that services answer as expected.",
    "watch": "Show failures on an interface as they happen.",
    "exporter": "Probe targets for Prometheus.",
    "icmpd": "Tell programs about ICMP errors for their datagrams.",
    "explain": "Explain ICMP errors, and which sockets get them.",
    "lab": "Run a command inside an internet that misbehaves.",
    "demo": "Show in a few seconds what udpprobe finds.",
}
"""In the order of help. A command's function is in the module with its name, with EXAMPLES and maybe SETTINGS."""


class _Commands(TyperGroup):
    """All commands by name; only the called one is loaded, because loading takes some milliseconds."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - the parser's own types
        super().__init__(**settings)
        for name, short_help in COMMANDS.items():
            self.add_command(TyperCommand(name, short_help=short_help))

    def resolve_command(self, *args: Any) -> Any:  # noqa: ANN401 - as above
        """The command that the words call, and the words after its name."""
        name, _, rest = super().resolve_command(*args)
        return name, _loaded(str(name)), rest


def _loaded(name: str) -> Any:  # noqa: ANN401 - as above
    module = import_module(f"udpprobe.cli.{name}")
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, epilog=module.EXAMPLES, **getattr(module, "SETTINGS", {}))(getattr(module, name))
    command: Any = typer.main.get_command(alone)
    for each in command.params:
        each.get_help_record = partial(_in_words, each.get_help_record)
        each.make_metavar = partial(_without_braces, each.make_metavar)
        each.process_value = partial(_not_empty, each, each.process_value)
    return command


def _without_braces(metavar_of: Callable[..., str], *args: Any, **how: Any) -> str:  # noqa: ANN401 - the parser's types
    """`HOST:PORT` for a required argument; the parser would put it in braces."""
    text = metavar_of(*args, **how)
    return text[1:-1] if text.startswith("{") else text


def _not_empty(
    parameter: Any,  # noqa: ANN401 - as above
    value_of: Callable[[Any, Any], Any],
    context: object,
    value: Any,  # noqa: ANN401 - as above
) -> Any:  # noqa: ANN401 - as above
    """A value, unless it is empty: an empty one comes from an unset variable in a script.

    Raises:
        UsageError: it is empty; a filter may be, as in tcpdump, and so may a command's words.
    """
    if (value == "" or (isinstance(value, list | tuple) and "" in value)) and (
        "--filter" not in parameter.opts and parameter.name != "command"
    ):
        from udpprobe.cli.usage_errors import name_of  # noqa: PLC0415 - of mistakes alone

        raise UsageError(f"{name_of(parameter)}: the value is empty")
    return value_of(context, value)


def _in_words(help_of: Callable[[Any], tuple[str, str] | None], context: object) -> tuple[str, str] | None:
    """The help text of a parameter, with its range in words."""
    found = help_of(context)
    if found is None or "x" not in found[1]:
        return found
    from udpprobe.cli.usage_errors import with_ranges  # noqa: PLC0415 - of help and mistakes alone

    return found[0], with_ranges(found[1])


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from udpprobe.core import is_compiled  # noqa: PLC0415 - no other word needs the core here

        typer.echo(f"udpprobe {__version__} ({'compiled' if is_compiled() else 'interpreted'})")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _udpprobe(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Report what happened to UDP datagrams, from ICMP errors that most programs never see."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `udpprobe`.

    Args:
        arguments: the words after the program's name; by default those of the process.

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
    except (UdpprobeError, OSError, MemoryError, _UsageError) as error:
        text, status = _text_and_status(error)
        from udpprobe.reports.text import escape  # noqa: PLC0415 - help has nothing to complain of

        _complain(escape(" ".join(text.split())))
        return status


def _complain(line: str) -> None:
    # print takes None for standard output
    if sys.stderr is not None:
        print("udpprobe:", line, file=sys.stderr)  # noqa: T201 - the one line


def _run(arguments: list[str]) -> int:
    # call the command itself: its `main` has other exit statuses for all of the above
    command = _command()
    try:
        with command.make_context("udpprobe", arguments) as context:
            command.invoke(context)
    except typer.Exit as exit_:
        return exit_.exit_code
    return 0


def _command() -> Any:  # noqa: ANN401 - the parser's own types
    """All commands; a shell's request for completions is answered here, and ends the process."""
    command = typer.main.get_command(app)
    if COMPLETE in os.environ:
        command._main_shell_completion({}, "udpprobe", COMPLETE)  # noqa: SLF001 - part of its `main`
    return command


def _text_and_status(error: Exception) -> tuple[str, int]:
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
    from udpprobe.cli.usage_errors import sentence_of  # noqa: PLC0415 - only mistakes need it

    hint = f" (see {path} --help)" if context else ""
    return f"{sentence_of(error, COMMANDS)}{hint}"


def _forget_stdout() -> None:
    # discard what is still buffered; the interpreter would try again at exit, and complain
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
