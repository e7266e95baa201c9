"""Addresses of 128 bits in text."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from udpprobe.core.addresses import address_text, mapped_address


@pytest.mark.parametrize(
    "text",
    ["2001:db8::1", "::", "::1", "fe80::1", "ff02::fb", "64:ff9b::c000:201", "::fffe:c000:201", "1::ffff:c000:201"],
)
def test_ipv6_is_written_as_rfc_5952_says(text):
    number = int(ip_address(text))
    assert text == address_text(number >> 64, number & (1 << 64) - 1)


@pytest.mark.parametrize("text", ["192.0.2.1", "0.0.0.0", "255.255.255.255"])
def test_an_ipv4_mapped_address_is_written_as_ipv4(text):
    assert text == address_text(0, 0xFFFF << 32 | int(ip_address(text)))


@pytest.mark.parametrize("text", ["2001:db8::1", "::", "192.0.2.1"])
def test_an_address_in_text_is_that_of_its_number(text):
    number = mapped_address(ip_address(text))
    assert text == address_text(number >> 64, number & (1 << 64) - 1)
