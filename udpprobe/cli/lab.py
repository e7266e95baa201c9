"""`udpprobe lab`: a command inside a private, simulated internet that misbehaves on purpose."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from udpprobe import __version__
from udpprobe.cli.options import FormatOption, OutputOption
from udpprobe.cli.output import opened, say, width_of
from udpprobe.errors import UsageError
from udpprobe.reports import OutputFormat

if TYPE_CHECKING:
    from udpprobe.lab.run import Surroundings
    from udpprobe.lab.scenario import Scenario
    from udpprobe.lab.world import World

EXAMPLES = """\
The command finds one network interface, lab0, and behind it the scenario's routers and hosts. Nothing leaves this host,
and nothing is left afterwards. The exit status is the command's; 127 if there is no such command, 128 plus the number
of the signal that ended it. It needs root, or user namespaces and a /dev/net/tun that this user may open.

\b
Examples:
  udpprobe lab --list
  udpprobe lab --show plain
  udpprobe lab -s plain -- ping -c 3 198.18.9.9
  udpprobe lab -s plain --write seen.pcapng -- udpprobe scan 198.18.9.9:53
  udpprobe lab -s ./office.toml --shell
  udpprobe lab --up plain
"""

SETTINGS = {"context_settings": {"allow_interspersed_args": False}}
"""What follows the command belongs to the command."""

USUAL, PROGRAM = "plain", "udpprobe lab"


def lab(  # noqa: PLR0913 - a command's options are its arguments
    command: Annotated[
        list[str] | None, Argument(metavar="-- COMMAND...", help="The program to run inside, and its arguments.")
    ] = None,
    *,
    scenario: Annotated[
        str, Option("--scenario", "-s", metavar="NAME|FILE.toml", help="Scenario: one that ships, or your own.")
    ] = USUAL,
    shell: Annotated[bool, Option("--shell", help="Run your shell inside.")] = False,
    up: Annotated[
        str | None, Option(metavar="NAME|FILE.toml", help="Keep this world up until Ctrl-C, and print how to enter it.")
    ] = None,
    seed: Annotated[
        int | None, Option(metavar="N", help="Seed of its random numbers, instead of the scenario's own.")
    ] = None,
    write: Annotated[
        str | None,
        Option("--write", "-w", metavar="FILE.pcapng", help="Write all packets to this file, in both directions."),
    ] = None,
    list_scenarios: Annotated[bool, Option("--list", help="List the scenarios that ship.")] = False,
    show: Annotated[str | None, Option(metavar="NAME|FILE.toml", help="Show a scenario's text.")] = None,
    output_format: FormatOption = OutputFormat.TABLE,
    output: OutputOption = None,
) -> None:
    """Run a command inside a private internet that misbehaves on purpose: see how a program copes.

    A scenario is a page of TOML: routers, hosts, links, and their faults. --format and -o are for --list.
    """
    if list_scenarios or show is not None:
        _print(output_format if list_scenarios else None, output, show)
        return
    if [bool(command), shell, up is not None].count(True) != 1:
        raise UsageError("give one of -- COMMAND, --shell and --up (see udpprobe lab --help)")
    from udpprobe.lab import scenario as scenarios  # noqa: PLC0415 - help does not need it
    from udpprobe.lab.run import hold, run  # noqa: PLC0415 - as above
    from udpprobe.lab.world import World  # noqa: PLC0415 - as above

    if command and command[0] in scenarios.names() and not shutil.which(command[0]):
        raise UsageError(f"{command[0]} is a scenario, not a program: udpprobe lab -s {command[0]} -- COMMAND")
    found = scenarios.load(up or scenario)
    environment = {**os.environ, "UDPPROBE_LAB": found.name}
    words, environment = shell_in(found.name, environment) if shell else (command or [], environment)
    raise Exit(
        _run(
            World(found, seed),
            found,
            write,
            lambda around: run(around, words, environment, is_shell=shell) if words else hold(around, _say_entrance),
        )
    )


def _print(output_format: OutputFormat | None, output: str | None, show: str | None) -> None:
    from udpprobe.lab.scenario import load  # noqa: PLC0415 - as above

    with opened(output, stream=False) as out:
        out.write(load(show).text if show is not None else _listing(output_format or OutputFormat.TABLE, width_of(out)))


def _listing(output_format: OutputFormat, width: int) -> str:
    from udpprobe.lab.scenario import load, names  # noqa: PLC0415 - as above
    from udpprobe.reports.lists import ROWS_FORMATS, Listing  # noqa: PLC0415 - as above

    rows = [(name, load(name).sentence) for name in names()]
    listing = Listing("udpprobe.scenarios/1", "scenarios", ("name", "conclude"), rows, 1)
    return ROWS_FORMATS[output_format](listing, width)


def _run(world: "World", found: "Scenario", write: str | None, inside: "Callable[[Surroundings], int]") -> int:
    from udpprobe.lab.run import Surroundings  # noqa: PLC0415 - as above

    with _written(write) as note:
        status = inside(Surroundings(world, found.networks, found.mtu, note))
    if faults := ", ".join(f"{name} {count}" for name, count in sorted(world.faults.items()) if count):
        say(f"faults: {faults}", PROGRAM)
    return status


@contextmanager
def _written(path: str | None) -> Iterator[Callable[[bytes, int], None] | None]:
    if path is None:
        yield None
        return
    if path == "-":
        raise UsageError("standard output belongs to the command; name a file with --write")
    from udpprobe.capture.recorder import Recorder  # noqa: PLC0415 - as above
    from udpprobe.lab.run import PacketRecorder  # noqa: PLC0415 - as above

    with Recorder(path) as recorder:
        recorded = PacketRecorder(recorder)
        yield recorded.add
        recorded.finish(f"udpprobe {__version__}")


def _say_entrance(entrance: str) -> None:
    say(f"up until Ctrl-C; enter with: {entrance} COMMAND", PROGRAM)


def shell_in(name: str, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The user's shell, with a prompt that names the scenario.

    Args:
        name: of the scenario.
        environment: of this process.

    Returns:
        The shell's words, and its environment. Bash sets its prompt itself, so it reads one more file.
    """
    shell = environment.get("SHELL") or "/bin/sh"
    prompt = f"(lab {re.sub(r'[^-.0-9A-Za-z]', '_', name)}) "
    if Path(shell).name != "bash":
        return [shell], {**environment, "PS1": f"{prompt}$ "}
    settings = os.memfd_create("settings", flags=0)  # inherited by the shell, and gone with it
    os.write(settings, f'[ -r ~/.bashrc ] && . ~/.bashrc\nPS1="{prompt}$PS1"\n'.encode())
    return [shell, "--rcfile", f"/dev/fd/{settings}"], dict(environment)
