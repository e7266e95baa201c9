"""Runs commands in the lab."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

UDPPROBE = [sys.executable, "-m", "udpprobe"]
UNPRIVILEGED = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all"]
PATIENCE_S = 60
HOST = {4: "198.18.9.9", 6: "2001:db8:9::9"}
OPEN, CLOSED, ECHO = 53, 54, 7


def lab_words(*command, options=()):
    return [*UDPPROBE, "lab", *map(str, options), "--", *map(str, command)]


def run(words, **how):
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S, **how)


def in_lab(*command, options=()):
    """A finished command of the lab."""
    return run(lab_words(*command, options=options))


def target(family, port):
    return f"{HOST[family]}:{port}" if family == 4 else f"[{HOST[family]}]:{port}"


def network_of(process):
    """Its network namespace; None where it has ended."""
    try:
        return str(Path("/proc", str(process), "ns/net").readlink())
    except OSError:
        return None


def processes_in(network):
    """Those that are in a network namespace, each with its words."""
    found = {}
    for each in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end between two looks
            if network_of(each) == network:
                found[each] = Path("/proc", str(each), "cmdline").read_text().split("\0")[:-1]
    return found
