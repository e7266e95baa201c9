"""A router's wrong word: `liar.py INTERFACE LARGEST MTU` says of every larger packet that MTU bytes would fit."""

from __future__ import annotations

import sys

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.sendrecv import send, sniff


def main():
    interface, largest, mtu = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sniff(iface=interface, store=False, prn=lambda packet: lie(packet, largest, mtu),
          lfilter=lambda packet: UDP in packet)


def lie(packet, largest, mtu):
    inner = packet[IP] if IP in packet else packet[IPv6]
    if len(inner) <= largest:
        return
    if IP in packet:
        error = IP(dst=inner.src) / ICMP(type=3, code=4, nexthopmtu=mtu)
    else:
        error = IPv6(dst=inner.src) / ICMPv6PacketTooBig(mtu=mtu)
    send(error / bytes(inner)[:100], verbose=False)


if __name__ == "__main__":
    main()
