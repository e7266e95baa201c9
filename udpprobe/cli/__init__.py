"""The command line: options in, exit status out; one file a command.

Nothing heavy is imported before it is needed: help loads neither Scapy nor rich, and a command no other one.
Every error a user, a file or the host can cause ends here, as one line on standard error and an exit status.
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
"""What a shell reports of a program that SIGINT ended."""
COMPLETE = "_UDPPROBE_COMPLETE"
"""What a shell sets that wants a word to be completed."""
CLOSED_PIPE = 128 + 13
"""Likewise SIGPIPE."""

# pyarrow and Dask load NumPy, whose BLAS would start a thread per core, for matrices that nobody multiplies here
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""The parser's own usage error: Click's, or since Typer carries a copy of Click, that one's."""

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


class _Commands(TyperGroup):
    """All commands by their names; the one that is called is loaded, for that takes some milliseconds."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - the parser's own types
        super().__init__(**settings)
        for name, short_help in COMMANDS.items():
            self.add_command(TyperCommand(name, short_help=short_help))

    def resolve_command(self, *args: Any) -> Any:  # noqa: ANN401 - as above
        """Which command the words call, and the words behind its name."""
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
    """`HOST:PORT` for an argument that must be there; the parser would have it in braces."""
    text = metavar_of(*args, **how)
    return text[1:-1] if text.startswith("{") else text


def _not_empty(
    parameter: Any,  # noqa: ANN401 - as above
    value_of: Callable[[Any, Any], Any],
    context: object,
    value: Any,  # noqa: ANN401 - as above
) -> Any:  # noqa: ANN401 - as above
    """A value as it should be; an empty one comes of a variable that a script did not set, and would say nothing.

    Raises:
        UsageError: it is empty; a filter may be, as tcpdump's, and so may the words of a command.
    """
    if (value == "" or (isinstance(value, list | tuple) and "" in value)) and (
        "--filter" not in parameter.opts and parameter.name != "command"
    ):
        from udpprobe.cli.usage_errors import name_of  # noqa: PLC0415 - of mistakes alone

        raise UsageError(f"{name_of(parameter)}: the value is empty")
    return value_of(context, value)


def _in_words(help_of: Callable[[Any], tuple[str, str] | None], context: object) -> tuple[str, str] | None:
    """What help says of a parameter, with its range as people say it."""
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
    """Say what happened to UDP datagrams, from the ICMP errors that most programs never hear of."""
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
    # the command itself rather than its `main`, which has exit statuses of its own for all of the above
    command = _command()
    try:
        with command.make_context("udpprobe", arguments) as context:
            command.invoke(context)
    except typer.Exit as exit_:
        return exit_.exit_code
    return 0


def _command() -> Any:  # noqa: ANN401 - the parser's own types
    """All commands; where a shell asks for completion, it gets that, and the process ends."""
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
    # what is still buffered goes nowhere; the interpreter would try again at exit, and complain
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
