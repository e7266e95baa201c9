"""Defects of the command that were found by looking for them, each as what a user did."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from builders import datagram, error, ethernet, ipv4, port_unreachable
from containers import Frame, bytes_of_pcap, pcap_header, pcap_record
from waiting import until_it_waits

from udpprobe import interrupt
from udpprobe.capture.files import CaptureFile
from udpprobe.cli import main

CLIENT, SERVER = "10.0.0.1", "10.9.9.9"
UDPPROBE = [sys.executable, "-m", "udpprobe"]
PATIENCE_S = 30  # it would be told in two seconds, or never
LONG = 4000  # packets of 1.4 kB: several times what is read at once
STREAMING = [*UDPPROBE, "analyze", "--events", "--format", "ndjson"]


def asked(number=1, port=53, **fields):
    return datagram(CLIENT, SERVER, 4000, port, b"?", **{"id": number, **fields})


def record(packet, at_s=0):
    return pcap_record(Frame(round(at_s * 1e9), ethernet(packet)))


# ---- pipes


@pytest.mark.parametrize("rate_pps", [20, 200, 5000])
def test_an_event_is_told_while_other_packets_keep_coming(rate_pps):
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
        from udpprobe.interrupt import heed_sigterm
        program._status = lambda: heed_sigterm() or 0
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


def test_a_bad_filter_is_told_of_an_empty_capture_too(tmp_path, capsys):
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
def test_flows_are_told_apart_by_a_person(tmp_path, capsys, form):
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
