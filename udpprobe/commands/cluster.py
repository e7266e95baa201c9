"""Workers of a Dask cluster read captures as threads do: an existing cluster, or processes of this host.

The state of a piece stays at its worker, and is joined with its neighbours there, in a tree. Only receipts come here,
and at the end one analyzer, folded to what the report needs. A join changes its inputs, but a cluster that loses a
worker computes again from them: so workers keep each analyzer, and join copies.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice
from multiprocessing import forkserver
from typing import Any
from uuid import uuid4

import dask
from distributed import CancelledError, Client, Future, KilledWorker, LocalCluster, get_worker
from distributed.core import rpc
from distributed.utils import silence_logging_cmgr
from msgspec import Struct
from msgspec.structs import replace

from udpprobe.capture.content import local_path
from udpprobe.capture.pieces import Piece
from udpprobe.commands.workers import AHEAD, Disordered, Followed, Giving, Task, follow_piece
from udpprobe.core.analyzer import Analyzer
from udpprobe.errors import CaptureError, UdpprobeError, UsageError
from udpprobe.interrupt import CtrlC

LOCAL = "local"
"""The address of a cluster that is started here."""
PATIENCE_S = 5
"""Seconds to wait for a scheduler's answer."""
SAME_VERSIONS = ("python", "distributed", "dask", "udpprobe")
"""Packages that must have the same version everywhere, because state is transferred as their objects."""
TRIES = 3
"""Workers at which a file is tried before it counts as unreadable."""
POLL_S = 0.25
"""Seconds between checks for Ctrl-C while waiting for a result."""
CHECK_S, ALONE_S = 2, 30
"""Seconds between checks for workers, and total time without any: the user may be about to start some."""
MOST_PIECE_BYTES = 4 << 30
"""Largest piece if a capture has more than one per worker: what a lost worker had must be read again."""
LOST = "the cluster lost its workers or its scheduler"
JOIN_FIRST = 1
"""Dask's priority of joins, which free memory, above reading pieces."""


# ---- at a worker


class _Kept:
    """Kept at a worker: an analyzer that no longer changes; and, for a piece, its receipt."""

    def __init__(self, analyzer: Analyzer, receipt: Followed | None = None) -> None:
        self.analyzer, self.receipt = analyzer, receipt

    def __sizeof__(self) -> int:
        # Dask asks for sizes, and moves small objects rather than large ones
        pickled, memory = self._pickled()
        return len(pickled) + sum(len(each.raw()) for each in memory)

    def copy(self) -> Analyzer:
        """An analyzer that may be changed."""
        pickled, memory = self._pickled()
        copied: Analyzer = pickle.loads(pickled, buffers=memory)  # noqa: S301 - our own
        return copied

    def _pickled(self) -> tuple[bytes, list[pickle.PickleBuffer]]:
        memory: list[pickle.PickleBuffer] = []
        return pickle.dumps(self.analyzer, 5, buffer_callback=memory.append), memory


class _CancelledError(UdpprobeError):
    """The scheduler released a future: a worker died while transferring its inputs."""


class _Failure(Struct, frozen=True):
    """A file that could not be read at one of the workers."""

    error: CaptureError
    worker: str


_stops: defaultdict[str, threading.Event] = defaultdict(threading.Event)
"""By run: set when its pieces are no longer wanted."""


def _follow(run: str, piece: Piece, task: Task, is_first: bool, is_last: bool) -> _Kept | _Failure:
    try:
        found = follow_piece(piece, task, is_first=is_first, is_last=is_last, is_over=_stops[run].is_set)
    except CaptureError as error:
        return _Failure(error, get_worker().address)
    return _Kept(found.part, replace(found, part=None))


def _receipt(kept: _Kept | _Failure) -> Followed | _Failure | None:
    return kept if isinstance(kept, _Failure) else kept.receipt


def _join(left: _Kept, right: _Kept) -> _Kept:
    joined = left.copy()
    joined.append(right.copy())
    return _Kept(joined)


def _fold(kept: _Kept) -> Analyzer:
    """What the report needs: endpoints instead of conversations, and no datagrams."""
    analyzer = kept.copy()
    folded = Analyzer(analyzer.secret, by_flow=analyzer.conversations.by_flow)
    folded.events = analyzer.take_events()
    folded.absorb(analyzer)
    return folded


def _stop(run: str) -> None:
    _stops[run].set()


def _end(run: str) -> None:
    """Stop what still works for an abandoned run, and forget it."""
    _stops.pop(run, threading.Event()).set()


# ---- at this process


class _Job:
    """A piece to read; `call` is the request, in case it must be repeated."""

    kept: Future
    receipt: Future

    def __init__(self, *call: Any) -> None:  # noqa: ANN401 - for _follow
        self.call = call
        self.failed_at: list[str] = []


class RemotePart:
    """A `Part` in pieces at workers, joined pairwise.

    Args:
        pool: joins them.
        kept: of one piece.
    """

    def __init__(self, pool: ClusterPool, kept: Future) -> None:
        self._pool = pool
        self._tree = [(0, kept)]
        """Each piece with its number of joins, descending."""

    def append(self, right: RemotePart) -> None:
        """Add the piece directly after this one; `right` must not be used afterwards."""
        ((level, kept),) = right._tree  # not joined yet
        while self._tree and self._tree[-1][0] == level:
            kept = self._pool.submit(_join, self._tree.pop()[1], kept, priority=JOIN_FIRST)
            level += 1
        self._tree.append((level, kept))

    def analyzer(self) -> Analyzer:
        """The complete state, folded."""
        _, kept = self._tree.pop()
        while self._tree:
            kept = self._pool.submit(_join, self._tree.pop()[1], kept, priority=JOIN_FIRST)
        folded: Analyzer = self._pool.result(self._pool.submit(_fold, kept, priority=JOIN_FIRST), "what was read")
        return folded


class ClusterPool:
    """A `WorkerPool` of a cluster's workers; what one cannot read is tried at others.

    Args:
        client: of the cluster.
        ctrl_c: may end it.
    """

    def __init__(self, client: Client, ctrl_c: CtrlC) -> None:
        self._client, self._ctrl_c = client, ctrl_c
        self.count = sum(client.nthreads().values())
        self._run, self._is_stopped = "", True
        self._jobs: deque[_Job] = deque()
        self._on_progress: Callable[[int], None] = lambda _: None
        self._done_bytes = 0

    def parts(self, total_bytes: int) -> int:
        """See WorkerPool."""
        return max(self.count, -(-total_bytes // MOST_PIECE_BYTES))

    def follow(self, pieces: Sequence[Piece], task: Task, on_progress: Callable[[int], None]) -> Generator[Giving]:
        """See `WorkerPool`. Only few pieces run ahead of the joins: they take memory, and Ctrl-C wastes them."""
        self._run, self._is_stopped, self._on_progress, self._done_bytes = uuid4().hex, False, on_progress, 0
        waiting = (
            _Job(self._run, piece, task, number == 0, number == len(pieces) - 1) for number, piece in enumerate(pieces)
        )
        try:
            self._jobs.extend(map(self._given, islice(waiting, self.count + AHEAD)))
            while self._jobs:
                yield partial(self._followed, self._jobs.popleft())
                self._jobs.extend(map(self._given, islice(waiting, 1)))
        finally:
            self._jobs.clear()
            self._is_stopped = True
            with suppress(OSError, RuntimeError):  # it may be gone, and the waiting code has reported that
                self._client.run(_end, self._run)

    def follow_again(self, piece: Piece, task: Task, *, is_first: bool) -> Followed:
        """See WorkerPool."""
        return self._followed(self._given(_Job(self._run, piece, task, is_first, False)))

    def analyzer_of(self, part: RemotePart) -> Analyzer:
        """See WorkerPool."""
        return part.analyzer()

    def submit(self, function: Callable[..., Any], *arguments: object, **how: object) -> Future:
        """Call a function at a worker, under its own name, which Dask's dashboard shows."""
        return self._client.submit(function, *arguments, key=f"{function.__name__.strip('_')}-{uuid4().hex}", **how)

    def _given(self, job: _Job, **how: object) -> _Job:
        job.kept = self.submit(_follow, *job.call, **how)
        job.receipt = self.submit(_receipt, job.kept, priority=JOIN_FIRST)
        return job

    def _followed(self, job: _Job) -> Followed:
        """The result of reading a piece, at any of TRIES workers."""
        piece: Piece = job.call[1]
        cancelled = 0
        while True:
            try:
                found = self.result(job.receipt, piece.name)
            except _CancelledError:
                cancelled += 1
                if cancelled == TRIES or self._client.status != "running":
                    raise
                self._given(job)
                continue
            if not isinstance(found, _Failure):
                break
            job.failed_at.append(found.worker)
            others = [worker for worker in self._client.nthreads() if worker not in job.failed_at]
            if len(job.failed_at) == TRIES or not others:
                raise found.error
            self._given(job, workers=others, allow_other_workers=True)
        self._done_bytes += min(found.state.done_bytes, piece.stop) - piece.first
        followed: Followed = replace(found, part=RemotePart(self, job.kept))
        return followed

    def result(self, future: Future, about: str) -> Any:  # noqa: ANN401 - whatever the function returned
        """Wait for a future's result.

        Raises:
            CaptureError: the workers that were to work on it died.
            Disordered: frames of a submitted piece are out of order.
            UdpprobeError: no worker is left.
        """
        staffed_s, patience_s = time.monotonic(), POLL_S
        while True:
            staffed_s = self._check_workers(staffed_s)
            try:
                return future.result(timeout=patience_s)
            except TimeoutError:
                if future.done():
                    patience_s *= 2  # it takes long because it is large, or was lost and is computed again
            except KilledWorker as error:
                raise CaptureError(f"{about}: workers died over it (killed, or out of memory?)") from error
            except OSError as error:
                raise UdpprobeError(LOST) from error
            except (CancelledError, UnboundLocalError) as error:
                # `distributed.utils.sync` (2026.8) raises the latter for a future that is cancelled meanwhile
                raise _CancelledError(LOST) from error

    def _check_workers(self, staffed_s: float) -> float:
        """Last time with workers; the scheduler is asked every `CHECK_S`. Ctrl-C is passed on to them."""
        self._on_progress(self._done_bytes)
        if any(job.receipt.status == "error" and isinstance(job.receipt.exception(), Disordered) for job in self._jobs):
            raise Disordered
        now_s = time.monotonic()
        try:
            if self._ctrl_c.came and not self._is_stopped:
                self._is_stopped = True
                self._client.run(_stop, self._run)
            if now_s - staffed_s < CHECK_S:
                return staffed_s
            if self._client.nthreads():
                return now_s
        except (OSError, CancelledError) as error:
            raise UdpprobeError(LOST) from error
        if now_s - staffed_s > ALONE_S:
            raise UdpprobeError(LOST)
        return staffed_s


# ---- connecting


@contextmanager
def hired(address: str, files: Sequence[str], workers: int | None, ctrl_c: CtrlC) -> Iterator[ClusterPool]:
    """A cluster's workers, checked and ready; nothing is left there afterwards.

    Args:
        address: of a Dask scheduler, or `LOCAL`.
        files: to be read.
        workers: processes of a local cluster; None for one per core.
        ctrl_c: may end it.

    Raises:
        UsageError: it is no address, or an input (a pipe) can be read only once.
        UdpprobeError: nothing answers, there is no worker, or versions differ.
    """
    for name in files:
        path = local_path(name)
        if path is not None and (path == "-" or (os.path.exists(path) and not os.path.isfile(path))):  # noqa: PTH110, PTH113 - thousands
            raise UsageError(f"{name}: a cluster reads only files and URLs, which can be read more than once")
    with ExitStack() as stack:
        # Dask logs what it recovers from; we report the errors that matter
        stack.enter_context(silence_logging_cmgr(logging.CRITICAL))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        where = (
            stack.enter_context(_local_cluster(workers or len(os.sched_getaffinity(0))))
            if address == LOCAL
            else _scheduler(address)
        )
        client = stack.enter_context(Client(where, timeout=PATIENCE_S))
        _see_that_all_have_what_is_needed(client.get_versions(packages=["udpprobe"]), client.scheduler.address)
        yield ClusterPool(client, ctrl_c)


def _scheduler(address: str) -> str:
    """The address, if a scheduler answers there; a `Client` without one would hang for some time."""
    try:
        role = asyncio.run(asyncio.wait_for(_role_at(address), PATIENCE_S))
    except ValueError as error:
        raise UsageError(f"--cluster {address}: {error}; use tcp://host:8786 or {LOCAL}") from error
    except Exception as error:  # another program's answer may be parsed as anything
        raise UdpprobeError(f"{address}: no Dask scheduler answered within {PATIENCE_S} s") from error
    if role != "Scheduler":
        raise UdpprobeError(f"{address}: this is a {role.lower()}; name its scheduler")
    return address


async def _role_at(address: str) -> str:
    async with rpc(address, timeout=PATIENCE_S) as peer:
        role: str = (await peer.identity())["type"]
        return role


@contextmanager
def _local_cluster(workers: int) -> Iterator[LocalCluster]:
    start_fork_server()
    with (
        dask.config.set(
            {"distributed.worker.multiprocessing-method": "forkserver", "distributed.worker.profile.enabled": False}
        ),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        ) as cluster,
    ):
        yield cluster


def start_fork_server() -> None:
    """Start a server that loads Dask once for all workers, and lets them ignore the terminal's Ctrl-C."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["distributed", "udpprobe.commands.cluster"])
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    forkserver.ensure_running()
    if is_main:
        signal.signal(signal.SIGINT, handler)


def _see_that_all_have_what_is_needed(versions: Mapping[str, Any], address: str) -> None:
    if not versions["workers"]:
        raise UdpprobeError(f"the cluster has no workers; start some with: dask worker {address}")
    for package in SAME_VERSIONS:
        here = versions["client"]["packages"][package]
        for place, theirs in versions["workers"].items():
            there = theirs["packages"][package]
            if there is None:
                raise UdpprobeError(
                    f"{package} is not installed on the worker {place}; install udpprobe[cluster] there"
                )
            if here != there:
                raise UdpprobeError(
                    f"{package} is {here} here, but {there} on the worker {place}; install the same version"
                )
