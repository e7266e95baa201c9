"""A real Dask scheduler and its workers, each a process of its own; and an S3 store."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

DASK = [sys.executable, "-m", "dask"]
PATIENCE_S = 60


class Cluster:
    """On loopback; `folder` takes what it writes."""

    def __init__(self, folder, **environment):
        self._folder, self._environment = folder, {**os.environ, **environment}
        self.processes = []
        self.workers = {}
        """Each worker's address, and its process."""
        log = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = _address_in(log, "Scheduler at:", "Scheduler at:")

    def add_worker(self, prefix=(), **environment):
        """A worker of one thread, its address; `prefix` is a command that runs it."""
        return self.add_workers(1, prefix, **environment)[0]

    def add_workers(self, count, prefix=(), **environment):
        """So many, who start side by side."""
        words = (
            self.address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            str(self._folder),
        )
        logs = [self._start("worker", *words, prefix=prefix, **environment) for _ in range(count)]
        addresses = [_address_in(log, "Start worker at:", "Registered to:") for log in logs]
        self.workers |= zip(addresses, self.processes[-count:], strict=True)
        return addresses

    def _start(self, kind, *words, prefix=(), **environment):
        """Its log."""
        log = self._folder / f"{kind}-{len(self.processes)}.log"
        with log.open("wb") as out:
            self.processes.append(
                subprocess.Popen(
                    [*prefix, *DASK, kind, *words], stdout=out, stderr=out, env=self._environment | environment
                )
            )
        return log

    def stop(self):
        """At once: whoever says goodbye to those who are gone already takes seconds."""
        for process in self.processes:
            process.kill()
            process.wait()


def _address_in(log, mark, ready):
    """What a log says behind a mark, once it says that all is ready."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        lines = log.read_text().splitlines()
        told = [line for line in lines if mark in line]
        if told and any(ready in line for line in lines):
            return told[0].split(mark)[1].strip()
        time.sleep(0.02)
    raise TimeoutError(log.read_text())


@contextmanager
def cluster(folder, workers=2, **environment):
    made = Cluster(folder, **environment)
    try:
        if workers:
            made.add_workers(workers)
        yield made
    finally:
        made.stop()


class S3:
    """moto's server, with what Amazon's library needs to find it."""

    def __init__(self, port, log):
        self._url, self._log = f"http://127.0.0.1:{port}", log
        self.environment = {
            "AWS_ENDPOINT_URL": self._url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def put(self, path, data):
        """A bucket, or an object in it."""
        # without a type of its own it would be taken for a form
        request = urllib.request.Request(
            f"{self._url}/{path}", data, {"Content-Type": "binary/octet-stream"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()

    def ranges(self):
        """How many parts of objects were fetched."""
        return len(re.findall(r"GET /\S+ HTTP/1\.1\S*\" 206", self._log.read_text()))


@contextmanager
def s3_server(folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log, words = folder / "s3.log", ["-H", "127.0.0.1", "-p", str(port)]
    with (
        log.open("wb") as out,
        subprocess.Popen([sys.executable, "-m", "moto.server", *words], stdout=out, stderr=out) as server,
    ):
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while "Running on" not in log.read_text() and time.monotonic() < deadline_s:
                time.sleep(0.02)
            yield S3(port, log)
        finally:
            server.terminate()
