"""The two ends of a conversation: `peer.py send HOST PORT` and `peer.py answer PORT`."""

from __future__ import annotations

import argparse
import socket
import threading
import time

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2  # linux/in.h; Python does not name them


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    sender = commands.add_parser("send")
    sender.set_defaults(run=send)
    sender.add_argument("host")
    sender.add_argument("port", type=int)
    sender.add_argument("--size", type=int, default=16, help="bytes of data")
    sender.add_argument("--count", type=int, default=1, help="one every 0.2 s")
    sender.add_argument("--ttl", type=int, nargs="*", default=[64], help="one datagram for each")
    sender.add_argument("--source-port", type=int, default=40000)
    sender.add_argument("--dont-fragment", action="store_true")
    answerer = commands.add_parser("answer")
    answerer.set_defaults(run=answer)
    answerer.add_argument("port", type=int)
    answerer.add_argument("--from-port", type=int, help="as TFTP does, RFC 1350 section 4")
    answerer.add_argument("--times", type=int, default=1, help="each answer")
    answerer.add_argument("--delay", type=float, default=0, help="seconds before each answer")
    arguments = parser.parse_args()
    arguments.run(arguments)


def send(arguments):
    family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind(("", arguments.source_port))
        if arguments.dont_fragment:
            forbid_fragments(sock)
        for turn in range(arguments.count):
            time.sleep(0.2 if turn else 0)
            for ttl in arguments.ttl:
                set_ttl(sock, ttl)
                sock.sendto(bytes(i & 0xFF for i in range(arguments.size)), (arguments.host, arguments.port))
        time.sleep(0.3)  # a socket closed at once would refuse the answer


def forbid_fragments(sock):
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)


def set_ttl(sock, ttl):
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def answer(arguments):
    """Give every datagram back, from another port if one is named, until killed."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
    ):
        sock.bind(("::", arguments.port))
        other.bind(("::", arguments.from_port or 0))
        while True:
            data, client = sock.recvfrom(65536)
            for _ in range(arguments.times):
                if arguments.delay:
                    threading.Timer(arguments.delay, sock.sendto, [data, client]).start()
                else:
                    (other if arguments.from_port else sock).sendto(data, client)


if __name__ == "__main__":
    main()
