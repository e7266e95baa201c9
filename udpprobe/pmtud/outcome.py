"""The report of a path MTU search: verdict, notes and advice."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from msgspec import Struct

from udpprobe.core.advice import SOMEBODY, Case, sentence, unsent_case
from udpprobe.core.limiter import MS, SECOND
from udpprobe.core.model import Event
from udpprobe.core.notes import LEAST_MTU, mtu_notes, no_neighbour_notes, texts_of
from udpprobe.core.verdicts import VERDICTS
from udpprobe.endpoints import endpoint_text
from udpprobe.pmtud.locator import Locator
from udpprobe.pmtud.model import BlackHole, MtuReport, Reported
from udpprobe.pmtud.rounds import CONTROL, SERVICE, SearchRounds
from udpprobe.pmtud.search import Phase
from udpprobe.replies import HEADER_BYTES
from udpprobe.tracing.model import Target

ICMP_NAMES = {4: "ICMP 3/4 (fragmentation needed)", 6: "ICMPv6 2 (packet too big)"}
PROOFS = {"answer": "answer", "error": "refusal"}
NOTEWORTHY_NS = 200 * MS
"""A rate limit with at least this interval between refusals is noted."""


class _Count(Struct):
    count: int = 0
    smallest: int = 1 << 20


class Reports:
    """Counts "too big" errors by router and MTU."""

    def __init__(self) -> None:
        self._words: dict[tuple[str, int | None], _Count] = {}

    def take(self, event: Event, size: int) -> None:
        """Record a router's error about a packet of `size` bytes."""
        word = self._words.setdefault((event.reporter or "", event.mtu), _Count())
        word.count += 1
        word.smallest = min(word.smallest, size)

    def reported(self, family: int, passed: int) -> tuple[Reported, ...]:
        """The reports of each router, most frequent first.

        Args:
            family: 4 or 6.
            passed: the largest size that arrived; 0 for none.
        """
        said = sorted(self._words.items(), key=lambda item: (-item[1].count, item[0][0], item[0][1] or 0))
        return tuple(
            Reported(
                reporter,
                mtu,
                word.count,
                word.smallest,
                (
                    *texts_of(mtu_notes(family, mtu or 0, word.smallest), word.smallest, family),
                    *_contradictions(mtu or 0, word.smallest, passed),
                ),
            )
            for (reporter, mtu), word in said
        )


def _contradictions(mtu: int, size: int, passed: int) -> Iterator[str]:
    if size <= passed:
        yield f"packets of {passed} bytes arrived nevertheless"
    elif 0 < mtu < passed:
        yield f"larger packets fit: packets of {passed} bytes arrived"


class SearchContext(Struct, frozen=True):
    """Parts of the report besides the search's result."""

    version: str
    target: Target
    family: int
    interface: str
    interface_mtu: int
    source_address: str
    control_port: int | None
    most_requested: int
    """The largest size to try, as set by the user; 0 for any."""
    time_ns: int
    """Start ..."""
    now_ns: int
    """... and end of the search."""
    faults: dict[str, int]
    changed: frozenset[str] = frozenset()
    """Fields that were changed in packets that arrived, named as in `Reply`."""
    forged: tuple[str, ...] = ()
    """A note that somebody seems to be guessing probes, if so."""


def verdict_of(rounds: SearchRounds) -> str:
    """The verdict; `answered` and `refused` if something arrives but larger sizes are unknown."""
    search = rounds.search
    if rounds.is_unsent:
        return "unsent"
    if not search.passed:
        return _verdict_of_nothing(rounds)
    if is_picky(rounds) or (search.smallest_lost is None and search.passed < search.most):
        return "answered" if _proof(rounds) == "answer" else "refused"
    lost = search.smallest_lost or search.most + 1
    if search.passed >= search.most or lost == search.local_limit:
        return "ok"
    return "too-big" if search.is_reported(lost) else "black-hole"


def _verdict_of_nothing(rounds: SearchRounds) -> str:
    if rounds.has_no_neighbour:
        return "unreachable"
    said = [verdict for verdict in VERDICTS if rounds.complaints[verdict]]
    if said:
        return said[0]
    return "silent" if rounds.search.smallest_lost is None else "too-big"


def is_picky(rounds: SearchRounds) -> bool:
    """Whether the service answered nothing larger than its own request, which may be its choice."""
    search, proofs = rounds.search, rounds.proofs[rounds.deciding_role]
    return (
        proofs["answer"] > 0
        and not proofs["error"]
        and search.passed == rounds.least[rounds.deciding_role] < search.most
    )


def _proof(rounds: SearchRounds) -> str | None:
    """The evidence for most of what arrived."""
    said = sum((rounds.proofs[role] for role in range(len(rounds.proofs))), type(rounds.complaints)())
    return PROOFS[said.most_common(1)[0][0]] if said else None


def outcome(rounds: SearchRounds, reports: Reports, locator: Locator | None, context: SearchContext) -> MtuReport:
    """The report.

    Args:
        rounds: the search, finished or interrupted.
        reports: by routers.
        locator: located the black hole, if it was searched for.
        context: other parts of the report.
    """
    verdict, search = verdict_of(rounds), rounds.search
    mtu = _path_mtu(rounds, verdict)
    hole = (
        BlackHole(
            search.passed,
            search.smallest_lost or 0,
            locator.after if locator else None,
            locator.before if locator else None,
        )
        if verdict == "black-hole"
        else None
    )
    name = errno.errorcode.get(next(iter(rounds.send_errnos), 0)) if verdict == "unsent" else None
    said = reports.reported(context.family, search.passed)
    neighbour_notes = no_neighbour_notes(context.family, context.interface) if rounds.has_no_neighbour else ()
    return MtuReport(
        version=context.version,
        target=context.target,
        verdict=verdict,
        errno=name,
        path_mtu=mtu,
        udp_payload_max=None if mtu is None else mtu - HEADER_BYTES[context.family],
        proof=None if mtu is None else _proof(rounds) or "routers",
        state=search.state.value,
        interface=context.interface,
        interface_mtu=context.interface_mtu,
        source_address=context.source_address,
        control_port=context.control_port,
        reports=said,
        black_hole=hole,
        sent=len(rounds.sent) + (locator.sent if locator else 0),
        duration_ms=(context.now_ns - context.time_ns) / MS,
        time_ns=context.time_ns,
        notes=(*neighbour_notes, *_notes(rounds, verdict, context), *context.forged),
        advice=_advice(verdict, name, mtu, hole, said, context, has_no_neighbour=rounds.has_no_neighbour)
        if not _is_cut(rounds) or mtu is None
        else None,
        faults=context.faults,
    )


def _is_cut(rounds: SearchRounds) -> bool:
    """Whether the search was interrupted: then it is known what fits, but not what to set."""
    return rounds.search.state is not Phase.SEARCH_COMPLETE


def _path_mtu(rounds: SearchRounds, verdict: str) -> int | None:
    """The largest size that arrived; for a silent host, the largest that no router reported as too big."""
    if verdict in {"ok", "too-big", "black-hole"}:
        return rounds.search.passed or next(iter(_unreported(rounds)), None)
    return None


def _unreported(rounds: SearchRounds) -> list[int]:
    """The MTU that routers reported last, unless one also reported that size as too big."""
    named = sorted(rounds.search.hints)[:1]
    return [size for size in named if not rounds.search.is_reported(size)]


def _notes(rounds: SearchRounds, verdict: str, context: SearchContext) -> Iterator[str]:
    search, passed = rounds.search, rounds.search.passed
    lost = search.smallest_lost
    service, control = rounds.proofs[SERVICE], rounds.proofs[CONTROL] if len(rounds.proofs) > CONTROL else {}
    is_cut = _is_cut(rounds)
    candidates = (
        (
            not passed and verdict == "too-big",
            "nothing came back from the destination itself: this is what routers report",
        ),
        (
            verdict == "answered" and not is_cut,
            "the service answers its usual request, but no larger one; that need not be the path's fault",
        ),
        (passed and is_cut and lost, f"the search is incomplete: {passed} bytes arrived, {lost} did not"),
        (passed and is_cut and not lost, "the search is incomplete: too few replies to tell what fits"),
        (control and not service, f"the service is silent; refusals of port {context.control_port} show what arrives"),
        (lost and lost == search.local_limit, f"this host itself cannot send {lost} bytes"),
        (
            verdict == "ok" and search.most == context.most_requested < context.interface_mtu,
            f"packets larger than {search.most} bytes were not tried",
        ),
        (
            0 < passed < LEAST_MTU[context.family] and lost,
            f"every link must carry {LEAST_MTU[context.family]} bytes: look for a filter",
        ),
        (
            verdict == "black-hole" and service and not control and set(service) == {"answer"},
            "only answers show what arrives: large answers may be lost on the way back",
        ),
        (
            "df" in context.changed,
            "a refusal quotes packets without DF: a router may clear it and fragment large packets",
        ),
        ("port" in context.changed, "the service answers from a port other than the one probed"),
        (
            rounds.refusals.gap_ns >= NOTEWORTHY_NS,
            f"the host limits its refusals to one every {rounds.refusals.gap_ns / SECOND:.1f} s; the search waited",
        ),
        *(
            (True, f"the path changed: {each} bytes arrived at first, but not later")
            for each in sorted(search.shrunk_from)
        ),
        *(
            (passed > 0, f"other ICMP errors came back: {each} ({count})")
            for each, count in sorted(rounds.complaints.items())
        ),
    )
    return (text for holds, text in candidates if holds)


def limiter_of(reports: Sequence[Reported], mtu: int | None) -> Reported | None:
    """The limiting router: the one that reports the path's MTU, or the smallest."""
    least = min(reports, key=lambda each: each.mtu or 0, default=None)
    return next((each for each in reports if each.mtu == mtu), least)


def misreporter_of(reports: Sequence[Reported], mtu: int | None) -> Reported | None:
    """The router that reports a wrong MTU, if none reports the right one."""
    if mtu is None or any(each.mtu == mtu for each in reports):
        return None
    return min((each for each in reports if each.smallest > mtu), key=lambda each: each.smallest, default=None)


def _advice(
    verdict: str,
    name: str | None,
    mtu: int | None,
    hole: BlackHole | None,
    reports: Sequence[Reported],
    context: SearchContext,
    *,
    has_no_neighbour: bool,
) -> str | None:
    """Advice. Setting an interface's MTU is advised only if path MTU discovery fails: black hole, or false report."""
    target, size = context.target, (mtu or 0) - HEADER_BYTES[context.family]
    misreporter = misreporter_of(reports, mtu)
    match verdict:
        case "ok" | "answered" | "refused":
            return None  # a closed port also shows that probes arrive
        case "black-hole" if mtu is not None and mtu < LEAST_MTU[context.family]:
            case = Case("below-least", str(mtu), LEAST_MTU[context.family])
        case "black-hole" if hole and mtu is not None:
            case = Case("black-hole", hole.after or "this host", mtu)
        case "too-big" if misreporter and mtu is not None:
            case = Case("wrong-mtu", misreporter.reporter, mtu)
        case "too-big" if mtu is not None:
            limiter = limiter_of(reports, mtu)
            case = Case("too-big", limiter.reporter if limiter else SOMEBODY, size)
        case "too-big":
            case = Case("too-big-unknown", reports[0].reporter if reports else SOMEBODY)
        case "silent":
            case = Case("no-evidence")
        case "unsent":
            case = unsent_case(name)
        case "unreachable" if has_no_neighbour:
            case = Case("no-neighbour")
        case _:
            case = Case("who-stops")
    return sentence(
        case,
        [endpoint_text(target.address, target.port, target.zone)],
        target.address,
        errors=ICMP_NAMES[context.family],
    )
