"""A real Dask scheduler and its workers, each a process of its own; and an S3 store."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
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


class S3:
    """moto's server, with what Amazon's library needs to find it."""

    def __init__(self, port, log):
        self._url, self._log = f"http://127.0.0.1:{port}", log
        self.environment = {"AWS_ENDPOINT_URL": self._url, "AWS_ACCESS_KEY_ID": "nobody",
                            "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}

    def put(self, path, data):
        """A bucket, or an object in it."""
        # without a type of its own it would be taken for a form
        request = urllib.request.Request(f"{self._url}/{path}", data, {"Content-Type": "binary/octet-stream"},
                                         method="PUT")
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()

    def ranges(self):
        """How many parts of objects were fetched."""
        return len(re.findall(r"GET /\S+ HTTP/1\.1\S*\" 206", self._log.read_text()))


@contextmanager
def s3_server(folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log, words = folder / "s3.log", ["-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out, subprocess.Popen([sys.executable, "-m", "moto.server", *words], stdout=out,
                                                 stderr=out) as server:
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while "Running on" not in log.read_text() and time.monotonic() < deadline_s:
                time.sleep(0.02)
            yield S3(port, log)
        finally:
            server.terminate()
