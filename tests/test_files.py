"""Files that somebody names and that have no end: each is refused in bounds, with a line that says so."""

import io
import itertools
import os
import threading

import pytest

from udpprobe.capture import inputs
from udpprobe.cli import main
from udpprobe.errors import UsageError
from udpprobe.files import MOST_OF_A_LINE, lines_at_most, read_at_most
from udpprobe.targets import read_targets

ZERO = "/dev/zero"


class Endless(io.TextIOBase):
    """A list of targets without end."""

    def __init__(self, line):
        self._line = line

    def readline(self, size=-1):
        return self._line[:size]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scan", "--targets-file", ZERO], "a line has more than 65,536 characters"),
        (["scan", "192.0.2.1:53", "--payloads", f"nmap:{ZERO}"], "it has more than 16 MB"),
        (["scan", "192.0.2.1:53", "--payload", f"file:{ZERO}"], "larger than the 65507 bytes"),
        (["scan", "192.0.2.1:53", "--asn-db", ZERO], "it is not a regular file"),
        (["analyze", "--files-from", ZERO], "it has more than 32 MB"),
        (["analyze", ZERO], "not a pcap or pcapng capture"),
        (["diff", ZERO, ZERO], "not a pcap or pcapng capture"),
        (["check", "--config", ZERO], "more than 16 MB"),
        (["exporter", "--config", ZERO], "more than 16 MB"),
        (["lab", "--show", ZERO], "more than 16 MB"),
    ],
)
def test_an_endless_file_is_refused(words, said, capsys):
    assert main(words) in {2, 3}
    out, err = capsys.readouterr()
    assert said in out + err
    assert len(out + err) < 400


def test_an_endless_line_is_cut_at_a_limit():
    lines = lines_at_most(Endless("192.0.2.1\n"), 10_000)
    with pytest.raises(OSError, match="more than 0 MB"):
        all(lines)
    with pytest.raises(OSError, match="more than 65,536 characters"):
        next(lines_at_most(Endless("x" * 1_000_000)))


def test_a_file_of_exactly_the_limit_is_read(tmp_path):
    path = tmp_path / "some"
    path.write_bytes(bytes(1000))
    assert bytes(1000) == read_at_most(str(path), 1000)
    with pytest.raises(OSError, match="more than"):
        read_at_most(str(path), 999)
    path.write_text("a" * (MOST_OF_A_LINE - 1) + "\nb\n")
    with path.open() as file:
        assert [MOST_OF_A_LINE, 2] == [len(line) for line in lines_at_most(file)]


def test_an_endless_report_from_a_pipe_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inputs, "MOST_REPORT_BYTES", 100_000)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def write():
        try:
            with fifo.open("wb", buffering=0) as out:
                for _ in itertools.count():
                    out.write(b"[" * 10_000)
        except BrokenPipeError:
            return

    writer = threading.Thread(target=write)
    writer.start()
    assert 3 == main(["diff", str(fifo), str(fifo)])
    writer.join(30)
    assert "a report of more than" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "x" * 20_000 + "/",
        ":" * 20_000,
        "a:" * 10_000,
        "a:" * 10_000 + "/",
        "1." * 10_000,
        "http://" + "a" * 20_000,
        "a:" + "1-" * 10_000,
        "[" * 20_000,
    ],
)
def test_a_long_word_is_refused_at_once_and_not_repeated(tmp_path, line):
    """Each shape is matched in one way only: 1,200 colons took 5 s, and a day 20,000."""
    (tmp_path / "hosts").write_text(line)
    with pytest.raises(UsageError) as found:
        read_targets(str(tmp_path / "hosts"))
    assert len(str(found.value)) < 500
