"""A program with a UDP socket: `watch_client.py KIND HOST PORT` sends thrice, and says who it is and what it heard.

KIND is unconnected, connected or recverr. With `--ask` it reads a line before each datagram; with `--port` it says its
port instead of who it is; with `--patient` it hears of each error, or answer, before it goes on.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from pathlib import Path

RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}


def main():
    kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    heard = []
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.settimeout(30 if "--patient" in sys.argv else 0.2)
        if kind == "recverr":
            opened.setsockopt(*RECVERR[opened.family], 1)
        if kind == "connected":
            opened.connect((host, port))
        for number in range(3):
            if "--ask" in sys.argv:
                sys.stdin.readline()
            try:
                send(opened, kind, (host, port), b"%d" % number)
                opened.recv(100)
            except TimeoutError:
                pass
            except OSError as error:
                heard.append(errno.errorcode[error.errno])
                time.sleep(0.2)
        if "--port" in sys.argv:
            print(json.dumps([opened.getsockname()[1], heard]))  # noqa: T201 a program's output
            return
    print(json.dumps([{"name": Path("/proc/self/comm").read_text().strip(), "pid": os.getpid()}, heard]))  # noqa: T201 a program's output


def send(opened, kind, to, payload):
    """No two payloads are alike: where they are, datagrams within 20 µs count as copies of one."""
    if kind == "connected":
        opened.send(payload)
    else:
        opened.sendto(payload, to)


if __name__ == "__main__":
    main()
