"""From real files to text and exit status, nothing in between faked."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import datagram, ethernet
from containers import Frame, bytes_of_pcap, bytes_of_pcapng
from rare_links import pktap
from waiting import until_it_waits

from udpprobe import interrupt
from udpprobe.cli import main
from udpprobe.interrupt import CtrlC

PCAPS = Path(__file__).parents[2] / "pcaps"
REFUSED, LOOP = PCAPS / "refused.pcap", PCAPS / "loop2-client.pcap"
UDPPROBE = [sys.executable, "-m", "udpprobe"]
STREAMING = [*UDPPROBE, "analyze", "--events", "--format", "ndjson"]


@pytest.fixture
def folder(tmp_path):
    whole = REFUSED.read_bytes()
    (tmp_path / "directory").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no capture\n")
    (tmp_path / "cut").write_bytes(whole[:300])
    (tmp_path / "whole").write_bytes(whole)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "options", "status", "said"),
    [
        ("missing", [], 3, "no such file"),
        ("directory", [], 3, "no capture in this directory"),
        ("empty", [], 3, "is empty"),
        ("text", [], 3, "it looks like text"),
        ("whole", ["--filter", "foo("], 2, "--filter: "),
    ],
)
def test_what_a_user_or_a_file_can_do_is_one_line(folder, capsys, name, options, status, said):
    assert status == main(["analyze", str(folder / name), *options])
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert (told.err.startswith("udpprobe: "), told.err.count("\n")) == (True, 1)


def test_of_several_files_the_readable_are_read_and_the_others_named(folder, capsys):
    assert main(["analyze", str(folder / "whole"), "missing", str(folder / "text"), "--format", "json"]) == 3
    told = capsys.readouterr()
    assert told.err == (
        "udpprobe: not all was read: missing: no such file (and 1 more: see `unread` in the report as JSON)\n"
    )
    source = json.loads(told.out)["source"]
    assert source["packets"] > 0
    assert source["unread"][0] == {"name": "missing", "reason": "missing: no such file"}
    assert source["unread"][1]["name"] == str(folder / "text")


UNKNOWN = {
    "pcap": bytes_of_pcap([Frame(0, bytes(60)), Frame(1, bytes(60))], link_type=147),
    "pcapng": bytes_of_pcapng([Frame(0, bytes(60)), Frame(1, bytes(60))], link_type=147),
    "pktap": bytes_of_pcap([Frame(0, pktap(bytes(60), 147)), Frame(1, pktap(bytes(60), 147))], link_type=258),
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("options", [[], ["--events"], ["--format", "markdown"], ["--fail-on", "refused"]])
def test_where_no_packet_can_be_read_the_first_line_says_so(tmp_path, capsys, name, options):
    (tmp_path / name).write_bytes(UNKNOWN[name])
    assert 3 == main(["analyze", str(tmp_path / name), *options])
    told = capsys.readouterr()
    assert told.out.startswith("No packet could be read: unknown link layer (")
    assert "unknown-link-type 2" in " ".join(told.out.split())
    assert told.err.startswith("udpprobe: no packet could be read: unknown link layer (")
    assert 1 == told.err.count("\n")


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_no_packet_can_be_read_the_document_is_whole(tmp_path, capsys, name):
    (tmp_path / name).write_bytes(UNKNOWN[name])
    assert 3 == main(["analyze", str(tmp_path / name), "--format", "json"])
    document = json.loads(capsys.readouterr().out)
    assert (2, {"unknown-link-type": 2}, []) == (
        document["source"]["packets"],
        document["faults"],
        document["destinations"],
    )
    assert 3 == main(["analyze", str(tmp_path / name), "--format", "ndjson"])
    assert "summary" == json.loads(capsys.readouterr().out)["kind"]


@pytest.mark.parametrize(
    "more",
    [
        bytes_of_pcap([]),
        bytes_of_pcap([Frame(5, ethernet(datagram("192.0.2.1", "192.0.2.2", 1, 2)))]),
        bytes_of_pcap([Frame(5, bytes(13))]),
    ],
)
def test_where_one_packet_can_be_read_or_there_is_none_the_status_is_0(tmp_path, capsys, more):
    (tmp_path / "known").write_bytes(more)
    (tmp_path / "unknown").write_bytes(UNKNOWN["pcap"])
    assert 0 == main(["analyze", str(tmp_path / "known")])
    has_packets = len(more) > 24
    assert (0 if has_packets else 3) == main(["analyze", str(tmp_path / "known"), str(tmp_path / "unknown")])
    assert has_packets == ("No packet could be read" not in capsys.readouterr().out)


def test_a_cut_capture_is_reported_as_far_as_it_goes(folder, capsys):
    assert main(["analyze", str(folder / "cut")]) == 0
    assert "cut short" in " ".join(capsys.readouterr().out.split())  # a long path breaks lines elsewhere


@pytest.mark.parametrize(("fail_on", "status"), [("refused", 1), ("loop", 0)])
def test_fail_on_sets_the_exit_status(fail_on, status):
    assert status == main(["analyze", str(REFUSED), "--fail-on", fail_on])


def test_filter_and_window_leave_packets_out(capsys):
    assert main(["analyze", str(REFUSED), "--filter", "ip", "--format", "json"]) == 0
    assert {found["address"] for found in json.loads(capsys.readouterr().out)["destinations"]} == {"10.0.1.2"}
    assert main(["analyze", str(REFUSED), "--until", "2001-01-01", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"]["packets"] == 0


def test_several_files_are_one_capture(capsys):
    assert main(["analyze", str(LOOP), str(REFUSED), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["verdict"] for each in told["destinations"]] == ["refused", "refused", "loop", "loop"]


def test_standard_input_is_read():
    done = subprocess.run([*UDPPROBE, "analyze", "-"], input=REFUSED.read_bytes(), capture_output=True, check=True)
    assert b"\nstandard input: 8 packets" in done.stdout
    assert done.stderr == b""


def test_events_of_a_pipe_that_never_ends_come_at_once_and_ctrl_c_ends_it():
    with subprocess.Popen(
        [*STREAMING, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(REFUSED.read_bytes())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["verdict"] == "refused"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_it_print_the_report_so_far(number, status, tmp_path):
    with subprocess.Popen(
        [*UDPPROBE, "analyze", "-", "-o", str(tmp_path / "report")], stdin=subprocess.PIPE
    ) as process:
        process.stdin.write(REFUSED.read_bytes())
        process.stdin.flush()
        until_it_waits(process)
        process.send_signal(number)
        assert status == process.wait()
    assert [tmp_path / "report"] == list(tmp_path.iterdir())
    assert "refused" in (tmp_path / "report").read_text()


TERMINATED_TWICE = """
import os, signal, sys, time
from udpprobe import cli
from udpprobe.__main__ import run
from udpprobe.cli.output import opened
from udpprobe.interrupt import SAME_PRESS_S, CtrlC

def main():
    with opened(sys.argv[1], stream=False) as out, CtrlC() as ctrl_c:
        os.kill(os.getpid(), signal.SIGTERM)
        out.write(str(ctrl_c.came))
        time.sleep(2 * SAME_PRESS_S)
        os.kill(os.getpid(), signal.SIGTERM)
    return 0

cli.main = main
sys.exit(run())
"""


@pytest.mark.parametrize("begun", [b"", (REFUSED.read_bytes())[:10], (REFUSED.read_bytes())[:24]])
def test_the_first_ctrl_c_ends_it_while_a_pipe_says_nothing(begun):
    with subprocess.Popen(
        [*UDPPROBE, "analyze", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(begun)
        process.stdin.flush()
        until_it_waits(process)
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(30)
        assert b"" == process.stderr.read()


def test_a_second_sigterm_ends_it_at_once_and_leaves_no_draft(tmp_path):
    words = [sys.executable, "-c", TERMINATED_TWICE, str(tmp_path / "report")]
    done = subprocess.run(words, capture_output=True, check=False)
    assert (143, b"") == (done.returncode, done.stderr)
    assert [] == list(tmp_path.iterdir())


def test_one_ctrl_c_that_comes_as_two_signals_is_one(monkeypatch):
    now_s = 1000.0
    monkeypatch.setattr(interrupt, "time", SimpleNamespace(monotonic=lambda: now_s))
    with CtrlC() as ctrl_c:
        signal.raise_signal(signal.SIGINT)
        now_s += interrupt.SAME_PRESS_S / 2
        signal.raise_signal(signal.SIGINT)
        assert ctrl_c.came
        now_s += interrupt.SAME_PRESS_S
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("where", ["class", "import"])
def test_ctrl_c_while_modules_are_loaded_shows_no_traceback(where):
    moments = {
        "import": "raise KeyboardInterrupt",
        "class": "class Made:\n        field = type('Named', (), {'__set_name__': lambda *_: interrupt()})()",
    }
    program = (
        "import sys\nfrom udpprobe import cli\nfrom udpprobe.__main__ import run\n"
        "def interrupt():\n    raise KeyboardInterrupt\n"
        f"def main():\n    {moments[where]}\ncli.main = main\nsys.exit(run())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (130, b"") == (done.returncode, done.stderr)


def test_a_scan_in_the_background_of_a_script_obeys_sigterm(tmp_path):
    # there, the shell lets SIGINT be ignored
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        words = [
            "sh",
            "-c",
            'trap "" INT; exec "$@"',
            "sh",
            *UDPPROBE,
            "scan",
            "-o",
            str(tmp_path / "report"),
            f"127.0.0.1:{silent.getsockname()[1]}",
            "--engine",
            "recverr",
            "--no-control",
            "--retries",
            "100",
            "--timeout",
            "60",
        ]
        silent.settimeout(20)
        with subprocess.Popen(words) as process:
            silent.recv(2000)
            process.send_signal(signal.SIGTERM)
            assert 143 == process.wait(timeout=10)
    assert [tmp_path / "report"] == list(tmp_path.iterdir())
    assert "undecided" in (tmp_path / "report").read_text()


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_a_reader_that_goes_away_is_no_traceback(tmp_path, environment):
    many = tmp_path / "many"
    header, records = REFUSED.read_bytes()[:24], REFUSED.read_bytes()[24:]
    many.write_bytes(header + records * 3000)
    with subprocess.Popen(
        [*STREAMING, str(many)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_name_with_control_characters_is_escaped(tmp_path, capsys):
    evil = tmp_path / "a\x1b[31m\nb.pcap"
    evil.write_bytes(REFUSED.read_bytes())
    assert main(["analyze", os.fspath(evil)]) == 0
    assert r"a\x1b[31m\nb.pcap" in capsys.readouterr().out
