"""Names of addresses from a DNS server in a namespace, which is all the program can ask there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import datagram, port_unreachable
from craft import pcap
from network import CannotRun, require

DNS_ZONE = Path(__file__).parents[1] / "dns_zone.py"
RAW_IP = 101

pytestmark = pytest.mark.live


def test_autonomous_systems_are_looked_up_only_on_request(tmp_path):
    try:
        require("unshare", "ip", "mount")
    except CannotRun as reason:
        pytest.skip(str(reason))
    packet = datagram("10.0.0.1", "20.0.2.9", 4000, 53, b"?")
    (tmp_path / "capture.pcap").write_bytes(pcap(RAW_IP, [packet, port_unreachable(packet, "20.0.2.7")]))
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    analyze = f"{sys.executable} -m udpprobe analyze {tmp_path}/capture.pcap"
    inside = (
        f"ip link set lo up && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && "
        f"{sys.executable} {DNS_ZONE} sh -c '{analyze} --asn-dns; echo and; {analyze}'"
    )
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", inside], capture_output=True, text=True, timeout=60, check=False
    )
    if done.stderr.startswith("unshare"):
        pytest.skip(done.stderr)
    asked, _, unasked = " ".join(done.stdout.split()).partition(" and ")
    assert "AS64500 EXAMPLE-AS Example, DE" in asked, done
    assert "20.0.2.7" in unasked, done
    assert "AS64500" not in unasked
