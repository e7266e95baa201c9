"""A real Dask scheduler and its workers, each a process of its own."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

DASK = [sys.executable, "-m", "dask"]
PATIENCE_S = 20


class Cluster:
    """On loopback; `folder` takes what it writes."""

    def __init__(self, folder, **environment):
        self._folder, self._environment = folder, {**os.environ, **environment}
        self.processes = []
        self.workers = {}
        """Each worker's address, and its process."""
        self.address = self._started("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")

    def add_worker(self, prefix=(), **environment):
        """A worker of one thread, its address; `prefix` is a command that runs it."""
        address = self._started("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                                "--local-directory", str(self._folder), prefix=prefix, **environment)
        self.workers[address] = self.processes[-1]
        return address

    def _started(self, kind, *words, prefix=(), **environment):
        log = self._folder / f"{kind}-{len(self.processes)}.log"
        with log.open("wb") as out:
            self.processes.append(subprocess.Popen(
                [*prefix, *DASK, kind, *words], stdout=out, stderr=out, env=self._environment | environment))
        mark = {"scheduler": "Scheduler at:", "worker": "Start worker at:"}[kind]
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            told = [line for line in log.read_text().splitlines() if mark in line]
            ready = kind == "scheduler" or "Registered to:" in log.read_text()
            if told and ready:
                return told[0].split(mark)[1].strip()
            time.sleep(0.02)
        raise TimeoutError(log.read_text())

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


@contextmanager
def cluster(folder, workers=2, **environment):
    made = Cluster(folder, **environment)
    try:
        for _ in range(workers):
            made.add_worker()
        yield made
    finally:
        made.stop()
