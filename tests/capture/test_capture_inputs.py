"""Words of a command line become the files they name."""

from __future__ import annotations

import errno
import gzip
import io
import os
import sys
from types import SimpleNamespace

import containers as c
import pytest

from udpprobe.capture import inputs
from udpprobe.capture.inputs import Inputs, find_inputs, threads_for
from udpprobe.errors import CaptureError, UsageError

PCAP = c.bytes_of_pcap([c.Frame(c.START_NS, b"frame")])


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Captures, and what is none, in directories."""
    for name, data in {
        "a.pcap": PCAP,
        "b [1].pcap": PCAP,
        "deep/er/c.pcap.gz": gzip.compress(PCAP),
        "deep/d": PCAP,
        "deep/notes.txt": b"no capture",
        "deep/empty.pcap": b"",
        "none/notes.txt": b"no capture",
        "deep/notes.gz": gzip.compress(b"no capture"),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "deep/pipe")  # would be waited for
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["a.pcap"], ["a.pcap"]),
        (["deep"], ["deep/d", "deep/er/c.pcap.gz"]),
        (["a.pcap", "deep/er"], ["a.pcap", "deep/er/c.pcap.gz"]),
        (["*.pcap"], ["a.pcap", "b [1].pcap"]),
        (["deep/**/*.gz"], ["deep/er/c.pcap.gz", "deep/notes.gz"]),
        (["d*"], ["deep/d", "deep/er/c.pcap.gz"]),
        (["b [1].pcap"], ["b [1].pcap"]),
        (["-", "missing"], ["-", "missing"]),
        (["s3://bucket/a?versionId=1"], ["s3://bucket/a?versionId=1"]),
    ],
)
def test_files_globs_and_directories_expand_to_their_captures(words, files):
    assert Inputs(", ".join(words), (tuple(files),)) == find_inputs(words)


@pytest.mark.usefixtures("tree")
def test_a_directory_without_captures_in_a_glob_is_unread():
    found = find_inputs(["*"])

    assert ("a.pcap", "b [1].pcap", "deep/d", "deep/er/c.pcap.gz") == found.files
    assert {"none": "none: no capture in this directory"} == found.unread


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(("locked", "files"), [("deep/er", ("a.pcap", "deep/d")), ("deep", ("a.pcap",))])
def test_a_directory_that_cannot_be_listed_is_unread(locked, files, monkeypatch):
    scandir = os.scandir

    def guarded(path):
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = find_inputs(["a.pcap", "deep"])

    assert (files, {locked: f"{locked}: cannot be listed: Permission denied"}) == (found.files, found.unread)


@pytest.mark.usefixtures("tree")
def test_capture_points_are_kept_apart():
    assert (("a.pcap",), ("deep/d", "deep/er/c.pcap.gz")) == find_inputs(["a.pcap", "deep"], are_apart=True).captures


def test_files_come_from_a_list_with_comments(tree):
    (tree / "list").write_text("# captures\n\n  a.pcap  \ndeep\n")
    found = find_inputs(["b [1].pcap"], "list")

    assert ("b [1].pcap, list", ("b [1].pcap", "a.pcap", "deep/d", "deep/er/c.pcap.gz")) == (found.name, found.files)


def test_lines_of_the_list_end_only_at_newlines(tree):
    (tree / "list").write_text("a\x0bb\u2028\x85c.pcap\r\n# none\n ./#d.pcap \n")

    assert (("a\x0bb\u2028\x85c.pcap", "./#d.pcap"),) == find_inputs([], "list").captures


@pytest.mark.usefixtures("tree")
def test_the_list_may_be_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("a.pcap\nb\xff".encode("latin-1"))))

    assert ("a.pcap", os.fsdecode(b"b\xff")) == find_inputs([], "-").files


@pytest.mark.usefixtures("tree")
def test_an_unlistable_name_among_others_is_unread():
    found = find_inputs(["a.pcap", "none", "x*"])

    assert (("a.pcap",), {"none": "none: no capture in this directory", "x*": "x*: no such file"}) == (
        found.files,
        found.unread,
    )


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(("words", "said"), [(["none"], "no capture in this directory"), (["x*"], "x*: no such file")])
def test_naming_no_file_is_an_error(words, said):
    with pytest.raises(CaptureError) as error:
        find_inputs(words)
    assert said in str(error.value)


def test_an_empty_list_and_a_missing_one_are_errors(tree):
    (tree / "list").write_text("\n")
    with pytest.raises(CaptureError, match="list: matches no capture"):
        find_inputs([], "list")
    with pytest.raises(CaptureError, match="missing: cannot be read: No such file"):
        find_inputs([], "missing")


@pytest.mark.parametrize(("words", "files_from"), [(["-", "-"], None), (["-"], "-")])
def test_standard_input_can_be_read_only_once(words, files_from, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a.pcap")))
    with pytest.raises(UsageError, match="only once"):
        find_inputs(words, files_from)


@pytest.mark.usefixtures("tree")
def test_the_number_of_threads_is_what_helps_or_what_was_requested(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    assert (1, 3, 1) == (threads_for(["a.pcap"], None), threads_for(["a.pcap"], 3), threads_for(["-"], 3))
    assert 8 == threads_for(["s3://bucket/huge"], None)
    monkeypatch.setattr(inputs, "PAYING_BYTES", len(PCAP))
    assert (8, 1) == (threads_for(["a.pcap"], None), threads_for(["deep/pipe"], None))
