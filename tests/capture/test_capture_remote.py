"""Captures that have a URL: read in ranges, in pieces, as streams; and what goes wrong with them."""

from __future__ import annotations

import gzip
import re
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import containers as c
import fsspec
import pytest
from containers import merged_rows, rows_from, rows_of
from fsspec.implementations.memory import MemoryFile

from udpprobe.capture import content
from udpprobe.capture.files import CaptureFile, MergedCaptures
from udpprobe.capture.inputs import find_inputs
from udpprobe.capture.pieces import Edges, Seam, cut, survey
from udpprobe.errors import CaptureError


class Store(BaseHTTPRequestHandler):
    """Answers by path; `server.sent` says how much."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        data = self.server.files.get(self.path)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if data is None:
            self.send_error(404)
            return
        if asked and self.server.knows_ranges:
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if self.server.knows_ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if with_body:
            self.server.sent.append(len(data))
            self.wfile.write(data)

    def log_message(self, *_):
        """Quietly."""


@contextmanager
def serving(files, *, knows_ranges=True):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    server.files, server.knows_ranges, server.sent = files, knows_ranges, []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


FRAMES = [c.Frame(c.START_NS + number * 1000, bytes([number % 256]) * (number % 300)) for number in range(3000)]
PCAP, PCAPNG = c.bytes_of_pcap(FRAMES), c.bytes_of_pcapng(FRAMES)
EXPECTED = rows_from(FRAMES)


@pytest.fixture
def store():
    """Files by URL, in this process."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def in_pieces(url, parts):
    """(rows, how many were read again)"""
    seam, rows, again = Seam(), [], 0
    for piece in filter(seam.needs, cut(survey(url), parts, is_gapless=True)):
        file = piece.open(4096)
        found = rows_of(file)
        if mended := seam.mended(piece, Edges.of(file)):
            again += 1
            file = mended.open(4096)
            found = rows_of(file)
        seam.add(Edges.of(file), file.state)
        rows += [row._replace(frame=row.frame + len(rows)) for row in found]
    return rows, again


@pytest.mark.parametrize("data", [PCAP, PCAPNG, gzip.compress(PCAP)])
def test_a_url_gives_the_same_result_as_a_file(store, data):
    store.pipe("/capture", data)
    source = CaptureFile("memory://capture")

    assert EXPECTED == rows_of(source)
    assert (len(data), len(data)) == (source.state.done_bytes, source.state.total_bytes)


@pytest.mark.parametrize("data", [PCAP, PCAPNG, gzip.compress(PCAP)])
def test_a_url_is_read_in_pieces(store, data):
    store.pipe("/capture", data)
    rows, again = in_pieces("memory://capture", 5)

    assert (EXPECTED, 0) == (rows, again)


@pytest.mark.parametrize("data", [PCAP, gzip.compress(PCAPNG)])
def test_a_web_server_gives_the_same_result_as_a_file(data):
    with serving({"/capture": data}) as (base, _):
        assert EXPECTED == rows_of(CaptureFile(f"{base}/capture"))


def test_a_piece_of_a_large_file_on_a_web_server_is_a_range_request():
    data = c.bytes_of_pcap([c.Frame(c.START_NS, bytes(1000))] * 20_000)
    with serving({"/capture": data}) as (base, server):
        piece = cut(survey(f"{base}/capture"), 20)[7]
        server.sent.clear()
        rows = rows_of(piece.open())
        assert 990 < len(rows) < 1010
        assert len(data) / 20 < sum(server.sent) < 1.2 * len(data) / 20


def test_a_web_server_without_ranges_is_read_as_a_stream():
    with serving({"/capture": PCAP}, knows_ranges=False) as (base, _):
        url = f"{base}/capture"
        assert [url] == [piece.name for piece in cut(survey(url), 10)]
        assert EXPECTED == rows_of(CaptureFile(url))


def test_several_urls_are_one_capture(store):
    store.pipe("/b", c.bytes_of_pcap(FRAMES[:1000], nanos=True))
    store.pipe("/a", c.bytes_of_pcap(FRAMES[1000:], nanos=True))

    assert EXPECTED == merged_rows(MergedCaptures(["memory://a", "memory://b"]))


def test_directories_and_wildcards_of_a_store_expand_to_their_captures(store):
    for name in ("/set/b.pcap", "/set/a.pcap", "/set/deep/c.pcap"):
        store.pipe(name, PCAP)

    assert ("memory:///set/a.pcap", "memory:///set/b.pcap") == find_inputs(["memory://set/*.pcap"]).files
    assert 3 == len(find_inputs(["memory://set/"]).files)


def test_a_file_url_is_a_path(tmp_path):
    (tmp_path / "a.pcap").write_bytes(PCAP)
    url = f"file://{tmp_path}/a.pcap"
    assert (url,) == find_inputs([url]).files
    source = CaptureFile(url)

    assert (EXPECTED, url) == (rows_of(source), source.state.name)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://missing", "memory://missing: no such file"),
        ("nonsense://x", "nonsense://x: cannot be read: Protocol not known: nonsense"),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x: cannot be reached: Cannot connect"),
    ],
)
def test_an_unreadable_url_is_an_error_in_one_line(url, said):
    with pytest.raises(CaptureError, match=r"^[^\n]*$") as error:
        CaptureFile(url)
    assert str(error.value).startswith(said)


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(CaptureError, match=r"s3://bucket/x: needs fsspec; install udpprobe\[cluster\]"):
        CaptureFile("s3://bucket/x")


def test_a_connection_that_breaks_is_an_error_that_names_the_url(store, monkeypatch):
    store.pipe("/capture", PCAP)
    source = content.Remote("memory://capture")
    monkeypatch.setattr(MemoryFile, "read", lambda *_: 1 / 0)
    with pytest.raises(CaptureError, match="memory://capture: cannot be read: division by zero"):
        source.read(0)
