"""Where probes of this very host leave from: no port that they are to probe, if that can be."""

from __future__ import annotations

from contextlib import closing

import pytest
from scan_setup import destinations_of, halves

from udpprobe.engines.prepare import (
    FIRST_UNPRIVILEGED,
    SOURCE_PORTS,
    EngineOptions,
    are_own,
    make_plan,
    open_engine,
    reserve_source_ports,
)

HOST = "198.51.100.7"
OPEN_TO_ALL = range(FIRST_UNPRIVILEGED, 65_536)


def reserved(address, asked, **options):
    destinations = destinations_of([(address, port) for port in asked])
    with reserve_source_ports(destinations, are_own(destinations), EngineOptions(**options)) as ports:
        return set(ports.ports)


def test_this_host_s_addresses_are_known():
    own = are_own(destinations_of([(each, 1) for each in ("127.0.0.1", "127.9.9.9", HOST, "126.255.255.255")]))
    assert [True, True, False, False] == list(map(bool, own))


@pytest.mark.parametrize("address", ["127.0.0.1", HOST])
def test_for_a_single_host_each_port_and_the_control_port_get_a_source_port(address):
    assert [2, 4, SOURCE_PORTS] == [len(reserved(address, range(53, 53 + count))) for count in (1, 3, 100)]


def test_for_several_hosts_tasks_share_the_source_ports():
    destinations = destinations_of([(HOST, 53), ("198.51.100.8", 53)])
    with reserve_source_ports(destinations, are_own(destinations), EngineOptions()) as ports:
        assert SOURCE_PORTS == len(ports.ports)


@pytest.mark.parametrize(
    ("pairs", "source_port", "bits"),
    [
        ([(HOST, 53)], 0, 14),
        ([(HOST, 53), (HOST, 54)], 0, 14),
        ([(HOST, 53), ("198.51.100.8", 53)], 0, 6),
        ([(HOST, 53)], 40_000, 0),
    ],
)
def test_a_source_port_is_worth_the_bits_of_guessing_it(monkeypatch, pairs, source_port, bits):
    own = [[halves("192.0.2.1")]] * len({host for host, _ in pairs})
    monkeypatch.setattr("udpprobe.engines.prepare._sources", lambda *_: (own, None))
    destinations, options = destinations_of(pairs), EngineOptions(source_port=source_port)
    with reserve_source_ports(destinations, are_own(destinations), options) as ports:
        plan, _ = make_plan(destinations, options, ports.ports)
    assert bits == plan.prober.port_bits


@pytest.mark.parametrize(("free", "taken"), [(4000, SOURCE_PORTS), (20, 1)])
def test_ports_to_be_probed_on_this_host_are_not_used_as_sources(free, taken):
    asked = set(OPEN_TO_ALL[:-free])
    ports = reserved("127.0.0.1", asked)
    assert (taken, set()) == (len(ports), ports & asked)


def test_if_every_port_is_to_be_probed_one_is_used_anyway():
    assert 1 == len(reserved("127.0.0.1", OPEN_TO_ALL))


def test_a_requested_source_port_is_used_even_if_probed():
    (port,) = reserved("127.0.0.1", OPEN_TO_ALL)
    assert {port} == reserved("127.0.0.1", [port], source_port=port)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("connected", "--engine connected cannot see who sent an error"),
        ("recverr", "--engine recverr cannot see errors that the kernel does not report"),
        ("auto", "raw sockets need CAP_NET_RAW"),
    ],
)
def test_an_engine_without_privilege_says_what_it_cannot_see(monkeypatch, asked, said):
    monkeypatch.setattr("udpprobe.engines.prepare.has_net_raw", lambda: False)
    warnings = []
    with closing(open_engine(EngineOptions(engine=asked), (4000,), warnings.append)) as engine:
        assert [True] == [text.startswith(said) and text.endswith(f"cannot see {engine.blind_to}") for text in warnings]
