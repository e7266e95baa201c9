"""The kernel as an oracle: what real sockets get for each ICMP error, and what we say about the same one.

A peer injects every type and code that was ever measured (icmp_errno.csv) or that the table of meanings has,
each quoting the datagram that a socket has really sent.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import NamedTuple

import builders as b
import containers
import pytest
from analyzing import events_of
from network import CannotRun, Network, address

from udpprobe.core.verdicts import ANY_CODE, MEANINGS, is_error, meaning_of

pytestmark = [pytest.mark.live, pytest.mark.slow]

IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h; Python does not name them
ETH_P_ALL, PACKET_OUTGOING = 3, 4
KINDS = "unconnected", "connected", "recverr"
TTL = 16  # too low for evidence of a loop
PORT = 7
EMPTY = {"linux_ee_info": ""}
REFUSED = {4: (3, 3), 6: (1, 4)}
NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}  # Python calls it ENOTSUP

with (Path(__file__).parents[1] / "core" / "icmp_errno.csv").open(encoding="ascii") as _file:
    MEASURED = {tuple(int(row[name]) for name in ("family", "type", "code")): row for row in csv.DictReader(_file)}
CASES = sorted(MEASURED.keys() | {(row.family, row.type, 99 if row.code == ANY_CODE else row.code) for row in MEANINGS})
ERRORS = [case for case in CASES if is_error(*case[:2])]


class Heard(NamedTuple):
    """What came of one error to one kind of socket."""

    errno: str | None
    queued: tuple | None
    """errno, type, code and info of the error queue."""
    sent_frame: int
    error_frame: int


class World:
    """A client with sockets of every kind, a peer that injects errors, and all packets between them."""

    def __init__(self, network, family):
        self.family, self.frames = family, []
        self.version = socket.AF_INET if family == 4 else socket.AF_INET6
        self.target = address(family, 1, 2), PORT
        self.network = network
        with network.inside("client"):
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self.tap.bind(("right", ETH_P_ALL))
            self.tap.setblocking(False)
        with network.inside("peer"):
            self.raw = socket.socket(self.version, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self.listener = socket.socket(self.version, socket.SOCK_DGRAM)
            self.listener.bind(("", PORT))

    def close(self):
        for each in (self.tap, self.raw, self.listener):
            each.close()

    def hears(self, kind, icmp_type, code):
        """Send a datagram, inject the error about it, and see what the socket makes of that."""
        with self.network.inside("client"):
            sender = socket.socket(self.version, socket.SOCK_DGRAM)
        with sender:
            self.prepare(sender, kind)
            sender.sendmsg([b"who is there?"], [], 0, None if kind == "connected" else self.target)
            sent = self.record()
            info = int(MEASURED.get((self.family, icmp_type, code), EMPTY)["linux_ee_info"] or 0)
            rest = info << 24 if (self.family, icmp_type) == (4, 12) else info  # RFC 792: the pointer is a byte
            error = b.error(self.frames[sent - 1].data, icmp_type, code, rest)
            self.raw.sendto(error, (address(self.family, 1, 1), 0))
            # what is behind the error has arrived, so the error has
            self.listener.sendto(b"done", (address(self.family, 1, 1), sender.getsockname()[1]))
            poll = select.poll()
            poll.register(sender, select.POLLIN)
            assert poll.poll(2000), "nothing arrived"
            received, queued = error_of(sender), queue_of(sender)
        return Heard(received, queued, sent, self.record(error))

    def prepare(self, sender, kind):
        level, recverr, ttl = (
            (socket.IPPROTO_IP, IP_RECVERR, socket.IP_TTL)
            if self.family == 4
            else (socket.IPPROTO_IPV6, IPV6_RECVERR, socket.IPV6_UNICAST_HOPS)
        )
        sender.setsockopt(level, ttl, TTL)
        sender.settimeout(0)
        if kind == "recverr":
            sender.setsockopt(level, recverr, 1)
        if kind == "connected":
            sender.connect(self.target)

    def record(self, wanted=None):
        """Take down what passed; the number of the frame that is wanted, or of the last datagram that left."""
        number = None
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, protocol, direction, *_) = self.tap.recvfrom(65536)
                if protocol not in {b.IP4_TYPE, b.IP6_TYPE}:
                    continue
                self.frames.append(containers.Frame(time.time_ns(), data))
                is_wanted = direction == PACKET_OUTGOING if wanted is None else data == wanted
                number = len(self.frames) if is_wanted else number
        assert number, "it did not pass"
        return number


def error_of(sock):
    """Errno of the next call, by name."""
    try:
        sock.recv(100)
    except OSError as error:
        return NAMES[error.errno]
    return None


def queue_of(sock):
    """struct sock_extended_err of linux/errqueue.h."""
    try:
        _, ancillary, _, _ = sock.recvmsg(100, 512, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return None
    number, _, icmp_type, code, info = struct.unpack_from("=IBBBxI", ancillary[0][2])
    return NAMES[number], icmp_type, code, info


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """For each case and kind of socket: what it heard, and our event of the same error."""
    try:
        with Network("client", "peer") as network, on_one_processor():
            network.run(f"client: ping -q -c 1 -W 4 {address(4, 1, 2)}")  # neighbours know each other
            return {
                (*case, kind): pair
                for family in (4, 6)
                for case, kind, *pair in all_heard(network, family, tmp_path_factory.mktemp("errno"))
            }
    except CannotRun as reason:
        pytest.skip(str(reason))


@contextlib.contextmanager
def on_one_processor():
    """Packets stay in order: each processor has its own queue of those to receive."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def all_heard(network, family, tmp_path):
    with contextlib.closing(World(network, family)) as world:
        found = [(case, kind, world.hears(kind, *case[1:])) for case in CASES if case[0] == family for kind in KINDS]
    capture = tmp_path / "errors.pcap"
    capture.write_bytes(containers.bytes_of_pcap(world.frames, nanos=True, link_type=101))
    events = {event["frame"]: event for event in events_of(capture, tmp_path)}
    return [(*row, events.get(row[2].error_frame)) for row in found]


def named(case):
    return "v{}-{}-{}".format(*case)


@pytest.mark.parametrize("case", ERRORS, ids=named)
def test_real_sockets_get_the_errnos_of_the_table(heard, case):
    assert meaning_of(*case).linux == {kind: heard[*case, kind][0].errno for kind in KINDS}


@pytest.mark.parametrize("case", [case for case in ERRORS if meaning_of(*case).recverr], ids=named)
def test_the_error_queue_has_type_code_and_info(heard, case):
    info = int(MEASURED.get(case, EMPTY)["linux_ee_info"] or 0)
    assert (meaning_of(*case).recverr, *case[1:], info) == heard[*case, "recverr"][0].queued


@pytest.mark.parametrize("case", [case for case in CASES if case not in ERRORS], ids=named)
def test_a_redirect_is_an_error_for_no_socket(heard, case):
    assert [(None, None, None)] * 3 == [
        (found.errno, found.queued, event) for found, event in (heard[*case, kind] for kind in KINDS)
    ]


@pytest.mark.parametrize("case", ERRORS, ids=named)
def test_our_report_of_the_same_error_matches_the_table(heard, case):
    meaning = meaning_of(*case)
    for kind in KINDS:
        found, event = heard[*case, kind]
        assert (meaning.verdict, meaning.errno, meaning.linux) == (event["verdict"], event["errno"], event["linux"])
        assert (*case, found.sent_frame) == tuple(event[name] for name in ("family", "type", "code", "matched_frame"))


@pytest.mark.parametrize("family", [4, 6])
def test_a_refusal_by_the_peer_itself_is_a_refusal(heard, family):
    assert "refused" == heard[family, *REFUSED[family], "connected"][1]["verdict"]
