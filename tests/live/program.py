"""A program with a UDP socket, run by `watch -- ...`: `program.py KIND HOST PORT`.

KIND is unconnected; connected, which stops at its first errno; ignoring, which goes on; orphan, a process whose parent
has ended. It prints a line: KIND, HOST and its socket's port.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time

PATIENCE_S = 20
HELD_S = 4
"""So long the socket is there to be looked at."""


def main():
    kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if kind == "orphan":
        left, held = os.pipe()
        if os.fork():
            os.close(held)
            os.read(left, 1)        # until the grandchild has ended, too
            return
        if os.fork():
            os._exit(0)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.settimeout(PATIENCE_S)
        send(opened, kind, (host, port))
        os.write(1, f"{kind} {host} {opened.getsockname()[1]}\n".encode())
        time.sleep(HELD_S)


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
