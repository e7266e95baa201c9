"""What became of datagrams to a destination, in a few words that name who says so."""

from __future__ import annotations

from udpprobe.core.model import Destination, Finding
from udpprobe.core.notes import NO_NEIGHBOUR
from udpprobe.pmtud.model import MtuReport
from udpprobe.scanning.outcome import NO_REPLY
from udpprobe.tracing.model import TraceReport

_SOMEONE = "an unnamed router"
_TEXTS = {
    "refused": "refused by {who} itself",
    "rejected": "rejected by {who}",
    "too-big": "too big for {who} ({mtu})",
    "loop": "routing loop {routers}",
    "expired": "TTL expired at {who}",
    "prohibited": "prohibited by {who}",
    "unreachable": "unreachable, says {who} ({reason})",
    "reassembly": "fragments lost on the way, says {who}",
    "quenched": "quenched by {who}",
    "malformed": "parameter problem, says {who}",
}
_SILENCES = {
    "listening-or-filtered": "silent while other ports are refused: listening or filtered",
    "rate-limited": "undecided: the host's ICMP rate limit was used up",
    "no-evidence": "no reply, and no port of this host is refused",
}


def cause(destination: Destination, trace: TraceReport | None = None) -> str:
    """What became of the datagrams.

    Args:
        destination: of a scan's report.
        trace: the way there, where it was looked at: it knows more of a loop.
    """
    if destination.verdict == "answered":
        return f"answered{_in(rtt_ms(destination))}"
    if destination.verdict == "silent":
        if destination.meaning in {None, "no-evidence"} and any(NO_REPLY in note for note in destination.notes):
            return "no reply from any port of this host"
        return _SILENCES[destination.meaning or "no-evidence"]
    if destination.verdict == "unsent":
        return f"this host cannot send there: {destination.errno or 'time ran out'}"
    return cause_of(destination, finding_of(destination), trace)


def cause_of(destination: Destination, found: Finding, trace: TraceReport | None = None) -> str:
    """What one kind of its errors says, and who.

    Args:
        destination: of a scan's report.
        found: one of its findings.
        trace: as above.
    """
    if NO_NEIGHBOUR in found.notes:
        return f"unreachable: {next((each for each in found.notes if each != NO_NEIGHBOUR), found.reason)}"
    who = found.reporter or (destination.address if found.verdict == "refused" else _SOMEONE)
    mtu = "no MTU named" if found.mtu is None else f"MTU {found.mtu}"
    return _TEXTS.get(found.verdict or "", "an unknown error from {who}").format(
        who=who, mtu=mtu, reason=found.reason, routers=_routers(found, trace))


def finding_of(destination: Destination) -> Finding:
    """What its verdict is from; only of one that ICMP errors speak about."""
    return next(each for each in destination.findings if each.verdict == destination.verdict)


def rtt_ms(destination: Destination) -> float | None:
    """The median round trip in milliseconds: to the answers, or of a refused destination to the refusals."""
    spread = finding_of(destination).rtt_ms if destination.verdict == "refused" else destination.rtt_ms
    return spread.median if spread else None


def loop_cause(trace: TraceReport) -> str | None:
    """The loop that a trace ends in; None where it ends in none."""
    return f"routing loop {_between(trace.loop.routers)}" if trace.loop else None


def _in(span_ms: float | None) -> str:
    return "" if span_ms is None else f" in {duration_ms(span_ms)}"


def duration_ms(span_ms: float) -> str:
    """Milliseconds in three digits; a threshold is never rounded away: 0.158, 12.3, 1234."""
    return f"{span_ms:.3g} ms" if span_ms < 1000 else f"{span_ms:.0f} ms"


def _routers(found: Finding, trace: TraceReport | None) -> str:
    if trace and trace.loop:
        return _between(trace.loop.routers)
    return _between(found.loop.routers if found.loop else (found.reporter,))


def _between(routers: tuple[str | None, ...]) -> str:
    """`at A`, `between A and B`, `between A, B and C`."""
    names = [router or "a silent router" for router in routers]
    return f"at {names[0]}" if len(names) == 1 else f"between {', '.join(names[:-1])} and {names[-1]}"


def mtu_cause(found: MtuReport) -> str:
    """What a path MTU search found."""
    if found.black_hole:
        hole = found.black_hole
        after = f" after {hole.after}" if hole.after else ""
        return f"PMTU black hole{after}: {hole.largest_passed} fits, {hole.smallest_lost} is lost"
    if found.path_mtu is None:
        return f"path MTU not found: {found.verdict}"
    limit = next((f" by {each.reporter}" for each in found.reports if each.mtu == found.path_mtu), "")
    return f"path MTU {found.path_mtu}{limit and ', limited' + limit}"
