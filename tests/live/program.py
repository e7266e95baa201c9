"""A program with a UDP socket, run by `watch -- ...`: `program.py KIND HOST PORT RECORD COUNT`.

KIND is unconnected; connected, which stops at its first errno; ignoring, which goes on; orphan, a process whose parent
has ended. It prints a line: KIND, HOST and its socket's port; and keeps its socket until the watch has written COUNT
errors to the RECORD of its -w.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path

PATIENCE_S = 90
COMMENT = b": refused; "
"""In the comment of each error."""


def main():
    kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    record, count = Path(sys.argv[4]), int(sys.argv[5])
    if kind == "orphan":
        left, held = os.pipe()
        if os.fork():
            os.close(held)
            os.read(left, 1)  # until the grandchild has ended, too
            return
        if os.fork():
            os._exit(0)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.settimeout(PATIENCE_S)
        send(opened, kind, (host, port))
        os.write(1, f"{kind} {host} {opened.getsockname()[1]}\n".encode())
        end_s = time.monotonic() + PATIENCE_S
        while record.read_bytes().count(COMMENT) < count and time.monotonic() < end_s:
            time.sleep(0.05)


def send(opened, kind, to):
    if kind in {"unconnected", "orphan"}:
        for _ in range(3):
            opened.sendto(b"x", to)
        return
    opened.connect(to)
    for _ in range(3 if kind == "ignoring" else 1):
        opened.send(b"x")
        with contextlib.suppress(ConnectionRefusedError):
            opened.recv(10)


if __name__ == "__main__":
    main()
