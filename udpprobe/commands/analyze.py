"""Analyse captures without sending: the `analyze` command."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import lru_cache
from itertools import islice, pairwise, starmap
from random import SystemRandom
from time import monotonic
from typing import IO

from msgspec import Struct

from udpprobe.capture.content import Named, is_stored
from udpprobe.capture.files import Arrival, CaptureFile, MergedCaptures
from udpprobe.capture.filter import Selection, filter_of
from udpprobe.capture.frames import SourceState
from udpprobe.capture.inputs import Inputs, threads_for
from udpprobe.capture.pieces import Piece, Seam, Survey, cut, survey
from udpprobe.commands.workers import Disordered, Followed, Giving, Part, Task, Threads, WorkerPool
from udpprobe.core.analyzer import KEPT_ROWS, MOST_WAITING, Analyzer, Kept
from udpprobe.core.model import Event, Report
from udpprobe.errors import CaptureError, UdpprobeError
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.report import EventBuilder, LoopsSoFar, Question, report_of

__all__ = ["AnalyzeOptions", "Interrupted", "OnEvents", "OnProgress", "analyze"]

LONGEST_WAIT_S = 1.0
"""Packets that trickle through a pipe are handled after this time, or twice that."""

EVENTS_AT_A_TIME = 1 << 10

WAITING_BYTES = 1 << 24
"""Bytes of errors kept in memory; more go to a file."""

OnEvents = Callable[[Sequence[Event]], None]
OnProgress = Callable[[SourceState], None]


class AnalyzeOptions(Struct, frozen=True):
    """What to read, and how to report it."""

    filter: str | None = None
    """A pcap filter expression; None for every frame."""
    since_ns: int | None = None
    """First time to include, nanoseconds since 1970."""
    until_ns: int | None = None
    """First time to exclude."""
    all_destinations: bool = False
    """Include healthy destinations."""
    group_by: str = "destination"
    """`destination`, `host`, `flow` or `reporter`."""
    loop_ttl: int = 32
    """A datagram that was sent with at least this TTL and expired was in a loop."""

    @property
    def selection(self) -> Selection:
        """The frames to read."""
        return Selection(self.filter, self.since_ns, self.until_ns)

    @property
    def question(self) -> Question:
        """Options of the report."""
        return Question(self.loop_ttl, self.all_destinations, self.group_by)


def analyze(
    inputs: Inputs,
    options: AnalyzeOptions,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    on_events: OnEvents | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Read captures to their end and report what happened to the datagrams in them.

    Args:
        inputs: files; those of one capture are merged by time stamps; "-" is standard input.
        options: what to read, and how to report it.
        workers: threads that read in parallel; None for as many as help.
        cluster: address of a Dask scheduler whose workers read, or `local`.
        on_events: called with every ICMP error, in capture order: for files at the end of their capture, because later
            packets may show a loop; for a pipe as soon as its datagram was searched for.
        on_progress: called with the source's state now and then.

    Raises:
        CaptureError: a file cannot be read, or is no capture; for several files, none can.
        UsageError: the filter is invalid.
        Interrupted: on Ctrl-C, after everything read by then was reported.
        KeyboardInterrupt: on Ctrl-C before anything was read, and on a second one.
    """
    task = Task(options.selection, SystemRandom().getrandbits(64), options.group_by == "flow", on_events is not None)
    if options.filter is not None:
        filter_of(options.filter)  # before any file is opened
    with CtrlC() as ctrl_c:
        with _worker_pool(inputs, workers, cluster, ctrl_c) as pool:
            named = inputs if cluster is None else inputs.for_others()
            run = _Run(named, task, options, on_events, on_progress, ctrl_c)
            run.follow_all(pool)
        report = report_of("analyze", run.analyzer or task.analyzer(), run.state, options.question, is_final=True)
    if ctrl_c.came:
        raise Interrupted(report)
    return report


@contextmanager
def _worker_pool(
    inputs: Inputs, workers: int | None, cluster: str | None, ctrl_c: CtrlC
) -> Iterator[WorkerPool | None]:
    """The workers that read pieces in parallel; None if this thread does everything."""
    if cluster is None:
        count = threads_for(inputs.files, workers)
        yield Threads(count, ctrl_c) if count > 1 else None
        return
    try:
        from udpprobe.commands.cluster import hired  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UdpprobeError("--cluster needs Dask; install udpprobe[cluster]") from error
    with hired(cluster, inputs.files, workers, ctrl_c) as pool:
        yield pool


class Waiting:
    """Keeps a capture's errors, in a file if there are many, until its end shows which of them belong to a loop."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._begins, self._firsts, self._frames = list[int](), list[int](), array("q")
        """Per `Kept`: its place in the file, and the index of its first row; and the frames of all rows."""

    def add(self, some: list[Kept]) -> None:
        """Add errors; the list is emptied."""
        if not some:
            return
        import pickle  # noqa: PLC0415 - most reports are without events
        from tempfile import SpooledTemporaryFile  # noqa: PLC0415 - as above

        some.reverse()
        while some:
            if self._file is None:
                self._file = SpooledTemporaryFile(WAITING_BYTES)  # noqa: SIM115 - `close` closes it
            kept = some.pop()
            self._begins.append(self._file.tell())
            self._firsts.append(len(self._frames))
            self._frames.extend(kept.frames())
            pickle.dump(kept, self._file, 5)

    def close(self) -> None:
        """Forget them."""
        if self._file is not None:
            self._file.close()

    def in_order(self) -> Iterator[tuple[Kept, int]]:
        """All errors by frame number, each as a row of a `Kept`."""
        frames = self._frames
        places: Sequence[int] = range(len(frames))
        loaded = 1
        if any(frames[place] > frames[place + 1] for place in places[:-1]):
            # sorting by time moved a row by at most MOST_WAITING places
            places, loaded = sorted(places, key=frames.__getitem__), 2 * MOST_WAITING // KEPT_ROWS
        load = lru_cache(loaded)(self._load)
        for place in places:
            number = bisect_right(self._firsts, place) - 1
            yield load(number), place - self._firsts[number]

    def _load(self, number: int) -> Kept:
        import pickle  # noqa: PLC0415 - as above

        if self._file is None:
            raise LookupError(number)
        self._file.seek(self._begins[number])
        kept: Kept = pickle.load(self._file)  # noqa: S301 - this process wrote it
        return kept


class _Run:
    """All captures of one call, as far as they were read."""

    def __init__(
        self,
        inputs: Inputs,
        task: Task,
        options: AnalyzeOptions,
        on_events: OnEvents | None,
        on_progress: OnProgress | None,
        ctrl_c: CtrlC,
    ) -> None:
        self.analyzer: Analyzer | None = None
        self.state = SourceState("file", inputs.name, unread=dict(inputs.unread))
        self._inputs, self._task, self._options = inputs, task, options
        self._on_events, self._on_progress, self._ctrl_c = on_events, on_progress, ctrl_c

    def follow_all(self, pool: WorkerPool | None) -> None:
        """Read one capture after another.

        Raises:
            CaptureError: none of them can be read.
        """
        for files in self._inputs.captures:
            if self._ctrl_c.came:
                return
            try:
                self._follow(files, pool)
            except CaptureError as error:
                if len(self._inputs.captures) == 1:
                    raise
                self.state.unread.setdefault(str(files[0]), str(error))
        if self.analyzer is None and self.state.unread:
            raise CaptureError(next(iter(self.state.unread.values())))

    def _follow(self, files: Sequence[Named], pool: WorkerPool | None) -> None:
        """Read a capture's files in parallel if possible; with one reader if files or frames are out of order."""
        stored = [name for name in files if isinstance(name, str) and is_stored(name)]
        if pool is not None and len(stored) == len(files):
            try:
                self._follow_pieces(stored, pool)
            except Disordered:
                self._follow_in_order(files, is_ordered=True)
            return
        try:
            self._follow_in_order(files, is_ordered=len(stored) < len(files))
        except Disordered:
            self._follow_in_order(files, is_ordered=True)

    def _follow_in_order(self, files: Sequence[Named], *, is_ordered: bool) -> None:
        """Read all files with one reader, which sorts frames by time if `is_ordered`.

        Raises:
            Disordered: frames are out of order, and `is_ordered` is not set.
            CaptureError: none of the files can be read.
        """
        analyzer = self._task.analyzer(is_ordered=is_ordered)
        with self._ctrl_c.striking() if self.analyzer is None else nullcontext():  # a pipe may be silent for hours
            source: CaptureFile | MergedCaptures = CaptureFile(files[0]) if len(files) == 1 else MergedCaptures(files)
        with closing(Waiting()) as waiting:
            self._follow_source(
                source, analyzer, waiting, is_ordered=is_ordered, is_live=not all(map(is_stored, files))
            )
        self._add(analyzer, source.state)

    def _follow_source(
        self,
        source: CaptureFile | MergedCaptures,
        analyzer: Analyzer,
        waiting: Waiting,
        *,
        is_ordered: bool,
        is_live: bool,
    ) -> None:
        flushed_s = monotonic()
        loops = LoopsSoFar(analyzer, self._options.loop_ttl) if is_live else None
        while (arrival := source.fill()) is not Arrival.END:
            if isinstance(source, CaptureFile):
                analyzer.feed(source.records)
                is_disordered = source.records.is_disordered
            else:
                is_disordered = False
                while (records := source.merge.turn()) is not None:
                    analyzer.feed(records)
                    is_disordered |= records.is_disordered
            if is_disordered and not is_ordered:
                raise Disordered
            if arrival is Arrival.QUIET:
                analyzer.flush()
            elif is_live and monotonic() - flushed_s > LONGEST_WAIT_S:
                analyzer.flush_older()
                flushed_s = monotonic()
            if loops is not None:
                self._report_new(analyzer, loops)
            else:
                waiting.add(analyzer.take_full_events())
            self._report_progress(source.state)
            if self._ctrl_c.came:
                break
        analyzer.finish()
        source.close()
        if loops is not None:
            self._report_new(analyzer, loops)
        else:
            self._report_waiting(analyzer, waiting)

    def _follow_pieces(self, files: Sequence[str], pool: WorkerPool) -> None:
        """Read a capture's files, which do not overlap in time, in pieces in parallel, and join them.

        Raises:
            Disordered: files overlap, or frames are out of order.
            CaptureError: none of the files can be read.
        """
        surveys = self._surveyed(files)
        if any(before.last_ns >= behind.first_ns for before, behind in pairwise(surveys)):
            raise Disordered
        total = sum(each.total_bytes for each in surveys)
        state = SourceState("file", "", total_bytes=total)
        of = [
            (each, piece)
            for each in surveys
            for piece in cut(
                each, max(round(pool.parts(total) * each.total_bytes / max(total, 1)), 1), is_gapless=len(files) > 1
            )
        ]

        def report_read(done_bytes: int) -> None:
            state.done_bytes = min(done_bytes, total)
            self._report_progress(state)

        with closing(pool.follow([piece for _, piece in of], self._task, report_read)) as results:
            joined, state = self._joined(of, results, pool)
        if joined is None:
            self.state.absorb(state)
            return
        analyzer = pool.analyzer_of(joined)
        with closing(Waiting()) as waiting:
            self._report_waiting(analyzer, waiting)
        self._add(analyzer, state)

    def _joined(
        self, of: list[tuple[Survey, Piece]], results: Iterator[Giving], pool: WorkerPool
    ) -> tuple[Part | None, SourceState]:
        """Join the pieces in order; those that guessed wrong are read again."""
        joined: Part | None = None
        state, seam, last, latest_ns = SourceState("file", ""), Seam(), None, None
        for (surveyed, piece), result in zip(of, results, strict=True):
            if surveyed is not last:
                state.absorb(seam.state)
                seam, last = Seam(), surveyed
            if not seam.needs(piece):
                continue
            try:
                found = self._fitting(piece, result(), seam, pool, is_first=joined is None)
            except CaptureError as error:
                if all(each.name == piece.name for each, _ in of):
                    raise
                state.unread[piece.name] = str(error)
                seam.give_up()
                continue
            if latest_ns is not None and found.edges.first_ns is not None and found.edges.first_ns < latest_ns:
                raise Disordered
            if found.edges.last_ns is not None:
                latest_ns = max(latest_ns or found.edges.last_ns, found.edges.last_ns)
            seam.add(found.edges, found.state)
            if joined is None:
                joined = found.part
            else:
                joined.append(found.part)
            if found.is_partial:
                break
        state.absorb(seam.state)
        return joined, state

    def _fitting(self, piece: Piece, found: Followed, seam: Seam, pool: WorkerPool, *, is_first: bool) -> Followed:
        """The piece, read again if it does not fit those before it."""
        mended = seam.mended(piece, found.edges)
        if mended is None and found.is_first == is_first:
            return found
        return pool.follow_again(mended or piece, self._task, is_first=is_first)

    def _surveyed(self, files: Sequence[str]) -> list[Survey]:
        """The readable files, by their first frames; of equal times, the later named first."""
        found = []
        for number, name in enumerate(files):
            try:
                found.append((survey(name), -number))
            except CaptureError as error:
                if len(files) == 1:
                    raise
                self.state.unread[name] = str(error)
        if not found:
            raise CaptureError(next(iter(self.state.unread.values())))
        return [each for each, _ in sorted(found, key=lambda pair: (pair[0].first_ns, pair[1]))]

    def _report_progress(self, state: SourceState) -> None:
        if self._on_progress is not None:
            self._on_progress(state)

    def _report_new(self, analyzer: Analyzer, loops: LoopsSoFar) -> None:
        """Report a stream's errors so far. Looking at all findings each time would take ever longer."""
        if self._on_events is None:
            return
        kept = analyzer.take_events()
        events = EventBuilder(analyzer, self._options.loop_ttl, {row for each in kept for row in loops.of(each)})
        order = [(frame, number, row) for number, each in enumerate(kept) for row, frame in enumerate(each.frames())]
        self._report_rows(events, ((kept[number], row) for _, number, row in sorted(order)))

    def _report_waiting(self, analyzer: Analyzer, waiting: Waiting) -> None:
        """Report the errors that waited for the end of the capture, and forget them."""
        if self._on_events is None:
            return
        waiting.add(analyzer.take_events())
        self._report_rows(EventBuilder(analyzer, self._options.loop_ttl), waiting.in_order())

    def _report_rows(self, events: EventBuilder, rows: Iterator[tuple[Kept, int]]) -> None:
        in_order = starmap(events.event, rows)
        while some := list(islice(in_order, EVENTS_AT_A_TIME)):
            if self._on_events is not None:
                self._on_events(some)

    def _add(self, analyzer: Analyzer, state: SourceState) -> None:
        self.state.absorb(state)
        if self.analyzer is None:
            self.analyzer = analyzer
        else:
            self.analyzer.absorb(analyzer)
