"""A real Dask scheduler and its workers, each a process of its own; and an S3 store."""

import asyncio
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import dask
from distributed import Scheduler, Worker

from udpprobe.commands.cluster import start_fork_server

PATIENCE_S = 60


class Cluster:
    """On loopback; `folder` takes what it writes. What Dask imports, a server that forks them all has imported once."""

    def __init__(self, folder, *, environment=None, **settings):
        self._folder, self._environment = folder, environment or {}
        self.processes = []
        self.workers = {}
        """Each worker's address, and its process."""
        start_fork_server()
        self.address = self._fork(_scheduler, settings)

    def add_worker(self):
        """One of one thread; its address."""
        address = self._fork(_worker, self.address)
        self.workers[address] = self.processes[-1]
        return address

    @contextmanager
    def hired(self, prefix=(), **environment):
        """A worker as users start it, its address; `prefix` is a command that runs it."""
        log = self._folder / f"hired-{len(self.processes)}.log"
        words = [sys.executable, "-m", "dask", "worker", self.address, "--nthreads", "1", "--no-nanny"]
        words += ["--no-dashboard", "--local-directory", str(self._folder)]
        with (
            log.open("wb") as out,
            subprocess.Popen([*prefix, *words], stdout=out, stderr=out, env=os.environ | environment) as process,
        ):
            try:
                yield _address_in(log)
            finally:
                process.kill()

    def _fork(self, kind, about):
        """Start a process; its address, once it is ready."""
        forks = multiprocessing.get_context("forkserver")
        ours, theirs = forks.Pipe()
        process = forks.Process(target=_run, args=(kind, about, self._folder, self._environment, theirs), daemon=True)
        process.start()
        theirs.close()
        self.processes.append(process)
        assert ours.poll(PATIENCE_S), f"{kind.__name__} is not ready"
        return ours.recv()

    def stop(self):
        """At once: whoever says goodbye to those who are gone already takes seconds."""
        for process in self.processes:
            process.kill()
            process.join()


def _run(kind, about, folder, environment, ready):
    log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= environment
    os.chdir(folder)
    asyncio.run(kind(about, ready))


async def _scheduler(settings, ready):
    with dask.config.set(settings):
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as made:
            ready.send(made.address)
            await made.finished()


async def _worker(scheduler, ready):
    async with Worker(scheduler, nthreads=1, local_directory=os.curdir) as made:
        ready.send(made.address)
        await made.finished()


def _address_in(log):
    """Of the worker that writes it, once it has registered."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        text = log.read_text()
        if "Registered to:" in text:
            return re.search(r"Start worker at:\s+(\S+)", text)[1]
        time.sleep(0.02)
    raise TimeoutError(log.read_text())


@contextmanager
def cluster(folder, workers=2, **how):
    made = Cluster(folder, **how)
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
