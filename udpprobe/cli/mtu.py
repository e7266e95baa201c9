"""`udpprobe mtu`: which packet sizes fit the path to a UDP port, and who limits them."""

from typing import Annotated

from typer import Argument, Option

from udpprobe.cli import options as opt
from udpprobe.cli.output import load_ahead, names_for, opened, style_of, width_of
from udpprobe.cli.progress import shown_of_search
from udpprobe.cli.results import failing_verdicts, finish
from udpprobe.core.targets import TRACEROUTE_PORT
from udpprobe.core.verdicts import VERDICTS
from udpprobe.errors import UdpprobeError
from udpprobe.reports import OutputFormat

KNOWN_VERDICTS = ("ok", "black-hole", *VERDICTS)

EXAMPLES = """\
A size fits if the destination answers or refuses it. A router's reported MTU is a hint only: one byte more must be
lost. If the service is silent, refusals of a closed port show what arrives. Hosts limit their refusals (Linux to one a
second), so the exact byte may take some seconds.

ok: the interface's MTU. too-big: less, and a router reports it. black-hole: less, and no router reports it.

\b
Examples:
  udpprobe mtu 192.0.2.1
  udpprobe mtu dns.example:53
  udpprobe mtu --max 1500 '[2001:db8::1]:443'
  udpprobe mtu --format json --fail-on black-hole 192.0.2.1:51820
"""

Max = Annotated[
    int | None,
    Option(
        "--max", min=68, max=65_575, metavar="BYTES", help="Largest IP packet to try; the interface's MTU without it."
    ),
]
Retries = Annotated[
    int,
    Option(min=0, max=100, metavar="N", help="Further tries of a size that gets no reply, before it counts as lost."),
]
Timeout = Annotated[float, opt.time_limit("Seconds to wait for a host that has not replied.")]
SourcePort = Annotated[
    int | None,
    Option(
        min=1,
        max=65_520,
        metavar="PORT",
        show_default=False,
        help="Send from this port and the 15 after it, instead of free ones; answers are told apart by port.",
    ),
]
Control = Annotated[
    bool,
    Option("--control/--no-control", help="Also probe a port that is probably closed; its refusals show what arrives."),
]


def mtu(  # noqa: PLR0913 - a command's options are its arguments
    target: Annotated[
        str,
        Argument(
            metavar="HOST:PORT",
            help=(f"Where to; without a port, {TRACEROUTE_PORT}. Of a name's addresses, the system's first choice."),
        ),
    ],
    *,
    only_v4: opt.OnlyV4 = False,
    only_v6: opt.OnlyV6 = False,
    most: Max = None,
    retries: Retries = 2,
    timeout: Timeout = 4,
    rate: opt.ProbeRate = 1000,
    payload: opt.Payload = "auto",
    ttl: opt.Ttl = 64,
    source_port: SourcePort = None,
    source_address: opt.OneSourceAddress = None,
    interface: opt.Interface = None,
    capture: opt.CaptureOption = None,
    allow_broadcast: opt.AllowBroadcast = False,
    control: Control = True,
    output_format: opt.PageFormatOption = OutputFormat.TABLE,
    output: opt.OutputOption = None,
    color: opt.ColorOption = opt.Color.AUTO,
    resolve: opt.ResolveOption = False,
    asn_db: opt.AsnDbOption = None,
    asn_dns: opt.AsnDnsOption = False,
    fail_on: opt.FailOnOption = None,
) -> None:
    """Find the path MTU to a UDP port, to the byte, and who limits it: a router that reports it, or a black hole."""
    failing = failing_verdicts(fail_on, KNOWN_VERDICTS)
    from udpprobe.engines.wire import endpoint_named  # noqa: PLC0415 - help does without the core

    family = opt.family_of(only_v4=only_v4, only_v6=only_v6)
    endpoint = endpoint_named(target, "mtu", family, interface, allow_broadcast=allow_broadcast)
    from udpprobe.commands import mtu as searching  # noqa: PLC0415 - as above

    load_ahead("udpprobe.reports.mtu", output_format)
    options = searching.MtuOptions(
        most=most or 0,
        retries=retries,
        timeout_s=timeout,
        rate_pps=rate,
        ttl=ttl,
        interface=interface,
        source_address=source_address,
        source_port=source_port or 0,
        payload=payload,
        control=control,
        capture=capture or "auto",
    )
    names = names_for(output_format, dns=resolve, asn_db=asn_db, asn_dns=asn_dns)
    with opened(output, stream=output_format is OutputFormat.NDJSON) as out:
        with shown_of_search() as on_progress:
            found = searching.mtu(endpoint, options, on_progress)
        from udpprobe.reports.mtu import MTU_FORMATS, mtu_table, speakers  # noqa: PLC0415 - as above

        if names:
            names.ask(speakers(found.report))
            names.wait()
        if output_format is OutputFormat.TABLE:
            out.write(mtu_table(found.report, width_of(out), style_of(out, color, names=names)))
        else:
            out.write(MTU_FORMATS[output_format](found.report, width_of(out)))
    finish(
        [found.report.verdict],
        failing,
        interrupted=found.interrupted,
        failure=UdpprobeError(found.failure) if found.failure else None,
    )
