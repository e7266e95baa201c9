"""What the kernel says of addresses and sockets, and for how long it is believed."""

import contextlib
import ctypes
import socket

import pytest
from icmpd_world import number

from udpprobe.icmpd import owners as owners_module
from udpprobe.icmpd.owners import Owners
from udpprobe.icmpd.peers import inspect
from udpprobe.icmpd.registry import Quote


@pytest.fixture
def owners():
    with contextlib.closing(Owners()) as made:
        yield made


def quote_of(udp, source="127.0.0.1"):
    family = 6 if ":" in source else 4
    return Quote(family, number(source), udp.getsockname()[1], number("::1" if family == 6 else "127.0.0.1"), 9, 0)


@pytest.mark.parametrize(
    ("address", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.0.0.5", True),
        ("192.0.2.1", False),
        ("255.255.255.255", True),
        ("::1", True),
        ("2001:db8::1", False),
        ("fe80::1", False),
    ],
)
def test_an_address_is_local_if_a_socket_can_bind_to_it(owners, address, is_own):
    assert is_own == owners.is_own(number(address), 0)


def test_an_answer_is_cached_for_a_second(owners, monkeypatch):
    owners.at(100.0)
    monkeypatch.setattr(owners_module, "_can_bind", lambda *_: True)
    assert owners.is_own(number("192.0.2.1"), 0)
    monkeypatch.setattr(owners_module, "_can_bind", lambda *_: False)
    owners.at(100.5)
    assert owners.is_own(number("192.0.2.1"), 0)
    owners.at(101.1)
    assert not owners.is_own(number("192.0.2.1"), 0)


def test_the_number_of_cached_answers_is_bounded(owners, monkeypatch):
    monkeypatch.setattr(owners_module, "MOST_KEPT", 3)
    monkeypatch.setattr(owners_module, "_can_bind", lambda *_: True)
    owners.at(100.0)
    for each in range(10):
        owners.at(100.0)
        owners.is_own(each, 0)
    assert len(owners._own) <= 4  # noqa: SLF001 - what it remembers is what matters


@pytest.mark.parametrize(
    ("family", "source"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "127.0.0.1")]
)
def test_a_socket_is_alive_until_it_is_closed(owners, family, source):
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        handed, quote = inspect(udp.fileno(), 0), quote_of(udp, source)
        owners.at(100.0)
        assert owners.is_alive(handed, lambda: quote)
    assert owners.is_alive(handed, lambda: quote)  # so far as was asked a moment ago
    owners.at(102.0)
    assert not owners.is_alive(handed, lambda: quote)


def test_a_socket_that_lost_its_port_is_no_longer_alive(owners):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        handed = inspect(udp.fileno(), 0)  # which lets the kernel choose a port
        quote = quote_of(udp)
        udp.connect(("127.0.0.1", 9))
        ctypes.CDLL(None).connect(udp.fileno(), bytes(16), 16)  # AF_UNSPEC: back to where it was
        udp.sendto(b"x", ("127.0.0.1", 9))
        assert handed.port != udp.getsockname()[1]
        assert not owners.is_alive(handed, lambda: quote)


def test_a_socket_is_alive_even_if_the_kernel_prefers_another_on_its_port(owners):
    with contextlib.ExitStack() as opened:
        wide, narrow = (opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        for each in (wide, narrow):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wide.bind(("", 0))
        narrow.bind(("127.0.0.1", wide.getsockname()[1]))
        assert owners.is_alive(inspect(wide.fileno(), 0), lambda: quote_of(wide))


def test_without_an_answer_of_the_kernel_a_socket_counts_as_alive(owners):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        handed, quote = inspect(udp.fileno(), 0), quote_of(udp)
    owners.close()
    assert owners.is_alive(handed, lambda: quote)
