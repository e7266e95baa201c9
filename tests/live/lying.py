"""A router's wrong word: of every UDP packet that is larger than it likes, it says how much would fit."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

import builders as b
from scanning import NEAR, PROBER

ETH_P_ALL, PACKET_HOST = 3, 0  # linux/if_ether.h, linux/if_packet.h
LONGEST_QUOTE = 100
WORDS = {4: b.frag_needed, 6: b.packet_too_big}
PROTOCOL_AT = {4: 9, 6: 6}


@contextlib.contextmanager
def lying(network, largest, mtu):
    """Where the prober's packets come to `near`, from the first one on; yields the lengths of those lied about."""
    with contextlib.ExitStack() as opened:
        with network.inside("near"):
            tap = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM))
            raw = {
                family: opened.enter_context(socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_RAW))
                for family, domain in ((4, socket.AF_INET), (6, socket.AF_INET6))
            }
            tap.bind(("left", ETH_P_ALL))
        end, ending = map(opened.enter_context, socket.socketpair())
        lies = []

        def lie():
            for packet in datagrams(tap, ending):
                if len(packet) > largest:
                    family = b.family_of(packet)
                    error = WORDS[family](packet, mtu, NEAR[family], quote=packet[:LONGEST_QUOTE])
                    raw[family].sendto(error, (PROBER[family], 0))
                    lies.append(len(packet))

        thread = threading.Thread(target=lie)
        thread.start()
        try:
            yield lies
        finally:
            end.send(b"x")
            thread.join()


def datagrams(tap, ending):
    """UDP packets for this node or others behind it, until something comes from `ending`."""
    while ending not in select.select([tap, ending], [], [])[0]:
        packet, (_, _, kind, *_) = tap.recvfrom(65_535)
        if kind == PACKET_HOST and packet[PROTOCOL_AT.get(b.family_of(packet), 0)] == b.UDP:
            yield packet
