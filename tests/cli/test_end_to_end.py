"""From real files to text and exit status, nothing in between faked."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import datagram, error, ethernet, ipv4, port_unreachable
from containers import Frame, bytes_of_pcap, bytes_of_pcapng, pcap_header, pcap_record
from rare_links import pktap
from waiting import until_it_waits

from udpprobe import interrupt
from udpprobe.capture.files import CaptureFile
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
def test_errors_of_users_and_files_are_one_line(folder, capsys, name, options, status, said):
    assert status == main(["analyze", str(folder / name), *options])
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert (told.err.startswith("udpprobe: "), told.err.count("\n")) == (True, 1)


def test_readable_files_are_read_and_the_others_are_named(folder, capsys):
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
def test_if_no_packet_can_be_read_the_first_line_says_so(tmp_path, capsys, name, options):
    (tmp_path / name).write_bytes(UNKNOWN[name])
    assert 3 == main(["analyze", str(tmp_path / name), *options])
    told = capsys.readouterr()
    assert told.out.startswith("No packet could be read: unknown link layer (")
    assert "unknown-link-type 2" in " ".join(told.out.split())
    assert told.err.startswith("udpprobe: no packet could be read: unknown link layer (")
    assert 1 == told.err.count("\n")


@pytest.mark.parametrize("name", UNKNOWN)
def test_if_no_packet_can_be_read_the_document_is_still_complete(tmp_path, capsys, name):
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
def test_with_one_readable_packet_or_an_empty_file_the_status_is_0(tmp_path, capsys, more):
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


def test_filter_and_time_window_exclude_packets(capsys):
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


def test_events_of_an_endless_pipe_come_at_once_and_ctrl_c_ends_it():
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
def test_a_signal_prints_the_report_so_far(number, status, tmp_path):
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
def test_the_first_ctrl_c_ends_it_while_a_pipe_is_idle(begun):
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


def test_one_ctrl_c_that_arrives_as_two_signals_counts_once(monkeypatch):
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
            *"--engine recverr --no-control --retries 100 --timeout 60".split(),
        ]
        silent.settimeout(20)
        with subprocess.Popen(words) as process:
            silent.recv(2000)
            process.send_signal(signal.SIGTERM)
            assert 143 == process.wait(timeout=10)
    assert [tmp_path / "report"] == list(tmp_path.iterdir())
    assert "undecided" in (tmp_path / "report").read_text()


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
def test_a_reader_that_goes_away_causes_no_traceback(tmp_path, environment):
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


# ---- defects of the command that were found by looking for them, each as what a user did


CLIENT, SERVER = "10.0.0.1", "10.9.9.9"
PATIENCE_S = 30  # it would be told in two seconds, or never
LONG = 4000  # packets of 1.4 kB: several times what is read at once


def asked(number=1, port=53, **fields):
    return datagram(CLIENT, SERVER, 4000, port, b"?", **{"id": number, **fields})


def record(packet, at_s=0):
    return pcap_record(Frame(round(at_s * 1e9), ethernet(packet)))


# ---- pipes


@pytest.mark.parametrize("rate_pps", [20, 200, 5000])
def test_an_event_is_reported_while_other_packets_keep_coming(rate_pps):
    burst = max(rate_pps // 200, 1)
    stop = threading.Event()
    with subprocess.Popen([*STREAMING, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:

        def write_on():
            while not stop.wait(burst / rate_pps):
                _tell(running, record(asked(7, 99)) * burst)

        _tell(running, pcap_header() + b"".join(map(record, (asked(1), asked(2)))))
        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            for number in (1, 2):  # once while it loads what it needs, and once after that
                _tell(running, record(port_unreachable(asked(number))))
                assert select.select([running.stdout], [], [], PATIENCE_S)[0]
                assert "refused" == json.loads(running.stdout.readline())["verdict"]
        finally:
            stop.set()
            writer.join()


def _tell(process, data):
    process.stdin.write(data)
    process.stdin.flush()


def written(tmp_path, packets):
    """A capture of these IP packets in Ethernet frames, 10 ms apart."""
    file = tmp_path / "capture.pcap"
    file.write_bytes(pcap_header() + b"".join(record(packet, at / 100) for at, packet in enumerate(packets)))
    return file


# ---- Ctrl-C


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_in_the_middle_of_counting_still_reports(tmp_path, monkeypatch, capsys, workers):
    fill, calls, noted = CaptureFile.fill, [], set()

    def interrupted(file):
        calls.append(file)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            while not noted:  # by the main thread, which this may not be
                time.sleep(0.001)
        return fill(file)

    monkeypatch.setattr(interrupt, "_came", noted)
    monkeypatch.setattr(CaptureFile, "fill", interrupted)
    file = tmp_path / "long.pcap"
    long = record(datagram(CLIENT, SERVER, 4000, 99, bytes(1400)))
    file.write_bytes(pcap_header() + record(asked()) + record(port_unreachable(asked())) + long * LONG)
    assert 130 == main(["analyze", str(file), "--workers", workers, "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert 2 < told["source"]["packets"] < LONG
    assert "refused" == told["destinations"][0]["verdict"]
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)


@pytest.mark.parametrize(
    "where",
    [
        "udpprobe.capture.files.CaptureFile.fill",
        "udpprobe.commands.analyze.report_of",
        "udpprobe.reports.table.closing",
    ],
)
def test_a_second_ctrl_c_ends_at_once(tmp_path, monkeypatch, capfd, where):
    monkeypatch.setattr("udpprobe.interrupt.SAME_PRESS_S", 0)  # else two at once are one
    monkeypatch.setattr(where, lambda *_, **__: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    file = written(tmp_path, [asked(), port_unreachable(asked())])
    assert 130 == main(["analyze", str(file)])
    assert ("", "") == capfd.readouterr()


@pytest.mark.slow
def test_ctrl_c_at_any_time_ends_in_an_orderly_way(tmp_path):
    file = tmp_path / "long.pcap"
    file.write_bytes(pcap_header() + record(asked()) * 250_000 + record(port_unreachable(asked())) * 250_000)
    endings = []
    for number in range(12):
        with subprocess.Popen(
            [*UDPPROBE, "analyze", "--format", "json", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running:
            while not _has_open(running, file) and running.poll() is None:
                time.sleep(0.001)
            time.sleep(number * 0.02)
            running.send_signal(signal.SIGINT)
            told, complaint = running.communicate()
        endings.append((running.returncode, complaint))
        assert not told or json.loads(told)["source"]["packets"]  # nothing, where it was being written
    assert {(130, b"")} <= set(endings) <= {(0, b""), (130, b"")}


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_behind_the_end_of_a_command_shows_no_traceback(name, status):
    code = f"""if True:
        import os, signal, udpprobe.__main__ as program
        real = signal.signal
        def struck(number, handler):
            if handler is signal.SIG_IGN and signal.getsignal(signal.{name}) is not signal.SIG_IGN:
                os.kill(os.getpid(), signal.{name})
            return real(number, handler)
        signal.signal = struck
        from udpprobe.interrupt import handle_sigterm
        program._status = lambda: handle_sigterm() or 0
        program.run()"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (status, b"") == (ended.returncode, ended.stderr)


def _has_open(process, file):
    with suppress(OSError):  # one was closed meanwhile
        return any(file == each.readlink() for each in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


def test_ctrl_c_before_the_first_packet_prints_a_report():
    with subprocess.Popen(
        [*UDPPROBE, "analyze", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        _tell(running, pcap_header())
        until_it_waits(running)
        running.send_signal(signal.SIGINT)
        assert b"standard input: 0 packets" in running.stdout.read()
        assert (130, b"") == (running.wait(), running.stderr.read())


# ---- filters and files


@pytest.mark.parametrize(("link_type", "faults"), [(14, {}), (147, {"unfilterable-link-type": 1})])
def test_a_link_type_that_libpcap_cannot_filter_is_no_usage_error(tmp_path, capsys, link_type, faults):
    file = tmp_path / "capture.pcap"
    file.write_bytes(bytes_of_pcap([Frame(0, asked())], link_type=link_type))
    assert 0 == main(["analyze", str(file), "--filter", "udp", "--format", "json"])
    assert faults == json.loads(capsys.readouterr().out)["faults"]


def test_a_bad_filter_is_reported_for_an_empty_capture_too(tmp_path, capsys):
    file = tmp_path / "capture.pcap"
    file.write_bytes(bytes_of_pcap([]))
    assert 2 == main(["analyze", str(file), "--filter", "no such words"])
    assert "--filter" in capsys.readouterr().err


def test_output_does_not_empty_the_capture_on_standard_input(tmp_path):
    file = written(tmp_path, [asked(), port_unreachable(asked())])
    before = file.read_bytes()
    with file.open() as stdin:
        done = subprocess.run([*STREAMING, "-o", str(file), "-"], stdin=stdin, capture_output=True, check=False)
    assert (2, before) == (done.returncode, file.read_bytes())


def test_a_dash_as_output_is_standard_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, [asked(), port_unreachable(asked())])
    assert 0 == main(["analyze", str(file), "-o", "-"])
    assert "refused" in capsys.readouterr().out
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["analyze missing.pcap", "analyze --nonsense", ""])
def test_with_standard_error_closed_no_complaint_is_a_result(words):
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m udpprobe {words} 2>&-', sys.executable], capture_output=True, check=False
    )
    assert b"" == done.stdout
    assert done.returncode in {2, 3}


# ---- reports


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_flows_are_distinguished_in_reports(tmp_path, capsys, form):
    unseen = datagram(CLIENT, "10.9.9.8", 4002, 53, b"?", id=9)
    file = written(tmp_path, [asked(), port_unreachable(asked()), port_unreachable(unseen)])
    assert 0 == main(["analyze", str(file), "--group-by", "flow", "--format", form])
    told = capsys.readouterr().out
    assert f"from {CLIENT}:4000" in told
    assert f"from {CLIENT}:4002" in told


def test_unmatched_errors_by_flow_name_the_source_as_far_as_it_is_quoted(tmp_path, capsys):
    unseen = datagram(CLIENT, "10.9.9.8", 4002, 53, b"?", id=9)
    fragment = ipv4(CLIENT, "10.9.9.7", bytes(100), id=77, frag_offset=185)
    file = written(tmp_path, [port_unreachable(unseen), error(fragment, 11, 1)])
    assert 0 == main(["analyze", str(file), "--group-by", "flow", "--format", "json"])
    told = json.loads(capsys.readouterr().out)["unmatched"]
    assert [(CLIENT, 4002), (CLIENT, None)] == [(each["source"], each["source_port"]) for each in told]


def test_a_router_that_rejects_is_not_said_to_be_the_destination(tmp_path, capsys):
    rejected = port_unreachable(asked(), reporter="10.5.5.5")
    file = written(tmp_path, [asked(), rejected])
    assert 0 == main(["analyze", str(file), "--group-by", "reporter"])
    told = capsys.readouterr().out
    assert "rejected" in told
    assert "itself" not in told
