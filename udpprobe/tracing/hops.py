"""A trace's results, hop by hop: reporters, RTTs, loss, changes on the way, and advice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from errno import errorcode
from typing import Any

from msgspec import Struct, structs
from msgspec.structs import replace

from udpprobe.core.advice import Case, case_of_error, listed, sentence, unsent_case
from udpprobe.core.model import Spread, median
from udpprobe.core.notes import TEXTS, Note, no_neighbour_notes
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS
from udpprobe.endpoints import endpoint_text
from udpprobe.replies import Reply
from udpprobe.tracing.model import Hop, Reporter, TraceLoop, TraceReport
from udpprobe.tracing.path import UNLIKELY, UNUSUAL, Flight, Path, is_end, is_expired, is_own

INITIAL_TTLS = (64, 128, 255)
"""TTLs that hosts and routers start with."""
CHANGES = {
    "source": "a NAT changed the source",
    "destination": "a NAT changed the destination",
    "checksum": "the UDP checksum was changed, as by a NAT",
    "dscp": "the DSCP was changed",
    "ecn": "the ECN bits were changed",
    "df": "the DF bit was cleared: packets that are too big get fragmented",
    "port": "answers from a port other than the one probed",
}


class PathEnd(Struct, frozen=True):
    """The end of a flow's path."""

    verdict: str
    errno: str | None
    reached: bool = False


def end_of(path: Path) -> PathEnd:
    """The result of a flow's probes."""
    if path.end_ttl is not None:
        ends = [reply for _, reply in path.exchanges(path.end_ttl) if is_end(reply)]
        return _end_by(next((reply for reply in ends if is_own(reply)), ends[0]))
    send_errno = next((flight.send_errno for flight in path.all_flights()), 0)
    if send_errno:
        return PathEnd("unsent", errorcode.get(send_errno))
    if path.unsure:  # it answered, but no second answer told at which hop it is
        return PathEnd("answered", None, reached=True)
    expired = path.flights and path.expired_ttl == max(path.flights)
    verdict = "loop" if path.round else "expired" if expired else "silent"
    return PathEnd(verdict, ERRNO_OF_VERDICT.get(verdict))


def _end_by(last: Reply) -> PathEnd:
    event = last.event
    if event is None:
        return PathEnd("answered", None, reached=True)
    return PathEnd(event.verdict or "unreachable", event.errno, event.reporter == event.quoted.destination)


def worst(ends: Sequence[PathEnd]) -> PathEnd:
    """The most telling verdict; reached, if any flow was."""
    first = min(ends, key=lambda each: VERDICTS.index(each.verdict))
    return replace(first, reached=any(each.reached for each in ends))


def loop_of(paths: Sequence[Path]) -> TraceLoop | None:
    """The loop that the first looping flow ends in."""
    found = next((path.round for path in paths if path.round and path.end_ttl is None and not path.unsure), None)
    return TraceLoop(found.routers, found.period, found.first_ttl) if found else None


Exchange = tuple[Flight, Reply]
"""A probe and its reply."""


def hops_of(paths: Sequence[Path], destination: str, now_ns: int, interface: str = "") -> tuple[Hop, ...]:
    """Every hop, all flows together; empty if no probe left this host.

    Args:
        paths: the flows.
        destination: address of the target.
        now_ns: current time; a probe whose reply is not overdue yet is not lost.
        interface: name of the outgoing interface.
    """
    if all(flight.send_errno for path in paths for flight in path.all_flights()):
        return ()
    ttls = sorted({ttl for path in paths for ttl in path.hops()})
    return tuple(
        _hop([path for path in paths if ttl in path.hops()], ttl, (destination, interface), now_ns) for ttl in ttls
    )


def _hop(paths: Sequence[Path], ttl: int, ends: tuple[str, str], now_ns: int) -> Hop:
    destination, interface = ends
    exchanges = [each for path in paths for each in path.exchanges(ttl)]
    chance = {path.flow: path.chance_of_loss(ttl) if path.missing(ttl) else 1 for path in paths}
    limited = {flow for flow, each in chance.items() if each < UNLIKELY}
    perhaps = {flow for flow, each in chance.items() if each < UNUSUAL}
    kinds: dict[_ReplyKind, list[Exchange]] = defaultdict(list)
    for flight, reply in exchanges:
        kinds[_kind(reply, destination)].append((flight, reply))
    sent = len(exchanges) + sum(len(path.missing(ttl)) for path in paths)
    lost = sum(
        path.deadline_ns(flight) <= now_ns for path in paths if path.flow not in limited for flight in path.missing(ttl)
    )
    word = "limits" if limited == perhaps else "perhaps limits"
    note = f"{word} its replies: answered {len(exchanges)} of {sent}"
    is_placed = not any(_may_be_nearer(path, ttl) for path in paths)
    nearest = min(_nearest_end(path, ttl) for path in paths)
    reporters = tuple(
        _reporter(
            kind,
            some,
            nearest if is_placed else None,
            (*(_way_back(some, ttl, destination) if is_placed else ()), *((note,) if perhaps & _flows(some) else ())),
            interface,
        )
        for kind, some in kinds.items()
    )
    return Hop(ttl, reporters, sent, lost, rtts_ms=_rtts(paths, ttl, now_ns))


def _rtts(paths: Sequence[Path], ttl: int, now_ns: int) -> tuple[float | None, ...]:
    """RTTs of a TTL's probes, in sending order; without probes that may still draw a reply."""
    exchanges = [
        (flight, None if reply.kind == "no-neighbour" else round(reply.rtt_ms, 6))
        for path in paths
        for flight, reply in path.exchanges(ttl)
    ]
    missing = [(flight, None) for path in paths for flight in path.missing(ttl) if path.deadline_ns(flight) <= now_ns]
    in_order = sorted((*exchanges, *missing), key=lambda each: (each[0].sent_ns, each[0].probe.number))
    return tuple(rtt_ms for _, rtt_ms in in_order)


def _nearest_end(path: Path, ttl: int) -> int:
    """The lowest TTL that reached the end. With paths of different lengths, it is lower than where every probe does."""
    ends_it = is_own if path.is_reached else is_end
    ends = (each for each in path.flights if any(flight.reply and ends_it(flight.reply) for flight in path.at(each)))
    return min((ttl, *ends)) if ttl == path.end_ttl else ttl


def _may_be_nearer(path: Path, ttl: int) -> bool:
    """Whether the reporter may be nearer than this TTL: in a loop, or where the lowest TTL reached the end."""
    end = path.end_ttl or (path.round.first_ttl if path.round else None)
    return end is not None and (ttl > end or 1 < end == path.policy.first_ttl)


class _ReplyKind(Struct, frozen=True):
    """Replies are grouped by this."""

    address: str | None
    """None if this host found no neighbour."""
    type: int | None
    code: int | None
    reason: str
    verdict: str | None
    mtu: int | None


def _kind(reply: Reply, destination: str) -> _ReplyKind:
    event = reply.event
    if event is None:
        return _ReplyKind(destination, None, None, "answer", "answered", None)
    verdict = "expired" if is_expired(reply) else event.verdict
    reporter = None if reply.kind == "no-neighbour" else event.reporter
    return _ReplyKind(reporter, event.type, event.code, event.reason, verdict, event.mtu)


def _reporter(
    kind: _ReplyKind, exchanges: Sequence[Exchange], ttl: int | None, more: tuple[str, ...], interface: str
) -> Reporter:
    replies = [reply for _, reply in exchanges]
    notes: tuple[str, ...] = (
        *(note for flight, reply in exchanges for note in _notes(reply, 1 + flight.probe.ttl - (ttl or 1))),
        *more,
    )
    if kind.address is None and (event := replies[0].event):
        notes = no_neighbour_notes(event.family, interface)
    return Reporter(
        kind.address,
        len(exchanges),
        _spread(replies) if kind.address else None,
        kind.type,
        kind.code,
        kind.reason,
        kind.verdict,
        kind.mtu,
        _distinct(label for stack in _objects(replies, "mpls") for label in stack),
        _distinct(_objects(replies, "interface")),
        tuple(sorted(_flows(exchanges))),
        tuple(dict.fromkeys(notes)),
    )


def _flows(exchanges: Sequence[Exchange]) -> set[int]:
    return {flight.probe.flow for flight, _ in exchanges}


def _spread(replies: Sequence[Reply]) -> Spread:
    times = [reply.rtt_ms for reply in replies]
    return Spread(min(times), median(times), max(times))


def _objects(replies: Sequence[Reply], name: str) -> Iterator[Any]:
    """The extension objects of one kind (RFC 4884) in all replies."""
    return (
        extension[name]
        for reply in replies
        if reply.event
        for extension in reply.event.extensions or ()
        if name in extension
    )


def _distinct(objects: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for each in objects:
        if each not in found:
            found.append(each)
    return tuple(found)


def _notes(reply: Reply, usual_ttl: int) -> Iterator[str]:
    """Notes on a reply.

    Args:
        reply: the reply.
        usual_ttl: TTL of the probe on arrival if every hop decrements it.
    """
    is_damaged = reply.event and TEXTS[Note.BAD_ICMP_CHECKSUM] in reply.event.notes  # then its quote may be damaged too
    if not is_damaged:
        yield from (CHANGES[word] for word in reply.changed)
    if reply.event is None:
        return
    if is_expired(reply) and reply.event.reporter == reply.event.quoted.destination:
        yield "a NAT replies with the destination's address for the hosts behind it"
    yield from (note for note in reply.event.notes if note not in CHANGES.values())
    quoted = reply.event.quoted.ttl
    # a router that cannot forward it may report that before it decrements the TTL
    surplus = quoted - usual_ttl - (not is_expired(reply) and reply.event.reporter != reply.event.quoted.destination)
    if quoted == 0 and is_expired(reply):
        yield "quotes TTL 0: the router before it forwards packets that should expire there, or this one decrements "
        "first"
    elif surplus > 0:
        yield f"quotes a TTL that is {surplus} too high: hops before it do not decrement the TTL, as in an MPLS tunnel"


def _way_back(exchanges: Sequence[Exchange], ttl: int, destination: str) -> Iterator[str]:
    """Hops that replies took, if different from the forward path: from the lowest initial TTL that explains them.

    A firewall that refuses for another host stands before that host.
    """
    back = {
        next(initial for initial in INITIAL_TTLS if initial >= reply.ttl) - reply.ttl + 1
        for _, reply in exchanges
        if reply.event is None or is_expired(reply) or reply.event.reporter == destination
    }
    if not back <= {ttl}:
        yield f"replies return over {' or '.join(map(str, sorted(back)))} hops"


# ---- what to do

USUAL_PORT = 33434
"""traceroute's: closed on purpose, so that a refusal marks the end of the path."""


def advised(report: TraceReport) -> TraceReport:
    """The report with advice: its own, and that of the hop concerned."""
    target = report.target
    case, at = _case_of(report)
    text = sentence(case, [endpoint_text(target.address, target.port, target.zone)], target.address)
    hops = tuple(structs.replace(hop, advice=text) if hop is at else hop for hop in report.hops)
    return structs.replace(report, advice=text, hops=hops)


def _case_of(report: TraceReport) -> tuple[Case | None, Hop | None]:
    last = next((hop for hop in reversed(report.hops) if hop.reporters), None)
    address = report.target.address
    if report.loop:
        loop = report.loop
        names = [router or "a silent router" for router in loop.routers]
        return (Case("loop", listed(names)), next((hop for hop in report.hops if hop.ttl == loop.first_ttl), None))
    if last is None or report.verdict == "unsent":
        return unsent_case(report.errno) if report.verdict == "unsent" else Case("silent-at-all"), None
    if report.verdict == "expired":
        return Case("too-far"), last
    if report.verdict == "answered" or (report.verdict == "refused" and report.target.port == USUAL_PORT):
        return None, None
    if report.verdict == "silent":
        return Case("silent-behind", " or ".join(dict.fromkeys(each.address or "?" for each in last.reporters))), last
    said = next((each for each in last.reporters if each.verdict == report.verdict), last.reporters[0])
    return case_of_error(
        report.verdict,
        reason=said.reason,
        reporter=said.address,
        address=address,
        family=6 if ":" in address else 4,
        mtu=said.mtu,
        notes=said.notes,
    ), last
