"""Autonomous systems over DNS: what is asked, what is made of answers, and that no answer harms."""

import contextlib
import struct

import pytest
from dns_zone import Server, answer
from hypothesis import given
from hypothesis import strategies as st

from udpprobe import resolver
from udpprobe.resolver import Names

QUESTION = b"\1x\0\0\x10\0\1"


@pytest.fixture(autouse=True)
def own_resolver(tmp_path, monkeypatch):
    resolver._owner_of.cache_clear()  # noqa: SLF001 - another test's zone
    (tmp_path / "resolv.conf").write_text("# made\nnameserver\nsearch example\nnameserver 127.0.0.1\n")
    monkeypatch.setattr(resolver, "RESOLV_CONF", tmp_path / "resolv.conf")


def ask(monkeypatch, address, reply=answer):
    with Server(reply) as server:
        monkeypatch.setattr(resolver, "DNS_PORT", server.port)
        return resolver.system_of(address), server.asked


@pytest.mark.parametrize(
    ("address", "system"),
    [("20.0.2.7", "AS64500 EXAMPLE-AS Example, DE"), ("2600::7", "AS64502, US"), ("20.0.0.1", ""), ("20.0.0.2", "")],
)
def test_a_system_is_shown_with_its_owner_or_country(monkeypatch, address, system):
    assert system == ask(monkeypatch, address)[0]


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "127.0.0.1",
        "fe80::1%eth0",
        "fd00::1",
        "2001:db8::1",
        "ff02::1",
        "224.0.0.1",
    ],
)
def test_addresses_without_a_network_are_not_looked_up(monkeypatch, address):
    assert ("", []) == ask(monkeypatch, address)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: None,
        lambda _: b"",
        lambda query: query,
        lambda query: answer(query)[:-3],
        lambda query: bytes((answer(query)[0] ^ 1,)) + answer(query)[1:],
        lambda query: answer(query)[:12] + b"\1y" + answer(query)[14:],
        lambda query: answer(query)[:2] + b"\x83\x80" + answer(query)[4:],
        lambda query: answer(query)[:2] + b"\x81\x82" + answer(query)[4:],
    ],
    ids=["nothing", "empty", "the question", "cut", "another number", "another question", "truncated", "failed"],
)
def test_an_invalid_answer_names_nothing(monkeypatch, spoil):
    monkeypatch.setattr(resolver, "DNS_PATIENCE_S", 0.2)
    assert "" == ask(monkeypatch, "20.0.2.7", spoil)[0]


@given(st.binary(max_size=80), st.integers(0, 3))
def test_no_bytes_raise_an_unexpected_exception(data, answers):
    whole = struct.pack("!6H", 7, 0x8180, 1, answers, 0, 0) + QUESTION + data
    with contextlib.suppress(ValueError, IndexError, struct.error):
        assert isinstance(resolver._answer_in(whole, 7, QUESTION), str)  # noqa: SLF001 - on arbitrary bytes


def test_names_and_systems_are_looked_up_together(monkeypatch):
    with Server() as server:
        monkeypatch.setattr(resolver, "DNS_PORT", server.port)
        names = Names(dns=False, asn_dns=True)
        names.ask(["20.0.2.7", "20.0.2.7", None, "2600::7"])
        names.wait(10)
        assert ("AS64500 EXAMPLE-AS Example, DE", "AS64502, US") == (names.of("20.0.2.7"), names.of("2600::7"))


def test_without_the_option_no_dns_query_is_sent(monkeypatch):
    monkeypatch.setattr("udpprobe.resolver.system_of", lambda _: pytest.fail("asked"))
    names = Names(dns=False)
    names.ask(["20.0.2.7"])
    names.wait()
    assert names.of("20.0.2.7") == ""
