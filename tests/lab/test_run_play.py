"""A scenario that plays itself: a capture without privilege, the same each time."""

import json

import pytest

from udpprobe.capture.recorder import Recorder
from udpprobe.cli import main
from udpprobe.lab.run import FRAMES_AT_ONCE, STEP_NS, PacketRecorder, play
from udpprobe.lab.scenario import load

START_NS = 1_700_000_000_000_000_000


def played(name, size=60):
    seen = []
    play(load(name), size, START_NS, lambda raw, now_ns: seen.append((raw, now_ns)))
    return seen


def recorded(path, packets, capsys):
    """What `analyze` says of a capture of the packets."""
    with Recorder(str(path)) as recorder:
        recorded = PacketRecorder(recorder)
        for raw, now_ns in packets:
            recorded.add(raw, now_ns)
        recorded.finish("tests")
    assert 0 == main(["analyze", "--all", "--format", "json", str(path)])
    return json.loads(capsys.readouterr().out)


def test_the_same_scenario_gives_the_same_packets():
    assert played("plain") == played("plain")


def test_every_target_gets_a_datagram_and_time_goes_on():
    seen = played("plain")
    assert 2 * len(load("plain").targets) == len(seen)
    times_ns = [now_ns for _, now_ns in seen]
    assert sorted(times_ns) == times_ns
    assert [START_NS, START_NS + STEP_NS] == [times_ns[0], times_ns[2]]


def test_packets_have_the_size_that_was_asked_for():
    assert {1500} == {len(raw) for raw, _ in played("two-narrow-links", 1500)[::2]}


@pytest.mark.parametrize(
    ("name", "size", "verdicts"),
    [
        ("plain", 60, {53: "answered", 54: "refused"}),
        ("firewall-rejects", 60, {53: "answered", 20: "prohibited", 60: "rejected"}),
        ("loop-3", 60, {53: "loop"}),
        ("two-narrow-links", 1500, {53: "too-big"}),
    ],
)
def test_its_capture_says_in_both_families_what_is_wrong(name, size, verdicts, tmp_path, capsys):
    report = recorded(tmp_path / "seen.pcapng", played(name, size), capsys)
    for version in (4, 6):
        found = {
            each["port"]: each["verdict"]
            for each in report["destinations"]
            if (":" in each["address"]) == (version == 6)
        }
        assert verdicts == found


def test_a_long_capture_keeps_every_packet_in_order(tmp_path, capsys):
    packets = [(bytes([0x45]) + bytes(19 + n % 3), START_NS + n) for n in range(FRAMES_AT_ONCE + 5)]
    source = recorded(tmp_path / "seen.pcapng", packets, capsys)["source"]
    assert (FRAMES_AT_ONCE + 5, "2023-11-14T22:13:20.000000000Z", "2023-11-14T22:13:20.000001028Z") == (
        source["packets"],
        source["first_time"],
        source["last_time"],
    )
