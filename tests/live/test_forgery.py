"""A hundred thousand forged errors during a scan: none is believed, and no true one is lost among them."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import threading

import builders as b
import pytest
from analyzing import report_of
from network import Network, address

pytestmark = [pytest.mark.live, pytest.mark.slow]

FORGED = 100_000
CLOSED, ANSWERING, LISTENING, DROPPED = range(2000, 2600), 7, 9, range(2600, 2604)
TRUTH = {**dict.fromkeys(CLOSED, "refused"), ANSWERING: "answered", **dict.fromkeys((LISTENING, *DROPPED), "silent")}
SOURCE_PORT = 40_000
ETH_P_ALL = 3
UNLIMITED = (
    "net.ipv4.icmp_ratemask=0 net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=100000"
    " net.ipv6.icmp.ratelimit=0"
)
LIES = {
    4: ((3, 3), (3, 1), (3, 13), (3, 4, 576), (4, 0), (11, 0), (12, 0)),
    6: ((1, 4), (1, 0), (1, 1), (2, 0, 1280), (3, 0), (4, 0)),
}
"""Type, code, and what stands behind them."""


@pytest.fixture(scope="module")
def network():
    """A client, a router that forges, and a host that answers, listens and refuses."""
    with Network("client", "router", "host") as network, contextlib.ExitStack() as listeners:
        network.run(f"host: sysctl -q -w {UNLIMITED}")
        network.run(
            "host: nft 'add table inet f; add chain inet f c { type filter hook input priority 0; };"
            f"add rule inet f c udp dport {DROPPED[0]}-{DROPPED[-1]} drop'"
        )
        network.run(f"host: answer {ANSWERING} &")
        with network.inside("host"):
            listener = listeners.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            listener.bind(("::", LISTENING))
        yield network


def guessed(chance):
    """From off path: the addresses, and any ports."""
    return chance.randrange(1, 65_536), chance.randrange(1, 65_536)


def seen(chance):
    """From on path: the ports too, but neither the id nor the token."""
    return SOURCE_PORT, chance.choice(list(TRUTH))


def forged(chance, ports_of):
    """(family, packet) of each error, about datagrams that nobody sent."""
    for n in range(FORGED):
        family = 4 if n % 2 else 6
        host, router = address(family, 2, 2), address(family, 1, 2)
        mark = {"id": chance.randrange(65_536)} if family == 4 else {"flow_label": chance.randrange(1 << 20)}
        quoted = b.datagram(
            address(family, 1, 1), host, *ports_of(chance), chance.randbytes(chance.choice((0, 8, 16))), **mark
        )
        lie = chance.choice(LIES[family])
        yield family, b.error(quoted, *lie, reporter=chance.choice((host, router)))


class Forger:
    """Sends its errors from the router, as fast as it can, once the first probe has passed there."""

    def __init__(self, network, errors):
        self.errors, self.sent = errors, 0
        with network.inside("router"):
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self.tap.bind(("right", ETH_P_ALL))
            self.raw = {
                4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
                6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
            }
        self.tap.settimeout(20)
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        for each in (self.tap, *self.raw.values()):
            each.close()

    def run(self):
        with contextlib.suppress(TimeoutError):  # nothing sent: the test says so
            while SOURCE_PORT.to_bytes(2, "big") not in self.tap.recv(64):
                pass
            target = {family: (address(family, 1, 1), 0) for family in self.raw}
            for family, packet in self.errors:
                self.raw[family].sendto(packet, target[family])
                self.sent += 1


def scan(network, capture):
    ports = ",".join(map(str, TRUTH))
    line = (
        f"client: {sys.executable} -m udpprobe scan {address(4, 2, 2)} {address(6, 2, 2)} -p {ports}"
        f" --source-port {SOURCE_PORT} --retries 1 --timeout 1 --format json -w {capture}"
    )
    done = subprocess.run(network.command(line), check=False, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def verdicts_of(report):
    """By address and port; of what was asked for, for a capture shows the control ports too."""
    return {
        (each["address"], each["port"]): each["verdict"] for each in report["destinations"] if each["port"] in TRUTH
    }


@pytest.mark.parametrize("ports_of", [guessed, seen])
def test_forged_errors_are_rejected_and_true_ones_kept(network, tmp_path, ports_of):
    capture = tmp_path / "scan.pcapng"
    with Forger(network, list(forged(random.Random(28), ports_of))) as forger:
        report = scan(network, capture)
    assert FORGED == forger.sent
    assert {
        (address(family, 2, 2), port): verdict for family in (4, 6) for port, verdict in TRUTH.items()
    } == verdicts_of(report)
    assert {("port-unreach", "refused")} == {
        (finding["reason"], finding["verdict"]) for each in report["destinations"] for finding in each["findings"]
    }
    assert [] == report["unmatched"]
    if ports_of is seen:  # what quotes any other port may be about the datagram of another program
        assert report["faults"]["foreign"] > FORGED // 100
        assert any(note.startswith("forged: ") for each in report["destinations"] for note in each["notes"])
    written = report_of(capture, tmp_path)
    assert verdicts_of(report) == verdicts_of(written)
    assert [] == written["unmatched"]
