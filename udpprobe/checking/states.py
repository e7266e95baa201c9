"""From probe results to a state: what was expected, what was found, and what could not be checked."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from udpprobe.checking.expectations import CheckState, Expectation, Range, worst
from udpprobe.core.advice import Case, case_of_finding, sentence
from udpprobe.core.model import Destination, Finding, Model
from udpprobe.core.notes import NO_NEIGHBOUR, NO_REPLY, says
from udpprobe.endpoints import endpoint_text
from udpprobe.pmtud.model import MtuReport
from udpprobe.tracing.model import TraceReport

CANNOT_TELL = "listening or filtered: silence cannot tell"
CHECK_SCHEMA = "udpprobe.check/1"
ON_SILENCE = {
    "answered": CheckState.CRITICAL,
    "listening": CheckState.UNKNOWN,
    "not-refused": CheckState.UNKNOWN,
    "refused": CheckState.CRITICAL,
}
"""Default state of inconclusive silence: it is no answer, no refusal, and no proof of a listener."""


class Facts(Struct, frozen=True):
    """What was found about a destination."""

    destination: Destination
    mtu: MtuReport | None = None
    """The path MTU, if it was searched for."""
    trace: TraceReport | None = None
    """The path, if it was traced."""
    blind: str | None = None
    """Why path MTU and path could not be checked."""
    instead: str | None = None
    """For an address that this host cannot send to: the other family, which was probed instead."""
    patience: str = ""
    """How long the scan waited for a reply."""
    dropped: int = 0
    """Packets that this host dropped unread during the scan, for lack of buffer space."""


class Ruling(Struct, frozen=True):
    """A state and its reason."""

    state: CheckState
    text: str


class Checked(Model, frozen=True):
    """The result of checking one destination."""

    target: str
    """As the user wrote or named it."""
    group: str | None
    address: str | None
    """None if the target's name has no address."""
    port: int | None
    state: str
    """`OK`, `WARNING`, `CRITICAL`, `UNKNOWN`."""
    text: str
    verdict: str | None
    meaning: str | None
    rtt_ms: float | None
    path_mtu: int | None
    """Bytes of the IP packet; `min_mtu` if nothing larger was tried."""
    min_mtu: int | None
    warning: str | None
    """The ranges for the RTT, as given."""
    critical: str | None
    findings: tuple[Finding, ...]
    """The ICMP errors about it, as in a report."""
    notes: tuple[str, ...]
    advice: str | None = None
    """What to do, in a sentence; None if everything is OK."""


class Outcome(Model, frozen=True):
    """The results of all checks."""

    checks: tuple[Checked, ...]
    """In the order of targets, then of addresses and ports."""
    duration_s: float
    time_ns: int
    """Start of the checks."""
    version: str
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    """Whether they were stopped early."""
    is_cut: bool = False
    """Whether time ran out first."""

    @property
    def state(self) -> CheckState:
        """The worst of all; UNKNOWN if interrupted."""
        return CheckState.UNKNOWN if self.interrupted else worst(CheckState[each.state] for each in self.checks)


def judged(facts: Facts, expectation: Expectation) -> list[Ruling]:
    """A ruling for each expectation: what came back, how soon, how much fits through, no loop."""
    return [
        _on_verdict(facts, expectation),
        *_on_rtt(facts.destination, expectation),
        *_on_mtu(facts, expectation),
        *_on_loop(facts, expectation),
    ]


def checked(target: str, group: str | None, facts: Facts, expectation: Expectation) -> Checked:
    """The result of the rulings: the worst state, and its reasons first."""
    rulings, found = judged(facts, expectation), facts.destination
    state = worst(each.state for each in rulings)
    texts = [each.text for each in sorted(rulings, key=lambda each: each.state != state)]
    return Checked(
        target=target,
        group=group,
        address=found.address,
        port=found.port,
        state=state.name,
        text="; ".join(dict.fromkeys(text for text in texts if text)),
        verdict=found.verdict,
        meaning=found.meaning,
        rtt_ms=rtt_ms(found),
        path_mtu=facts.mtu.path_mtu if facts.mtu else None,
        min_mtu=expectation.min_mtu or None,
        warning=expectation.warning.text if expectation.warning else None,
        critical=expectation.critical.text if expectation.critical else None,
        findings=found.findings,
        notes=_notes(facts),
        advice=None if state is CheckState.OK else _advice(facts, expectation),
    )


def unchecked(target: str, group: str | None, reason: str, place: tuple[str, int] | None = None) -> Checked:
    """The result of a check that could not be made; with address and port, if known."""
    address, port = place or (None, None)
    return Checked(
        target=target,
        group=group,
        address=address,
        port=port,
        state=CheckState.UNKNOWN.name,
        text=reason,
        verdict=None,
        meaning=None,
        rtt_ms=None,
        path_mtu=None,
        min_mtu=None,
        warning=None,
        critical=None,
        findings=(),
        notes=(),
        advice=sentence(Case("unchecked", reason), [target]),
    )


def wants_path(found: Destination, expectation: Expectation) -> bool:
    """Whether a trace would reveal more: the routers of a loop, or whether lost datagrams are in a loop."""
    if found.verdict == "loop" or any(each.verdict == "loop" for each in found.findings):
        return True
    is_lost = found.verdict == "expired" or (found.verdict == "silent" and found.meaning == "no-evidence")
    return expectation.no_loop and is_lost


def wants_mtu(found: Destination, expectation: Expectation) -> bool:
    """Whether to search for the path MTU; pointless where probes are stopped on the way."""
    return bool(expectation.min_mtu) and found.verdict in {"answered", "refused", "silent", "too-big"}


def _on_verdict(facts: Facts, expectation: Expectation) -> Ruling:
    found, text = facts.destination, cause(facts.destination, facts.trace)
    if found.verdict == "silent":
        return _of_silence(facts, expectation)
    if found.verdict == "unsent":
        if facts.instead:
            return Ruling(CheckState.OK, f"{text}; {facts.instead} was checked instead")
        return Ruling(CheckState.UNKNOWN, text)
    if found.answered and found.findings:
        verdicts = {each.verdict for each in found.findings}
        is_hopeless = expectation.expect == "refused" and "refused" not in verdicts
        return Ruling(
            CheckState.CRITICAL if is_hopeless else CheckState.WARNING,
            f"answered, but also {cause_of(found, found.findings[0], facts.trace)}",
        )
    wanted = "refused" if expectation.expect == "refused" else "answered"
    if found.verdict == wanted:
        return Ruling(CheckState.OK, text)
    # the text alone would read as if everything were fine
    return Ruling(CheckState.CRITICAL, f"{text}, but a refusal was expected" if found.verdict == "answered" else text)


def _of_silence(facts: Facts, expectation: Expectation) -> Ruling:
    """The ruling on silence. Where closed ports are refused, it shows that this one is not closed, but no listener."""
    found = facts.destination
    text = cause(found) + (facts.patience if found.meaning == "no-evidence" else "")
    if facts.dropped and expectation.silence is None:
        return Ruling(
            CheckState.UNKNOWN,
            f"{text}; but this host dropped packets unread ({facts.dropped:,}): an answer or a refusal may be among "
            "them",
        )
    if found.meaning == "listening-or-filtered":
        if expectation.expect == "not-refused":
            return Ruling(CheckState.OK, text)
        if expectation.expect == "listening":
            return Ruling(CheckState.WARNING, CANNOT_TELL)
    return Ruling(ON_SILENCE[expectation.expect] if expectation.silence is None else expectation.silence, text)


def _advice(facts: Facts, expectation: Expectation) -> str | None:
    """What to do about a destination that is not as expected."""
    found = facts.destination
    if facts.mtu and facts.mtu.advice and found.verdict in {"answered", "refused", "silent"}:
        return facts.mtu.advice
    if facts.trace and facts.trace.loop:
        return facts.trace.advice
    place = endpoint_text(found.address, found.port, found.zone)
    if expectation.expect == "refused" and found.answered:
        return sentence(Case("not-refused"), [place])
    if found.answered and found.findings:
        return sentence(case_of_finding(found.findings[0], found.address, found.answered), [place], found.address)
    return sentence(Case("too-slow"), [place]) if found.verdict == "answered" else found.advice


def _on_rtt(found: Destination, expectation: Expectation) -> Iterator[Ruling]:
    span_ms, ranges = (
        rtt_ms(found),
        ((CheckState.CRITICAL, expectation.critical), (CheckState.WARNING, expectation.warning)),
    )
    if span_ms is None:
        if expectation.warning or expectation.critical:
            yield Ruling(CheckState.UNKNOWN, "no RTT was measured")
        return
    hit = next(((state, limit) for state, limit in ranges if limit and limit.alerts(span_ms)), None)
    if hit:
        yield Ruling(hit[0], f"RTT {duration_ms(span_ms)} {_beyond(span_ms, hit[1])}")


def _beyond(span_ms: float, limit: Range) -> str:
    """`> 10 ms`, `< 5 ms`, `in 10:20 ms`."""
    if limit.is_inside:
        return f"in {limit.text.removeprefix('@')} ms"
    return f"> {limit.end:g} ms" if span_ms > limit.end else f"< {limit.start:g} ms"


def _on_mtu(facts: Facts, expectation: Expectation) -> Iterator[Ruling]:
    if not wants_mtu(facts.destination, expectation):
        return
    if facts.mtu is None:
        yield Ruling(CheckState.UNKNOWN, f"path MTU not checked: {facts.blind}")
    elif facts.mtu.path_mtu is None:
        yield Ruling(CheckState.UNKNOWN, mtu_cause(facts.mtu))
    elif facts.mtu.path_mtu >= expectation.min_mtu:
        yield Ruling(CheckState.OK, f"{expectation.min_mtu} bytes fit")
    else:
        yield Ruling(CheckState.CRITICAL, mtu_cause(facts.mtu, expectation.min_mtu))


def _on_loop(facts: Facts, expectation: Expectation) -> Iterator[Ruling]:
    found = facts.destination
    if not expectation.no_loop or not wants_path(found, expectation):
        return
    loop = next((each for each in found.findings if each.verdict == "loop"), None)
    if loop:
        yield Ruling(CheckState.CRITICAL, cause_of(found, loop, facts.trace))
    elif facts.trace is None:
        yield Ruling(CheckState.UNKNOWN, f"routing loop not ruled out: {facts.blind}")
    elif text := loop_cause(facts.trace):
        yield Ruling(CheckState.CRITICAL, text)


def _notes(facts: Facts) -> tuple[str, ...]:
    found = facts.destination
    own = (f"{found.sent} sent, {found.answered} answered, {found.errors} ICMP errors",)
    errors = tuple(f"{each.reason} from {each.reporter or '?'}: {each.count}" for each in found.findings)
    others = (*(facts.mtu.notes if facts.mtu else ()), *(facts.trace.notes if facts.trace else ()))
    return own + errors + found.notes + others


_SOMEONE = "an unnamed router"
_TEXTS = {
    "refused": "refused by {who} itself",
    "rejected": "rejected by {who}",
    "too-big": "too big for {who} ({mtu})",
    "loop": "routing loop {routers}",
    "expired": "TTL expired at {who}",
    "prohibited": "prohibited by {who}",
    "unreachable": "unreachable ({reason}), reported by {who}",
    "reassembly": "fragments lost on the way, reported by {who}",
    "quenched": "quenched by {who}",
    "malformed": "parameter problem reported by {who}",
}
_SILENCES = {
    "listening-or-filtered": "silent while other ports were refused: listening or filtered",
    "rate-limited": "undecided: the host's ICMP rate limit was used up",
    "no-evidence": "no reply, and no port of this host was refused",
}


def cause(destination: Destination, trace: TraceReport | None = None) -> str:
    """What happened to the datagrams.

    Args:
        destination: of a scan's report.
        trace: of the path, if it was traced: it knows more about a loop.
    """
    if destination.verdict == "answered":
        return f"answered{_in(rtt_ms(destination))}"
    if destination.verdict == "silent":
        if destination.meaning in {None, "no-evidence"} and says(destination.notes, NO_REPLY):
            return "no reply from any port of this host"
        return _SILENCES[destination.meaning or "no-evidence"]
    if destination.verdict == "unsent":
        return f"this host cannot send there: {destination.errno or 'time ran out'}"
    return cause_of(destination, finding_of(destination), trace)


def cause_of(destination: Destination, found: Finding, trace: TraceReport | None = None) -> str:
    """What one kind of error says, and its sender.

    Args:
        destination: of a scan's report.
        found: one of its findings.
        trace: as above.
    """
    if NO_NEIGHBOUR in found.notes:
        return f"unreachable: {next((each for each in found.notes if each != NO_NEIGHBOUR), found.reason)}"
    who = found.reporter or (destination.address if found.verdict == "refused" else _SOMEONE)
    mtu = "no MTU reported" if found.mtu is None else f"MTU {found.mtu}"
    return _TEXTS.get(found.verdict or "", "an unknown error from {who}").format(
        who=who, mtu=mtu, reason=found.reason, routers=_routers(found, trace)
    )


def finding_of(destination: Destination) -> Finding:
    """The finding behind the verdict; only for a destination with ICMP errors."""
    return next(each for each in destination.findings if each.verdict == destination.verdict)


def rtt_ms(destination: Destination) -> float | None:
    """Median RTT in milliseconds: of the answers, or for a refused destination of the refusals."""
    spread = finding_of(destination).rtt_ms if destination.verdict == "refused" else destination.rtt_ms
    return spread.median if spread else None


def loop_cause(trace: TraceReport) -> str | None:
    """The loop that a trace ends in; None without one."""
    return f"routing loop {_between(trace.loop.routers)}" if trace.loop else None


def _in(span_ms: float | None) -> str:
    return "" if span_ms is None else f" in {duration_ms(span_ms)}"


def duration_ms(span_ms: float) -> str:
    """Milliseconds with three digits; a threshold is never rounded away: 0.158, 12.3, 1234."""
    return f"{span_ms:.3g} ms" if span_ms < 1000 else f"{span_ms:.0f} ms"


def _routers(found: Finding, trace: TraceReport | None) -> str:
    if trace and trace.loop:
        return _between(trace.loop.routers)
    return _between(found.loop.routers if found.loop else (found.reporter,))


def _between(routers: tuple[str | None, ...]) -> str:
    """`at A`, `between A and B`, `between A, B and C`."""
    names = [router or "a silent router" for router in routers]
    return f"at {names[0]}" if len(names) == 1 else f"between {', '.join(names[:-1])} and {names[-1]}"


def mtu_cause(found: MtuReport, least: int = 0) -> str:
    """The result of a path MTU search, and the wanted size if that is larger."""
    if found.black_hole:
        hole = found.black_hole
        after = f" after {hole.after}" if hole.after else ""
        return f"PMTU black hole{after}: {hole.largest_passed} fits, {hole.smallest_lost} is lost"
    if found.path_mtu is None:
        return f"path MTU not found: {found.verdict}"
    limit = next((f" by {each.reporter}" for each in found.reports if each.mtu == found.path_mtu), "")
    return f"path MTU {found.path_mtu}{f' < {least}' if least else ''}{limit and ', limited' + limit}"
