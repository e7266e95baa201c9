"""Both directions between a device and a world, in simulated time where no device is needed."""

import errno
import json
import os
from collections import Counter
from ipaddress import ip_interface

import pytest

from udpprobe.capture.recorder import Recorder
from udpprobe.cli import main
from udpprobe.errors import PrivilegeError, UsageError
from udpprobe.lab import run
from udpprobe.lab.namespace import Tun, enter, furnish
from udpprobe.lab.run import (
    AT_ONCE,
    FRAMES_AT_ONCE,
    MOST_WAIT_S,
    NOT_TAKEN,
    OVERRUN,
    STEP_NS,
    Carrier,
    PacketRecorder,
    play,
)
from udpprobe.lab.scenario import load

NOW_NS, REAL_NS = 5_000_000_000, 1_000_000_000_000


class Device:
    """In a TUN device's place."""

    def __init__(self, *waiting):
        self.waiting, self.written = list(waiting), []

    def packets(self, most):
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return iter(taken)

    def overrun(self):
        return 2

    def write(self, packet):
        self.written.append(packet)
        return packet != b"bad"


class Later:
    """A world that sends every packet back a second later."""

    def __init__(self):
        self.faults, self.under_way = Counter(), []

    @property
    def next_ns(self):
        return self.under_way[0][0] if self.under_way else None

    def receive(self, raw, now_ns):
        self.under_way.append((now_ns + 10**9, raw))

    def due(self, now_ns, most):
        out = [raw for due_ns, raw in self.under_way if due_ns <= now_ns][:most]
        self.under_way = self.under_way[len(out) :]
        return out


@pytest.fixture
def clock(monkeypatch):
    now_ns = [NOW_NS]
    monkeypatch.setattr(run.time, "monotonic_ns", lambda: now_ns[0])
    monkeypatch.setattr(run.time, "time_ns", lambda: REAL_NS)
    return now_ns


def test_packets_are_delivered_when_due(clock):
    device = Device(b"one")
    carrier = Carrier(device, Later())
    carrier.carry()
    assert [] == device.written
    clock[0] += 10**9
    carrier.carry()
    assert [b"one"] == device.written


def test_the_carrier_waits_until_the_next_due_packet(clock):
    carrier = Carrier(Device(b"one"), Later())
    assert MOST_WAIT_S == carrier.wait_s()
    carrier.carry()
    assert 1.0 == carrier.wait_s()
    clock[0] += 2 * 10**9
    assert 0 == carrier.wait_s()


@pytest.mark.usefixtures("clock")
def test_a_flood_does_not_delay_due_packets():
    device = Device(*[b"flood"] * (AT_ONCE + 1))
    carrier = Carrier(device, Later())
    carrier.carry()
    assert [b"flood"] == device.waiting


def test_both_directions_are_recorded_with_wall_clock_times(clock):
    seen = []
    carrier = Carrier(Device(b"one"), Later(), lambda raw, now_ns: seen.append((raw, now_ns)))
    carrier.carry()
    clock[0] += 10**9
    carrier.carry()
    assert [(b"one", REAL_NS), (b"one", REAL_NS + 10**9)] == seen


def test_packets_waiting_at_the_end_are_recorded_but_not_played(clock):
    seen, world = [], Later()
    Carrier(Device(b"one", b"two"), world, lambda raw, now_ns: seen.append((raw, now_ns))).finish()
    Carrier(Device(b"three"), world).finish()
    assert ([(b"one", REAL_NS), (b"two", REAL_NS)], []) == (seen, world.under_way)
    assert {OVERRUN: 4} == world.faults
    assert NOW_NS == clock[0]


def test_a_packet_the_kernel_rejects_is_a_fault(clock):
    carrier = Carrier(Device(b"bad", b"good"), Later())
    carrier.carry()
    clock[0] += 10**9
    carrier.carry()
    assert {NOT_TAKEN: 1} == +carrier.world.faults


def test_a_host_without_the_device_says_what_to_do(monkeypatch):
    monkeypatch.setattr("udpprobe.lab.namespace.DEVICE", "/nowhere/tun")
    with pytest.raises(PrivilegeError, match=r"cannot open /nowhere/tun: there is none; load the module: modprobe tun"):
        Tun("lab0")


def test_a_host_that_has_too_many_namespaces_says_so(monkeypatch):
    def full(_flags):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("udpprobe.lab.namespace.unshare", full)
    with pytest.raises(PrivilegeError, match=r"private network: No space left.*user\.max_net_namespaces"):
        enter()


def test_ipv6_on_too_narrow_an_interface_is_refused_at_once():
    with pytest.raises(UsageError, match="IPv6 needs an MTU of 1280"):
        furnish([ip_interface("198.18.0.2/24"), ip_interface("2001:db8::2/64")], 1279)


# ---- A scenario that plays itself: a capture without privilege, the same each time


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


def test_packets_have_the_requested_size():
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
def test_the_capture_of_a_scenario_shows_its_verdict_in_both_families(name, size, verdicts, tmp_path, capsys):
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
