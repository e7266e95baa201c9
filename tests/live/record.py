"""Record the captures of `scenarios.toml` from real kernels: `record.py [NAME…] --into pcaps/`.

Needs root, iproute2, ethtool, ping, tcpdump; a scenario also needs the programs its lines name (nft, dig,
dnsmasq, traceroute, nmap, dumpcap …). A scenario that this host cannot play is skipped, with the reason.
Packets stay inside network namespaces made for the purpose.
"""

from __future__ import annotations

import argparse
import contextlib
import struct
import sys
import time
import tomllib
from pathlib import Path

from network import CannotRun, Network

SECTION, INTERFACE, STATISTICS = 0x0A0D0D0A, 1, 5
END, RESOLUTION = 0, 9


def without_host(data: bytes) -> bytes:
    """The same packets; sections without options, interfaces with their time resolution only (little-endian)."""
    out, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<2I", data, at)
        body = data[at + 8 : at + size - 4]
        if kind == SECTION:
            body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        elif kind == INTERFACE:
            body = body[:8] + resolution_of(body[8:])
        if kind != STATISTICS:
            out.append(struct.pack("<2I", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12))
        at += size
    return b"".join(out)


def resolution_of(options: bytes) -> bytes:
    """The option that gives the time stamps' resolution, if there is one."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from("<HH", options, at)
        if code == RESOLUTION:
            return options[at : at + 8] + struct.pack("<HH", END, 0)
        at += 4 + (size + 3) // 4 * 4
    return b""


SCENARIOS = tomllib.loads(Path(__file__).with_name("scenarios.toml").read_text())
FIREWALL = (
    "add table inet f; add chain inet f {hook} {{ type {kind} hook {hook} priority 0; }};add rule inet f {hook} {rule}"
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(SCENARIOS))
    parser.add_argument("--into", type=Path, required=True)
    arguments = parser.parse_args()
    for name in arguments.names:
        try:
            files = record(name, arguments.into)
        except CannotRun as reason:
            print(f"{name}: skipped, {reason}")  # noqa: T201 a program's output
        else:
            print(f"{name}: {' '.join(files)}")  # noqa: T201 a program's output


def record(name, into):
    """Play a scenario; the names of the files it made in the directory `into`.

    Raises:
        CannotRun: this host lacks what the scenario needs.
    """
    scenario = SCENARIOS[name]
    with Network(*scenario["nodes"].split()) as network, contextlib.ExitStack() as recorders:
        play(network, scenario.get("setup", ()))
        for file, line in scenario["captures"].items():
            recorders.enter_context(network.capturing(into / file, line))
        play(network, scenario["acts"])
        time.sleep(scenario.get("wait_s", 0))
    for file in into.glob("*.pcapng"):
        file.write_bytes(without_host(file.read_bytes()))
    return list(scenario["captures"])


def play(network, lines):
    """Run each `NODE: COMMAND`; `NODE: HOOK: RULE` is a rule of nftables."""
    for line in lines:
        node, _, rest = line.partition(": ")
        hook, is_rule, rule = rest.partition(": ")
        kind = "nat" if hook == "postrouting" else "filter"
        network.run(f"{node}: nft '{FIREWALL.format(hook=hook, kind=kind, rule=rule)}'" if is_rule else line)


if __name__ == "__main__":
    sys.exit(main())
