"""A Dask cluster to read captures with: an existing one, or one of processes of this host."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.sources.content import local_path

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

    from udpprobe.cluster import ClusterCrew

LOCAL = "local"
"""The address of a cluster that is started here."""
PATIENCE_S = 5
"""How long a scheduler may take to answer."""
ALIKE = ("python", "distributed", "dask", "numpy", "udpprobe")
"""What has to be the same everywhere: parts of results travel as objects of these."""


@contextmanager
def hired(address: str, files: Sequence[str], workers: int | None) -> Iterator[ClusterCrew]:
    """The workers of a cluster, fit for the work; nothing is left there afterwards.

    Args:
        address: of a Dask scheduler, or `LOCAL`.
        files: that are to be read.
        workers: how many processes a local cluster has; None for one a core.

    Raises:
        UsageError: it is no address, or something, a pipe, can be read but once.
        UdpprobeError: Dask is not installed, nobody answers, there is no worker, or versions differ.
    """
    for name in files:
        _see_that_others_can_read(name)
    with ExitStack() as stack:
        try:
            stack.enter_context(_quiet())
            from udpprobe.cluster import ClusterCrew  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise UdpprobeError("--cluster needs Dask; install udpprobe[cluster]") from error
        client = stack.enter_context(_connected(address, workers or len(os.sched_getaffinity(0))))
        _check(client.get_versions(packages=["udpprobe"]), client.scheduler.address)
        yield stack.enter_context(ClusterCrew(client))


def _see_that_others_can_read(name: str) -> None:
    path = local_path(name)
    if path is not None and (path == "-" or (os.path.exists(path) and not os.path.isfile(path))):  # noqa: PTH110, PTH113 - as there
        raise UsageError(f"{name}: a cluster reads files and URLs, nothing that can be read but once")


@contextmanager
def _connected(address: str, workers: int) -> Iterator[Client]:
    from distributed import Client  # noqa: PLC0415 - an extra

    with ExitStack() as stack:
        where = stack.enter_context(_local_cluster(workers)) if address == LOCAL else _scheduler(address)
        yield stack.enter_context(Client(where, timeout=PATIENCE_S))


def _scheduler(address: str) -> str:
    """The address, if a scheduler answers there; a `Client` that found none would hang about for some time."""
    try:
        role = asyncio.run(asyncio.wait_for(_role_at(address), PATIENCE_S))
    except ValueError as error:
        raise UsageError(f"--cluster {address}: {error}; say tcp://host:8786, or {LOCAL}") from error
    except Exception as error:  # a stranger's answer may be taken for anything
        raise UdpprobeError(f"{address}: no Dask scheduler answers there within {PATIENCE_S} s") from error
    if role != "Scheduler":
        raise UdpprobeError(f"{address}: that is a {role.lower()}; name its scheduler")
    return address


async def _role_at(address: str) -> str:
    from distributed.core import rpc  # noqa: PLC0415 - an extra

    async with rpc(address, timeout=PATIENCE_S) as peer:
        return (await peer.identity())["type"]


@contextmanager
def _local_cluster(workers: int) -> Iterator[LocalCluster]:
    import dask  # noqa: PLC0415 - an extra
    from distributed import LocalCluster  # noqa: PLC0415 - an extra

    _start_fork_server()
    with (dask.config.set({"distributed.worker.multiprocessing-method": "forkserver",
                           "distributed.worker.profile.enabled": False}),
          LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None,
                       silence_logs=logging.CRITICAL) as cluster):
        yield cluster


def _start_fork_server() -> None:
    """It loads Dask and NumPy once for all workers, and has them ignore Ctrl-C, which goes to all of a terminal's."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["distributed", "udpprobe.cluster"])
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    forkserver.ensure_running()
    if is_main:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask logs what it recovers from; errors that matter are told by us."""
    from distributed.utils import silence_logging_cmgr  # noqa: PLC0415 - an extra

    with warnings.catch_warnings(), silence_logging_cmgr(logging.CRITICAL):
        warnings.simplefilter("ignore")
        yield


def _check(versions: Mapping[str, Any], address: str) -> None:
    """See to it that all have what is needed.

    Raises:
        UdpprobeError: the first difference.
    """
    if not versions["workers"]:
        raise UdpprobeError(f"the cluster has no workers; start some with: dask worker {address}")
    here = versions["client"]["packages"]
    for place, theirs in versions["workers"].items():
        for package in ALIKE:
            _compare(package, here[package], theirs["packages"][package], place)


def _compare(package: str, here: str | None, there: str | None, place: str) -> None:
    if there is None:
        raise UdpprobeError(f"{package} is not installed at the worker {place}; install udpprobe[cluster] there")
    if here != there:
        raise UdpprobeError(f"{package} is {here} here, but {there} at the worker {place}; install the same version")
