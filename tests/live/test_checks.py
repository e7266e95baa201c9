"""Checks between real kernels: each outcome, with its cause named, in time, as other monitors' tools read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import forked
import pytest
from scanning import (
    ANSWERING,
    CLOSED,
    DROPPED,
    FAMILIES,
    FAR,
    HOST,
    LISTENING,
    LOOP,
    MUTE,
    NARROW,
    NEAR,
    NOBODY,
    PROHIBITED,
    REJECTED,
    UDPPROBE,
    UNPRIVILEGED,
    UNSENT_PROHIBIT,
    target,
)

pytestmark = [pytest.mark.live, pytest.mark.slow]
NEGATE = next(
    (
        path
        for path in (
            "/usr/lib/nagios/plugins/negate",
            "/usr/lib/monitoring-plugins/negate",
            "/usr/lib64/nagios/plugins/negate",
        )
        if os.access(path, os.X_OK)
    ),
    None,
)


def started(network, words, *, before="", node="prober"):
    command = network.command(f"{node}: {before}{UDPPROBE} check {words}")
    return forked.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    """Exit status and output."""
    out, errors = process.communicate(timeout=120)
    assert "" == errors
    return process.returncode, out


def check(network, words, *, before="", node="prober"):
    return ended(started(network, words, before=before, node=node))


def is_said(pattern, told):
    return re.match(f"UDPPROBE {pattern}", told)


@pytest.mark.parametrize(
    ("to", "port", "options", "status", "said"),
    [
        (HOST, ANSWERING, "", 0, r"OK - {place} answered in [\d.]+ ms \| 'rtt'=[\d.]+ms;;;0\n$"),
        (HOST, ANSWERING, "-w 5000 -c 9000", 0, r"OK - .*ms;5000;9000;0\n$"),
        (HOST, ANSWERING, "-w 5000 -c @0:9000", 2, r"CRITICAL - {place} RTT .* ms in 0:9000 ms; answered"),
        (HOST, ANSWERING, "-w 5000: -c 9000", 1, "WARNING - {place} RTT .* ms < 5000 ms; answered"),
        (HOST, ANSWERING, "--expect refused", 2, "CRITICAL - {place} answered"),
        (HOST, ANSWERING, "--expect listening --no-loop", 0, "OK - {place} answered"),
        (HOST, CLOSED, "", 2, "CRITICAL - {place} refused by {to} itself"),
        (HOST, CLOSED, "--expect listening", 2, "CRITICAL - {place} refused by {to} itself"),
        (HOST, CLOSED, "--expect refused --no-loop", 0, "OK - {place} refused by {to} itself"),
        (HOST, LISTENING, "--expect listening", 1, "WARNING - {place} listening or filtered: silence cannot tell"),
        (HOST, DROPPED, "--expect listening", 1, "WARNING - {place} listening or filtered: silence cannot tell"),
        (HOST, LISTENING, "--expect not-refused --no-loop", 0, "OK - {place} silent while other ports were refused"),
        (HOST, CLOSED, "--expect not-refused", 2, "CRITICAL - {place} refused by {to} itself"),
        (HOST, LISTENING, "", 2, "CRITICAL - {place} silent while"),
        (HOST, LISTENING, "--silence warning", 1, "WARNING - {place} silent while"),
        (HOST, DROPPED, "--expect refused --silence ok", 0, "OK - {place} silent while"),
        (HOST, LISTENING, "--expect not-refused -w 9", 3, "UNKNOWN - {place} no RTT was measured; silent"),
        (MUTE, CLOSED, "--expect listening", 3, "UNKNOWN - {place} no reply from any port of this host"),
        (MUTE, CLOSED, "--expect listening --silence critical", 2, "CRITICAL - {place} no reply from any"),
        (HOST, REJECTED, "--expect listening", 2, "CRITICAL - {place} rejected by {far}"),
        (HOST, PROHIBITED, "", 2, "CRITICAL - {place} prohibited by {far}"),
        (NOBODY, CLOSED, "--wait 4", 2, r"CRITICAL - {place} unreachable \(host-unreach\), reported by {far}"),
        (UNSENT_PROHIBIT, CLOSED, "--silence ok", 3, "UNKNOWN - {place} this host cannot send there: E"),
    ],
)
def test_each_outcome_has_its_state_and_names_its_cause(network, to, port, options, status, said):
    """In IPv4, IPv6, and without privilege; side by side, for most of the time they wait."""
    running = []
    for before, family in (("", 4), ("", 6), (UNPRIVILEGED, 4)):
        place = target(to[family], port)
        pattern = said.format(place=re.escape(place), to=re.escape(to[family]), far=re.escape(FAR[family]))
        running.append((pattern, started(network, f"{options} {place}", before=before)))
    for pattern, (found, told) in [(pattern, ended(process)) for pattern, process in running]:
        assert (status, True) == (found, bool(is_said(pattern, told))), told
        assert 1 == told.count("\n")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loop_is_named_by_its_routers(network, family):
    place = target(LOOP[family], CLOSED)
    status, told = check(network, f"--expect listening --silence ok --no-loop {place}")
    routers = {NEAR[family], FAR[family]}
    named = re.search(r"routing loop between (\S+) and (\S+)", told)
    assert (2, routers) == (status, {word.rstrip(";") for word in named.groups()})
    status, told = check(network, f"--no-loop {place}", before=UNPRIVILEGED)
    assert 2 == status
    assert re.search("routing loop (at|between)", told)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrow_path_is_critical_and_a_wide_enough_one_is_not(network, family):
    place = target(HOST[family], ANSWERING)
    for least, before, status, pattern in (
        (NARROW, "", 0, f"{NARROW} bytes fit .*'mtu'={NARROW}B;;{NARROW}:;0"),
        (NARROW + 1, "", 2, f"path MTU {NARROW} < {NARROW + 1}, limited by {NEAR[family]}; answered"),
        (NARROW, UNPRIVILEGED, 3, "path MTU not checked: this needs CAP_NET_RAW; answered"),
    ):
        found, told = check(network, f"--min-mtu {least} {place}", before=before)
        assert (status, True) == (found, bool(re.search(pattern, told))), told


@pytest.mark.parametrize("family", FAMILIES)
def test_a_black_hole_is_named_with_what_fits(network, family):
    network.run("near: nft add table inet mute")
    network.run("near: nft add chain inet mute o '{ type filter hook output priority 0; }'")
    network.run("near: nft add rule inet mute o icmp type destination-unreachable icmp code 4 drop")
    network.run("near: nft add rule inet mute o icmpv6 type packet-too-big drop")
    try:
        status, told = check(network, f"--min-mtu 1450 {target(HOST[family], ANSWERING)}")
    finally:
        network.run("near: nft delete table inet mute")
    assert 2 == status
    assert re.search(rf"PMTU black hole( after \S+)?: {NARROW} fits, {NARROW + 1} is lost", told)


def test_a_silent_host_does_not_delay_the_check_beyond_its_time_limit(network):
    start_s = time.monotonic()
    status, told = check(network, f"--wait 30 --min-mtu 1400 --no-loop -t 2 {target(MUTE[4], CLOSED)}")
    assert (3, True) == (status, "undecided: time ran out" in told)  # nobody knows yet that it is silent
    assert time.monotonic() - start_s < 15  # not the 30 s that it was to wait


def test_a_service_that_recovers_is_no_confirmed_failure(network):
    port = 7777
    place = target(HOST[4], port)
    process = forked.start(
        network.command(f"prober: {UDPPROBE} check --confirm 8 --retries 3 --wait 1 {place}"),
        stdout=subprocess.PIPE,
        text=True,
    )
    network.start(f"host: answer {port}")
    told, _ = process.communicate(timeout=20)
    assert (0, True) == (process.returncode, "answered in" in told), told


def test_many_targets_are_checked_at_once_and_the_worst_comes_first(network, tmp_path):
    config = tmp_path / "many.toml"
    lines = ["[templates.closed]", 'expect = "refused"', "[groups.all]", 'template = "closed"']
    for number in range(100):
        lines += ["[[targets]]", f'target = "{HOST[4]}:{8000 + number}"', 'group = "all"']
    lines += [
        "[[targets]]",
        f'target = "{HOST[6]}:{ANSWERING}"'.replace(HOST[6], f"[{HOST[6]}]"),
        'name = "wrong"',
        'template = "closed"',
    ]
    config.write_text("\n".join(lines))
    status, told = check(network, f"--config {config} --format json")
    found = json.loads(told)
    states = [each["state"] for each in found["checks"]]
    assert (2, 101, 100) == (status, len(states), states.count("OK"))
    status, told = check(network, f"--config {config}")
    assert is_said("CRITICAL - 1 of 101 not as expected: wrong ", told)


@pytest.mark.skipif(NEGATE is None, reason="needs negate, of the Monitoring Plugins")
@pytest.mark.parametrize(
    ("port", "status", "said"), [(CLOSED, 0, "UDPPROBE OK - "), (ANSWERING, 2, "UDPPROBE CRITICAL - ")]
)
def test_negate_inverts_the_state(network, port, status, said):
    words = f"prober: {NEGATE} -s {UDPPROBE} check {target(HOST[4], port)}"
    done = subprocess.run(network.command(words), check=False, capture_output=True, text=True, timeout=30)
    assert (status, said) == (done.returncode, done.stdout[: len(said)]), done


def test_a_text_file_for_the_node_exporter_appears_whole(network, tmp_path):
    path = Path(tmp_path / "udpprobe.prom")
    assert (0, "") == check(network, f"--format prometheus -o {path} {target(HOST[4], ANSWERING)}")
    assert 'verdict="answered"} 1.0' in path.read_text()
    assert [path] == list(tmp_path.iterdir())
