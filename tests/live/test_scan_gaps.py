"""What scan says when it could not ask, or not hear, all it should have: interfaces that go down, Ctrl-C, this host."""

from __future__ import annotations

import pytest
from network import Network, address
from scanning import FAMILIES, UNLIMITED, Scan, packets_sent, target, wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
HOST = {family: address(family, 1, 2) for family in FAMILIES}
MANY = "1-400"


@pytest.fixture
def network():
    with Network("prober", "host") as made:
        made.run(f"host: {UNLIMITED}")
        yield made


def begun(network, family, options=""):
    """A scan of closed ports at 100 a second, half of which were asked by now."""
    before = packets_sent(network)
    scan = Scan(network, f"--rate 100 --timeout 1 {options} {target(HOST[family], MANY)}")
    wait_until(lambda: packets_sent(network) >= before + 200)
    return scan


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", ["ip link set right down", "ip addr flush dev right"])
def test_ports_that_can_no_longer_be_probed_are_not_listening(network, family, change):
    scan = begun(network, family)
    network.run(f"prober: {change}")
    said = scan.said()
    assert {"refused", "unsent"} <= set(said.verdicts().values()) <= {"refused", "unsent", "silent"}
    silent = [each for each in said.report["destinations"] if each["verdict"] == "silent"]
    assert {"no-evidence"} >= {each["meaning"] for each in silent}
    assert ("interface" in said.stderr) == ("down" in change)


@pytest.mark.parametrize("family", FAMILIES)
def test_after_ctrl_c_ports_never_probed_are_not_reported(network, family):
    scan = begun(network, family)
    scan.interrupt()
    said = scan.said()
    told = said.report["destinations"]
    assert 130 == said.status
    assert 50 <= len(told) < 400
    assert all(each["sent"] for each in told)
    assert f"stopped after {len(told)} of 400 destinations" in said.stderr


@pytest.mark.parametrize(
    ("own", "ports", "held"),
    [
        ("127.0.0.1", "1-65535", 1),
        (f"[{address(6, 1, 1)}]", "1-65535", 1),
        ("[::1]", "20000-25000", 0),
        (address(4, 1, 1), "20000-25000", 0),
    ],
)
def test_a_scan_of_this_host_holds_requested_ports_only_if_it_must(network, own, ports, held):
    network.run(f"prober: {UNLIMITED}")
    if not held:
        network.run("prober: sysctl -q net.ipv4.ip_local_port_range='20000 26000'")
    said = Scan(network, f"--rate 0 {own}:{ports}").said()  # in a minute, or it fails
    others = [each for each in said.report["destinations"] if each["verdict"] != "refused"]
    assert [("silent", "no-evidence", 0, ["held by this scan itself"])] * held == [
        (each["verdict"], each["meaning"], each["sent"], each["notes"]) for each in others
    ]
