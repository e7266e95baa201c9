"""Results as they become known, line by line; and what is said of a run that was stopped before it knew."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from network import Network, address, require

pytestmark = pytest.mark.live
UDPPROBE = f"{sys.executable} -m udpprobe"
HOST = address(4, 1, 2)
CLOSED, DROPPED, ALSO_CLOSED = 7000, 7001, 7002
RULES = (
    "add table ip t; add chain ip t i { type filter hook input priority 0; }; "
    f"add rule ip t i udp dport {DROPPED} counter drop"
)


@pytest.fixture(scope="module")
def network():
    require("nft")
    with Network("prober", "host") as made:
        made.run(f"host: nft '{RULES}'")
        made.run("host: sysctl -q net.ipv4.icmp_ratemask=0")
        yield made


def started(network, words):
    return subprocess.Popen(
        network.command(f"prober: {UDPPROBE} {words}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def dropped(network):
    """How many probes of the dropped port arrived."""
    rules = subprocess.run(network.command("host: nft list table ip t"), capture_output=True, text=True, check=True)
    return int(re.search(r"counter packets (\d+)", rules.stdout)[1])


def stopped(network, words):
    """Exit status and output of a command that gets Ctrl-C while it waits for the dropped port."""
    before, process = dropped(network), started(network, words)
    until_s = time.monotonic() + 20
    while dropped(network) == before and time.monotonic() < until_s:
        time.sleep(0.05)
    time.sleep(0.3)  # for what else was asked
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    return process.returncode, out


def whole(network, words):
    """Each line with the time when it came, and the exit status."""
    process = started(network, words)
    lines = [(time.monotonic(), json.loads(line)) for line in process.stdout]
    process.communicate(timeout=20)
    return lines, process.returncode


def test_a_scan_reports_each_port_once_when_settled(network):
    lines, status = whole(network, f"scan --format ndjson {HOST}:{CLOSED}-{ALSO_CLOSED}")
    said = [(line["kind"], line.get("port"), line.get("verdict")) for _, line in lines]
    assert [("destination", CLOSED, "refused"), ("destination", ALSO_CLOSED, "refused")] == sorted(said[:2])
    assert [("destination", DROPPED, "silent"), ("summary", None, None)] == said[2:]
    assert lines[2][0] - lines[1][0] > 0.5
    assert (0, False) == (status, lines[-1][1]["interrupted"])


def test_a_check_reports_each_target_once_when_settled(network):
    targets = " ".join(f"{HOST}:{port}" for port in (DROPPED, CLOSED, ALSO_CLOSED))
    lines, status = whole(network, f"check --expect refused --format ndjson {targets}")
    said = [(line["kind"], line.get("port"), line["state"]) for _, line in lines]
    assert [("check", CLOSED, "OK"), ("check", ALSO_CLOSED, "OK")] == sorted(said[:2])
    assert [("check", DROPPED, "CRITICAL"), ("summary", None, "CRITICAL")] == said[2:]
    assert lines[2][0] - lines[1][0] > 0.5
    assert (2, False) == (status, lines[-1][1]["interrupted"])


def test_a_trace_reports_each_hop_once(network):
    lines, status = whole(network, f"trace --format ndjson --timeout 1 {HOST}:{CLOSED}")
    assert [("hop", 1), ("summary", None)] == [(line["kind"], line.get("ttl")) for _, line in lines]
    assert ("refused", False, 0) == (lines[-1][1]["verdict"], lines[-1][1]["interrupted"], status)


@pytest.mark.parametrize("words", ["scan --no-control", "check", "trace", "mtu --no-control"])
def test_an_interrupted_command_gives_no_verdict_it_did_not_reach(network, words):
    status, out = stopped(network, f"{words} --format json {HOST}:{DROPPED}")
    told = json.loads(out)
    (row,) = told.get("destinations") or told.get("checks") or [told]
    assert (3 if words == "check" else 130, True, None) == (status, told["interrupted"], row["verdict"])


@pytest.mark.parametrize("words", ["scan --no-control", "trace", "mtu --no-control"])
def test_an_interrupted_command_says_undecided_on_the_screen(network, words):
    _, told = stopped(network, f"{words} {HOST}:{DROPPED}")
    assert "undecided" in told
    assert "interrupted" in told
    assert not {"silent", "black-hole", "ok"} & set(told.replace(":", " ").split())


def test_verdicts_settled_before_ctrl_c_are_kept(network):
    _, out = stopped(network, f"scan --format json --no-control {HOST}:{CLOSED} {HOST}:{DROPPED}")
    told = json.loads(out)
    assert {CLOSED: "refused", DROPPED: None} == {row["port"]: row["verdict"] for row in told["destinations"]}
    assert told["interrupted"] is True


@pytest.mark.parametrize("words", ["scan", "trace", "mtu"])
def test_a_document_says_that_it_was_not_interrupted(network, words):
    process = started(network, f"{words} --format json {HOST}:{CLOSED}")
    assert json.loads(process.communicate(timeout=20)[0])["interrupted"] is False


@pytest.mark.parametrize("words", ["scan", "trace", "mtu"])
def test_scapy_captures_if_there_is_no_ring(network, words):
    process = started(network, f"{words} --capture scapy --format json {HOST}:{CLOSED}")
    told = json.loads(process.communicate(timeout=20)[0])
    (row,) = told.get("destinations") or [told]
    assert row["verdict"] == ("ok" if words == "mtu" else "refused")
