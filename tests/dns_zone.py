"""A DNS server for tests that knows a few names: in this process, or at 127.0.0.1:53 beside `dns_zone.py COMMAND`."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading

TXT = 16
ZONE = {
    (TXT, "7.2.0.20.origin.asn.cymru.com"): "64500 64501 | 20.0.2.0/24 | DE | ripencc | 2001-01-01",
    (TXT, "as64500.asn.cymru.com"): "64500 | DE | ripencc | 2001-01-01 | EXAMPLE-AS Example, DE",
    (
        TXT,
        f"{'.'.join(reversed('26000000000000000000000000000007'))}.origin6.asn.cymru.com",
    ): "64502 | 2600::/32 | US | arin | 2001-01-01",
    (TXT, "1.0.0.20.origin.asn.cymru.com"): "NA | | | |",
}


def names(text):
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split(".")) + b"\0"


def answer(query, zone=None):
    """What the server says to a query: one record, or that the name is not there."""
    zone = ZONE if zone is None else zone
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    question = query[12 : at + 5]
    text = zone.get((kind, ".".join(labels).lower()))
    head = struct.pack("!6H", int.from_bytes(query[:2]), 0x8180 | (0 if text else 3), 1, int(text is not None), 0, 0)
    if text is None:
        return head + question
    # two character strings, as long texts have them
    data = b"".join(bytes((len(part),)) + part for part in (text.encode()[:9], text.encode()[9:]))
    return head + question + b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


class Server:
    """One that answers by `reply` until the context ends.

    Args:
        reply: what a query gets; None for nothing.
        where: address and port.
    """

    def __init__(self, reply=answer, where=("127.0.0.1", 0)):
        self.asked = []
        self._reply = reply
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(where)
        self.port = self._socket.getsockname()[1]

    def run(self):
        while True:
            query, peer = self._socket.recvfrom(4096)
            if not query:
                return
            self.asked.append(query)
            if (reply := self._reply(query)) is not None:
                self._socket.sendto(reply, peer)

    def __enter__(self):
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


if __name__ == "__main__":
    with Server(where=("127.0.0.1", 53)):
        sys.exit(subprocess.run(sys.argv[1:], check=False).returncode)
