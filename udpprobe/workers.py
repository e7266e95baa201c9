"""Processes of this host that work side by side."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from udpprobe import digest
from udpprobe.errors import UdpprobeError

LOOK_S = 0.1
"""How often Ctrl-C is looked for while a result is waited for."""

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

    def __init__(self, count: int) -> None:
        self.count = count
        context = multiprocessing.get_context("fork")
        self._stop: digest.Flag = context.RawValue("b", 0)
        self._make: Callable[[], Executor] = lambda: ProcessPoolExecutor(count, context, digest.begin, (self._stop,))
        self._executor: Executor = self._make()
        self._jobs: list[Job[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._executor.shutdown(cancel_futures=True)

    def give(self, function: Callable[..., Result], *arguments: object) -> Job[Result]:
        """Have a function called in one of the processes."""
        job = Job((function, arguments), self._executor.submit(function, *arguments))
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
            error = job.future.exception()
            if not isinstance(error, BrokenExecutor):
                self._jobs.remove(job)
                return job.future.result()
            self._renew(job, error)

    def forget(self, job: Job[Any]) -> None:
        """Do not wait for it."""
        job.future.cancel()
        self._jobs.remove(job)

    def _renew(self, job: Job[Any], error: BrokenExecutor) -> None:
        if job.is_repeated:
            raise UdpprobeError("a worker process died twice (killed, or out of memory?); "
                                "try fewer with --workers") from error
        job.is_repeated = True
        self._executor.shutdown()
        self._executor = self._make()
        for each in self._jobs:
            function, arguments = each.call
            each.future = self._executor.submit(function, *arguments)

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.value

    def stop(self) -> None:
        """Have all processes end what they are at, as far as they are."""
        self._stop.value = True
