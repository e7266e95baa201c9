"""Where probes of this very host leave from: no port that they are to probe, if that can be."""

from __future__ import annotations

from contextlib import closing

import pytest
from scan_setup import destinations_of

from udpprobe.engines.prepare import (
    FIRST_UNPRIVILEGED,
    SOURCE_PORTS,
    Options,
    are_own,
    open_engine,
    reserve_source_ports,
)

HOST = "198.51.100.7"
OPEN_TO_ALL = range(FIRST_UNPRIVILEGED, 65_536)


def reserved(address, asked, **options):
    destinations = destinations_of([(address, port) for port in asked])
    with reserve_source_ports(destinations, are_own(destinations), Options(**options)) as ports:
        return set(ports.ports)


def test_this_host_s_addresses_are_known():
    own = are_own(destinations_of([(each, 1) for each in ("127.0.0.1", "127.9.9.9", HOST, "126.255.255.255")]))
    assert [True, True, False, False] == list(map(bool, own))


@pytest.mark.parametrize("address", ["127.0.0.1", HOST])
def test_as_many_ports_are_taken_as_the_tasks_of_a_host_may_take_in_turn(address):
    assert SOURCE_PORTS == len(reserved(address, [53]))


@pytest.mark.parametrize(("free", "taken"), [(4000, SOURCE_PORTS), (20, 1)])
def test_no_port_is_taken_that_is_to_be_probed_of_this_host(free, taken):
    asked = set(OPEN_TO_ALL[:-free])
    ports = reserved("127.0.0.1", asked)
    assert (taken, set()) == (len(ports), ports & asked)


def test_where_every_port_is_to_be_probed_one_is_taken():
    assert 1 == len(reserved("127.0.0.1", OPEN_TO_ALL))


def test_a_port_that_is_asked_for_is_taken_whatever_is_probed():
    (port,) = reserved("127.0.0.1", OPEN_TO_ALL)
    assert {port} == reserved("127.0.0.1", [port], source_port=port)


@pytest.mark.parametrize(("asked", "said"), [
    ("connected", "--engine connected cannot see who sent an error"),
    ("recverr", "--engine recverr cannot see errors that the kernel keeps to itself"),
    ("auto", "raw sockets need CAP_NET_RAW")])
def test_an_engine_without_privilege_says_what_it_cannot_see(monkeypatch, asked, said):
    monkeypatch.setattr("udpprobe.engines.prepare.has_net_raw", lambda: False)
    warnings = []
    with closing(open_engine(Options(engine=asked), (4000,), warnings.append)) as engine:
        assert [True] == [text.startswith(said) and text.endswith(f"cannot see {engine.blind_to}") for text in warnings]
