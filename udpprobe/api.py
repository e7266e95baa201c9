"""The commands as functions: arguments in, report models out. Nothing is printed.

Failures raise an exception of `udpprobe.errors`. Ctrl-C in the main thread raises `Interrupted`, a KeyboardInterrupt,
whose `report` has the results so far. Everything here is also an attribute of `udpprobe`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from random import SystemRandom
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import replace

from udpprobe.capture.content import OpenedFile
from udpprobe.capture.filter import filter_of
from udpprobe.capture.frames import RawFrame, SourceState, frame_of
from udpprobe.capture.inputs import Inputs, find_inputs
from udpprobe.core.aging import AGED_OUT, MOST_ROWS, age
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.model import Event, Report
from udpprobe.core.targets import Ports, TargetSpec, parse_ports, parse_target
from udpprobe.errors import UsageError
from udpprobe.interrupt import Interrupted
from udpprobe.report import LoopsSoFar, Question, events_of, report_of

if TYPE_CHECKING:
    from udpprobe.checking.states import Outcome
    from udpprobe.commands.scan import Progress
    from udpprobe.pmtud.model import MtuReport
    from udpprobe.tracing.model import TraceReport

GROUPS = ("destination", "host", "flow", "reporter")
AGED_EVERY = 1 << 14
"""Packets between two checks of a Follower's memory."""

Path: TypeAlias = "str | os.PathLike[str]"
Packet: TypeAlias = Any
"""`(time_ns, bytes)`, or a Scapy packet."""
Source: TypeAlias = "Path | IO[bytes] | Iterable[Path] | Iterable[IO[bytes]] | Iterable[Packet]"
"""What `analyze` reads."""
OnEvent: TypeAlias = Callable[[Event], None]


def analyze(
    source: Source,
    *,
    filter: str | None = None,  # noqa: A002 - the option's name
    since_ns: int | None = None,
    until_ns: int | None = None,
    all_destinations: bool = False,
    group_by: str = "destination",
    loop_ttl: int = 32,
    link_type: int | None = None,
    vantage: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    on_event: OnEvent | None = None,
) -> Report:
    """Find, for every ICMP error in captures, the UDP datagram that caused it, and report what happened.

    Args:
        source: a path (also a directory, a glob, a URL, "-" for standard input) or several; a binary file object or
            several, read from their current position; or packets: pairs `(time_ns, bytes)`, or Scapy's as returned by
            `sniff` and `rdpcap`. Several files are one capture, in the order of their time stamps.
        filter: only packets that pass this pcap filter.
        since_ns: only packets from this time on, nanoseconds since 1970.
        until_ns: only packets before this time.
        all_destinations: include healthy destinations.
        group_by: what a row is about: `destination`, `host`, `flow` or `reporter`.
        loop_ttl: a datagram that was sent with at least this TTL and expired was in a loop.
        link_type: LINKTYPE_ value of packets without one; None for Ethernet.
        vantage: whether each path is a capture point of its own: its packets are not matched with the others', only
            counted together.
        workers: threads that read files in parallel; None for as many as help.
        cluster: address of a Dask scheduler whose workers read the files, or `local`.
        on_event: called with every ICMP error, in capture order.

    Raises:
        CaptureError: a file cannot be read, or is no capture; of several, all. The others are in `source.unread`.
        UsageError: the filter is invalid, or `source` is none of the above.
    """
    inputs = _inputs(source, are_apart=vantage)
    if not isinstance(inputs, Inputs):
        follower = Follower(
            filter=filter,
            since_ns=since_ns,
            until_ns=until_ns,
            all_destinations=all_destinations,
            group_by=group_by,
            loop_ttl=loop_ttl,
            link_type=link_type,
            on_event=on_event,
            is_live=False,
        )
        follower.extend(inputs)
        return follower.report()
    from udpprobe.commands.analyze import AnalyzeOptions
    from udpprobe.commands.analyze import analyze as follow

    return follow(
        inputs,
        AnalyzeOptions(filter, since_ns, until_ns, all_destinations, _group(group_by), loop_ttl),
        workers=workers,
        cluster=cluster,
        on_events=_one_by_one(on_event),
    )


def _one_by_one(on_event: OnEvent | None) -> Callable[[Sequence[Event]], None] | None:
    if on_event is None:
        return None

    def on_events(events: Sequence[Event]) -> None:
        for event in events:
            on_event(event)

    return on_events


def _inputs(source: Any, *, are_apart: bool) -> Inputs | Iterable[Packet]:  # noqa: ANN401 - whatever the caller has
    """Files to be read, or packets."""
    if isinstance(source, (str, os.PathLike)):
        return find_inputs([_path(source)])
    if hasattr(source, "read"):
        return Inputs.of(OpenedFile(source))
    try:
        items = iter(source)
    except TypeError:
        raise UsageError(f"neither a capture nor packets: {source!r:.60}") from None
    first = next(items, items)
    if first is items:
        return ()
    everything = chain((first,), items)
    if isinstance(first, (str, os.PathLike)):
        return find_inputs(list(map(_path, everything)), are_apart=are_apart)
    if hasattr(first, "read"):
        return Inputs.of(*map(_opened, everything))
    return everything


def _path(path: Any) -> str:  # noqa: ANN401 - whatever the caller has
    if isinstance(path, (str, os.PathLike)):
        return os.fspath(path)
    raise UsageError(f"not a path, unlike those before it: {path!r:.60}")


def _opened(file: Any) -> OpenedFile:  # noqa: ANN401 - as above
    if hasattr(file, "read"):
        return OpenedFile(file)
    raise UsageError(f"not a file object, unlike those before it: {file!r:.60}")


def _group(word: str) -> str:
    if word not in GROUPS:
        raise UsageError(f"group_by {word!r}: give {', '.join(GROUPS)}")
    return word


class Follower:
    """Analyses packets one by one, without end, and reports at any time what happened to them.

        follower = udpprobe.Follower(on_event=print)
        sniff(prn=follower.feed, store=False)       # Scapy's
        report = follower.report()

    Memory is bounded: beyond 131,072 destinations, those that were quiet for longest are forgotten, and counted as the
    fault `aged-out`.

    Args:
        filter: only packets that pass this pcap filter.
        since_ns: only packets from this time on, nanoseconds since 1970.
        until_ns: only packets before this time.
        all_destinations: include healthy destinations.
        group_by: what a row of the report is about: `destination`, `host`, `flow` or `reporter`.
        loop_ttl: a datagram that was sent with at least this TTL and expired was in a loop.
        link_type: LINKTYPE_ value of packets without one; None for Ethernet.
        on_event: called with every ICMP error as soon as it is fed.
        is_live: whether packets are live. Otherwise those out of order by up to a second are sorted by time first, as
            in a file, and `on_event` is called when the report is made.

    Raises:
        UsageError: the filter is invalid, or there is no such group.
    """

    def __init__(
        self,
        *,
        filter: str | None = None,  # noqa: A002 - the option's name
        since_ns: int | None = None,
        until_ns: int | None = None,
        all_destinations: bool = False,
        group_by: str = "destination",
        loop_ttl: int = 32,
        link_type: int | None = None,
        on_event: OnEvent | None = None,
        is_live: bool = True,
    ) -> None:
        self._question = Question(loop_ttl, all_destinations, _group(group_by))
        self._link_type, self._on_event, self._is_live = link_type, on_event, is_live
        self._state = SourceState("interface" if is_live else "file", "packets")
        self._analyzer = Analyzer(
            SystemRandom().getrandbits(64),
            by_flow=group_by == "flow",
            keeps_events=on_event is not None,
            is_ordered=not is_live,
        )
        self._analyzer.select(since_ns, until_ns, None if filter is None else filter_of(filter))
        self._loops = LoopsSoFar(self._analyzer, loop_ttl)
        self._aged_at = AGED_EVERY

    def feed(self, packet: Packet) -> None:
        """Analyse a packet: `(time_ns, bytes)`, or a Scapy packet.

        Raises:
            UsageError: it is neither.
        """
        self._follow((frame_of(packet, self._link_type),))

    def extend(self, packets: Iterable[Packet]) -> None:
        """Analyse many packets, like `feed`."""
        if self._is_live:
            for packet in packets:
                self.feed(packet)
        else:
            self._follow(frame_of(packet, self._link_type) for packet in packets)

    def _follow(self, frames: Iterable[RawFrame]) -> None:
        analyzer = self._analyzer
        analyzer.feed_frames(frames)
        if not self._is_live:
            return
        if self._on_event:
            self._report_events()
        if analyzer.frames >= self._aged_at:
            self._aged_at = analyzer.frames + AGED_EVERY
            analyzer.flush()
            if forgotten := age(analyzer, MOST_ROWS):
                self._state.faults[AGED_OUT] += forgotten
                self._loops.forget()

    def _report_events(self) -> None:
        """Report the errors known so far. If packets were sorted by time, errors keep the order in which they came."""
        self._analyzer.flush()
        events = [
            event
            for kept in self._analyzer.take_events()
            for event in events_of(
                self._analyzer, kept, self._question.loop_ttl, self._loops.of(kept) if self._is_live else None
            )
        ]
        for event in events if self._is_live else sorted(events, key=lambda event: event.frame):
            if self._on_event:
                self._on_event(event)

    def report(self) -> Report:
        """The results so far; packets that are fed later don't change them."""
        self._report_events()
        report = report_of("analyze", self._analyzer, self._state, self._question)
        return replace(report, destinations=tuple(report.destinations), unmatched=tuple(report.unmatched))


def scan(
    targets: str | Iterable[str],
    *,
    ports: str | Iterable[int] | None = None,
    exclude: Iterable[str] = (),
    family: int | None = None,
    rate_pps: float = 1000,
    retries: int = 2,
    timeout_s: float = 4,
    payload: str = "auto",
    payload_file: str | None = None,
    size: int = 0,
    ttl: int = 64,
    source_port: int = 0,
    source_addresses: Iterable[str] = (),
    interface: str | None = None,
    allow_broadcast: bool = False,
    write: Path | None = None,
    control: bool = True,
    engine: str = "auto",
    loop_ttl: int = 32,
    on_event: OnEvent | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Report:
    """Send UDP datagrams to ports, and report what happened to them.

    Args:
        targets: one or more, as on the command line: `host`, `host:53,123`, `[2001:db8::1]:53`, `192.0.2.0/24`.
        ports: of targets that name none: numbers, or text such as `53,123,1000-2000`; None for those of known services.
        exclude: targets not to probe.
        family: 4 or 6: only addresses of this family.
        rate_pps: datagrams a second, of all hosts together; 0 for as many as this host sends.
        retries: further probes to a silent port.
        timeout_s: seconds to wait for a host that has not replied at all.
        payload: `auto`, `empty`, `token`, `hex:…`, `file:…`, or names from the table.
        payload_file: `nmap:FILE`, payloads by port, used before our own.
        size: bytes of the IP packet that every probe is padded to; 0 for no padding.
        ttl: TTL or hop limit of the probes.
        source_port: 0 lets the kernel choose.
        source_addresses: addresses of this host to send from in turn.
        interface: to send and receive on; also the zone of link-local targets.
        allow_broadcast: whether multicast and broadcast addresses may be probed.
        write: a pcapng file for probes and answers.
        control: whether to probe closed ports too, to learn what silence means.
        engine: `raw`, `recverr`, `connected`, or `auto`: raw if allowed, else recverr.
        loop_ttl: a probe that was sent with at least this TTL and expired on the way was in a loop.
        on_event: called with every ICMP error about a probe, as it becomes known.
        on_progress: called as the scan goes on.
        on_warning: called with warnings: packets that the kernel dropped, targets without address.

    Raises:
        UsageError: a target or an option is invalid.
        PrivilegeError: raw sockets are not allowed, and `engine` is `raw`.
        UdpprobeError: this host cannot do it; no target has an address.
    """
    from udpprobe.commands.scan import ScanListeners
    from udpprobe.commands.scan import scan as probe
    from udpprobe.engines.prepare import ENGINES, EngineOptions
    from udpprobe.payloads import known_ports
    from udpprobe.targets import Wanted, named, resolve

    if engine not in {"auto", *ENGINES}:
        raise UsageError(f"engine {engine!r}: give auto, {', '.join(ENGINES)}")
    resolved = resolve(
        _targets(targets),
        _targets(exclude),
        Wanted(known_ports() if ports is None else _ports(ports), family, interface, allow_broadcast),
    )

    listeners = ScanListeners(_one_by_one(on_event), on_progress=on_progress, on_warning=on_warning)
    for text in (*map(str, resolved.failures), *resolved.warnings):
        listeners.warn(text)
    options = EngineOptions(
        rate_pps=rate_pps,
        retries=retries,
        timeout_s=timeout_s,
        payload=payload,
        payload_file=payload_file,
        size=size,
        ttl=ttl,
        source_port=source_port,
        source_addresses=tuple(source_addresses),
        interface=interface,
        write=None if write is None else os.fspath(write),
        control=control,
        engine=engine,
        loop_ttl=loop_ttl,
    )
    try:
        return named(probe(resolved.destinations, options, listeners), resolved)
    except Interrupted as stopped:
        raise Interrupted(named(stopped.report, resolved), stopped.undecided) from None


def _targets(words: str | Iterable[str]) -> list[TargetSpec]:
    return [parse_target(word) for word in ([words] if isinstance(words, str) else words)]


def _ports(ports: str | Iterable[int]) -> Ports:
    return parse_ports(ports if isinstance(ports, str) else ",".join(map(str, ports)))


def trace(
    target: str,
    *,
    family: int | None = None,
    max_ttl: int = 30,
    first_ttl: int = 1,
    queries: int = 3,
    flows: int = 1,
    timeout_s: float = 4,
    rate_pps: float = 1000,
    payload: str = "auto",
    size: int = 0,
    source_port: int = 0,
    source_address: str | None = None,
    interface: str | None = None,
    allow_broadcast: bool = False,
    on_change: Callable[[TraceReport], None] | None = None,
) -> TraceReport:
    """Find the routers on the path to a UDP port, and where it ends: at the port, a filter, in a loop, in silence.

    Args:
        target: `host:port`; without a port, 33434. Of a name, the resolver's first address.
        family: 4 or 6: only addresses of this family.
        max_ttl: the highest TTL that is tried.
        first_ttl: the lowest one.
        queries: probes for each hop and flow.
        flows: number of flows, each with its own source port.
        timeout_s: seconds to wait for a reply if no later hop has replied.
        rate_pps: most probes a second; 0 for no limit.
        payload: as for `scan`.
        size: bytes of the IP packet; 0 for the payload's size.
        source_port: 0 lets the kernel choose.
        source_address: instead of the kernel's choice.
        interface: to send and receive on.
        allow_broadcast: whether multicast and broadcast addresses may be traced.
        on_change: called with the results so far, some times a second; the verdict is None until it is settled.

    Returns:
        The trace; its verdict is `unsent`, without any hop, if this host has no route.

    Raises:
        UsageError: an option is invalid, or the target is more than one destination.
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: this host cannot do it; the name has no address.
    """
    from udpprobe.commands import trace as command
    from udpprobe.engines.wire import endpoint_named

    endpoint = endpoint_named(target, "trace", family, interface, allow_broadcast=allow_broadcast)
    traced = command.trace(
        endpoint,
        command.TraceOptions(
            max_ttl=max_ttl,
            first_ttl=first_ttl,
            queries=queries,
            timeout_s=timeout_s,
            rate_pps=rate_pps,
            flows=flows,
            interface=interface,
            source_address=source_address,
            source_port=source_port,
            payload=payload,
            size=size,
        ),
        on_change,
    )
    if traced.interrupted:
        raise Interrupted(traced.report)
    return traced.report


def mtu(
    target: str,
    *,
    family: int | None = None,
    most: int = 0,
    retries: int = 2,
    timeout_s: float = 4,
    rate_pps: float = 1000,
    payload: str = "auto",
    ttl: int = 64,
    source_port: int = 0,
    source_address: str | None = None,
    interface: str | None = None,
    allow_broadcast: bool = False,
    control: bool = True,
) -> MtuReport:
    """Find the path MTU to a UDP port, to the byte, and who limits it: a router that reports it, or a black hole.

    Args:
        target: `host:port`; without a port, 33434. Of a name, the resolver's first address.
        family: 4 or 6: only addresses of this family.
        most: the largest IP packet to try, in bytes; 0 for the interface's MTU.
        retries: further tries of a lost size before it counts as lost.
        timeout_s: seconds to wait for a host that has not replied at all.
        rate_pps: most probes a second; 0 for no limit.
        payload: as for `scan`, padded with zeros.
        ttl: TTL or hop limit of the probes.
        source_port: this and the 15 that follow; 0 for free ones.
        source_address: instead of the kernel's choice.
        interface: to send and receive on.
        allow_broadcast: whether multicast and broadcast addresses may be probed.
        control: whether to probe a closed port too; its refusals show what arrives.

    Returns:
        The result; its verdict is `unsent` if this host has no route.

    Raises:
        UsageError: an option is invalid, or the target is more than one destination.
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: this host cannot do it; the name has no address.
    """
    from udpprobe.commands import mtu as command
    from udpprobe.engines.wire import endpoint_named

    endpoint = endpoint_named(target, "mtu", family, interface, allow_broadcast=allow_broadcast)
    measured = command.mtu(
        endpoint,
        command.MtuOptions(
            most=most,
            retries=retries,
            timeout_s=timeout_s,
            rate_pps=rate_pps,
            ttl=ttl,
            interface=interface,
            source_address=source_address,
            source_port=source_port,
            payload=payload,
            control=control,
        ),
    )
    if measured.interrupted:
        raise Interrupted(measured.report)
    return measured.report


def check(
    targets: str | Iterable[str] = (),
    *,
    config: Path | None = None,
    expect: str = "answered",
    silence: str | None = None,
    warning: str | None = None,
    critical: str | None = None,
    min_mtu: int = 0,
    no_loop: bool = False,
    ports: str | Iterable[int] | None = None,
    family: int | None = None,
    timeout_s: float = 10,
    wait_s: float = 1,
    retries: int = 2,
    confirm: int = 0,
    rate_pps: float = 1000,
    payload: str = "auto",
    interface: str | None = None,
    allow_broadcast: bool = False,
    engine: str = "auto",
) -> Outcome:
    """Check that UDP services answer, listen or refuse as expected, and how fast.

    Args:
        targets: one or more `host:port`; for a name, all its addresses.
        config: a TOML file of further targets, each with its expectations.
        expect: `answered`, `listening`, `not-refused` or `refused`.
        silence: what silence that proves nothing counts as: `ok`, `warning` or `critical`; None for what `expect`
            makes of it.
        warning: range of the round trip in ms, `[@]start:end`.
        critical: likewise.
        min_mtu: bytes of an IP packet that must fit; 0 for any.
        no_loop: whether the path must not end in a routing loop.
        ports: of targets that name none.
        family: 4 or 6: only addresses of this family.
        timeout_s: seconds after which it ends, even if incomplete.
        wait_s: seconds to wait for a reply, after each probe.
        retries: further probes to a silent port.
        confirm: number of further checks that must confirm a failure.
        rate_pps: datagrams a second, of all hosts together; 0 for no limit.
        payload: as for `scan`.
        interface: to send and receive on.
        allow_broadcast: whether multicast and broadcast addresses may be probed.
        engine: as for `scan`.

    Returns:
        A row per destination in `checks`, and the worst `state` of all. What cannot be checked is UNKNOWN, with the
        reason, and raises no exception.

    Raises:
        UsageError: a target or an option is wrong; there is no target.
        UdpprobeError: the file cannot be read.
    """
    from udpprobe.checking.expectations import Check, CheckState, Expectation, Probing, parse_range, target_with_port
    from udpprobe.checking.states import ON_SILENCE
    from udpprobe.commands import check as command

    states = {state.name.lower(): state for state in CheckState if state is not CheckState.UNKNOWN}
    if expect not in ON_SILENCE:
        raise UsageError(f"expect {expect!r}: give {', '.join(ON_SILENCE)}")
    if silence is not None and silence not in states:
        raise UsageError(f"silence {silence!r}: give {', '.join(states)}")
    expectation = Expectation(
        expect,
        None if silence is None else states[silence],
        None if warning is None else parse_range(warning),
        None if critical is None else parse_range(critical),
        min_mtu,
        no_loop,
    )
    listed = ports if ports is None or isinstance(ports, str) else ",".join(map(str, ports))
    probing = Probing(payload, family, interface, allow_broadcast)
    checks = [
        Check(text, target_with_port(text, listed), expectation, probing)
        for text in ([targets] if isinstance(targets, str) else targets)
    ]
    if config is not None:
        from udpprobe.checking.config import read_config

        checks += read_config(os.fspath(config))
    if not checks:
        raise UsageError("name a target, or a file of them")
    outcome = command.check(
        checks,
        command.Settings(
            timeout_s=timeout_s, silence_s=wait_s, retries=retries, confirm=confirm, rate_pps=rate_pps, engine=engine
        ),
    )
    if outcome.interrupted:
        raise Interrupted(outcome)
    return outcome


def to_json(report: Report | TraceReport | MtuReport | Outcome) -> str:
    """The document that the command writes with `--format json`; docs/schema has a schema of each."""
    from udpprobe.checking.states import Outcome
    from udpprobe.pmtud.model import MtuReport
    from udpprobe.tracing.model import TraceReport

    match report:
        case Report():
            from udpprobe.reports.json import report_json

            return "".join(report_json(report))
        case TraceReport():
            from udpprobe.reports.trace import trace_json

            return trace_json(report, 0)
        case MtuReport():
            from udpprobe.reports.mtu import mtu_json

            return mtu_json(report, 0)
        case Outcome():
            from udpprobe.reports.checks import check_json

            return check_json(report, 0)
    raise UsageError(f"no report: {report!r:.60}")
