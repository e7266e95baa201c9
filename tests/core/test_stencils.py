"""Text that is filled into the text of a sample."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.json import encode

from udpprobe.core.addresses import address_text, mapped_address
from udpprobe.core.findings import BIAS_NS
from udpprobe.core.stencils import Filler, Stencil, rfc3339, rounded

words = st.integers(0, (1 << 64) - 1)


def filled(text, *values, is_json=True):
    filler = Filler()
    for place, value in enumerate(values):
        filler.words[place] = value
    filler.fill(Stencil(text, is_json=is_json))
    return filler.take()


@given(words)
@example(0)
@example(9)
@example(10)
def test_only_the_quotes_around_a_number_are_removed(number):
    assert f'{{"a":{number},"b":"{number} of {number}"}}' == filled('{"a":"<n0>","b":"<n0> of <n0>"}', number)
    assert f'"{number}"' == filled('"<n0>"', number, is_json=False)


@given(st.integers(0, (1 << 40) - 1))
@example(0)
@example(1)
@example(9)
@example(10)
@example(99)
@example(100)
@example(999_999)
@example(1_000_000)
def test_milliseconds_are_written_as_the_encoder_or_python_writes_them(ns):
    assert encode(rounded(ns / 1e6)).decode() == filled('"<m0>"', ns)
    assert f'"{rounded(ns / 1e6)!r}"' == filled('"<m0>"', ns, is_json=False)


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
@example(-(1 << 63), (1 << 63) - 1)
@example(0, -1)
@example(59_999_999_999, 60_000_000_000)
def test_a_time_is_written_correctly_after_any_other(first_ns, second_ns):
    assert f"{rfc3339(first_ns)} {rfc3339(second_ns)} {rfc3339(first_ns)}" == filled(
        "<t0> <t1> <t0>", first_ns + BIAS_NS, second_ns + BIAS_NS
    )


@given(st.ip_addresses())
@example(IPv4Address("0.0.0.0"))
@example(IPv4Address("255.255.255.255"))
@example(IPv6Address("::ffff:192.0.2.1"))
def test_an_address_is_written_as_its_text(address):
    number = mapped_address(address)
    high, low = number >> 64, number & (1 << 64) - 1
    for mark in ("<a0>", "<a:0>"):
        assert f'"[{address_text(high, low)}]:53"' == filled(f'"[{mark}]:<n2>"', high, low, 53)


def test_any_text_may_stand_between_the_values():
    assert "€ 53 ü" == filled("€ <n0> ü", 53, is_json=False)


def test_rows_are_taken_once_and_in_order():
    filler, long = Filler(), "x" * 5000
    for number in range(100):
        filler.words[0] = number
        filler.fill(Stencil(f"{long} <n0>\n", is_json=True))
        filler.put(b"between\n")
    assert "".join(f"{long} {number}\nbetween\n" for number in range(100)) == filler.take()
    assert "" == filler.take()
