"""Compares two reports, destination by destination: the decisions of `diff`. Pure.

Reports of other versions and other commands are read as far as possible: a missing field is no difference, and an
unknown one is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from udpprobe.core.model import REPORT_SCHEMA, Model, Spread
from udpprobe.core.verdicts import VERDICTS
from udpprobe.errors import UdpprobeError, UsageError, meant

CHANGES = ("worse", "new", "gone", "better", "same")
"""Kinds of change, most important first."""

_BY_REACH = (
    "answered",
    "silent",
    "quenched",
    "refused",
    "malformed",
    "reassembly",
    "too-big",
    "rejected",
    "prohibited",
    "unreachable",
    "expired",
    "loop",
    "unsent",
)
"""Verdicts from best to worst, by how far the datagram got. Silence is better than a refusal, because a service may be
listening; and what arrives is better than what is stopped on the way."""

SIGMAS = 3.0
"""Loss differs if a two-proportion z-test finds a difference of this many standard deviations: one false alarm in 370
destinations."""
LEAST_LOST, LEAST_LOSS = 5, 0.01
"""The test is invalid for fewer lost datagrams, and a smaller share does not matter."""

LEAST_RTT_MS = 1.0
JITTERS = 3.0
"""An RTT differs if the medians differ by more than this many times (median - minimum) of either run,"""
RTT_SHARE, FEW_RTT_SHARE = 0.25, 1.0
"""and by more than this share of the smaller one; by more than all of it if one run has few answers."""
FEW_ANSWERS = 5


# ---- the parts of reports that are compared


class ReadFinding(Struct, gc=False):
    """See `model.Finding`."""

    verdict: str | None = None
    reporter: str | None = None
    count: int = 0
    mtu: int | None = None


class ReadUnmatched(ReadFinding, gc=False):
    """See `model.Unmatched`; in JSON, its finding's fields are its own."""

    address: str = ""
    port: int | None = None
    source: str | None = None
    source_port: int | None = None


class ReadDestination(Struct, gc=False):
    """See `model.Destination`."""

    address: str
    port: int | None = None
    verdict: str | None = None
    sent: int = 0
    answered: int = 0
    errors: int = 0
    rtt_ms: Spread | None = None
    findings: tuple[ReadFinding, ...] = ()
    source: str | None = None
    source_port: int | None = None
    zone: str | None = None
    advice: str | None = None


class ReadSource(Struct, gc=False):
    """See `model.SourceReport`."""

    kind: str = ""
    name: str = ""


class ReadReport(Struct, gc=False):
    """See `model.Report`."""

    schema: str = ""
    source: ReadSource = msgspec.field(default_factory=ReadSource)
    destinations: tuple[ReadDestination, ...] = ()
    unmatched: tuple[ReadUnmatched, ...] = ()
    interrupted: bool = False


def read_report(text: bytes, name: str) -> ReadReport:
    """Parse a report's JSON.

    Args:
        text: one JSON object.
        name: of the file, for error messages.

    Raises:
        UdpprobeError: it is not a report that can be compared.
    """
    try:
        report = msgspec.json.decode(text, type=ReadReport)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UdpprobeError(f"{name}: is not a JSON report ({error}); write one with --format json") from error
    if report.schema != REPORT_SCHEMA:
        what = f"a document of {report.schema}" if report.schema else "a JSON document without a schema"
        raise UdpprobeError(f"{name}: is {what}; diff compares {REPORT_SCHEMA}, which analyze, scan and watch write")
    return report


class _Report(Protocol):
    """The fields that a report has in either form: read from a file, or just made."""

    @property
    def destinations(self) -> Sequence[Any]: ...
    @property
    def unmatched(self) -> Sequence[Any]: ...


# ---- the states of each destination


class State(Model, frozen=True):
    """What one of the reports says about a destination."""

    verdict: str | None
    """None if that run was interrupted before it was known."""
    verdicts: tuple[str, ...]
    """That verdict, and those of the findings."""
    reporters: tuple[str, ...]
    """Senders of the errors that decided the verdict."""
    mtu: int | None
    """The smallest MTU reported."""
    sent: int
    answered: int
    errors: int
    loss: float | None
    """Share of the datagrams that were not answered, 0 to 1; None if none was answered."""
    rtt_ms: Spread | None


class Difference(Model, frozen=True):
    """One difference between the two reports."""

    what: str
    """`verdict`, `reporter`, `mtu`, `loss` or `rtt_ms`."""
    before: Any
    after: Any
    change: str
    """`worse` or `better`."""


class Compared(Model, frozen=True):
    """A destination of one or both reports."""

    address: str
    port: int | None
    zone: str | None
    source: str | None
    source_port: int | None
    change: str
    """One of `CHANGES`."""
    before: State | None
    after: State | None
    differences: tuple[Difference, ...]
    advice: str | None

    @property
    def new_verdicts(self) -> tuple[str, ...]:
        """The verdicts that AFTER has and BEFORE does not."""
        known = self.before.verdicts if self.before else ()
        return tuple(each for each in self.after.verdicts if each not in known) if self.after else ()


class Comparison(Model, frozen=True):
    """All destinations of two reports."""

    before: str
    after: str
    """Names of the two reports."""
    counts: dict[str, int]
    """Number of destinations for each of `CHANGES`."""
    destinations: tuple[Compared, ...]
    """The greatest changes first."""


_Key = tuple[str, int | None, str | None, str | None, int | None]


def compare(before: _Report, after: _Report, names: tuple[str, str]) -> Comparison:
    """Compare each destination of one report with the same destination of the other.

    Args:
        before: the first report.
        after: the second report, with the same grouping.
        names: of the two reports.

    Raises:
        UdpprobeError: one report is by flow, and the other is not.
    """
    old, new = _by_key(before), _by_key(after)
    if old and new and any(key[3] is None for key in old) != any(key[3] is None for key in new):
        raise UdpprobeError("one report is grouped by flow, the other is not; compare reports that are grouped alike")
    rows = [_compared(key, old.get(key), new.get(key)) for key in dict.fromkeys((*new, *old))]
    rows.sort(key=_order)
    counts = {change: sum(row.change == change for row in rows) for change in CHANGES}
    return Comparison(*names, counts, tuple(rows))


class _Subject:
    """A destination in one of the reports, with the errors about it whose datagrams were not captured."""

    def __init__(self) -> None:
        self.own: Any = None
        self.findings: list[Any] = []

    def state(self) -> State:
        own, found = self.own, self.findings
        worst = min((_verdict_rank(each.verdict) for each in found), default=len(VERDICTS))
        verdict = own.verdict if own else VERDICTS[worst] if worst < len(VERDICTS) else None
        words = (verdict, *(each.verdict for each in found))
        return State(
            verdict=verdict,
            verdicts=tuple(dict.fromkeys(filter(None, words))),
            reporters=tuple(sorted({each.reporter for each in found if each.reporter and each.verdict == verdict})),
            mtu=min((each.mtu for each in found if each.mtu is not None), default=None),
            sent=own.sent if own else 0,
            answered=own.answered if own else 0,
            errors=own.errors if own else sum(each.count for each in found),
            loss=max(1 - own.answered / own.sent, 0.0) if own and own.sent and own.answered else None,
            rtt_ms=own.rtt_ms if own else None,
        )


def _by_key(report: _Report) -> dict[_Key, _Subject]:
    subjects: dict[_Key, _Subject] = {}
    for each in report.destinations:
        subject = subjects.setdefault((each.address, each.port, each.zone, each.source, each.source_port), _Subject())
        subject.own = each
        subject.findings += each.findings
    for entry in report.unmatched:
        subject = subjects.setdefault((entry.address, entry.port, None, entry.source, entry.source_port), _Subject())
        subject.findings.append(getattr(entry, "finding", entry))
    return subjects


def _verdict_rank(verdict: str | None) -> int:
    return VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS)


def _reach(verdict: str | None) -> int:
    return _BY_REACH.index(verdict) if verdict in _BY_REACH else len(_BY_REACH)


def _order(row: Compared) -> tuple[Any, ...]:
    state = row.after or row.before
    reach = _reach(state.verdict) if state else 0
    return CHANGES.index(row.change), -reach, row.address, row.port or 0, row.source or "", row.source_port or 0


def _compared(key: _Key, old: _Subject | None, new: _Subject | None) -> Compared:
    before = old.state() if old else None
    after = new.state() if new else None
    differences: tuple[Difference, ...] = ()
    if before is None or after is None:
        change = "gone" if after is None else "new"
    else:
        differences = tuple(filter(None, (rule(before, after) for rule in _RULES)))
        change = _overall(differences)
    return Compared(*key, change, before, after, differences, _advice(change, after, differences, new))


def _overall(differences: Sequence[Difference]) -> str:
    """A change of the verdict decides. Without one, a single difference for the worse makes it worse."""
    verdict = next((each.change for each in differences if each.what == "verdict"), None)
    return verdict or min((each.change for each in differences), key=CHANGES.index, default="same")


def _advice(change: str, after: State | None, differences: Sequence[Difference], new: _Subject | None) -> str | None:
    if change in {"same", "better"}:
        return None
    if change == "gone":
        return "Check whether the second run probed it at all: its report does not mention it."
    known = getattr(new.own, "advice", None) if new and new.own else None
    if known:
        return str(known)
    if change == "new" and after and after.verdict in {"answered", "silent"}:
        return None
    if change == "new":
        return f"See what sends there now; udpprobe explain {after.verdict if after else ''} says what it means."
    which = ", ".join(each.what.removesuffix("_ms") for each in differences if each.change == "worse")
    return f"Find out what changed between the two runs, on the host and on the way: worse is its {which}."


# ---- the rules: each returns a difference, or None


def _by_verdict(before: State, after: State) -> Difference | None:
    if before.verdict == after.verdict or before.verdict is None or after.verdict is None:
        return None  # undecided is neither better nor worse
    is_worse = _reach(after.verdict) > _reach(before.verdict)
    return Difference("verdict", before.verdict, after.verdict, "worse" if is_worse else "better")


def _by_reporter(before: State, after: State) -> Difference | None:
    """For equal verdicts: a reporter who did not complain before is worse, one who no longer does is better."""
    if before.verdict != after.verdict or before.reporters == after.reporters:
        return None
    is_worse = not set(after.reporters) <= set(before.reporters)
    return Difference("reporter", before.reporters, after.reporters, "worse" if is_worse else "better")


def _by_mtu(before: State, after: State) -> Difference | None:
    if before.mtu is None or after.mtu is None or before.mtu == after.mtu:
        return None  # a limit that appears or disappears changes the verdict, which is compared already
    return Difference("mtu", before.mtu, after.mtu, "worse" if after.mtu < before.mtu else "better")


def _by_loss(before: State, after: State) -> Difference | None:
    """The two-proportion z-test, for destinations that answer in both runs."""
    if before.loss is None or after.loss is None:
        return None
    lost = before.loss * before.sent + after.loss * after.sent
    share = lost / (before.sent + after.sent)
    deviation = sqrt(share * (1 - share) * (1 / before.sent + 1 / after.sent))
    apart = abs(after.loss - before.loss)
    if lost < LEAST_LOST or apart < LEAST_LOSS or apart <= SIGMAS * deviation:
        return None
    return Difference(
        "loss", round(before.loss, 6), round(after.loss, 6), "worse" if after.loss > before.loss else "better"
    )


def _by_rtt(before: State, after: State) -> Difference | None:
    """Compare the medians with the jitter of either run. Outliers move the maximum, but neither median nor minimum."""
    one, other = before.rtt_ms, after.rtt_ms
    if one is None or other is None:
        return None
    is_few = min(before.answered, after.answered) < FEW_ANSWERS
    noise_ms = max(
        LEAST_RTT_MS,
        JITTERS * (one.median - one.min),
        JITTERS * (other.median - other.min),
        (FEW_RTT_SHARE if is_few else RTT_SHARE) * min(one.median, other.median),
    )
    if abs(other.median - one.median) <= noise_ms:
        return None
    return Difference(
        "rtt_ms", round(one.median, 6), round(other.median, 6), "worse" if other.median > one.median else "better"
    )


_RULES: tuple[Callable[[State, State], Difference | None], ...] = (
    _by_verdict,
    _by_reporter,
    _by_mtu,
    _by_loss,
    _by_rtt,
)


# ---- --fail-on


def parse_failing(words: str) -> frozenset[str]:
    """Parse the words of `--fail-on`: `new`, `gone`, `worse`, `better`, and `new-VERDICT`.

    Raises:
        UsageError: a word is none of these, or there is no word.
    """
    known = (*CHANGES[:-1], *(f"new-{verdict}" for verdict in VERDICTS))
    found = [word.strip() for word in words.split(",")]
    strange = [word for word in found if word not in known]
    if strange:
        raise UsageError(
            f"{strange[0]!r} is nothing that can fail here; use {', '.join(CHANGES[:-1])} and "
            f"new-VERDICT, with a verdict of {', '.join(VERDICTS)}"
            f"{meant(strange[0], known)}"
        )
    return frozenset(found)


def failing_changes(rows: Iterable[Compared], failing: frozenset[str]) -> frozenset[str]:
    """The words of `failing` that apply; `new-refused` does if AFTER has that verdict and BEFORE does not."""
    return failing.intersection(
        word for row in rows for word in (row.change, *(f"new-{verdict}" for verdict in row.new_verdicts))
    )
