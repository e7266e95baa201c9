from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.core.targets import (
    ALL_PORTS,
    Block,
    TargetSpec,
    is_link_local,
    parse_addresses,
    parse_ports,
    parse_target,
    parse_target_lines,
    parse_targets,
    single,
)
from udpprobe.errors import UsageError


def _block(text, zone=""):
    network = ip_network(text)
    mapped = 0xFFFF << 32 if network.version == 4 else 0
    return Block(mapped | int(network.network_address), 128 - network.max_prefixlen + network.prefixlen, zone)


def _one(port):
    return (range(port, port + 1),)


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("dns.example", "dns.example", None),
        ("dns.example.:53", "dns.example.", _one(53)),
        ("a_b-c", "a_b-c", None),
        ("bücher.example:53", "bücher.example", _one(53)),
        ("dns.example:1-1024", "dns.example", (range(1, 1025),)),
        ("10.0.0.1", _block("10.0.0.1"), None),
        ("10.0.0.1:53,123", _block("10.0.0.1"), (*_one(53), *_one(123))),
        ("10.0.0.0/24:53", _block("10.0.0.0/24"), _one(53)),
        ("10.0.0.77/24", _block("10.0.0.0/24"), None),
        ("[10.0.0.1]:53", _block("10.0.0.1"), _one(53)),
        ("2001:db8::1", _block("2001:db8::1"), None),
        ("[2001:db8::1]", _block("2001:db8::1"), None),
        ("[2001:db8::1]:53", _block("2001:db8::1"), _one(53)),
        ("2001:db8::/120", _block("2001:db8::/120"), None),
        ("2001:db8::/120:53,54", _block("2001:db8::/120"), (*_one(53), *_one(54))),
        ("[2001:db8::/120]:53", _block("2001:db8::/120"), _one(53)),
        ("[fe80::1%eth0]:53", _block("fe80::1", "eth0"), _one(53)),
        ("fe80::1%eth0:1", _block("fe80::1", "eth0:1"), None),
        ("ff02::fb%3", _block("ff02::fb", "3"), None),
        ("::ffff:192.0.2.1", _block("192.0.2.1"), None),
    ],
)
def test_a_target_is_parsed_as_written(text, host, ports):
    assert TargetSpec(text, host, ports) == parse_target(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not a target; use host, host:port"),
        (":53", "is not a target"),
        ("[2001:db8::1", "is not a target"),
        ("[]:53", "is not a target"),
        ("10.0.0.256", "'10.0.0.256' is neither an address nor a network"),
        ("10.0.0.1/33", "is neither an address nor a network"),
        ("dns.example/24", "is neither an address nor a network"),
        ("1", "is neither an address nor a network"),
        ("2001:db8:::1", "is neither an address nor a network"),
        ("2001:db8::1:99999", "is neither an address nor a network"),
        ("dns..example", "'dns..example' is not a host"),
        ("-x", "'-x' is not a host"),
        ("a,b", "'a,b' is not a host"),
        ("a" * 254, "is not a host"),
        ("dns.example:", "'' is not a UDP port"),
        (
            "10.0.0.1:nosuch",
            "'nosuch' is not a UDP port, nor a service in /etc/services; use 53, 53,123, domain, a",
        ),
        ("10.0.0.1%eth0", "take an interface (%), as in fe80::1%eth0"),
        ("2001:db8::1%eth0", "only link-local addresses take an interface"),
        ("fe80::1%", "only link-local addresses take an interface"),
    ],
)
def test_an_invalid_target_is_refused_with_the_reason(text, said):
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    assert said in str(caught.value)


@given(st.text(max_size=40) | st.text("[]:%/.,-0123456789abf", max_size=24))
def test_any_word_is_a_target_or_a_usage_error(text):
    with suppress(UsageError):
        assert text == parse_target(text).text


@given(st.ip_addresses())
def test_every_address_is_a_separate_target(address):
    assert single(address) == parse_target(f"[{address}]").host
    assert 1 == single(address).size


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("53", _one(53)),
        ("53,123", (*_one(53), *_one(123))),
        ("1000-2000", (range(1000, 2001),)),
        (" 53 , 7-8", (*_one(53), range(7, 9))),
        ("-", (ALL_PORTS,)),
        ("1-65535", (ALL_PORTS,)),
        ("-99", (range(1, 100),)),
        ("65000-", (range(65000, 65536),)),
        ("9-9", _one(9)),
    ],
)
def test_ports_are_read_as_nmap_reads_them(text, ports):
    assert ports == parse_ports(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a UDP port"),
        ("53,", "'' is not a UDP port"),
        ("dns", "'dns' is not a UDP port"),
        ("0", "'0': UDP ports are 1 to 65535"),
        ("65536", "UDP ports are 1 to 65535"),
        ("123456", "is not a UDP port"),
        ("9-8", "'9-8': the range ends before it begins"),
        ("1-2-3", "is not a UDP port"),
        ("٥٣", "is not a UDP port"),
    ],
)
def test_an_invalid_port_is_refused_with_the_reason(text, said):
    with pytest.raises(UsageError) as caught:
        parse_ports(text)
    assert said in str(caught.value)


def test_in_a_list_of_targets_a_comma_before_a_port_belongs_to_its_target():
    words = [each.text for each in parse_targets("10.0.0.1, a.example:53,60-70,2001:db8::1,b:-")]
    assert ["10.0.0.1", "a.example:53,60-70", "2001:db8::1", "b:-"] == words


def test_a_file_has_one_target_per_line_and_comments():
    lines = ["# hosts\n", "10.0.0.1:53 # dns\n", "\n", "  dns.example\n"]
    assert ["10.0.0.1:53", "dns.example"] == [each.text for each in parse_target_lines(lines, "hosts")]


def test_a_line_may_have_several_targets_as_in_lists_of_nmap():
    lines = ["10.0.0.1 10.0.0.2:53\t[2001:db8::1]:7 # dns ntp\r\n"]
    assert ["10.0.0.1", "10.0.0.2:53", "[2001:db8::1]:7"] == [each.text for each in parse_target_lines(lines, "hosts")]


def test_a_bad_line_of_a_file_is_named_by_its_number():
    with pytest.raises(UsageError, match=r"hosts, line 3: '10\.0\.0\.256' is neither an address"):
        parse_target_lines(["a", "#", "10.0.0.256"], "hosts")


def test_addresses_are_written_in_canonical_form():
    assert ("192.0.2.1", "2001:db8::1") == parse_addresses("192.0.2.1, 2001:DB8:0::1")
    with pytest.raises(UsageError, match="'eth0' is not an IPv4 or IPv6 address"):
        parse_addresses("192.0.2.1,eth0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fe80::1", True),
        ("febf::1", True),
        ("ff02::1", True),
        ("ff01::1", True),
        ("ff05::1", False),
        ("fec0::1", False),
        ("2001:db8::1", False),
        ("169.254.0.1", False),
    ],
)
def test_link_local_addresses_need_their_link(text, expected):
    assert expected == is_link_local(single(ip_address(text)))


@pytest.mark.parametrize(("text", "family"), [("10.0.0.0/8", 4), ("0.0.0.0/0", 4), ("::/0", 6), ("2001:db8::1", 6)])
def test_an_ipv4_address_stays_ipv4(text, family):
    assert family == parse_target(text).host.family
