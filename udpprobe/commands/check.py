"""Check destinations against expectations: the `check` and `exporter` commands.

One scan covers all targets with equal probing; then path MTU searches and traces run in parallel.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from udpprobe import __version__
from udpprobe.checking.expectations import Check, Probing
from udpprobe.checking.states import Checked, Facts, Outcome, checked, unchecked, wants_mtu, wants_path
from udpprobe.commands import scan
from udpprobe.core.addresses import address_text
from udpprobe.core.model import Destination
from udpprobe.core.targets import Block, TargetSpec
from udpprobe.engines.prepare import EngineOptions
from udpprobe.errors import UdpprobeError
from udpprobe.interrupt import Interrupted, hurry, is_late, until
from udpprobe.linux.hostfacts import has_net_raw
from udpprobe.scanning.plan import ProbedDestinations
from udpprobe.targets import Wanted, resolve

if TYPE_CHECKING:
    from udpprobe.pmtud.model import MtuReport
    from udpprobe.tracing.model import TraceReport

Work = TypeVar("Work")
Result = TypeVar("Result")

AT_ONCE = 8
"""Path MTU searches, traces and name look-ups at a time."""
NO_RAW = "this needs CAP_NET_RAW"
TOO_LATE = "time ran out"
NOT_PROBED = UdpprobeError("undecided: time ran out")
STOPPED = UdpprobeError("undecided: interrupted")
LEAST_MOST = 1280
"""The path MTU is searched up to at least this size: every probe is smaller (and every IPv6 path carries it)."""
NEIGHBOUR_S = 3.3
"""Time until a router, or this host, gives up resolving a missing neighbour and reports it."""
RESERVE_S = 0.5
"""Part of the time limit that is reserved for output."""


class Settings(Struct, frozen=True):
    """How to check all targets."""

    timeout_s: float = 10
    """For everything."""
    silence_s: float = 1
    """Seconds to wait for a silent host after each probe."""
    retries: int = 2
    """Retries of a silent port."""
    confirm: int = 0
    """Number of further checks that must confirm a failure."""
    rate_pps: float = 1000
    engine: str = "auto"

    @property
    def patience_s(self) -> float:
        """Seconds to wait for a silent host in total."""
        return max(self.silence_s * (self.retries + 1), min(NEIGHBOUR_S, 4 * self.silence_s))


Endpoint = tuple[str, int]
"""Address and port."""
Place = ProbedDestinations | UdpprobeError
"""Where a target is, or why that is unknown."""
ScanKey = tuple[Probing, int]
"""How targets are probed, and on which link: on two links, hosts may have the same address. One scan for all."""
Found = dict[Endpoint, Facts] | UdpprobeError
"""What a scan found, or why it failed."""


def check(asks: Sequence[Check], settings: Settings, on_checked: Callable[[Checked], None] | None = None) -> Outcome:
    """Check targets, and check failures again as often as they must be confirmed.

    It ends in time, and says what is unknown by then. If a name has no address, or a privilege is missing, the targets
    that need it fail.

    Args:
        asks: targets and expectations.
        settings: how to check.
        on_checked: called with each check once its state is settled, from any thread, one at a time.
    """
    time_ns, start_s = time.time_ns(), time.monotonic()
    with until(start_s + max(settings.timeout_s - RESERVE_S, settings.timeout_s / 2)):
        run = _Run(settings, None if settings.confirm else on_checked)
        found = run.checked(asks)
        for _ in range(settings.confirm):
            failed = [row for row, checks in enumerate(found) if not _is_fine(checks)]
            if not failed or run.is_stopped or time.monotonic() - start_s > settings.timeout_s / 2:
                break
            again = run.checked([asks[row] for row in failed])
            for row, checks in zip(failed, again, strict=True):
                if not is_late() or _is_fine(checks):  # a failure that could not be confirmed in time remains one
                    found[row] = checks
    flat = tuple(each for checks in found for each in checks)
    if on_checked and settings.confirm:
        for each in flat:
            on_checked(each)
    return Outcome(
        flat,
        time.monotonic() - start_s,
        time_ns,
        __version__,
        tuple(dict.fromkeys(run.warnings)),
        run.is_stopped,
        run.is_cut,
    )


def _is_fine(checks: Sequence[Checked]) -> bool:
    return all(each.state == "OK" for each in checks)


class _Run(Struct):
    """One check in progress."""

    settings: Settings
    on_checked: Callable[[Checked], None] | None = None
    warnings: list[str] = field(default_factory=list)
    is_stopped: bool = False
    """Whether Ctrl-C came."""
    is_cut: bool = False
    """Whether time ran out."""
    _reported: set[tuple[Check, Endpoint]] = field(default_factory=set)
    """Checks that were reported."""
    _report_lock: threading.Lock = field(default_factory=threading.Lock)

    def checked(self, asks: Sequence[Check]) -> list[list[Checked]]:
        """The results of each ask, one per address and port."""
        places = self._side_by_side(_place, asks, lambda _: STOPPED)
        reports = self._scanned(asks, places)
        jobs = [list(_jobs(ask, place, reports)) for ask, place in zip(asks, places, strict=True)]
        results = iter(
            self._side_by_side(
                self._completed, [job for some in jobs for job in some], lambda job: _unchecked(job, STOPPED)
            )
        )
        return [list(islice(results, len(some))) for some in jobs]

    def _scanned(self, asks: Sequence[Check], places: Sequence[Place]) -> dict[ScanKey, Found]:
        """Scan results, grouped by how targets are probed."""
        together: dict[ScanKey, list[tuple[Check, ProbedDestinations]]] = defaultdict(list)
        for ask, place in zip(asks, places, strict=True):
            if not isinstance(place, UdpprobeError):
                together[_scan_key(ask, place)].append((ask, place))
        rate_pps = self.settings.rate_pps / max(len(together), 1)
        jobs = [(probing, some) for (probing, _), some in together.items()]
        found = self._side_by_side(lambda job: self._scan(*job, rate_pps), jobs, lambda _: STOPPED)
        return dict(zip(together, found, strict=True))

    def _scan(self, probing: Probing, probed: list[tuple[Check, ProbedDestinations]], rate_pps: float) -> Found:
        settings = self.settings
        listeners = scan.ScanListeners(
            on_warning=self.warnings.append,
            on_settled=partial(self._report_settled, probed) if self.on_checked else None,
        )
        options = EngineOptions(
            rate_pps=rate_pps,
            retries=settings.retries,
            timeout_s=settings.patience_s,
            linger_s=settings.silence_s,
            payload=probing.payload,
            interface=probing.interface,
            engine=settings.engine,
        )
        try:
            report = scan.scan(_united([place for _, place in probed]), options, listeners)
        except UdpprobeError as error:
            return error
        except Interrupted as stopped:
            report, undecided = stopped.report, stopped.undecided
            if is_late():
                self.is_cut = True
            else:
                self._stop()
        else:
            undecided = frozenset()
        return {
            (each.address, each.port or 0): self._facts(each, report.source.dropped or 0)
            for each in report.destinations
            if (each.address, each.port or 0) not in undecided
        }

    def _report_settled(self, probed: list[tuple[Check, ProbedDestinations]], rows: Sequence[Destination]) -> None:
        """Report checks that these destinations settle: those of a single address, without mtu and trace.

        Silence is judged at the scan's end only, when the packets that this host dropped are counted.
        """
        found = {(each.address, each.port or 0): each for each in rows if each.verdict != "silent"}
        for ask, place in probed:
            if len(place) == 1 and (row := found.get(_endpoint(place))) and not _wants_more(row, ask):
                self._report(ask, checked(ask.name, ask.group, self._facts(row), ask.expectation))

    def _report(self, ask: Check, made: Checked) -> None:
        """Report a check once; called from several threads."""
        if self.on_checked:
            with self._report_lock:
                key = ask, (made.address or "", made.port or 0)
                if key not in self._reported:
                    self._reported.add(key)
                    self.on_checked(made)

    def _facts(self, found: Destination, dropped: int = 0) -> Facts:
        return Facts(found, patience=f"; no reply within {self.settings.silence_s:g} s (--wait)", dropped=dropped)

    def _stop(self) -> None:
        """After Ctrl-C: end checks in progress. Results that are unknown by then stay unknown."""
        self.is_stopped = True
        hurry()

    def _completed(self, job: _Job) -> Checked:
        """The check with path MTU and path, if requested."""
        ask, place, found, instead = job
        if isinstance(found, UdpprobeError) or place is None:
            made = _unchecked(job, STOPPED if self.is_stopped and found is NOT_PROBED else found)
        else:
            facts = replace(found, instead=instead)
            if _wants_more(facts.destination, ask):
                facts = self._with_path_facts(ask, place, facts)
            made = checked(ask.name, ask.group, facts, ask.expectation)
        self._report(ask, made)
        return made

    def _with_path_facts(self, ask: Check, place: ProbedDestinations, facts: Facts) -> Facts:
        found = facts.destination
        if self.settings.engine not in {"auto", "raw"} or not has_net_raw():
            return replace(facts, blind=NO_RAW)
        try:
            measured = self._mtu(place, ask) if wants_mtu(found, ask.expectation) else None
            path = self._traced_path(place, ask) if wants_path(found, ask.expectation) else None
        except UdpprobeError as error:
            return replace(facts, blind=str(error))
        return replace(facts, mtu=measured, trace=path, blind=TOO_LATE)

    def _mtu(self, place: ProbedDestinations, ask: Check) -> MtuReport | None:
        """None if time ran out first."""
        from udpprobe.commands import mtu  # noqa: PLC0415 - where it is asked for
        from udpprobe.engines import wire  # noqa: PLC0415 - as below

        least = ask.expectation.min_mtu
        measured = mtu.mtu(
            wire.endpoint_of(place),
            mtu.MtuOptions(
                retries=self.settings.retries,
                timeout_s=self.settings.silence_s,
                payload=ask.probing.payload,
                interface=ask.probing.interface,
                most=max(least, LEAST_MOST),
            ),
        )
        is_known = not measured.interrupted or (measured.report.path_mtu or 0) >= least
        return measured.report if is_known else None

    def _traced_path(self, place: ProbedDestinations, ask: Check) -> TraceReport | None:
        """None if time ran out first."""
        from udpprobe.commands import trace  # noqa: PLC0415 - as above
        from udpprobe.engines import wire  # noqa: PLC0415 - as above

        traced = trace.trace(
            wire.endpoint_of(place),
            trace.TraceOptions(
                queries=1,
                timeout_s=self.settings.silence_s,
                payload=ask.probing.payload,
                interface=ask.probing.interface,
            ),
        )
        return None if traced.interrupted else traced.report

    def _side_by_side(
        self, function: Callable[[Work], Result], work: Sequence[Work], otherwise: Callable[[Work], Result]
    ) -> list[Result]:
        """The function's results, in order; Ctrl-C and the time limit apply here.

        Args:
            function: run for each item.
            work: the items.
            otherwise: result of an item that Ctrl-C stopped.
        """
        if len(work) <= 1:
            return list(map(function, work))
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not for one target

        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = [pool.submit(copy_context().run, function, each) for each in work]
            try:
                return [each.result() for each in waiting]
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop()  # the threads get no signal
                return [
                    otherwise(each) if result.cancelled() else result.result()
                    for each, result in zip(work, waiting, strict=True)
                ]


_Job = tuple[Check, ProbedDestinations | None, Facts | UdpprobeError, str | None]
"""What remains to be found out about one destination; and the family probed instead of an unreachable one."""


def _wants_more(found: Destination, ask: Check) -> bool:
    """Whether path MTU or path must be found out too."""
    return wants_mtu(found, ask.expectation) or wants_path(found, ask.expectation)


def wanted_of(probing: Probing) -> Wanted:
    """How to resolve targets that are probed like this."""
    return Wanted((), probing.family, probing.interface, probing.allow_broadcast)


def _place(ask: Check) -> Place:
    try:
        return resolve([ask.target], [], wanted_of(ask.probing)).destinations
    except UdpprobeError as error:
        return error


def _scan_key(ask: Check, place: ProbedDestinations) -> ScanKey:
    return ask.probing, max(place.zone)


def _jobs(ask: Check, place: Place, reports: dict[ScanKey, Found]) -> Iterator[_Job]:
    if isinstance(place, UdpprobeError):
        yield ask, None, place, None
        return
    found = reports[_scan_key(ask, place)]
    rows = [place.take(slice(row, row + 1)) for row in range(len(place))]
    each = [found if isinstance(found, UdpprobeError) else found.get(_endpoint(one), NOT_PROBED) for one in rows]
    sent = {
        _family_of(one)
        for one, result in zip(rows, each, strict=True)
        if isinstance(result, Facts) and result.destination.verdict != "unsent"
    }
    for one, result in zip(rows, each, strict=True):
        other = sent - {_family_of(one)} if isinstance(ask.target.host, str) else set()
        yield ask, one, result, other.pop() if other and isinstance(result, Facts) else None


def _family_of(place: ProbedDestinations) -> str:
    return "IPv6" if ":" in _endpoint(place)[0] else "IPv4"


def _unchecked(job: _Job, reason: UdpprobeError | Facts) -> Checked:
    ask, place, _, _ = job
    return unchecked(ask.name, ask.group, str(reason), None if place is None else _endpoint(place))


def _endpoint(place: ProbedDestinations) -> Endpoint:
    return address_text(*place.address(0)), place.port[0]


def _united(places: Sequence[ProbedDestinations]) -> ProbedDestinations:
    """All of them, without duplicates."""
    rows = ProbedDestinations.concatenate(list(places))
    columns = zip(rows.high, rows.low, rows.zone, rows.port, strict=True)
    targets = [
        TargetSpec("", Block(high << 64 | low, zone=str(zone or "")), (range(port, port + 1),))
        for high, low, zone, port in columns
    ]
    return resolve(targets, [], Wanted((), allow_broadcast=True)).destinations
