"""The public Python API: what `import udpprobe` gives."""

import contextlib
import gzip
import io
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from builders import datagram, ethernet, port_unreachable
from scapy.all import IP, Ether, IPv6, rdpcap, sniff
from write_golden import CAPTURES

import udpprobe
from udpprobe import cli

ROOT = Path(__file__).parents[1]
PCAPS = ROOT / "pcaps"
EXAMPLES = ROOT / "examples" / "python"
needs_raw = pytest.mark.skipif(os.geteuid() != 0, reason="needs raw sockets")
both_families = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
UNKNOWN_TO_SCAPY = "links-chdlc.pcap"
T0_NS = 1_700_000_000_000_000_000
SIDES = {4: ("192.0.2.1", "198.51.100.9"), 6: ("2001:db8::1", "2001:db8:9::9")}


def found(report):
    return (
        tuple(report.destinations),
        tuple(report.unmatched),
        report.faults,
        report.source.packets,
        report.source.bytes,
        report.source.first_time_ns,
        report.source.last_time_ns,
    )


def refusal(family, port=53, at_ns=T0_NS):
    """A datagram and the port unreachable that it drew, as pairs."""
    sent = datagram(*SIDES[family], 40_000, port, b"hello")
    return [(at_ns, ethernet(sent)), (at_ns + 1_000_000, ethernet(port_unreachable(sent)))]


def closed_port(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((host, 0))
        return free.getsockname()[1]


def endpoint(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# ---- the package


def test_no_module_takes_the_place_of_a_public_name():
    modules = {module.name for module in pkgutil.iter_modules(udpprobe.__path__)}
    assert {"errors"} == modules & set(udpprobe.__all__)


def test_imports_do_not_change_public_names():
    program = (
        "import pkgutil, importlib, udpprobe\n"
        "before = [getattr(udpprobe, name) for name in udpprobe.__all__]\n"
        "for each in ('commands', 'cli', 'reports', 'checking'):\n"
        "    package = importlib.import_module('udpprobe.' + each)\n"
        "    for module in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'udpprobe.{each}.{module.name}')\n"
        "assert before == [getattr(udpprobe, name) for name in udpprobe.__all__]\n"
        "assert all(map(callable, (udpprobe.analyze, udpprobe.scan, udpprobe.trace, udpprobe.mtu)))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_the_package_loads_nothing_else():
    program = (
        "import sys; import udpprobe\n"
        "print(*(name for name in sys.modules if name.startswith(('udpprobe', 'msgspec', 'typing'))))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "UDPPROBE_PURE": ""},
    ).stdout.split()
    assert ["udpprobe"] == loaded


def test_analyzing_loads_no_sending_or_printing_code():
    program = (
        f"import sys; import udpprobe; udpprobe.analyze({str(PCAPS / 'refused.pcap')!r})\n"
        "loaded = {'typer', 'scapy', 'udpprobe.cli', 'udpprobe.engines.wire', 'udpprobe.commands.scan'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", udpprobe.__all__)
def test_each_public_name_exists(name):
    assert name in dir(udpprobe)
    assert getattr(udpprobe, name) is not None


def test_private_names_are_not_attributes():
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        udpprobe.analyse  # noqa: B018 - the look-up is what is tested


# ---- analyze: what it takes


def test_a_path_gives_the_same_report_as_the_command(capsys):
    path = str(PCAPS / "loop3-link.pcap")
    cli.main(["analyze", "--format", "json", path])
    assert capsys.readouterr().out == udpprobe.to_json(udpprobe.analyze(path))


def test_paths_are_one_capture():
    names = [PCAPS / "refused.pcap", str(PCAPS / "too-big.pcap")]
    assert {"refused", "too-big"} == {each.verdict for each in udpprobe.analyze(names).destinations}


def test_capture_points_are_only_counted_together():
    name = PCAPS / "refused.pcap"
    assert [1, 1] == [each.errors for each in udpprobe.analyze([name, name]).destinations]
    assert [2, 2] == [each.errors for each in udpprobe.analyze([name, name], vantage=True).destinations]


def test_a_directory_stands_for_its_captures(tmp_path):
    (tmp_path / "one.pcap").write_bytes((PCAPS / "refused.pcap").read_bytes())
    assert found(udpprobe.analyze(PCAPS / "refused.pcap")) == found(udpprobe.analyze(tmp_path))


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name)
def test_a_file_object_gives_the_same_report_as_its_path(capture):
    with capture.open("rb") as file:
        assert found(udpprobe.analyze(capture, all_destinations=True)) == found(
            udpprobe.analyze(file, all_destinations=True)
        )


def test_a_file_object_may_be_compressed_and_is_left_open():
    packed = io.BytesIO(gzip.compress((PCAPS / "refused.pcap").read_bytes()))
    assert found(udpprobe.analyze(PCAPS / "refused.pcap")) == found(udpprobe.analyze(packed))
    assert not packed.closed


def test_file_objects_are_one_capture_in_the_order_of_their_times():
    names = [PCAPS / "too-big.pcap", PCAPS / "refused.pcap"]
    with contextlib.ExitStack() as held:
        files = [held.enter_context(path.open("rb")) for path in names]
        assert found(udpprobe.analyze(names)) == found(udpprobe.analyze(files))


def test_a_report_names_the_file_objects():
    with (PCAPS / "refused.pcap").open("rb") as file:
        assert str(PCAPS / "refused.pcap") == udpprobe.analyze(file).source.name
    assert "file object" == udpprobe.analyze(io.BytesIO((PCAPS / "refused.pcap").read_bytes())).source.name


@pytest.mark.parametrize(
    "capture", [each for each in CAPTURES if each.name != UNKNOWN_TO_SCAPY], ids=lambda path: path.name
)
def test_packets_read_by_scapy_give_the_same_report_as_the_file(capture):
    assert found(udpprobe.analyze(capture, all_destinations=True)) == found(
        udpprobe.analyze(rdpcap(str(capture)), all_destinations=True)
    )


def test_a_link_unknown_to_scapy_is_a_fault_unless_named():
    capture = PCAPS / UNKNOWN_TO_SCAPY
    packets = rdpcap(str(capture))
    assert 4 == udpprobe.analyze(packets).faults["unknown-link-type"]
    assert found(udpprobe.analyze(capture)) == found(udpprobe.analyze(packets, link_type=104))


@pytest.mark.parametrize("family", [4, 6])
def test_pairs_of_time_and_bytes_are_ethernet(family):
    (only,) = udpprobe.analyze(refusal(family)).destinations
    assert (SIDES[family][1], 53, "refused", 1.0) == (
        only.address,
        only.port,
        only.verdict,
        only.findings[0].rtt_ms.median,
    )


@pytest.mark.parametrize("family", [4, 6])
def test_pairs_can_have_another_link_type(family):
    raw = [(time_ns, data[14:]) for time_ns, data in refusal(family)]
    assert ["refused"] == [each.verdict for each in udpprobe.analyze(raw, link_type=101).destinations]


@pytest.mark.parametrize("family", [4, 6])
def test_packets_out_of_order_are_sorted_first(family):
    (only,) = udpprobe.analyze(reversed(refusal(family))).destinations
    assert "flow" != only.findings[0].match or only.findings[0].rtt_ms is not None


def test_packets_made_with_scapy_need_no_link_layer():
    for family, layer in ((4, IP), (6, IPv6)):
        packets = []
        for time_ns, data in refusal(family):
            packets.append(layer(data[14:]))
            packets[-1].time = time_ns / 1e9
        assert ["refused"] == [each.verdict for each in udpprobe.analyze(packets).destinations]


def test_a_packet_truncated_by_scapy_keeps_its_wire_length():
    sent = Ether(ethernet(datagram(*SIDES[4], 1, 2, bytes(1000))))
    cut = Ether(bytes(sent)[:60])
    cut.time, cut.wirelen = 1.0, len(sent)
    assert len(sent) == udpprobe.analyze([cut]).source.bytes


def test_no_packets_are_an_empty_report():
    report = udpprobe.analyze([])
    assert (0, ()) == (report.source.packets, report.destinations)


def test_the_options_are_those_of_the_command():
    pairs = refusal(4) + refusal(6, at_ns=T0_NS + 10**9) + [(T0_NS + 2 * 10**9, ethernet(datagram(*SIDES[4], 1, 99)))]
    assert [53] == [each.port for each in udpprobe.analyze(pairs, filter="ip").destinations]
    assert [SIDES[6][1]] == [each.address for each in udpprobe.analyze(pairs, since_ns=T0_NS + 10**9).destinations]
    assert [SIDES[4][1]] == [each.address for each in udpprobe.analyze(pairs, until_ns=T0_NS + 10**9).destinations]
    assert 3 == len(udpprobe.analyze(pairs, all_destinations=True).destinations)
    assert {40_000} == {each.source_port for each in udpprobe.analyze(pairs, group_by="flow").destinations}


@pytest.mark.parametrize("capture", ["loop3-link.pcap", "too-big.pcap", "both-sides.pcapng"])
def test_a_file_and_its_packets_give_the_same_events(capture):
    of_file, of_packets = [], []
    udpprobe.analyze(PCAPS / capture, on_event=of_file.append)
    udpprobe.analyze(rdpcap(str(PCAPS / capture)), on_event=of_packets.append)
    assert of_file
    assert of_file == of_packets


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"\xa1\xb2", "a packet is"),
        (7, "neither a capture"),
        ([7], "a packet is"),
        ([(1.5, b"")], "a packet is"),
        ([("a", b"")], "a packet is"),
        (io.StringIO("text"), "opened in text mode"),
        ([io.BytesIO(), "name"], "not a file object"),
        (["name", io.BytesIO()], "not a path"),
    ],
)
def test_a_file_that_is_not_a_capture_is_reported(source, reason):
    with pytest.raises(udpprobe.UdpprobeError, match=reason):
        udpprobe.analyze(source)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("no/such/file", {}),
        (io.BytesIO(b"text"), {}),
        ([], {"filter": "no such"}),
        ([], {"group_by": "colour"}),
        (str(PCAPS / "refused.pcap"), {"filter": "no such"}),
        (str(PCAPS / "refused.pcap"), {"group_by": "colour"}),
    ],
)
def test_failures_are_our_exceptions_and_print_nothing(source, options, capfd):
    with pytest.raises(udpprobe.UdpprobeError):
        udpprobe.analyze(source, **options)
    assert ("", "") == tuple(capfd.readouterr())


def test_ctrl_c_gives_the_report_so_far(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = (
        f"import udpprobe\ntry:\n    udpprobe.analyze({str(pipe)!r})\n"
        "except udpprobe.Interrupted as stopped:\n    print(stopped.report.source.packets)\n"
    )
    with (
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running,
        pipe.open("wb", buffering=0) as writer,
    ):
        writer.write((PCAPS / "refused.pcap").read_bytes())
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(2)
        running.send_signal(signal.SIGINT)
        assert "8\n" == running.communicate(timeout=30)[0]


# ---- Follower


@pytest.mark.parametrize("capture", ["refused.pcap", "too-big.pcap", "loop3-link.pcap", "nat-any.pcap"])
def test_a_follower_fits_scapys_sniff(capture, capsys):
    follower = udpprobe.Follower(all_destinations=True)
    sniff(offline=str(PCAPS / capture), prn=follower.feed, store=False)
    assert found(udpprobe.analyze(PCAPS / capture, all_destinations=True)) == found(follower.report())
    assert "" == capsys.readouterr().out  # what prn returns, Scapy prints


def test_a_follower_reports_an_error_as_soon_as_it_is_fed():
    events = []
    follower = udpprobe.Follower(on_event=events.append)
    for number, packet in enumerate(refusal(4) + refusal(6, at_ns=T0_NS + 10**9), 1):
        follower.feed(packet)
        assert number // 2 == len(events)
    assert ["refused", "refused"] == [each.verdict for each in events]


def test_a_report_is_not_changed_by_later_packets():
    follower = udpprobe.Follower()
    follower.extend(refusal(4))
    first = follower.report()
    follower.extend(refusal(4, at_ns=T0_NS + 10**9))
    assert ([1], [2]) == (
        [each.errors for each in first.destinations],
        [each.errors for each in follower.report().destinations],
    )


def test_a_follower_forgets_the_longest_quiet_destinations(monkeypatch):
    monkeypatch.setattr("udpprobe.api.AGED_EVERY", 64)
    monkeypatch.setattr("udpprobe.api.MOST_ROWS", 32)
    follower = udpprobe.Follower()
    for port in range(1, 513):
        follower.extend(refusal(4, port, T0_NS + port * 10**9))
    report = follower.report()
    assert 32 <= len(report.destinations) <= 128
    assert set(range(481, 513)) <= {each.port for each in report.destinations}
    assert 512 - len(report.destinations) == report.faults["aged-out"]


# ---- the commands that send


@needs_raw
@both_families
def test_the_functions_that_probe_return_what_they_found(host, capfd):
    port = closed_port(host)
    (only,) = udpprobe.scan(endpoint(host, port), retries=0).destinations
    assert (host, port, "refused") == (only.address, only.port, only.verdict)
    trace = udpprobe.trace(endpoint(host, port), queries=1)
    assert ("refused", True) == (trace.verdict, trace.reached)
    measured = udpprobe.mtu(endpoint(host, port))
    assert ("ok", "refusal") == (measured.verdict, measured.proof)
    outcome = udpprobe.check(endpoint(host, port))
    assert ("CRITICAL", ["CRITICAL"]) == (outcome.state.name, [each.state for each in outcome.checks])
    assert ("", "") == tuple(capfd.readouterr())


@needs_raw
def test_ports_may_be_numbers_or_text():
    port = closed_port("127.0.0.1")
    assert [port] == [each.port for each in udpprobe.scan(["127.0.0.1"], ports=[port], retries=0).destinations]
    assert [port] == [each.port for each in udpprobe.scan("127.0.0.1", ports=str(port), retries=0).destinations]
    assert 1 == len(udpprobe.check("127.0.0.1", ports=[port], expect="refused").checks)


@needs_raw
def test_targets_without_address_cause_a_warning_and_others_are_probed():
    warnings = []
    report = udpprobe.scan(
        [f"127.0.0.1:{closed_port('127.0.0.1')}", "no.such.invalid:53"], retries=0, on_warning=warnings.append
    )
    assert 1 == len(report.destinations)
    assert "no.such.invalid" in warnings[0]


@needs_raw
def test_events_of_a_scan_are_reported_one_by_one():
    events = []
    udpprobe.scan(f"127.0.0.1:{closed_port('127.0.0.1')}", retries=0, control=False, on_event=events.append)
    assert ["refused"] == [each.verdict for each in events]


def ctrl_c_once():
    """What presses Ctrl-C when it is called first; a second one would end the run at once."""
    left = [signal.SIGINT]
    return lambda _: left and signal.raise_signal(left.pop())


@needs_raw
def test_ctrl_c_raises_with_the_report_so_far():
    with pytest.raises(udpprobe.Interrupted) as stopped:
        udpprobe.trace("127.0.0.1:9", on_change=ctrl_c_once())
    assert isinstance(stopped.value.report, udpprobe.TraceReport)
    assert stopped.value.report.interrupted


@needs_raw
def test_ctrl_c_ends_a_scan_with_the_results_so_far():
    port = closed_port("127.0.0.1")
    with pytest.raises(udpprobe.Interrupted) as stopped:
        udpprobe.scan("127.0.0.1", ports=[port], on_event=ctrl_c_once())
    assert ["refused"] == [each.verdict for each in stopped.value.report.destinations]


@pytest.mark.parametrize(
    "call",
    [
        lambda: udpprobe.scan("127.0.0.1:http:9"),
        lambda: udpprobe.scan("127.0.0.1", ports="1-99999"),
        lambda: udpprobe.scan("127.0.0.1:9", engine="steam"),
        lambda: udpprobe.scan("127.0.0.1:9", payload="no-such"),
        lambda: udpprobe.scan([]),
        lambda: udpprobe.trace("127.0.0.0/30:9"),
        lambda: udpprobe.mtu("127.0.0.1:1-9"),
        lambda: udpprobe.trace("127.0.0.1:9", first_ttl=9, max_ttl=3),
        udpprobe.check,
        lambda: udpprobe.check("127.0.0.1"),
        lambda: udpprobe.check("127.0.0.1:9", expect="joy"),
        lambda: udpprobe.check("127.0.0.1:9", silence="gold"),
        lambda: udpprobe.check("127.0.0.1:9", warning="x"),
    ],
)
def test_wrong_arguments_are_usage_errors(call):
    with pytest.raises(udpprobe.UsageError):
        call()


def test_to_json_accepts_only_reports():
    with pytest.raises(udpprobe.UsageError, match="no report"):
        udpprobe.to_json("report")


@needs_raw
def test_json_of_each_report_names_its_schema():
    target = f"127.0.0.1:{closed_port('127.0.0.1')}"
    reports = (
        udpprobe.scan(target, retries=0),
        udpprobe.trace(target, queries=1),
        udpprobe.mtu(target),
        udpprobe.check(target),
    )
    assert ["udpprobe.report/1", "udpprobe.trace/1", "udpprobe.mtu/1", "udpprobe.check/1"] == [
        json.loads(udpprobe.to_json(each))["schema"] for each in reports
    ]


# ---- examples/python


def example(name, *words):
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name, *words], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert "" == ran.stderr
    return ran.returncode, ran.stdout


def test_the_report_example():
    status, out = example("report.py", "pcaps/refused.pcap")
    assert 0 == status
    assert out.startswith("10.0.1.2 7 refused 10.0.1.2\n    Nothing listens on 10.0.1.2:7")


def test_the_follow_example():
    status, out = example("follow.py", "pcaps/refused.pcap")
    assert (0, "10.0.1.2 7 refused by 10.0.1.2\n2001:db8:1::2 7 refused by 2001:db8:1::2\n2 destinations failed\n") == (
        status,
        out,
    )


@needs_raw
def test_the_ports_example():
    port = closed_port("127.0.0.1")
    assert (0, f"127.0.0.1 {port} refused \n") == example("ports.py", f"127.0.0.1:{port}")


@needs_raw
def test_the_health_example():
    port = closed_port("127.0.0.1")
    status, out = example("health.py", f"127.0.0.1:{port}")
    assert 2 == status
    assert out.startswith((f"CRITICAL 127.0.0.1:{port} 127.0.0.1:{port} refused", "CRITICAL"))


def test_every_example_is_run_here():
    tested = Path(__file__).read_text()
    assert [] == [path.name for path in EXAMPLES.glob("*.py") if f'example("{path.name}"' not in tested]
