"""The workers of a Dask cluster, used as the processes of a `Crew` are.

What a piece taught stays at the worker that read it, and is merged with its neighbours there, in a tree; here are only
receipts, and in the end one summary. A merge changes the parts it is given, but a cluster that loses a worker computes
again from what there was: so workers keep each part as it was, and merge copies.
"""

from __future__ import annotations

import pickle
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import uuid4

from distributed import CancelledError, Client, Future, KilledWorker, get_worker, wait

from udpprobe.core import keys
from udpprobe.digest import Digest, Ends, Task, Taught, digest
from udpprobe.errors import CaptureError, UdpprobeError

if TYPE_CHECKING:
    from udpprobe.core.batch import SourceState
    from udpprobe.core.following.pipeline import Resolved
    from udpprobe.core.summaries.summary import Summary
    from udpprobe.sources.piece import Edges, Piece

TRIES = 3
"""At so many workers a file is read, before it is said that it cannot be."""
LOOK_S = 0.25
"""How often Ctrl-C is looked for while a result is waited for."""
CHECK_S, ALONE_S = 2, 30
"""How often it is looked whether there are workers, and how long: somebody may be about to start others."""
LOST = "the cluster has lost its workers, or its scheduler"
MERGE_FIRST = 1
"""Dask's priority of what makes room, above that of reading."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Receipt:
    """All of a `Digest` but its part."""

    edges: Edges
    state: SourceState
    is_partial: bool


class _Kept:
    """What stays at a worker: a `Part`; and, of a piece, the rest.

    Args:
        part: which nobody changes any more.
        receipt: of a piece.
    """

    def __init__(self, part: Taught, receipt: _Receipt | None = None) -> None:
        self.part, self.receipt = part, receipt

    def __sizeof__(self) -> int:
        # Dask asks, and moves what is small rather than what is large
        arrays: list[pickle.PickleBuffer] = []
        return len(pickle.dumps(self.part, 5, buffer_callback=arrays.append)) + sum(len(each.raw()) for each in arrays)

    def copy(self) -> Taught:
        """The part, to be changed."""
        return deepcopy(self.part)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A file that could not be read, at one of the workers."""

    error: CaptureError
    worker: str


class _Stop:
    """Whether a run is to end."""

    value = False


_stops: defaultdict[str, _Stop] = defaultdict(_Stop)
"""At a worker: of the runs it knows."""


@dataclass(slots=True)
class Job:
    """Something given out; what it was, in case it must be given out again."""

    call: tuple[Callable[..., Any], tuple[Any, ...]]
    kept: Future
    """What stays at the worker."""
    receipt: Future
    """What comes here."""
    failed_at: list[str] = field(default_factory=list)


class _Hands:
    """Workers of a cluster, which make the same keys as all who work there.

    Args:
        client: of the cluster.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        scheduler = client.scheduler_info(n_workers=0)["id"]     # random, and known to those only whom it serves
        self._secret = int.from_bytes(sha256(scheduler.encode()).digest())
        keys.agree(self._secret)

    def submit(self, function: Callable[..., Any], *arguments: object, **how: object) -> Future:
        """Have a function called at one of them."""
        return self.client.submit(_called, self._secret, function, *arguments, key=_key(function), **how)


def _called(secret: int, function: Callable[..., Result], *arguments: object) -> Result | _Failure:
    keys.agree(secret)
    try:
        return function(*arguments)
    except CaptureError as error:
        return _Failure(error, get_worker().address)


class ClusterCrew:
    """Workers of a cluster; what cannot be read at one of them is tried at others.

    Args:
        client: of the cluster.
    """

    most_grain = 8

    def __init__(self, client: Client) -> None:
        self._client, self._hands, self._run = client, _Hands(client), uuid4().hex
        self.count = sum(client.nthreads().values())
        self.is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):     # it may be gone, and whoever waited for it has said so
            self._client.run(_end, self._run)

    def give(self, function: Callable[..., Any], *arguments: object) -> Job:
        """Have a function called at one of the workers."""
        return Job((function, arguments), *self._submitted(function, arguments))

    def _submitted(self, function: Callable[..., Any], arguments: tuple[Any, ...],
                   **how: object) -> tuple[Future, Future]:
        if function is not digest:
            kept = self._hands.submit(function, *arguments, **how)
            return kept, kept
        kept = self._hands.submit(_digest, self._run, *arguments, **how)
        return kept, self._hands.submit(_receipt, kept, priority=MERGE_FIRST)

    def result(self, job: Job, look: Callable[[], None]) -> Any:  # noqa: ANN401 - whatever the function returned
        """What came of it; `look` is called now and then while it is waited for.

        Raises:
            CaptureError: a file cannot be read, at any of `TRIES` workers.
            UdpprobeError: there are no workers any more, or no scheduler.
        """
        while isinstance(found := self._answer(job, look), _Failure):
            job.failed_at.append(found.worker)
            others = [worker for worker in self._client.nthreads() if worker not in job.failed_at]
            if len(job.failed_at) == TRIES or not others:
                raise found.error
            job.kept, job.receipt = self._submitted(*job.call, workers=others, allow_other_workers=True)
        return self._own(job, found)

    def _own(self, job: Job, found: Any) -> Any:  # noqa: ANN401 - as above
        if not isinstance(found, _Receipt):
            return found
        return Digest(RemotePart(self._hands, job.kept), found.edges, found.state, found.is_partial)

    def _answer(self, job: Job, look: Callable[[], None]) -> Any:  # noqa: ANN401 - as above
        about = job.call[1][0]
        return _result(self._client, job.receipt, look, getattr(about, "name", about))

    def forget(self, job: Job) -> None:
        """Do not wait for it."""
        self._client.cancel([job.receipt, job.kept])

    def stop(self) -> None:
        """Have all workers end what they are at, as far as they are."""
        if not self.is_stopped:
            self.is_stopped = True
            self._client.run(_stop, self._run)


class RemotePart:
    """A `Part` in pieces at workers; those that are merged already stand for ever more to the left."""

    def __init__(self, hands: _Hands, kept: Future) -> None:
        self._hands = hands
        self._tree = [(0, kept)]
        """How often each was merged, falling; and each."""

    def merge(self, right: RemotePart) -> None:
        """Add the piece directly behind this one, which is used up."""
        (level, kept), = right._tree     # merged with none so far
        while self._tree and self._tree[-1][0] == level:
            kept = self._merged(self._tree.pop()[1], kept)
            level += 1
        self._tree.append((level, kept))

    def finish(self) -> tuple[Summary, list[Resolved]]:
        """What the capture taught, if this is all of it."""
        _, kept = self._tree.pop()
        while self._tree:
            kept = self._merged(self._tree.pop()[1], kept)
        found = self._hands.submit(_finished, kept, priority=MERGE_FIRST)
        return _result(self._hands.client, found, lambda: None, "what was read")

    def _merged(self, left: Future, right: Future) -> Future:
        return self._hands.submit(_merge, left, right, priority=MERGE_FIRST)


def _key(function: Callable[..., Any]) -> str:
    """A name of its own, by which Dask's dashboard tells what is done."""
    return f"{function.__name__.strip('_')}-{uuid4().hex}"


def _result(client: Client, future: Future, look: Callable[[], None], about: str) -> Any:  # noqa: ANN401 - as above
    """What the future holds, when it does.

    Raises:
        CaptureError: the workers that were to work on it died.
        UdpprobeError: nobody is there who could do it.
    """
    _wait(client, future, look)
    try:
        return future.result()
    except KilledWorker as error:
        raise CaptureError(f"{about}: workers died over it (killed, or out of memory?)") from error
    except CancelledError as error:
        raise UdpprobeError(LOST) from error


def _wait(client: Client, future: Future, look: Callable[[], None]) -> None:
    staffed_s = time.monotonic()
    while not future.done():
        look()
        try:
            staffed_s = _staffed_s(client, staffed_s)
            wait(future, timeout=LOOK_S)
        except TimeoutError:
            continue
        except (OSError, CancelledError) as error:
            raise UdpprobeError(LOST) from error


def _staffed_s(client: Client, staffed_s: float) -> float:
    """When there were workers last; the scheduler is asked every `CHECK_S`."""
    now_s = time.monotonic()
    if now_s - staffed_s < CHECK_S:
        return staffed_s
    if client.nthreads():
        return now_s
    if now_s - staffed_s > ALONE_S:
        raise UdpprobeError(LOST)
    return staffed_s


def _digest(run: str, piece: Piece, task: Task, ends: Ends) -> _Kept:
    found = digest(piece, task, ends, _stops[run])
    return _Kept(found.part, _Receipt(found.edges, found.state, found.is_partial))


def _receipt(kept: _Kept | _Failure) -> _Receipt | _Failure | None:
    return kept if isinstance(kept, _Failure) else kept.receipt


def _merge(left: _Kept, right: _Kept) -> _Kept:
    part = left.copy()
    part.merge(right.copy())
    return _Kept(part)


def _finished(kept: _Kept) -> tuple[Summary, list[Resolved]]:
    return kept.copy().finish()


def _stop(run: str) -> None:
    _stops[run].value = True


def _end(run: str) -> None:
    """Stop what still works for nobody, and forget about it."""
    _stop(run)
    del _stops[run]
