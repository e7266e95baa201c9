"""`udpprobe check`: whether UDP services answer as expected, for monitoring."""

import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from typer import Argument, BadParameter, Exit, Option, echo
from typer.core import TyperCommand

from udpprobe import __version__
from udpprobe.checking.expectations import Check, CheckState, Expectation, Probing, parse_range, target_with_port
from udpprobe.cli import options as opt
from udpprobe.cli.output import names_for, opened, style_of, width_of
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports.checks import line_of

if TYPE_CHECKING:
    from udpprobe.checking.states import Checked, Outcome
    from udpprobe.commands.check import Settings

_UsageError: type[Exception] = BadParameter.__bases__[0]
"""The parser's own usage error."""

EXAMPLES = """\
Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; this help and wrong options are 3 too. Ranges are [@]start:end:
10 alerts outside 0 to 10, 10: below 10, @10:20 inside 10 to 20.

answered: a datagram came back. listening: the same; WARNING where the port is silent while another one of the host is
refused, since a filter is silent too. not-refused: OK in both cases. refused: nothing may listen there. Answers and
errors together are a WARNING. --silence is the state of silence that proves nothing; by default CRITICAL, or UNKNOWN
with listening and not-refused, and wherever this host dropped packets meanwhile.

\b
Examples:
  udpprobe check dns.example:53 -w 50 -c 200
  udpprobe check --expect listening --min-mtu 1420 --no-loop vpn.example:51820
  udpprobe check --expect refused 192.0.2.1:161
  udpprobe check --config services.toml --format prometheus -o udpprobe.prom
"""


class Expect(StrEnum):
    """What is expected of each destination."""

    ANSWERED = "answered"
    LISTENING = "listening"
    NOT_REFUSED = "not-refused"
    REFUSED = "refused"


class Silence(StrEnum):
    """State of silence."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


class CheckFormat(StrEnum):
    """How the result is written."""

    PLUGIN = "plugin"
    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    JUNIT = "junit"
    PROMETHEUS = "prometheus"


class Plugin(TyperCommand):
    """A command by the Monitoring Plugins' rules: anything but a completed check is UNKNOWN, in a line on stdout.

    Once the options are parsed, it is in the requested format.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the parser's own types
        """Parse the options; wrong ones are UNKNOWN, and so is help."""
        try:
            return super().make_context(*args, **kwargs)
        except Exit:
            raise Exit(CheckState.UNKNOWN) from None
        except _UsageError as error:
            from udpprobe.cli.usage_errors import sentence_of  # noqa: PLC0415 - only mistakes need it

            raise _unknown(sentence_of(error)) from None
        except UsageError as error:  # raised by an option's callback
            raise _unknown(str(error)) from None

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Check; what cannot be done is UNKNOWN."""
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, Exit):
            raise
        except KeyboardInterrupt:  # or SIGTERM: the monitor stopped waiting
            raise _unknown("interrupted", ctx.params) from None
        except (UdpprobeError, OSError, MemoryError) as error:
            raise _unknown(str(error) or "out of memory", ctx.params) from None
        except Exception as error:  # noqa: BLE001 - monitors would take Python's own status for WARNING
            traceback.print_exc()
            raise _unknown(f"a bug in udpprobe, please report it: {error!r}", ctx.params) from None


SETTINGS = {"cls": Plugin}


def _unknown(reason: str, parameters: Mapping[str, Any] | None = None) -> Exit:
    """Report that nothing is known: per target in the requested format, or in one line."""
    given = parameters or {}
    output_format = CheckFormat(given.get("output_format") or CheckFormat.PLUGIN)
    names = [*(given.get("targets") or ()), *filter(None, [given.get("config")])]
    if output_format is CheckFormat.PLUGIN or not names:
        echo(line_of(CheckState.UNKNOWN, reason))
        return Exit(CheckState.UNKNOWN)
    try:
        with opened(given.get("output"), stream=False) as out:
            outcome = _nothing_known([(name, None) for name in names], reason, interrupted=reason == "interrupted")
            out.write(_text(outcome, output_format, 0, out, opt.Color.NEVER))
    except (UdpprobeError, OSError) as error:
        echo(line_of(CheckState.UNKNOWN, f"{reason}; {error}"), err=True)
    return Exit(CheckState.UNKNOWN)


def _nothing_known(
    names: Sequence[tuple[str, str | None]], reason: str, duration_s: float = 0, *, interrupted: bool = False
) -> "Outcome":
    """The outcome that no target, by name and group, could be checked."""
    from udpprobe.checking.states import Outcome, unchecked  # noqa: PLC0415 - help does without

    return Outcome(
        tuple(unchecked(*each, reason) for each in names),
        duration_s,
        time.time_ns() - int(duration_s * 1e9),
        __version__,
        interrupted=interrupted,
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(f"udpprobe check {__version__}")
        raise Exit


Targets = Annotated[
    list[str] | None,
    Argument(metavar="HOST:PORT...", show_default=False, help="What to check: every address of a name."),
]
Config = Annotated[
    str | None, Option(metavar="FILE.toml", help="Read more targets, and what is expected of each, from a TOML file.")
]
SilenceState = Annotated[Silence | None, Option(show_default=False, help="State of a silence that proves nothing.")]
Warning_ = Annotated[str | None, Option("--warning", "-w", metavar="RANGE", help="WARNING by the RTT in ms.")]
Critical = Annotated[str | None, Option("--critical", "-c", metavar="RANGE", help="CRITICAL by the RTT in ms.")]
MinMtu = Annotated[
    int,
    Option(min=0, max=65_575, metavar="BYTES", help="CRITICAL where an IP packet of this size does not fit through."),
]
NoLoop = Annotated[bool, Option("--no-loop", help="CRITICAL where the path ends in a routing loop.")]
Timeout = Annotated[
    float,
    opt.time_limit("Seconds after which the check ends, whatever is still open.", "--timeout", "-t", least_s=1),
]
Confirm = Annotated[
    int, Option(min=0, max=10, metavar="N", help="How often to repeat a failed check before it counts.")
]
Verbose = Annotated[
    int,
    Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="A line per destination; twice: also what came back; three times: also warnings.",
    ),
]
Version = Annotated[
    bool, Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


def check(  # noqa: PLR0913 - a command's options are its arguments
    targets: Targets = None,
    *,
    config: Config = None,
    expect: Annotated[Expect, Option(help="What is expected of each destination.")] = Expect.ANSWERED,
    silence: SilenceState = None,
    warning: Warning_ = None,
    critical: Critical = None,
    min_mtu: MinMtu = 0,
    no_loop: NoLoop = False,
    timeout: Timeout = 10,
    wait: opt.Wait = 1,
    retries: opt.Retries = 2,
    confirm: Confirm = 0,
    rate: opt.Rate = 1000,
    payload: opt.Payload = "auto",
    ports: opt.PortsOption = None,
    only_v4: opt.OnlyV4 = False,
    only_v6: opt.OnlyV6 = False,
    interface: opt.Interface = None,
    allow_broadcast: opt.AllowBroadcast = False,
    engine: opt.EngineOption = None,
    verbose: Verbose = 0,
    _version: Version = False,
    output_format: Annotated[CheckFormat, Option("--format", help="How the result is written.")] = CheckFormat.PLUGIN,
    output: opt.OutputOption = None,
    color: opt.ColorOption = opt.Color.AUTO,
    resolve: opt.ResolveOption = False,
    asn_db: opt.AsnDbOption = None,
    asn_dns: opt.AsnDnsOption = False,
) -> None:
    """Check that UDP services answer, listen or refuse as expected, and how fast; for Nagios, Icinga and others.

    Without CAP_NET_RAW it checks what it can, and reports what it cannot.
    """
    expectation = Expectation(
        expect.value,
        CheckState[silence.name] if silence else None,
        None if warning is None else parse_range(warning),
        None if critical is None else parse_range(critical),
        min_mtu,
        no_loop,
    )
    probing = Probing(payload, opt.family_of(only_v4=only_v4, only_v6=only_v6), interface, allow_broadcast)
    listed = None if ports is None else ",".join(ports)
    checks = _distinct(
        [Check(text, target_with_port(text, listed), expectation, probing) for text in targets or ()]
        + _from_file(config)
    )
    if not checks:
        raise UsageError("name a target, or a file of them with --config")
    from udpprobe.commands.check import Settings  # noqa: PLC0415 - help does without the core

    settings = Settings(
        timeout_s=timeout,
        silence_s=wait,
        retries=retries,
        confirm=confirm,
        rate_pps=rate,
        engine=engine.value if engine else "auto",
    )
    if output_format is CheckFormat.NDJSON:
        raise Exit(_print_lines(checks, settings, output))
    names, start_s = names_for(output_format, dns=resolve, asn_db=asn_db, asn_dns=asn_dns), time.monotonic()

    def write_result(outcome: "Outcome") -> None:
        with opened(output, stream=False) as out:
            out.write(_text(outcome, output_format, verbose, out, color))

    outcome = _in_time(checks, settings, write_result)
    if names:
        from udpprobe.reports.checks import speakers, with_names  # noqa: PLC0415 - as above
        from udpprobe.reports.text import Style  # noqa: PLC0415 - as above

        names.ask(speakers(outcome))
        names.wait(timeout - (time.monotonic() - start_s))
        outcome = with_names(outcome, Style(name=names.of))
    write_result(outcome)
    raise Exit(outcome.state)


def _print_lines(checks: list[Check], settings: "Settings", output: str | None) -> CheckState:
    """Check, and print NDJSON."""
    with opened(output, stream=True) as stream:
        lines = _Lines(stream)
        try:
            outcome = _in_time(checks, settings, lines.end, lines.add)
        except KeyboardInterrupt:  # the second one: some lines were printed already
            outcome = _nothing_known([(each.name, each.group) for each in checks], "interrupted", interrupted=True)
        lines.end(outcome)
    return outcome.state


def _distinct(checks: list[Check]) -> list[Check]:
    """The checks without duplicates. Two checks must not share a name, or they would mix in graphs."""
    checks = list(dict.fromkeys(checks))
    called = Counter((each.name, each.probing.family) for each in checks)
    for (name, _), count in called.items():
        if count > 1:
            raise UsageError(f"{name} stands for {count} checks; give each its own name in --config")
    return checks


def _from_file(path: str | None) -> list[Check]:
    if path is None:
        return []
    from udpprobe.checking.config import read_config  # noqa: PLC0415 - pydantic comes with it

    return read_config(path)


class _Lines:
    """NDJSON: a line per check, as soon as it is settled."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._printed: set[tuple[str, str | None, int | None]] = set()
        self._names: set[str] = set()

    def add(self, made: "Checked") -> None:
        """Add a settled check."""
        from udpprobe.reports.checks import check_line  # noqa: PLC0415 - as above

        self._out.write(check_line(made))
        self._out.flush()
        self._printed.add((made.target, made.address, made.port))
        self._names.add(made.target)

    def end(self, outcome: "Outcome") -> None:
        """Print the remaining checks, and the summary."""
        from udpprobe.reports.checks import summary_line  # noqa: PLC0415 - as above

        for each in outcome.checks:
            was_printed = (each.target, each.address, each.port) in self._printed
            if not was_printed and not (each.address is None and each.target in self._names):
                self.add(each)
        self._out.write(summary_line(outcome))
        self._out.flush()


def _in_time(
    checks: list[Check],
    settings: "Settings",
    write_result: Callable[["Outcome"], None],
    on_checked: "Callable[[Checked], None] | None" = None,
) -> "Outcome":
    from udpprobe.commands.check import check as checking  # noqa: PLC0415 - as above

    # what cannot be stopped, such as a name look-up, must not delay the exit
    watchdog = threading.Timer(settings.timeout_s, _give_up, (checks, settings.timeout_s, write_result))
    watchdog.daemon = True
    watchdog.start()
    try:
        return checking(checks, settings, on_checked) if on_checked else checking(checks, settings)
    finally:
        watchdog.cancel()


def _give_up(checks: list[Check], timeout_s: float, write_result: Callable[["Outcome"], None]) -> None:
    """Report in the requested format that nothing is known, and exit."""
    from udpprobe.targets import looking_up  # noqa: PLC0415 - as above

    late = " and ".join(sorted(looking_up))
    reason = f"timed out after {timeout_s:g} s" + (f": no DNS reply for {late}" if late else "")
    try:
        write_result(_nothing_known([(each.name, each.group) for each in checks], reason, timeout_s))
        sys.stdout.flush()
    finally:
        os._exit(CheckState.UNKNOWN)


def _text(outcome: "Outcome", output_format: CheckFormat, verbosity: int, out: TextIO, color: opt.Color) -> str:
    from udpprobe.reports.checks import (  # noqa: PLC0415 - as above
        CHECK_FORMATS,
        check_table,
        plugin,
    )

    width = width_of(out)
    if output_format is CheckFormat.PLUGIN:
        return plugin(outcome, verbosity)
    if output_format is CheckFormat.TABLE:
        return check_table(outcome, width, style_of(out, color))
    return CHECK_FORMATS[output_format.value](outcome, width)
