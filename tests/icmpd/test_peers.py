"""Who may, and what is a UDP socket of ours."""

import os
import socket

import pytest
from icmpd_world import number

from udpprobe.errors import UsageError
from udpprobe.icmpd import peers
from udpprobe.icmpd.peers import Gate, credentials, gate_for, inspect, receive_request
from udpprobe.icmpd.protocol import Refusal
from udpprobe.icmpd.registry import ClientSocket

ME, ROOT = os.geteuid(), 0
NOBODY = 65534


def inspected(opened, user=ME):
    return inspect(opened.fileno(), user)


@pytest.mark.parametrize(
    ("family", "bound", "carries", "address"),
    [
        (socket.AF_INET, None, {4}, 0),
        (socket.AF_INET, "0.0.0.0", {4}, 0),
        (socket.AF_INET, "127.0.0.1", {4}, number("127.0.0.1")),
        (socket.AF_INET6, None, {4, 6}, 0),
        (socket.AF_INET6, "::1", {6}, number("::1")),
        (socket.AF_INET6, "::ffff:127.0.0.1", {4}, number("127.0.0.1")),
    ],
)
def test_a_udp_socket_is_described_by_its_bound_address(family, bound, carries, address):
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        if bound is not None:
            udp.bind((bound, 0))
        found = inspected(udp)
        assert (
            ClientSocket(
                {socket.AF_INET: 4}.get(family, 6),
                frozenset(carries),
                udp.getsockname()[1],
                address,
                cookie=found.cookie,
            )
            == found
        )
        assert found.port > 0


def test_an_ipv6_only_socket_carries_no_ipv4():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        assert frozenset({6}) == inspected(udp).carries


@pytest.mark.parametrize(
    ("family", "peer"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1")]
)
def test_a_connected_socket_has_its_peer(family, peer):
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.connect((peer, 9))
        found = inspected(udp)
        assert (number(peer.removeprefix("::ffff:")), 9) == found.peer
        assert found.address == found.peer[0]


@pytest.mark.parametrize(
    ("family", "kind"),
    [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM), (socket.AF_NETLINK, socket.SOCK_DGRAM)],
)
def test_other_sockets_are_refused_and_left_alone(family, kind):
    with socket.socket(family, kind) as other:
        before = other.getsockname()
        assert Refusal("not-udp") == inspected(other)
        assert before == other.getsockname()


def test_udp_lite_sockets_are_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE) as lite:
        assert Refusal("not-udp") == inspected(lite)


def test_a_descriptor_that_is_not_a_socket_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as opened:
        assert Refusal("not-a-socket") == inspected(opened)


def test_only_its_owner_and_root_may_hand_over_a_socket():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        assert Refusal("not-your-socket") == inspected(udp, ME + 1)
        assert isinstance(inspected(udp, ROOT), ClientSocket)


def test_a_socket_of_another_network_namespace_is_refused(monkeypatch):
    monkeypatch.setattr(peers, "own_namespace", lambda: 99)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        if peers.namespace_of(udp) == 0:
            pytest.skip("this kernel does not tell namespaces apart (SO_NETNS_COOKIE, Linux 5.14)")
        assert Refusal("other-network-namespace") == inspected(udp)


def test_client_messages_are_read_byte_by_byte_until_the_end():
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        ours.setblocking(False)
        gate = Gate(frozenset({ME}))
        with pytest.raises(BlockingIOError):
            receive_request(ours, gate)
        socket.send_fds(theirs, [b"Jx"], [udp.fileno()])
        byte, found = receive_request(ours, gate)
        assert (b"J", udp.getsockname()[1]) == (byte, found.port)
        assert (b"x", Refusal("no-descriptor")) == receive_request(ours, gate)
        theirs.close()
        assert b"" == receive_request(ours, gate)[0]


class Peer:
    """A process with these credentials at the other end."""

    def __init__(self, user, group, groups=()):
        self.user, self.group, self.groups = user, group, groups

    def getsockopt(self, _level, option, _size):
        assert socket.SO_PEERCRED == option
        return b"".join(word.to_bytes(4, "little") for word in (1, self.user, self.group))


@pytest.mark.parametrize(
    ("gate", "peer", "may"),
    [
        (Gate(frozenset({1000})), Peer(1000, 100), True),
        (Gate(frozenset({1000})), Peer(1001, 100), False),
        (Gate(frozenset({1000})), Peer(0, 0), True),
        (Gate(frozenset(), everybody=True), Peer(1001, 100), True),
        (Gate(frozenset(), frozenset({100})), Peer(1001, 100), True),
        (Gate(frozenset(), frozenset({100})), Peer(1001, 7, (8, 100)), True),
        (Gate(frozenset(), frozenset({100})), Peer(1001, 7, (8, 9)), False),
    ],
)
def test_permission_depends_on_user_and_groups(gate, peer, may, monkeypatch):
    monkeypatch.setattr(peers, "_groups", lambda peer: peer.groups)
    assert may == gate.admits(peer)


def test_credentials_and_groups_come_from_the_kernel():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert (os.getpid(), ME, os.getegid()) == credentials(ours)


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser may join groups")
@pytest.mark.parametrize("many", [1, 300])
def test_any_permitted_group_of_a_process_is_enough(monkeypatch, many):
    before, groups = os.getgroups(), range(4000, 4000 + many)
    os.setgroups(groups)
    try:
        ours, theirs = socket.socketpair()
    finally:
        os.setgroups(before)
    monkeypatch.setattr(peers, "credentials", lambda _: (1, NOBODY, NOBODY))  # the superuser needs no group
    with ours, theirs:
        assert all(Gate(frozenset(), frozenset({group})).admits(ours) for group in groups)
        assert not Gate(frozenset(), frozenset({3999})).admits(ours)


def test_a_gate_knows_users_and_groups_by_name_and_number():
    assert Gate(frozenset({0, 1000, 7}), frozenset({0, 5})) == gate_for(["root", "1000"], ["root", "5"], 7)
    assert gate_for(["*"], [], 7).everybody
    with pytest.raises(UsageError, match="no user 'nosuch'"):
        gate_for(["nosuch"], [], 7)
    with pytest.raises(UsageError, match="no group 'nosuch'"):
        gate_for([], ["nosuch"], 7)
