"""Packets put on a link of a namespace as they are, and what comes back, to lay beside what the lab gives."""

from __future__ import annotations

import select
import socket
import time

from scapy.layers.l2 import Ether

from udpprobe.lab.world import World

SECOND = 10**9
ROUTER_MAC = "02:00:00:00:01:02"
OUTGOING = 4  # linux/if_packet.h


class Prober:
    """A socket for packets in the namespace that probes."""

    def __init__(self, network):
        with network.inside("prober"):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind(("right", 3))

    def ask(self, packets, wait_s=0.15):
        # Scapy takes so long over a burst that a limit of 100 ms lets more through
        frames = [bytes(Ether(dst=ROUTER_MAC, src="02:00:00:00:01:01") / packet) for packet in packets]
        for frame in frames:
            self.socket.send(frame)
        back, end = [], time.monotonic() + wait_s
        while select.select([self.socket], [], [], max(end - time.monotonic(), 0))[0]:
            raw, (_, _, direction, *_) = self.socket.recvfrom(2048)
            if direction != OUTGOING and is_reply(raw):
                back.append(raw[14:])
        return back


def is_reply(raw):
    """Neither ARP nor neighbour discovery."""
    return raw[12:14] == b"\x08\x00" or (
        raw[12:14] == b"\x86\xdd" and not (raw[20] == 58 and 133 <= raw[54] <= 143) and raw[20] != 0
    )


def told(raw):
    """Without what differs in every run: id and with it the header checksum, flow label; padding of Ethernet."""
    if raw[0] >> 4 == 4:
        raw = raw[: int.from_bytes(raw[2:4])]
        return (raw[:4] + b"\0\0" + raw[6:10] + b"\0\0" + raw[12:]).hex(" ", 4)
    return (raw[:1] + bytes([raw[1] & 0xF0, 0, 0]) + raw[4:]).hex(" ", 4)


def simulated(scenario, packets):
    world = World(scenario)
    for packet in packets:
        world.receive(bytes(packet), 0)
    return world.due(SECOND)
