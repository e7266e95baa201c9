"""Hosts to scan: one without limits, or many with Linux's, in network namespaces."""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

from tests.live.network import CannotRun, Network, require

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS = 100
ANSWERING, DROPPED = (10, 20, 30), (40, 50)
CLOSED = PORTS - len(ANSWERING) - len(DROPPED)
TRUTH = {
    port: "answered" if port in ANSWERING else "silent" if port in DROPPED else "refused"
    for port in range(1, PORTS + 1)
}
RULES = (
    "table ip bench { chain input { type filter hook input priority 0; "
    f"udp dport {{ {', '.join(map(str, DROPPED))} }} drop; }}; }}"
)
CLIENT_ADDRESSES = 4


def client_address(number: int) -> str:
    return f"10.8.0.{number}"


def host_address(number: int) -> str:
    return f"10.8.1.{number}"


class Hosts(Network):
    """A client and hosts on one link; each host has Linux's default limits, three echoing ports and two dropped.

    They are `host1`, `host2`, …; the client has several addresses, since Linux limits by the one it answers to.
    """

    def __init__(self, count: int) -> None:
        super().__init__("client", *(f"host{number}" for number in range(1, count + 1)))
        self._stop = threading.Event()
        self._echo = threading.Thread(target=self._answer, daemon=True)
        self._listeners = selectors.DefaultSelector()

    def build(self) -> None:
        self.add("client")
        self.run("client: ip link add bridge type bridge")
        for number in range(1, CLIENT_ADDRESSES + 1):
            self.run(f"client: ip addr add {client_address(number)}/16 dev bridge")
        self.run("client: ip link set bridge up")
        for number, name in enumerate(self.names[1:], 1):
            self.add_host(number, name)
        self._echo.start()

    def add_host(self, number: int, name: str) -> None:
        made = subprocess.run(["ip", "netns", "add", self.namespace(name)], check=False, capture_output=True)
        if made.returncode:
            raise CannotRun(f"no network namespaces: {made.stderr.decode().strip()}")
        self.run(f"client: ip link add port{number} type veth peer name left netns {self.namespace(name)}")
        self.run(f"client: ip link set port{number} master bridge up")
        self.run(f"{name}: ip addr add {host_address(number)}/16 dev left")
        self.run(f"{name}: ip link set left up")
        self.run(f"{name}: nft '{RULES}'")
        with self.inside(name):
            for port in ANSWERING:
                listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                listener.bind(("", port))
                self._listeners.register(listener, selectors.EVENT_READ)

    def _answer(self) -> None:
        """Give every datagram back."""
        while not self._stop.is_set():
            for key, _ in self._listeners.select(0.1):
                data, client = key.fileobj.recvfrom(65536)
                key.fileobj.sendto(data, client)

    def __exit__(self, *reason) -> None:
        self._stop.set()
        if self._echo.ident:
            self._echo.join()
        for key in list(self._listeners.get_map().values()):
            key.fileobj.close()
        self._listeners.close()
        super().__exit__(*reason)


@contextlib.contextmanager
def unlimited(network: str) -> Iterator[Network]:
    """A client and a host that has all addresses of a network, and refuses whatever comes as fast as it can."""
    require("ip", "nft")
    with Network("client", "host") as made:
        made.run("host: sysctl -q -w net.ipv4.icmp_ratemask=0")
        made.run(f"host: ip route add local {network} dev lo")
        yield made
