"""From words to the scan, and from its report to text and exit status; the scan is a fake in all but the last tests."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest
from msgspec.structs import asdict
from samples import ANSWERED, EVENT, EVENT_V6, REFUSED, destination, report

import udpprobe.commands.scan
from udpprobe.cli import main
from udpprobe.core.addresses import address_text
from udpprobe.errors import UdpprobeError
from udpprobe.interrupt import Interrupted
from udpprobe.linux import drop_reasons
from udpprobe.payloads import load

CONTRACT = {
    "rate_pps": 1000,
    "retries": 2,
    "timeout_s": 4,
    "payload": "auto",
    "payload_file": None,
    "size": 0,
    "ttl": 64,
    "source_port": 0,
    "source_addresses": (),
    "interface": None,
    "write": None,
    "control": True,
    "engine": "auto",
    "loop_ttl": 32,
    "linger_s": 1,
    "capture": "auto",
}


class FakeScan:
    """In the scan's place: remembers what it was asked, tells what the test prepared."""

    def __init__(self):
        self.report, self.events, self.warnings = report(REFUSED, kind="probe"), [], []
        self.interrupt, self.error, self.options = False, None, None
        self.after_event = lambda: None

    def __call__(self, destinations, options, listeners):
        self.destinations, self.options, self.listeners = destinations, options, listeners
        if self.error:
            raise self.error
        for text in self.warnings:
            listeners.warn(text)
        for event in self.events if listeners.on_events else ():
            listeners.on_events([event])
            self.after_event()
        if self.interrupt:
            raise Interrupted(self.report)
        return self.report

    @property
    def asked(self):
        columns = (self.destinations.high, self.destinations.low, self.destinations.port)
        return [
            f"{address_text(high, low)} {port}"
            for high, low, port in zip(*(column.tolist() for column in columns), strict=True)
        ]


@pytest.fixture
def scan(monkeypatch):
    fake = FakeScan()
    monkeypatch.setattr(udpprobe.commands.scan, "scan", fake)
    return fake


def test_the_defaults_are_the_contract_s(scan):
    assert 0 == main(["scan", "192.0.2.1"])
    assert CONTRACT == asdict(scan.options)


def test_options_reach_the_scan(scan):
    assert 0 == main(
        (
            "scan 192.0.2.1 --rate 0 --retries 5 --timeout 1.5 --payload dns --payloads nmap:x --size 1400 --ttl 3 "
            "--source-port 53 --source-address 192.0.2.9,192.0.2.8 -i lo -w x.pcapng --no-control --engine "
            "connected --loop-ttl 60 --capture scapy"
        ).split()
    )
    assert {
        "rate_pps": 0,
        "retries": 5,
        "timeout_s": 1.5,
        "payload": "dns",
        "payload_file": "nmap:x",
        "size": 1400,
        "ttl": 3,
        "source_port": 53,
        "source_addresses": ("192.0.2.9", "192.0.2.8"),
        "interface": "lo",
        "write": "x.pcapng",
        "control": False,
        "engine": "connected",
        "loop_ttl": 60,
        "linger_s": 1,
        "capture": "scapy",
    } == asdict(scan.options)


def test_excluded_targets_are_not_probed(scan, tmp_path):
    (tmp_path / "hosts").write_text("192.0.2.9:7 # echo\n")
    assert 0 == main(
        [
            *"scan 192.0.2.0/30 [2001:db8::1]:7 -p 1-3 --targets-file".split(),
            str(tmp_path / "hosts"),
            "--exclude",
            "192.0.2.0/31,192.0.2.2:1",
            "--exclude",
            "192.0.2.3:2,3",
        ]
    )
    assert ["192.0.2.2 2", "192.0.2.2 3", "192.0.2.3 1", "2001:db8::1 7", "192.0.2.9 7"] == scan.asked


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["-4"], ["192.0.2.1 1"]), (["-6"], ["2001:db8::1 1"]), (["-4", "-6"], ["192.0.2.1 1", "2001:db8::1 1"])],
)
def test_a_family_can_be_chosen(scan, words, expected):
    assert 0 == main(["scan", "192.0.2.1", "2001:db8::1", "-p", "1", *words])
    assert expected == scan.asked


def test_without_ports_the_ports_of_the_payload_table_are_probed(scan):
    assert 0 == main(["scan", "192.0.2.1"])
    assert sorted({port for row in load().rows for port in row.ports}) == scan.destinations.port.tolist()


def test_all_ports_are_65535(scan):
    assert 0 == main(["scan", "192.0.2.1", "-p", "-"])
    assert list(range(1, 65536)) == scan.destinations.port.tolist()


def test_a_bad_line_of_the_targets_file_is_named(scan, tmp_path, capsys):
    (tmp_path / "hosts").write_text("a\n1:2:3\n")
    assert 2 == main(["scan", "--targets-file", str(tmp_path / "hosts")])
    assert "hosts, line 2: '1:2:3' is neither an address nor a network" in capsys.readouterr().err
    assert scan.options is None


@pytest.mark.parametrize("option", ["-o", "-w"])
@pytest.mark.parametrize(
    "words",
    [["--targets-file", "{}"], ["192.0.2.1:7", "--payload", "file:{}"], ["192.0.2.1:7", "--payloads", "nmap:{}"]],
)
def test_a_scan_never_overwrites_its_input(scan, tmp_path, capsys, option, words):
    path = tmp_path / "read"
    path.write_text("192.0.2.1:7\n")
    (tmp_path / "link").hardlink_to(path)
    assert 2 == main(["scan", *(word.format(path) for word in words), option, str(tmp_path / "link")])
    assert f"{option} {tmp_path / 'link'} would overwrite what the scan reads" in capsys.readouterr().err
    assert (None, "192.0.2.1:7\n") == (scan.options, path.read_text())


def test_a_missing_targets_file_is_status_3(capsys):
    assert 3 == main(["scan", "--targets-file", "/nonesuch"])
    assert "udpprobe: cannot read /nonesuch: No such file or directory\n" == capsys.readouterr().err


def test_a_name_without_address_is_status_3(scan, capsys):
    assert 3 == main(["scan", "nonesuch.invalid"])
    assert capsys.readouterr().err.startswith("udpprobe: no address for nonesuch.invalid: ")
    assert scan.options is None


def test_a_name_is_noted_on_its_addresses(scan, capsys):
    scan.report = report(destination("127.0.0.1", 7, "silent"), destination("192.0.2.1", 7, "silent"), kind="probe")
    assert 0 == main(["scan", "-4", "localhost:7", "192.0.2.1:7", "--format", "json"])
    assert [["address of localhost"], []] == [
        each["notes"] for each in json.loads(capsys.readouterr().out)["destinations"]
    ]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("table", "destination"),
        ("json", "{"),
        ("ndjson", '{"kind":"destination"'),
        ("csv", "kind,address"),
        ("markdown", "| destination"),
    ],
)
def test_every_format_goes_to_standard_output_alone(scan, capsys, name, start):
    assert 0 == main(["scan", "192.0.2.1", "--format", name])
    told = capsys.readouterr()
    assert (start, "") == (told.out[: len(start)], told.err)
    assert scan.options


def test_silent_and_answered_destinations_are_shown(scan, capsys):
    scan.report = report(ANSWERED, destination("192.0.2.1", 9, "silent", meaning="no-evidence"), kind="probe")
    assert 0 == main(["scan", "192.0.2.1"])
    told = capsys.readouterr().out
    assert "10.0.0.1:53" in told
    assert "no-evidence" in told
    assert "2 destinations: 1 answered, 1 silent; 28 probes" in told


def test_json_has_a_row_for_every_one_of_many_destinations(scan, capsys):
    scan.report = report(*(destination("192.0.2.1", port, "silent") for port in range(1, 101)), kind="probe")
    assert 0 == main(["scan", "192.0.2.1", "--format", "json"])
    assert list(range(1, 101)) == [each["port"] for each in json.loads(capsys.readouterr().out)["destinations"]]
    assert 0 == main(["scan", "192.0.2.1"])
    assert "100 ports: 1-100" in capsys.readouterr().out


@pytest.mark.parametrize(("fail_on", "status"), [("refused", 1), ("silent,refused", 1), ("silent", 0)])
def test_fail_on_gives_the_status(scan, fail_on, status):
    assert status == main(["scan", "192.0.2.1", "--fail-on", fail_on])
    assert scan.options


def test_events_are_streamed_as_ndjson_line_by_line(scan, tmp_path):
    path = tmp_path / "events"
    lines = []
    scan.events = [EVENT, EVENT_V6]
    scan.after_event = lambda: lines.append(len(path.read_text().splitlines()))
    assert 0 == main(["scan", "192.0.2.1", "--events", "--format", "ndjson", "-o", str(path)])
    assert [1, 2] == lines


def test_each_warning_is_one_escaped_line_on_stderr(scan, capsys):
    scan.warnings = ["falling back\nto recverr \x1b[31m"]
    assert 0 == main(["scan", "192.0.2.1", "--format", "json"])
    told = capsys.readouterr()
    assert "udpprobe: warning: falling back to recverr \\x1b[31m\n" == told.err
    assert json.loads(told.out)["destinations"]


def test_a_warning_is_dropped_if_standard_error_is_closed(scan, capsys, monkeypatch):
    scan.warnings = ["lost"]
    monkeypatch.setattr(sys, "stderr", None)
    assert 0 == main(["scan", "192.0.2.1"])
    assert "lost" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--events"], ["--fail-on", "refused"]])
def test_ctrl_c_prints_the_results_so_far_and_exits_130(scan, capsys, words):
    scan.interrupt = True
    assert 130 == main(["scan", "192.0.2.1", *words])
    assert "1 destination: 1 refused; 14 probes" in capsys.readouterr().out


def test_an_incapable_host_is_status_3(scan, capsys):
    scan.error = UdpprobeError("raw sockets are not allowed")
    assert 3 == main(["scan", "192.0.2.1"])
    assert ("", "udpprobe: raw sockets are not allowed\n") == capsys.readouterr()


def test_an_unwritable_file_is_reported_before_the_scan(scan, tmp_path):
    assert 3 == main(["scan", "192.0.2.1", "-o", str(tmp_path / "no" / "out")])
    assert scan.options is None


@pytest.mark.parametrize(("words", "called"), [(["--no-progress"], False), (["--progress"], True), ([], False)])
def test_progress_can_be_requested(scan, words, called):
    assert 0 == main(["scan", "192.0.2.1", *words])
    assert called == callable(scan.listeners.on_progress)


def test_payloads_are_listed_without_a_target(scan, capsys):
    assert 0 == main(["scan", "--list-payloads", "--format", "json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["payloads"]}
    assert "53" == rows["dns"]["ports"]
    assert scan.options is None


def test_a_dry_run_without_a_named_target_is_incomplete(capsys):
    assert 3 == main("scan 127.0.0.1:53 nonesuch.invalid:53 --dry-run --format ndjson".split())
    told = capsys.readouterr()
    assert ("no address for nonesuch.invalid" in told.err, told.out.count('"port":53')) == (True, 1)


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(scan, capsys):
    assert 0 == main("scan 127.0.0.1:53 [::1]:7 --dry-run --source-port 4000 --payload hex:00ff --format json".split())
    probes = json.loads(capsys.readouterr().out)["probes"]
    assert [
        {
            "address": "127.0.0.1",
            "port": 53,
            "payload": "hex",
            "bytes": 30,
            "source": "127.0.0.1",
            "source_port": 4000,
            "errno": None,
        },
        {
            "address": "::1",
            "port": 7,
            "payload": "hex",
            "bytes": 50,
            "source": "::1",
            "source_port": 4000,
            "errno": None,
        },
    ] == probes
    assert scan.options is None


def test_a_dry_run_with_a_size_pads_every_probe(scan, capsys):
    assert 0 == main(["scan", "127.0.0.1:1-3", "--dry-run", "--size", "1400", "--format", "ndjson"])
    assert [1400] * 3 == [json.loads(line)["bytes"] for line in capsys.readouterr().out.splitlines()]
    assert scan.options is None


@pytest.fixture
def silent_port():
    """A socket on loopback that a scan finds silent, for it never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


@pytest.mark.parametrize("engine", ["recverr", "connected"])
def test_a_scan_of_loopback_distinguishes_refused_from_silent(capsys, silent_port, engine):
    assert 0 == main(["scan", f"127.0.0.1:1,{silent_port}", "--engine", engine, "--retries", "1", "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert ("udpprobe.report/1", "scan", "probe") == (told["schema"], told["command"], told["source"]["kind"])
    assert {1: "refused", silent_port: "silent"} == {each["port"]: each["verdict"] for each in told["destinations"]}
    assert ["ECONNREFUSED"] == [each["errno"] for each in told["destinations"] if each["port"] == 1]


def test_missing_capture_privileges_are_reported_once_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr("udpprobe.engines.prepare.has_net_raw", lambda: False)
    assert 0 == main(["scan", "127.0.0.1:1", "--no-control"])
    told = capsys.readouterr()
    assert (1, 1, 1) == tuple(map(told.err.count, ("\n", "--engine recverr", "cannot see")))
    assert "refused" in told.out


def test_a_kernel_without_ipv6_scans_what_it_can(capsys, monkeypatch):
    opened = socket.socket

    def without(domain=socket.AF_INET, *words, **options):
        if domain == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return opened(domain, *words, **options)

    monkeypatch.setattr("udpprobe.linux.hostfacts.socket.socket", without)
    assert 0 == main(["scan", "127.0.0.1:1", "[::1]:1", "--engine", "recverr", "--no-control", "--format", "json"])
    assert {("127.0.0.1", "refused", "ECONNREFUSED"), ("::1", "unsent", "EAFNOSUPPORT")} == {
        (each["address"], each["verdict"], each["errno"])
        for each in json.loads(capsys.readouterr().out)["destinations"]
    }


def test_targets_come_from_standard_input(silent_port):
    done = subprocess.run(
        [sys.executable, "-m", "udpprobe", "scan", "--targets-file", "-", "--dry-run", "--format", "csv"],
        input=f"127.0.0.1:{silent_port}\n",
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert f"127.0.0.1,{silent_port},token" in done.stdout


def test_ports_from_all_options_are_combined(scan):
    assert 0 == main(["scan", "-p", "53", "-p", "400,401", "192.0.2.1"])
    assert ["192.0.2.1 53", "192.0.2.1 400", "192.0.2.1 401"] == scan.asked


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["::1:53"], "[::1]:53"),
        (["fe80::1:7", "-i", "lo"], "[fe80::1]:7"),
        (["-p", "7", "::1:53"], None),
        (["::1"], None),
        (["2001:db8:1:2:3:4:5:53"], None),
        (["[::1]:53"], None),
    ],
)
def test_an_ambiguous_ipv6_address_is_probed_with_a_warning(scan, capsys, words, meant):
    assert 0 == main(["scan", *words])
    assert scan.asked
    told = capsys.readouterr().err
    assert f"did you mean {meant}?" in told if meant else "did you mean" not in told


@pytest.mark.parametrize(("options", "status"), [([], 3), (["--fail-on", "refused"], 3), (["--fail-on", "loop"], 3)])
def test_a_name_without_address_is_named_and_the_others_are_probed(scan, capsys, options, status):
    assert status == main(["scan", "-p", "7", "192.0.2.1", "nonesuch.invalid", "224.0.0.1", *options])
    told = capsys.readouterr()
    assert ["192.0.2.1 7"] == scan.asked
    assert told.out
    assert "udpprobe: no address for nonesuch.invalid: " in told.err
    assert "udpprobe: 224.0.0.1 is an address of many hosts" in told.err
    assert ("--fail-on: found refused" in told.err) == ("refused" in options)


@pytest.mark.parametrize("command", ["scan", "trace", "mtu"])
@pytest.mark.parametrize("word", ["224.0.0.1:7", "[fe80::1]:7", "0.0.0.0:7", "[::]:7"])
def test_a_target_that_cannot_be_probed_is_not_a_usage_error(command, word):
    assert 3 == main([command, word])


def test_group_addresses_are_probed_if_allowed(scan):
    assert 0 == main(["scan", "-p", "7", "--allow-broadcast", "224.0.0.1"])
    assert ["224.0.0.1 7"] == scan.asked


@pytest.mark.parametrize("engine", ["recverr", "connected"])
def test_an_unprivileged_engine_reports_drops_below_the_socket(capsys, monkeypatch, engine):
    counts = {"UDP_CSUM": 5, "IP_RPFILTER": 0, "NO_SOCKET": 0}
    monkeypatch.setattr(drop_reasons, "namespace_drops", lambda: {reason: counts[reason] for reason in counts})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{closed.getsockname()[1]}"
    words = ["scan", "--engine", engine, "--no-control", target]
    main(words)
    told = capsys.readouterr().err
    assert "what a firewall of this host drops on input" in told
    assert "this network namespace dropped" not in told
    monkeypatch.setattr(
        drop_reasons, "namespace_drops", lambda: {r: counts.update({r: counts[r] + 2}) or counts[r] for r in counts}
    )
    main(words)
    assert "this network namespace dropped 4 packets before any socket could receive them (" in capsys.readouterr().err
