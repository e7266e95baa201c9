"""From a scan's replies to its report: every requested destination, including silent ones."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cache, partial
from itertools import chain
from types import MappingProxyType

from msgspec import Struct, field
from msgspec.structs import replace

from udpprobe.core.addresses import address_text, is_group
from udpprobe.core.advice import case_of_verdict, sentence
from udpprobe.core.departures import values_at
from udpprobe.core.model import (
    FEWEST_ALIKE,
    Alike,
    AlikeColumns,
    Destination,
    Finding,
    Loop,
    Parts,
    Spread,
    answer_from,
    median,
)
from udpprobe.core.notes import AMPLIFIER, GROUP_MEMBER, NO_ERRORS_ARRIVE, NO_REPLY, no_neighbour_notes, texts_of
from udpprobe.core.sweep import divided, families_of_alike, runs
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS, Meaning, meaning_of, verdict_of
from udpprobe.endpoints import endpoint_text
from udpprobe.scanning.pacing import Pacing
from udpprobe.scanning.plan import Plan
from udpprobe.scanning.record import THIS_HOST, Found, Kind, ScanRecord
from udpprobe.scanning.replies import Unsolicited
from udpprobe.scanning.unanswered import HELD, LIMITED, REPLIED, SILENT, UNDECIDED, UNSENT

NS_PER_MS = 1e6
MOST_ROUTERS = 32
"""Routers of a loop that are named; few loops have more than ten."""
AMPLIFIES = 10
"""Factor. A typical DNS answer is five times as long as its question, and NTP's usual answer as long as its
question."""
HEADER_BYTES = {4: 28, 6: 48}
"""IP and UDP header, by family."""
NO_REFUSAL = "no reply, and no closed port of this host was refused"
SEEN_LOOPING = "seen looping: the same datagram again, its TTL lower each time"
IMPLIED_BY_ERRNO = frozenset({"refused", "too-big"})
"""Verdicts for which the errno says as much as type and code."""
TIME_EXCEEDED = {(4, 11, 0), (6, 3, 0)}
"""Family, type and code: TTL exceeded in transit."""
RANK = {verdict: rank for rank, verdict in enumerate((*VERDICTS, None))}
"""0 for the most telling verdict; for none, more than for any."""


class Known(Struct, frozen=True):
    """Everything a scan knows at its end."""

    plan: Plan
    pacing: Pacing
    record: ScanRecord
    send_errnos: Mapping[int, int]
    """By task, the errno with which this host did not send to it."""
    loop_ttl: int = 32
    """An expired TTL that started at least this high means a loop."""
    tells_origin: bool = True
    """Whether the engine reports who sent an error, and its type and code."""
    notes: Sequence[Mapping[int, str]] = ()
    """By task, additional notes."""
    unsolicited: Mapping[int, Unsolicited] = MappingProxyType({})
    """By task, datagrams from an address or port that was not probed."""
    interface_of: Callable[[int], str] = lambda _: ""
    """Name of the interface that a task's probes are sent on."""
    hosts_by_answers: dict[int, frozenset[int]] = field(default_factory=dict)
    """Hosts that answer on some port, by the number of answered tasks when this was computed."""

    def answers_somewhere(self, host: int) -> bool:
        """Whether any port of a host has answered by now."""
        answers = self.record.answers
        if len(answers) not in self.hosts_by_answers:
            self.hosts_by_answers.clear()
            self.hosts_by_answers[len(answers)] = frozenset(self.plan.host[task] for task in answers)
        return host in self.hosts_by_answers[len(answers)]


class ScanOutcome(Mapping[int, Destination]):
    """The destinations of a scan by task, worst first. Ordinary refusals are made on demand.

    Args:
        known: what the scan knows.
        order: the tasks.
        prepared: the destinations that are already made.
        alike: (tasks,) the family of tasks that are made on demand; else 0.
    """

    def __init__(self, known: Known, order: array[int], prepared: Mapping[int, Destination], alike: bytearray) -> None:
        self._known, self._order, self._prepared, self._alike = known, order, prepared, alike

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, task: int) -> Destination:
        return destination_of(self._known, task) if self._alike[task] else self._prepared[task]

    def beginning_with(self, tasks: Iterable[int]) -> ScanOutcome:
        """The same outcome with these tasks first."""
        first = dict.fromkeys(tasks)
        rest = (task for task in self._order if task not in first)
        return ScanOutcome(self._known, array("I", chain(first, rest)), self._prepared, self._alike)

    def rows(self) -> Parts:
        """The destinations in their order."""
        order = self._order
        return Parts(self._parts, len(order), lambda place: self[order[place]])

    def _parts(self) -> Iterator[Destination | Alike]:
        return _in_parts(self._known, self._order, values_at(self._alike, self._order), self.__getitem__)


def settled_rows(known: Known, tasks: Sequence[int]) -> Parts:
    """The destinations of some settled tasks, in their order; where many are alike, none is made.

    Args:
        known: what the scan knows.
        tasks: none of them is in `notes`.
    """
    plan, record, refusals = known.plan, known.record, known.record.refusals
    more: tuple[Mapping[int, object], ...] = (record.answers, record.loops, known.unsolicited, *known.notes)
    more = tuple(filter(None, more))
    families = cache(partial(_family_of_alike, plan))

    def family_if_alike(task: int) -> int:
        if refusals.came_ns[task] == 0 or refusals.took_ns[task] < 0 or plan.sent[task] != 1 or not known.tells_origin:
            return 0
        if more and any(task in some for some in more):
            return 0
        return int(families(plan.host[task]))

    made = partial(destination_of, known)
    parts = list(_in_parts(known, tasks, bytes(map(family_if_alike, tasks)), made))
    return Parts(lambda: iter(parts), len(tasks), lambda place: made(tasks[place]))


def _family_of_alike(plan: Plan, host: int) -> int:
    """Of a host whose refused tasks are alike; 0 for a group of hosts, whose are not."""
    return (
        0 if is_group(*plan.tasks.address(plan.requested_count + host)) else plan.family_of(plan.requested_count + host)
    )


def _in_parts(
    known: Known, tasks: Sequence[int], families: bytes | bytearray, made: Callable[[int], Destination]
) -> Iterator[Destination | Alike]:
    """The destinations of tasks: as objects, or in groups that are alike.

    Args:
        known: what the scan knows.
        tasks: which, in their order.
        families: of each task that is alike; else 0.
        made: makes the object of a task.
    """
    plan, refusals = known.plan, known.record.refusals
    columns = AlikeColumns(
        plan.tasks.high, plan.tasks.low, plan.port, plan.sent_bytes, refusals.came_ns, refusals.took_ns
    )
    first = 0
    for end in runs(families):
        is_alike, some, first = families[first] > 0, array("I", tasks[first:end]), end
        if is_alike and len(some) >= FEWEST_ALIKE:
            yield Alike(destination_of(known, some[0]), some, columns)
        else:
            yield from map(made, some)


def outcome(known: Known, undecided: AbstractSet[int] = frozenset()) -> ScanOutcome:
    """The destinations of a scan, worst first, without those that it had no time to probe.

    Args:
        known: what the scan knows.
        undecided: tasks whose verdict a later packet could have changed.
    """
    plan, state = known.plan, known.pacing.state
    high, low = plan.tasks.high, plan.tasks.low
    families = _alike_in(known, undecided)
    prepared: dict[int, Destination] = {}
    ranked = [array("I") for _ in RANK]
    refused = ranked[RANK["refused"]]
    for host in sorted(
        range(plan.hosts), key=lambda host: (high[plan.requested_count + host], low[plan.requested_count + host])
    ):
        those, others = divided(plan.tasks_of(host), families)
        refused.extend(those)
        for task in others:
            if state[task] != UNDECIDED or plan.sent[task]:
                prepared[task] = _undecided(known, task) if task in undecided else destination_of(known, task)
                ranked[RANK[prepared[task].verdict]].append(task)
    return ScanOutcome(known, array("I", chain.from_iterable(ranked)), prepared, families)


def _alike_in(known: Known, undecided: AbstractSet[int]) -> bytearray:
    """(tasks,) the family of tasks probed once and refused once by themselves, with nothing else to report; else 0."""
    plan, record = known.plan, known.record
    if not known.tells_origin or not any(record.refusals.came_ns):
        return bytearray(len(plan))
    families = bytes(_family_of_alike(plan, host) for host in range(plan.hosts))
    found = families_of_alike(record.refusals, plan.sent, plan.host, families)
    for task in chain(record.answers, record.loops, undecided, known.unsolicited, *known.notes):
        found[task] = 0
    return found


def unsettled_tasks(known: Known, now_ns: int) -> frozenset[int]:
    """Tasks whose verdict is not settled at this time."""
    plan, pacing = known.plan, known.pacing
    found, may_reply = set(), cache(lambda host: pacing.silence_settles_ns(host) > now_ns)
    for task in range(plan.requested_count):
        state = pacing.state[task]
        if (
            state == UNDECIDED
            or (state == REPLIED and not is_settled(known, task, now_ns))
            or (state in {SILENT, LIMITED} and may_reply(plan.host[task]))
        ):
            found.add(task)
    return frozenset(found)


def _undecided(known: Known, task: int) -> Destination:
    """A destination whose verdict is undecided."""
    return replace(destination_of(known, task), verdict=None, errno=None, meaning=None, notes=(), advice=None)


def is_settled(known: Known, task: int, now_ns: int) -> bool:
    """Whether nothing can change the verdict that an answer or an error gave a task."""
    if known.record.answered[task] or known.record.refusals.came_ns[task]:
        return True
    wait_ns = known.pacing.settling_ns(known.plan.host[task])
    return any(
        found.first_ns + wait_ns <= now_ns or kind.is_refusal_by(known.plan.tasks.address(task))
        for kind, found in known.record.errors_of(task).items()
    )


def destination_of(known: Known, task: int) -> Destination:
    """The result of a task's probes so far."""
    plan, record = known.plan, known.record
    findings = _findings(known, task)
    sent, answered = plan.sent[task], min(plan.sent[task], record.answered[task])
    verdict = (
        "answered"
        if answered and not _is_refused_before(known, task)
        else min((finding.verdict for finding in findings), key=RANK.__getitem__, default=None) or "silent"
    )
    errors = sum(finding.count for finding in findings if finding.icmp_type is not None)
    rtt_ms, name, meaning = _spread(record.rtts_ns(task)), ERRNO_OF_VERDICT.get(verdict), None
    notes: tuple[str, ...] = ()
    if sent > 1 and rtt_ms and not errors:
        # After a retry, the answer may be to any of the probes, so it gives no RTT (Karn's algorithm, RFC 6298, 3).
        rtt_ms, notes = None, (f"probed {sent} times before it answered",)
    if verdict == "silent":
        verdict, name, meaning, notes = _silent(known, task)
    notes += tuple(some[task] for some in known.notes if task in some)
    notes += _amplification(known, task)
    if not known.tells_origin:
        findings = tuple(map(_anonymous, findings))
    address, port = address_text(*plan.tasks.address(task)), plan.port[task]
    case = case_of_verdict(verdict, findings, address, meaning=meaning, errno=name, answered=answered, notes=notes)
    return Destination(
        address=address,
        port=port,
        verdict=verdict,
        errno=name,
        meaning=meaning,
        sent=sent,
        sent_bytes=plan.sent_bytes[task],
        answered=answered,
        errors=errors,
        rtt_ms=rtt_ms,
        findings=findings,
        notes=notes,
        advice=sentence(case, [endpoint_text(address, port)], address),
    )


def _amplification(known: Known, task: int) -> tuple[str, ...]:
    """Whether a service sends many times the bytes it receives: an attacker with a forged source can abuse it."""
    record, family = known.record, known.plan.family_of(task)
    answered = record.answered_bytes[task] + HEADER_BYTES[family] * record.answered[task]
    times = answered // max(known.plan.sent_bytes[task], 1)
    return (f"answers with {times} times the bytes it was sent: {AMPLIFIER}",) if times >= AMPLIFIES else ()


def _is_refused_before(known: Known, task: int) -> bool:
    """Whether the host itself refused a task before it answered: that settled it. No other error does."""
    return any(
        kind.is_refusal_by(known.plan.tasks.address(task)) and found.first_ns < known.record.first_answer_ns[task]
        for kind, found in known.record.errors_of(task).items()
    )


# ---- findings


def _findings(known: Known, task: int) -> tuple[Finding, ...]:
    """The findings of a task, worst first."""
    kinds, seen, unsolicited = known.record.errors_of(task), known.record.loops.get(task), known.unsolicited.get(task)
    if not kinds and not seen and not unsolicited:
        return ()
    found = [_finding(known, task, kind, each) for kind, each in kinds.items()]
    if unsolicited:
        found.append(_answer_from(known, task, unsolicited))
    if not seen and len(found) == 1 and found[0].verdict != "loop":  # the usual case
        return tuple(found)
    if seen:
        found.append(
            Finding(
                verdict="loop",
                errno=ERRNO_OF_VERDICT["loop"],
                linux=None,
                family=known.plan.family_of(task),
                icmp_type=None,
                icmp_code=None,
                reason="no-response",
                reporter=None,
                count=seen.passes,
                first_time_ns=seen.first_ns,
                last_time_ns=seen.last_ns,
                mtu=None,
                match="none",
                rtt_ms=None,
                loop=None,
                notes=(SEEN_LOOPING,),
            )
        )
    loops = sorted(
        (each for each in found if each.verdict == "loop"), key=lambda each: (each.reporter is None, each.first_time_ns)
    )
    if loops:
        routers = tuple(dict.fromkeys(each.reporter for each in loops if each.reporter))[:MOST_ROUTERS]
        loop = Loop(routers, seen.period if seen else None)
        found = [replace(each, loop=loop) if each.verdict == "loop" else each for each in found]
    return tuple(sorted(found, key=_worst_first))


def _answer_from(known: Known, task: int, unsolicited: Unsolicited) -> Finding:
    address = address_text(*unsolicited.address)
    note = (
        f"port {unsolicited.port}, which was not probed: not taken for an answer"
        if unsolicited.address == known.plan.tasks.address(task)
        else f"{endpoint_text(address, unsolicited.port)}, which was not probed"
    )
    return answer_from(
        known.plan.family_of(task), address, unsolicited.count, unsolicited.first_ns, unsolicited.last_ns, note
    )


def _worst_first(finding: Finding) -> tuple[int | str, ...]:
    return (
        RANK[finding.verdict],
        -finding.count,
        finding.reporter or "",
        finding.first_time_ns,
        finding.icmp_type or 0,
        finding.icmp_code or 0,
        finding.mtu or 0,
    )


def judged(known: Known, task: int, kind: Kind) -> tuple[Meaning, str | None]:
    """The meaning of an error about a task, and its verdict."""
    meaning = meaning_of(kind.family, kind.icmp_type, kind.icmp_code)
    is_loop = (kind.family, kind.icmp_type, kind.icmp_code) in TIME_EXCEEDED and (
        known.plan.ttl >= known.loop_ttl or task in known.record.loops
    )
    address = known.plan.tasks.address(task)
    return meaning, verdict_of(meaning, itself=kind.reporter == address, loop=is_loop, group=bool(is_group(*address)))


def _finding(known: Known, task: int, kind: Kind, found: Found) -> Finding:
    meaning, verdict = judged(known, task, kind)
    notes = texts_of(found.notes, found.length, kind.family)
    if kind.reporter == THIS_HOST:
        notes += no_neighbour_notes(kind.family, known.interface_of(task))
    if is_group(*known.plan.tasks.address(task)):
        notes += (GROUP_MEMBER,)
    return Finding(
        verdict=verdict,
        errno=ERRNO_OF_VERDICT.get(verdict or ""),
        linux=meaning.linux,
        family=kind.family,
        icmp_type=kind.icmp_type,
        icmp_code=kind.icmp_code,
        reason=meaning.reason,
        reporter=None if kind.reporter == THIS_HOST else address_text(*kind.reporter),
        count=found.count,
        first_time_ns=found.first_ns,
        last_time_ns=found.last_ns,
        mtu=kind.mtu if kind.mtu >= 0 else None,
        match="exact" if found.is_exact else "rewritten",
        rtt_ms=_spread(found.rtts_ns),
        loop=None,
        notes=notes,
    )


def _spread(rtts_ns: Sequence[int]) -> Spread | None:
    if not rtts_ns:
        return None
    if len(rtts_ns) == 1:
        return Spread(*[rtts_ns[0] / NS_PER_MS] * 3)
    return Spread(min(rtts_ns) / NS_PER_MS, median(rtts_ns) / NS_PER_MS, max(rtts_ns) / NS_PER_MS)


def _anonymous(finding: Finding) -> Finding:
    """A finding of an engine that sees only an errno, without the fields it had to invent."""
    reason = finding.reason if finding.verdict in IMPLIED_BY_ERRNO else "dest-unreach"
    return replace(finding, icmp_type=None, icmp_code=None, reporter=None, linux=None, reason=reason)


# ---- silence


def _silent(known: Known, task: int) -> tuple[str, str | None, str | None, tuple[str, ...]]:
    """Verdict, errno, meaning of silence, and notes of a silent task."""
    state = known.pacing.state[task]
    if state == UNSENT:
        name = errno.errorcode.get(known.send_errnos.get(task, 0))
        if known.plan.sent[task] == 0:
            return "unsent", name, None, ()
        return "silent", None, "no-evidence", (f"not probed again: {name}",)
    if not known.record.is_seen[task]:  # no proof that a probe left
        why = "held by this scan itself" if state == HELD else "not seen leaving this host"
        return "silent", None, "no-evidence", (why,)
    host = known.plan.host[task]
    meaning = _meaning(task, host, known.pacing)
    return "silent", None, meaning, (_why(meaning, task, host, known),)


def _meaning(task: int, host: int, pacing: Pacing) -> str:
    """What silence means in a scan, which has probed the host's closed ports and learned its rate limit.

    `core.destinations.Destinations._meaning` judges silence in a capture, from the order of its packets alone.
    """
    if pacing.drew_error[host] and pacing.state[task] in {UNDECIDED, LIMITED}:
        return "rate-limited"
    if pacing.others[host] and not pacing.drew_error[host]:  # it sends errors, but its limit left none for the scan
        return "rate-limited"
    return "listening-or-filtered" if pacing.refusal_count[host] else "no-evidence"


def _why(meaning: str, task: int, host: int, known: Known) -> str:
    """The reason for a meaning, and how certain it is."""
    sent, refusals = known.plan.sent, known.pacing.refusal_count[host]
    how_often = f"probed {sent[task]} times" if sent[task] > 1 else "probed once"
    if meaning == "listening-or-filtered":
        return f"{how_often}, while " + (
            "another port was refused" if refusals == 1 else f"other ports were refused {refusals} times"
        )
    if meaning == "rate-limited":
        return f"{how_often}; undecided: the host's ICMP rate limit was used up"
    if not sent[known.plan.requested_count + host]:  # no closed port was probed, so silence may mean a listener
        return how_often
    if known.answers_somewhere(host):
        return f"{how_often}; {NO_ERRORS_ARRIVE}"
    return f"{how_often}; {NO_REFUSAL if known.pacing.drew_error[host] else NO_REPLY}"


# ---- comments


def comments_of(destinations: Mapping[int, Destination], frames: Iterable[tuple[int, int]]) -> dict[int, str]:
    """By frame, the outcome of the destination it is about.

    Args:
        destinations: by task.
        frames: pairs of a frame and its task.
    """
    texts = {task: _comment(destination) for task, destination in destinations.items()}
    return {frame: texts[task] for frame, task in frames if task in texts}


def _comment(destination: Destination) -> str:
    words = [destination.verdict or "undecided"]
    if destination.meaning:
        words.append(f"({destination.meaning})")
    words += [f"by {finding.reporter}" for finding in destination.findings[:1] if finding.reporter]
    return " ".join(words)
