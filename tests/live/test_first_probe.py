"""What a command loads before its first probe leaves: every millisecond of that is one the user waits."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.live

MAY_LOAD = {
    "typer",
    "annotated_doc",
    "shellingham",  # the command line
    "msgspec",
    "typing_extensions",  # classes
    "cypcap",  # the kernel's filter
    "tabulate",
    "wcwidth",  # trace and mtu load it meanwhile
}
"""Distributions; Scapy, NumPy, pydantic, rich and psutil are not among them."""
STOP_AT_FIRST_PROBE = """
import os, sys

def stop(*_, **__):
    print(*sorted({name.partition(".")[0] for name, module in sys.modules.items() if name[0] != "_"
                   and "site-packages" in (getattr(module, "__file__", None) or "")}))
    print(*sorted(name for name in sys.modules if name.startswith("udpprobe.")))
    sys.stdout.flush()
    os._exit(0)

from udpprobe.engines import raw
raw.RawSender.send = stop
if sys.argv[1] in {"trace", "mtu"}:
    from udpprobe.engines import wire
    wire.RawSocket.send = stop
from udpprobe.cli import main
sys.exit(main(sys.argv[1:]))
"""


def loaded(*words):
    done = subprocess.run(
        [sys.executable, "-c", STOP_AT_FIRST_PROBE, *words], capture_output=True, text=True, check=False
    )
    if "CAP_NET_RAW" in done.stderr + done.stdout:
        pytest.skip("needs CAP_NET_RAW")
    assert 2 == done.stdout.count("\n"), done.stderr
    others, own = done.stdout.splitlines()
    return set(others.split()), set(own.split())


@pytest.mark.parametrize("words", [["scan"], ["check", "--expect", "refused"], ["trace"], ["mtu"]])
@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]:9"])
def test_before_its_first_probe_a_command_loads_little(words, host):
    others, _ = loaded(*words, host)
    assert others <= MAY_LOAD


def test_a_scan_loads_nothing_of_other_commands():
    _, own = loaded("scan", "127.0.0.1:9")
    assert not [
        name
        for name in own
        if name.startswith(
            (
                "udpprobe.tracing",
                "udpprobe.pmtud",
                "udpprobe.checking",
                "udpprobe.lab",
                "udpprobe.icmpd",
                "udpprobe.capture.recorder",
            )
        )
    ]
