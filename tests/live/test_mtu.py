"""Path MTUs between real kernels: prober, near, far, host; what limits them, and who says so."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time

import forked
import pytest
from lying import lying
from network import Network, address, require
from scanning import FAMILIES, FAR, HOST, NEAR, UDPPROBE, UNLIMITED, listening, target

pytestmark = [pytest.mark.live, pytest.mark.slow]
LIMITED = (
    "sysctl -q net.ipv4.icmp_ratemask=6168 net.ipv6.icmp.ratelimit=100 net.ipv4.icmp_msgs_burst=50"
    " net.ipv4.icmp_msgs_per_sec=1000"
)
"""As Linux comes; what went before without a limit took none of its tokens."""
LINKS = ("prober: right", "near: left", "near: right", "far: left", "far: right", "host: left")
CLOSED, LISTENING, ANSWERING = 7000, 7001, 7002
LEAST = {4: 28, 6: 48}
NO_WORD = ("icmp type destination-unreachable icmp code 4 drop", "icmpv6 type packet-too-big drop")


@pytest.fixture(scope="module")
def network():
    require("nft", "sysctl")
    with Network("prober", "near", "far", "host") as made, listening(made, "host", LISTENING):
        made.start(f"host: answer {ANSWERING}")
        for node in ("near", "far", "host"):
            made.run(f"{node}: nft add table inet path")
            for chain, hook in (("o", "output"), ("f", "forward"), ("i", "input")):
                made.run(f"{node}: nft add chain inet path {chain} '{{ type filter hook {hook} priority 0; }}'")
        made.run("near: nft add chain inet path n '{ type nat hook postrouting priority 100; }'")
        yield made


@pytest.fixture
def path(network):
    """The network as it was built, without limits on ICMP errors."""
    for node in ("near", "far", "host"):
        network.run(f"{node}: {UNLIMITED}")
        network.run(f"{node}: nft flush table inet path")
    for link in LINKS:
        node, interface = link.split(": ")
        network.run(f"{node}: ip link set {interface} mtu 1500")
    for family in FAMILIES:
        network.run(f"prober: ip -{family} route flush cache")  # what ping and tracepath taught the kernel
    return network


def narrow(network, mtu, node="far"):
    network.run(f"{node}: ip link set right mtu {mtu}")


def rule(network, where, text):
    network.run(f"{where.split()[0]}: nft add rule inet path {where.split()[1]} {text}")


def mute(network):
    """No router says that anything is too big."""
    for node in ("near", "far"):
        for text in NO_WORD:
            rule(network, f"{node} o", text)


def measure(network, to, port=CLOSED, options=""):
    command = network.command(f"prober: {UDPPROBE} mtu --format json {options} {target(to, port)}")
    done = forked.run(command, timeout=90)
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


def found(told):
    return told["verdict"], told["path_mtu"]


def reporters(told):
    return {each["reporter"]: each["mtu"] for each in told["reports"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clean_path_has_the_mtu_of_the_interface(path, family):
    told = measure(path, HOST[family])
    assert ("ok", 1500, 1500, "refusal", []) == (*found(told), told["interface_mtu"], told["proof"], told["reports"])
    assert 1500 - LEAST[family] == told["udp_payload_max"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("port", [CLOSED, LISTENING, ANSWERING])
def test_a_narrow_link_is_found_whatever_the_service_does(path, family, port):
    narrow(path, 1387)
    proofs = []
    for _ in range(2):  # what the kernel has learned of the path by the first one does not hide it
        told = measure(path, HOST[family], port)
        assert ("too-big", 1387) == found(told)
        assert {FAR[family]: 1387} == reporters(told)
        proofs.append(told["proof"])
    if port == ANSWERING:
        assert "answer" in proofs  # on a busy machine one may come too late, and a refusal proves the size
    else:
        assert ["refusal", "refusal"] == proofs


def test_without_control_a_silent_service_gives_only_the_reported_mtu(path):
    narrow(path, 1400)
    told = measure(path, HOST[4], LISTENING, "--no-control --timeout 1")
    assert ("too-big", 1400, "routers") == (*found(told), told["proof"])


@pytest.mark.parametrize("family", FAMILIES)
def test_both_of_two_narrow_links_are_reported(path, family):
    narrow(path, 1450, "near")
    narrow(path, 1400)
    told = measure(path, HOST[family])
    assert ("too-big", 1400) == found(told)
    assert {NEAR[family]: 1450, FAR[family]: 1400} == reporters(told)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("port", [CLOSED, LISTENING, ANSWERING])
def test_a_black_hole_is_measured_and_placed(path, family, port):
    narrow(path, 1412)
    mute(path)
    told = measure(path, HOST[family], port)
    assert ("black-hole", 1412) == found(told)
    assert {"largest_passed": 1412, "smallest_lost": 1413, "after": FAR[family], "before": HOST[family]} == told[
        "black_hole"
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_black_hole_in_the_middle_is_placed_there(path, family):
    narrow(path, 1412, "near")
    mute(path)
    told = measure(path, HOST[family])
    assert (NEAR[family], FAR[family]) == (told["black_hole"]["after"], told["black_hole"]["before"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_black_hole_behind_a_reporting_link_is_found(path, family):
    narrow(path, 1450, "near")
    narrow(path, 1400)
    for text in NO_WORD:
        rule(path, "far o", text)
    told = measure(path, HOST[family])
    assert ("black-hole", 1400, {NEAR[family]: 1450}) == (*found(told), reporters(told))
    assert FAR[family] == told["black_hole"]["after"]


def test_a_router_without_an_mtu_is_believed_only_about_too_big(path):
    rule(path, "near f", "ip length gt 1000 reject with icmp type frag-needed")
    told = measure(path, HOST[4])
    assert ("too-big", 1000, {NEAR[4]: 0}) == (*found(told), reporters(told))
    assert "reports no MTU" in told["reports"][0]["notes"][0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("mtu", "words"), [(1300, "larger packets fit"), (9000, "≥ packet size"), (60, "below what every link must carry")]
)
def test_a_wrong_reported_mtu_costs_time_and_is_exposed(path, family, mtu, words):
    rule(path, "near f", "ip length gt 1400 drop")
    rule(path, "near f", "ip6 length gt 1360 drop")
    with lying(path, 1400, mtu) as lies:
        told = measure(path, HOST[family])
    assert lies
    assert ("too-big", 1400) == found(told)
    assert any(words in note for each in told["reports"] for note in each["notes"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_router_that_complains_and_forwards_is_not_believed(path, family):
    with lying(path, 1300, 1300) as lies:
        told = measure(path, HOST[family])
    assert lies
    assert ("ok", 1500, {NEAR[family]: 1300}) == (*found(told), reporters(told))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_limits_of_linux_are_waited_for(path, family):
    narrow(path, 1387)
    mute(path)
    for node in ("near", "far", "host"):
        path.run(f"{node}: {LIMITED}")
    told = measure(path, HOST[family])
    assert ("black-hole", 1387, "SEARCH_COMPLETE") == (*found(told), told["state"])
    assert FAR[family] == told["black_hole"]["after"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dead_target_is_silent(path, family):
    rule(path, "host i", "meta l4proto udp drop")
    assert ("silent", None) == found(measure(path, HOST[family], options="--timeout 1"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrow_link_before_a_dead_target_is_reported_by_the_router(path, family):
    narrow(path, 1400)
    rule(path, "host i", "meta l4proto udp drop")
    told = measure(path, HOST[family], options="--timeout 1")
    assert ("too-big", 1400, "routers") == (*found(told), told["proof"])


def test_a_filter_on_the_path_is_named(path):
    rule(path, "near f", "meta l4proto udp reject with icmpx admin-prohibited")
    assert ("prohibited", None) == found(measure(path, HOST[4], options="--timeout 1"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("speaks", [True, False])
def test_a_nat_on_the_path_changes_nothing(path, family, speaks):
    rule(path, "near n", "masquerade random")
    narrow(path, 1400)
    if not speaks:
        mute(path)
    assert ("too-big" if speaks else "black-hole", 1400) == found(measure(path, HOST[family]))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_own_interface_can_be_the_limit(path, family):
    path.run("prober: ip link set right mtu 1400")
    told = measure(path, HOST[family])
    assert ("ok", 1400, 1400) == (*found(told), told["interface_mtu"])


@pytest.mark.parametrize("family", FAMILIES)
def test_errors_about_probes_do_not_change_the_routes_of_this_host(path, family):
    narrow(path, 1400)
    assert "too-big" == measure(path, HOST[family])["verdict"]
    line = f"prober: ip -{family} route get {HOST[family]}"
    assert "mtu" not in subprocess.run(path.command(line), check=True, capture_output=True, text=True).stdout


def test_no_size_above_the_requested_one_is_tried(path):
    told = measure(path, HOST[4], options="--max 1300")
    assert ("ok", 1300, ["packets larger than 1300 bytes were not tried"]) == (*found(told), told["notes"])


def test_a_payload_above_the_largest_size_is_a_usage_error(path):
    line = f"prober: {UDPPROBE} mtu --max 100 --payload hex:{'00' * 100} {HOST[4]}"
    done = forked.run(path.command(line))
    assert (2, "") == (done.returncode, done.stdout)
    assert "the smallest probe has 136 bytes, more than the 100 allowed" in done.stderr


def errors_heard(path):
    """How many destination unreachables came to the prober (InDestUnreachs)."""
    command = path.command("prober: cat /proc/net/snmp")
    names, numbers = [
        line.split() for line in subprocess.check_output(command, text=True).splitlines() if line.startswith("Icmp: ")
    ]
    return int(dict(zip(names, numbers, strict=True))["InDestUnreachs"])


def test_ctrl_c_shows_the_results_so_far(path):
    rule(path, "host i", "meta l4proto udp drop")
    narrow(path, 1400)
    command = path.command(f"prober: {UDPPROBE} mtu --format json --timeout 30 {HOST[4]}")
    before = errors_heard(path)
    with forked.start(command, stdout=subprocess.PIPE, text=True) as search:
        while errors_heard(path) == before and search.poll() is None:
            time.sleep(0.1)
        time.sleep(1)  # it is told that, and asks on
        search.send_signal(signal.SIGINT)
        out, _ = search.communicate(timeout=10)
    assert 130 == search.returncode
    assert (None, 1400) == found(json.loads(out))  # larger ones might still have passed


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_neighbour_is_unreachable(path, family):
    told = measure(path, address(family, 1, 99))
    assert ("unreachable", None, "no-neighbour") == (told["verdict"], told["path_mtu"], told["notes"][0])


@pytest.mark.parametrize("family", FAMILIES)
def test_loopback_passes_the_largest_ip_packet(path, family):
    told = measure(path, {4: "127.0.0.1", 6: "::1"}[family])
    assert ("ok", {4: 65_535, 6: 65_536}[family]) == found(told)


@pytest.mark.parametrize("family", FAMILIES)
def test_ping_and_tracepath_agree(path, family):
    narrow(path, 1387)
    size = 1387 - LEAST[family]
    pings = [f"prober: ping -{family} -M do -c 1 -W 1 -s {each} {HOST[family]}" for each in (size, size + 1)]
    assert [0, 1] == [subprocess.run(path.command(line), check=False, capture_output=True).returncode for line in pings]
    line = f"prober: tracepath -{family} -n -p {CLOSED} {HOST[family]}"
    said = subprocess.run(path.command(line), check=False, capture_output=True, text=True).stdout
    assert "1387" == re.findall(r"pmtu (\d+)", said)[-1]
    assert ("too-big", 1387) == found(measure(path, HOST[family]))
