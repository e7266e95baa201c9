"""`udpprobe scan`: send datagrams, and report what happened to them."""

from functools import partial
from typing import TYPE_CHECKING

from typer import Exit

from udpprobe.cli import options as opt
from udpprobe.cli.output import complain, guard_inputs, guard_outputs, load_ahead, names_for, opened, style_of, width_of
from udpprobe.cli.progress import shown_of_scan
from udpprobe.cli.results import ReportWriter, failing_verdicts, finish, verdicts_in
from udpprobe.core.targets import (
    Ports,
    TargetSpec,
    meant_with_port,
    parse_addresses,
    parse_ports,
    parse_target,
    parse_targets,
)
from udpprobe.engines import BLIND_CONNECTED, BLIND_RECVERR
from udpprobe.errors import UsageError
from udpprobe.reports import OutputFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udpprobe.core.model import Destination, Report
    from udpprobe.engines.prepare import EngineOptions
    from udpprobe.reports.lists import Listing
    from udpprobe.targets import Resolved

EXAMPLES = f"""\
A TARGET is host, host:53, host:1-1024, host:53,123, [2001:db8::1]:53, [fe80::1%eth0]:53 or 192.0.2.0/24. A name stands
for all its addresses. If no port is given anywhere, those of the table of payloads are probed (--list-payloads).

Engines: raw crafts its packets and sees everything that comes back; it needs CAP_NET_RAW (be root, or setcap
cap_net_raw+ep on the Python that runs it). The other two need no privilege, and do not see everything.

recverr reads the kernel's error queue (IP_RECVERR). It cannot see {BLIND_RECVERR}.

connected has a socket per destination, and gets an error from the next call. It cannot see {BLIND_CONNECTED}.

\b
Examples:
  udpprobe scan 192.0.2.1
  udpprobe scan dns.example:53 '[2001:db8::1]:53'
  udpprobe scan -p 53,123,1000-2000 --exclude 192.0.2.7 192.0.2.0/24
  udpprobe scan --rate 0 -p - --format json -o all.json 192.0.2.1
  udpprobe scan --size 1472 --fail-on too-big 192.0.2.1:7
  udpprobe scan -w scan.pcapng 192.0.2.1 && udpprobe analyze scan.pcapng
"""


def scan(  # noqa: PLR0913 - a command's options are its arguments
    targets: opt.Targets = None,
    *,
    ports: opt.PortsOption = None,
    targets_file: opt.TargetsFile = None,
    exclude: opt.Exclude = None,
    only_v4: opt.OnlyV4 = False,
    only_v6: opt.OnlyV6 = False,
    rate: opt.Rate = 1000,
    retries: opt.Retries = 2,
    timeout: opt.Timeout = 4,
    payload: opt.Payload = "auto",
    payloads: opt.Payloads = None,
    list_payloads: opt.ListPayloads = False,
    size: opt.Size = None,
    ttl: opt.Ttl = 64,
    source_port: opt.SourcePort = None,
    source_address: opt.SourceAddress = None,
    interface: opt.Interface = None,
    capture: opt.CaptureOption = None,
    allow_broadcast: opt.AllowBroadcast = False,
    write: opt.Write = None,
    control: opt.Control = True,
    engine: opt.EngineOption = None,
    dry_run: opt.DryRun = False,
    loop_ttl: opt.LoopTtl = 32,
    events: opt.Events = False,
    output_format: opt.ReportFormatOption = OutputFormat.TABLE,
    output: opt.OutputOption = None,
    color: opt.ColorOption = opt.Color.AUTO,
    utc: opt.UtcOption = False,
    resolve: opt.ResolveOption = False,
    asn_db: opt.AsnDbOption = None,
    asn_dns: opt.AsnDnsOption = False,
    fail_on: opt.FailOnOption = None,
    progress: opt.ProgressOption = None,
) -> None:
    """Send UDP datagrams to ports, and report what happened to them: answered, refused, silent, stopped on the way.

    JSON and CSV have a row for every destination. The table groups ports of a host with the same result, if there are
    many.
    """
    failing = failing_verdicts(fail_on)
    default_ports = None if ports is None else parse_ports(",".join(ports))
    requested = [*map(parse_target, targets or ()), *_from_file(targets_file)]
    excluded = [target for words in exclude or () for target in parse_targets(words)]
    sources = parse_addresses(source_address) if source_address is not None else ()
    write_rows = partial(_write_rows, output_format, output)
    if list_payloads:
        write_rows(_payload_rows())
        raise Exit
    if not requested:
        raise UsageError("name a target, or a file of them with --targets-file (see udpprobe scan --help)")
    guard_outputs(output, write)
    for option, path in (("-o", output), ("-w", write)):
        guard_inputs(path, _read_files(targets_file, payload, payloads), option=option, what="what the scan reads")
    family = opt.family_of(only_v4=only_v4, only_v6=only_v6)
    resolved = _resolved(requested, excluded, default_ports, family, interface, allow_broadcast=allow_broadcast)
    from udpprobe.engines.prepare import EngineOptions  # noqa: PLC0415 - help does without the core

    options = EngineOptions(
        rate_pps=rate,
        retries=retries,
        timeout_s=timeout,
        payload=payload,
        payload_file=payloads,
        size=size or 0,
        ttl=ttl,
        source_port=source_port or 0,
        source_addresses=sources,
        interface=interface,
        write=write,
        control=control,
        engine=engine.value if engine else "auto",
        loop_ttl=loop_ttl,
        capture=capture or "auto",
    )
    if dry_run:
        write_rows(_plan_rows(resolved, options))
        finish((), failing, interrupted=False, is_incomplete=bool(resolved.failures))
    names = names_for(output_format, dns=resolve, asn_db=asn_db, asn_dns=asn_dns)
    with opened(output, stream=output_format is OutputFormat.NDJSON) as out:
        writer = ReportWriter(
            out, output_format, events=events, style=style_of(out, color, utc=utc, names=names), names=names
        )
        report, interrupted = _follow(resolved, options, writer, progress)
        writer.write(report)
    finish(verdicts_in(report), failing, interrupted=interrupted, is_incomplete=bool(resolved.failures))


def _from_file(path: str | None) -> list[TargetSpec]:
    if path is None:
        return []
    from udpprobe.targets import read_targets  # noqa: PLC0415 - as above

    return read_targets(path)


def _read_files(targets_file: str | None, payload: str, payloads: str | None) -> list[str]:
    """The input files among the options."""
    of_payload = [
        text.partition(":")[2]
        for text, prefix in ((payload, "file:"), (payloads or "", "nmap:"))
        if text.startswith(prefix)
    ]
    return [*of_payload, *([targets_file] if targets_file else [])]


def _resolved(
    requested: list[TargetSpec],
    excluded: list[TargetSpec],
    ports: Ports | None,
    family: int | None,
    interface: str | None,
    *,
    allow_broadcast: bool,
) -> "Resolved":
    from udpprobe.payloads import known_ports  # noqa: PLC0415 - as above
    from udpprobe.targets import Wanted, resolve  # noqa: PLC0415 - as above

    resolved = resolve(requested, excluded, Wanted(ports or known_ports(), family, interface, allow_broadcast))
    for failure in resolved.failures:
        complain(str(failure))
    for warning in resolved.warnings:
        _warn(warning)
    for meant in filter(None, map(meant_with_port, requested if ports is None else ())):
        host, _, port = meant[1:].partition("]:")
        _warn(f"{host}:{port} is an address without a port; did you mean {meant}?")
    return resolved


def _payload_rows() -> "Listing":
    from udpprobe.payloads import listing, load  # noqa: PLC0415 - as above
    from udpprobe.reports.lists import payload_rows  # noqa: PLC0415 - as above

    return payload_rows(listing(load()))


def _plan_rows(resolved: "Resolved", options: "EngineOptions") -> "Listing":
    from udpprobe.engines.prepare import planned  # noqa: PLC0415 - as above
    from udpprobe.reports.lists import plan_rows  # noqa: PLC0415 - as above

    return plan_rows(planned(resolved.destinations, options))


def _write_rows(output_format: OutputFormat, output: str | None, rows: "Listing") -> None:
    from udpprobe.reports.lists import ROWS_FORMATS  # noqa: PLC0415 - as above

    if output_format not in ROWS_FORMATS:
        raise UsageError(f"--format {output_format} is for the report of a scan; use csv or ndjson")
    with opened(output, stream=False) as out:
        out.write(ROWS_FORMATS[output_format](rows, width_of(out)))


def _follow(
    resolved: "Resolved", options: "EngineOptions", writer: ReportWriter, progress: bool | None
) -> tuple["Report", bool]:
    from udpprobe.commands import scan as scanning  # noqa: PLC0415 - as above
    from udpprobe.interrupt import Interrupted  # noqa: PLC0415 - as above
    from udpprobe.targets import as_typed, named  # noqa: PLC0415 - as above

    module = "json" if writer.format is OutputFormat.NDJSON else writer.format.value
    load_ahead(f"udpprobe.reports.{module}", writer.format)
    restored = as_typed(resolved)

    def on_settled(rows: "Sequence[Destination]") -> None:
        writer.take_settled(restored(rows))

    on_events = writer.take if writer.wants_events else None
    with shown_of_scan(progress) as on_progress:
        try:
            listeners = scanning.ScanListeners(
                on_events,
                on_settled if writer.format is OutputFormat.NDJSON and not writer.events else None,
                on_progress,
                _warn,
            )
            report, interrupted = scanning.scan(resolved.destinations, options, listeners), False
        except Interrupted as ctrl_c:
            report, interrupted = ctrl_c.report, True
    return named(report, resolved), interrupted


def _warn(text: str) -> None:
    complain(f"warning: {text}")
