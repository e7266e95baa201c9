"""Processes of this host that work side by side."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from udpprobe import digest
from udpprobe.errors import UdpprobeError
from udpprobe.parcels import unwrap, wrap

LOOK_S = 0.1
"""How often Ctrl-C is looked for while a result is waited for."""

PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""

Result = TypeVar("Result")


@dataclass(slots=True)
class Job(Generic[Result]):
    """Something given out; what it was, in case it must be given out again."""

    call: tuple[Callable[..., Result], tuple[Any, ...]]
    future: Future[Result]
    is_repeated: bool = False


class Crew:
    """Processes of this host, forked; a job whose process dies is given out once more.

    Args:
        count: how many.
    """

    most_grain = 64
    """Pieces of 16 GB at most: a piece costs a merge, and the processing of what it cannot know alone."""

    def __init__(self, count: int) -> None:
        self.count = count
        context = multiprocessing.get_context("fork")
        self._stop: digest.Flag = context.RawValue("b", 0)
        self._make: Callable[[], Executor] = lambda: ProcessPoolExecutor(
            count, context, _begin, (self._stop, os.getpid()))
        self._executor: Executor = self._make()
        self._jobs: list[Job[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._executor.shutdown(cancel_futures=True)

    def give(self, function: Callable[..., Result], *arguments: object) -> Job[Result]:
        """Have a function called in one of the processes."""
        job = Job((function, arguments), self._submitted(function, arguments))
        self._jobs.append(job)
        return job

    def result(self, job: Job[Result], look: Callable[[], None]) -> Result:
        """What came of it; `look` is called now and then while it is waited for.

        Raises:
            UdpprobeError: the process died, and died again.
        """
        while True:
            look()
            while not wait([job.future], LOOK_S).done:
                look()
            try:
                found: Result = unwrap(job.future.result())
            except (BrokenExecutor, FileNotFoundError) as error:
                self._renew(job, error)
            except BaseException:
                self._jobs.remove(job)
                raise
            else:
                self._jobs.remove(job)
                return found

    def forget(self, job: Job[Any]) -> None:
        """Do not wait for it."""
        job.future.cancel()
        self._jobs.remove(job)

    def _renew(self, job: Job[Any], error: Exception) -> None:
        if job.is_repeated:
            raise UdpprobeError("a worker process died twice (killed, or out of memory?); "
                                "try fewer with --workers") from error
        job.is_repeated = True
        self._executor.shutdown()
        self._executor = self._make()
        for each in self._jobs:
            each.future = self._submitted(*each.call)

    def _submitted(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future[Any]:
        try:
            return self._executor.submit(_called, function, arguments)
        except BrokenExecutor as error:
            broken: Future[Any] = Future()
            broken.set_exception(error)
            return broken

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.value

    def stop(self) -> None:
        """Have all processes end what they are at, as far as they are."""
        self._stop.value = True


def _begin(stop: digest.Flag, parent: int) -> None:
    """In each process: whatever ends the one that forked it ends it, too."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:      # it was quicker
        os._exit(1)
    digest.begin(stop)


def _called(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    return wrap(function(*arguments))
