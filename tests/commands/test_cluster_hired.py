"""What is said of clusters that are not there, or not fit for the work: one line, within seconds."""

import os
import socket
import sys
import threading
import time

import pytest
from clusters import cluster
from pcaps_readme import PCAPS

from udpprobe.cli import main
from udpprobe.commands import cluster as crews

pytestmark = pytest.mark.slow

CAPTURE = str(PCAPS / "refused.pcap")
NOT_INSTALLED = """
import importlib.metadata as metadata
version = metadata.version
def hidden(name):
    if name == "udpprobe":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = hidden
"""


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    """A scheduler without workers."""
    with cluster(tmp_path_factory.mktemp("cluster"), workers=0) as made:
        yield made


def _worker(made, folder):
    """With what is in the folder before all else that Python imports."""
    return made.hired(PYTHONPATH=str(folder))


def _said(capsys, address, capture=CAPTURE):
    status = main(["analyze", "--cluster", address, capture])
    told = capsys.readouterr()
    assert ("", 1) == (told.out, told.err.count("\n"))
    return status, told.err.removeprefix("udpprobe: ").rstrip()


def test_a_cluster_that_does_not_answer_is_reported(capsys, monkeypatch):
    monkeypatch.setattr(crews, "PATIENCE_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    start_s = time.monotonic()
    assert (3, f"tcp://127.0.0.1:{port}: no Dask scheduler answered within 1 s") == _said(
        capsys, f"tcp://127.0.0.1:{port}"
    )
    assert time.monotonic() - start_s < 20  # Dask by itself tries for 30 s


def test_another_program_at_the_address_is_reported(capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"SSH-2.0-OpenSSH_9.9\r\n" * 20)

        thread = threading.Thread(target=greet)
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert (3, f"{address}: no Dask scheduler answered within 5 s") == _said(capsys, address)
        thread.join()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "--cluster nonsense: missing port number in address 'nonsense'; use tcp://host:8786 or local"),
        ("gopher://a:1", "--cluster gopher://a:1: unknown address scheme 'gopher'"),
    ],
)
def test_an_invalid_address_is_a_usage_error(capsys, address, said):
    status, told = _said(capsys, address)
    assert (2, said) == (status, told[: len(said)])


def test_input_that_can_be_read_only_once_is_a_usage_error(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("-", str(tmp_path / "pipe")):
        assert (2, f"{name}: a cluster reads only files and URLs, which can be read more than once") == _said(
            capsys, "local", name
        )


def test_the_number_of_remote_workers_cannot_be_chosen(capsys):
    assert 2 == main(["analyze", "--cluster", "tcp://127.0.0.1:1", "--workers", "2", CAPTURE])
    assert "--workers is for threads and processes here" in capsys.readouterr().err


def test_without_the_extra_one_line_names_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed.utils", None)
    monkeypatch.delitem(sys.modules, "udpprobe.commands.cluster", raising=False)
    assert (3, "--cluster needs Dask; install udpprobe[cluster]") == _said(capsys, "local")


def test_a_cluster_without_workers_is_reported(lone, capsys):
    said = f"the cluster has no workers; start some with: dask worker {lone.address}"
    assert (3, said) == _said(capsys, lone.address)


def test_the_address_of_a_worker_is_not_a_scheduler(lone, capsys, tmp_path):
    with _worker(lone, tmp_path) as address:
        assert (3, f"{address}: this is a worker; name its scheduler") == _said(capsys, address)


def test_versions_that_differ_are_named(lone, capsys, tmp_path):
    metadata = tmp_path / "udpprobe-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: udpprobe\nVersion: 9.9\n")
    with _worker(lone, tmp_path) as address:
        status, told = _said(capsys, lone.address)
    assert 3 == status
    assert told.startswith("udpprobe is ")
    assert told.endswith(f" here, but 9.9 on the worker {address}; install the same version")


def test_workers_without_udpprobe_are_reported(lone, capsys, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    with _worker(lone, tmp_path) as address:
        assert (3, f"udpprobe is not installed on the worker {address}; install udpprobe[cluster] there") == _said(
            capsys, lone.address
        )
