import errno
import os
import socket
import time

import pytest
from samples import destination, report

from udpprobe import targets
from udpprobe.core.addresses import address_text
from udpprobe.core.targets import parse_ports, parse_target, parse_targets
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.targets import Wanted, named, read_targets, resolve

DNS = parse_ports("53")
ADDRESSES = {
    "dns.example": ("192.0.2.53", "2001:db8::53", "192.0.2.54"),
    "alias.example": ("192.0.2.53",),
    "blocked.example": ("0.0.0.0",),
    "printer.local": ("fe80::9%1",),
}


LOCAL_ROUTES = """\
Local:
  +-- 10.0.1.0/24 2 0 2
     |-- 10.0.1.1
        /32 host LOCAL
     |-- 10.0.1.255
        /32 link BROADCAST
"""


@pytest.fixture(autouse=True)
def links(monkeypatch, tmp_path):
    """This host's are of one network."""
    monkeypatch.setattr(targets, "_LOCAL_ROUTES", tmp_path / "fib_trie")
    (tmp_path / "fib_trie").write_text(LOCAL_ROUTES)


@pytest.fixture(autouse=True)
def names(monkeypatch):
    def fake(name, _port, family, _kind):
        of_family = {socket.AF_UNSPEC: "", socket.AF_INET: ".", socket.AF_INET6: ":"}[family]
        places = [address for address in ADDRESSES.get(name, ()) if of_family in address]
        if not places:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(None, None, None, "", _place(address)) for address in places]

    monkeypatch.setattr(targets.socket, "getaddrinfo", fake)


def _place(address):
    return (address, 0, 0, int(address.partition("%")[2] or 0)) if ":" in address else (address, 0)


def _resolved(text, excluded="", **wanted):
    return resolve(parse_targets(text), parse_targets(excluded) if excluded else [], Wanted(DNS, **wanted))


def _told(text, excluded="", **wanted):
    """What is to be probed, as text."""
    found = _resolved(text, excluded, **wanted).destinations
    rows = zip(found.high, found.low, found.port, strict=True)
    return [f"{address_text(high, low)} {port}" for high, low, port in rows]


def test_a_target_without_ports_has_the_default_ones():
    assert ["192.0.2.1 53", "192.0.2.2 7"] == _told("192.0.2.1,192.0.2.2:7")


def test_a_name_stands_for_every_address_it_has():
    assert ["192.0.2.53 53", "2001:db8::53 53", "192.0.2.54 53"] == _told("dns.example")


@pytest.mark.parametrize(
    ("family", "expected"),
    [(4, ["192.0.2.53 53", "192.0.2.54 53", "192.0.2.1 53"]), (6, ["2001:db8::53 53", "2001:db8::1 53"])],
)
def test_a_family_can_be_chosen(family, expected):
    assert expected == _told("dns.example,192.0.2.1,2001:db8::1", family=family)


def test_a_destination_named_twice_is_probed_once():
    assert ["192.0.2.1 7", "192.0.2.1 8", "192.0.2.1 9", "192.0.2.0 9"] == _told(
        "192.0.2.1:7-9,192.0.2.0/31:9,192.0.2.1:8,7"
    )


def test_hosts_are_numbered_from_0_and_names_are_kept():
    found = _resolved("192.0.2.0/31,alias.example,dns.example:53", "192.0.2.0")
    assert [0, 1, 2, 3] == list(found.destinations.host)
    assert {1: "alias.example", 2: "dns.example", 3: "dns.example"} == found.names


def test_a_network_has_its_first_and_last_address():
    told = _told("192.0.2.0/24")
    assert (256, "192.0.2.0 53", "192.0.2.255 53") == (len(told), told[0], told[-1])


def test_an_ipv6_network_is_expanded():
    assert [f"2001:db8::{last:x} 53" for last in range(0x10, 0x14)] == _told("2001:db8::10/126")


@pytest.mark.parametrize(
    ("network", "left"),
    [("255.255.255.254/31", ["255.255.255.254 53"]), ("239.255.255.254/30", None), ("ff05::/120", None)],
)
def test_a_network_excludes_multicast_and_broadcast(network, left):
    if left:
        assert left == _told(network)
    else:
        with pytest.raises(UsageError, match="no target is left to probe"):
            _told(network)


@pytest.mark.parametrize("address", ["224.0.0.251", "255.255.255.255", "ff05::1", "0.1.2.3", "10.0.1.255"])
def test_group_addresses_are_probed_only_if_allowed(address):
    with pytest.raises(
        UdpprobeError, match=f"{address} is an address of many hosts .*use --allow-broadcast to probe it"
    ):
        _told(address)
    assert [f"{address} 53"] == _told(address, allow_broadcast=True)


def test_a_network_excludes_broadcast_addresses_of_this_host():
    assert ["10.0.1.254 53"] == _told("10.0.1.254/31")
    assert ["10.0.2.254 53", "10.0.2.255 53"] == _told("10.0.2.254/31")


def test_targets_that_cannot_be_probed_are_named_and_the_others_kept():
    found = _resolved("192.0.2.1,nowhere.example,224.0.0.1,fe80::1,[fe80::1%nothing0]:7")
    assert 1 == len(found.destinations)
    assert [
        "no address for nowhere.example: ",
        "224.0.0.1 is an address of many hosts",
        "fe80::1 is link-local",
        "[fe80::1%nothing0]:7: there is no interface",
    ] == [
        str(each)[: len(expected)]
        for each, expected in zip(
            found.failures,
            (
                "no address for nowhere.example: ",
                "224.0.0.1 is an address of many hosts",
                "fe80::1 is link-local",
                "[fe80::1%nothing0]:7: there is no interface",
            ),
            strict=True,
        )
    ]


@pytest.mark.parametrize(("count", "end"), [(3, "; 224.0.0.3 "), (4, "; and 1 more"), (1203, "; and 1,200 more")])
def test_the_first_of_many_impossible_targets_are_named(count, end):
    with pytest.raises(UdpprobeError) as caught:
        _told(",".join(f"224.0.{n >> 8}.{n & 255}" for n in range(1, count + 1)))
    told = str(caught.value)
    assert end in told
    assert (count <= 3) == ("more" not in told)
    assert ["224.0.0.1", "224.0.0.2", "224.0.0.3"] == [each.split()[0] for each in told.split("; ")[:3]]


@pytest.mark.parametrize(
    ("excluded", "left"),
    [
        ("192.0.2.1", ["192.0.2.0 7", "192.0.2.0 8", "192.0.2.2 7", "192.0.2.2 8", "192.0.2.3 7", "192.0.2.3 8"]),
        ("192.0.2.0/31,192.0.2.2:8,192.0.2.3:-7", ["192.0.2.2 7", "192.0.2.3 8"]),
        (
            "0.0.0.0/1,192.0.2.2,::/0",
            ["192.0.2.0 7", "192.0.2.0 8", "192.0.2.1 7", "192.0.2.1 8", "192.0.2.3 7", "192.0.2.3 8"],
        ),
        ("192.0.2.0/30:8", ["192.0.2.0 7", "192.0.2.1 7", "192.0.2.2 7", "192.0.2.3 7"]),
    ],
)
def test_exclusions_are_left_out(excluded, left):
    assert left == _told("192.0.2.0/30:7,8", excluded)


def test_all_addresses_of_an_excluded_name_are_left_out():
    assert ["192.0.2.52 53", "192.0.2.55 53"] == _told("192.0.2.52/30,2001:db8::53", "dns.example")


def test_an_exclusion_without_address_stops_the_scan():
    with pytest.raises(UdpprobeError, match="no address for nowhere"):
        _told("192.0.2.1", "nowhere.example")


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        ("192.0.2.1", {"family": 6}, "no target is left to probe over IPv6"),
        ("10.0.0.0/11", {}, "a network of 2,097,152 addresses is too large; at most 1,048,576"),
        ("2001:db8::/64", {}, "a network of 18,446,744,073,709,551,616 addresses is too large"),
        ("10.0.0.0/12:-", {}, "68,718,428,160 destinations .* are too many"),
    ],
)
def test_contradicting_options_are_usage_errors(text, wanted, said):
    with pytest.raises(UsageError, match=said):
        _told(text, **wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.0.0.0:7", "0.0.0.0:7: 0.0.0.0 means this host; use 127.0.0.1"),
        ("::", "::: :: means this host; use ::1"),
        ("blocked.example", "blocked.example: 0.0.0.0 means this host; use 127.0.0.1"),
        ("fe80::1", "fe80::1 is link-local: name its interface, as in fe80::1%eth0, or with -i"),
        (
            "fe80::1,nowhere.example,::",
            "fe80::1 is link-local.*; no address for nowhere.example: .*; ::: :: means this",
        ),
    ],
)
def test_if_no_target_can_be_probed_each_is_named_without_a_usage_error(text, said):
    with pytest.raises(UdpprobeError, match=said) as caught:
        _told(text)
    assert 3 == caught.value.exit_status


@pytest.mark.parametrize(
    ("name", "family", "said"),
    [
        ("nowhere.example", None, "no address for nowhere.example: Name or service not known"),
        ("alias.example", 6, "no address for alias.example over IPv6: Name or service not known"),
    ],
)
def test_a_name_without_address_cannot_be_probed(name, family, said):
    with pytest.raises(UdpprobeError, match=said) as caught:
        _told(name, family=family)
    assert 3 == caught.value.exit_status


def test_a_label_that_is_too_long_causes_no_traceback(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UdpprobeError, match="no address for xxx"):
        _told("x" * 64)


@pytest.mark.parametrize(
    ("text", "interface"),
    [("fe80::1%lo", None), ("fe80::1%1", None), ("fe80::1", "lo"), ("fe80::1%lo", "eth7"), ("printer.local", None)],
)
def test_a_link_local_address_has_its_interface(text, interface):
    assert [socket.if_nametoindex("lo")] == _resolved(text, interface=interface).destinations.zone.tolist()


def test_other_addresses_have_no_zone():
    assert [0, 0] == _resolved("192.0.2.1,2001:db8::1", interface="lo").destinations.zone.tolist()


@pytest.mark.parametrize("zone", ["nonesuch0", "999999", "99999999999999"])
def test_a_missing_interface_is_reported(zone):
    with pytest.raises(UdpprobeError, match=f"there is no interface {zone}"):
        _told(f"fe80::1%{zone}")


def test_one_address_on_two_links_is_refused_and_two_addresses_are_not(monkeypatch):
    monkeypatch.setattr(targets.socket, "if_nametoindex", {"a": 1, "b": 2}.__getitem__)
    with pytest.raises(UsageError, match="fe80::1 is given on two links, whose replies look the same"):
        _resolved("fe80::2%a,fe80::1%a,fe80::1%b")
    assert [1, 2] == _resolved("fe80::1%a,fe80::2%b").destinations.zone.tolist()


def test_the_report_names_zones_that_were_given():
    resolved = _resolved("[fe80::1%1]:7,[2001:db8::1]:7")
    told = named(report(destination("2001:db8::1", 7, "silent"), destination("fe80::1", 7, "silent")), resolved)
    assert [None, "lo"] == [each.zone for each in told.destinations]


def test_a_zone_whose_interface_is_gone_is_a_number(monkeypatch):
    monkeypatch.setattr(targets.socket, "if_nametoindex", {"gone": 987654}.__getitem__)
    told = named(report(destination("fe80::1", 53, "silent")), _resolved("fe80::1%gone"))
    assert ["987654"] == [each.zone for each in told.destinations]


def test_columns_have_their_types():
    found = _resolved("192.0.2.0/30").destinations
    assert ["I", "Q", "Q", "H", "I"] == [
        column.typecode for column in (found.host, found.high, found.low, found.port, found.zone)
    ]


def test_a_large_network_takes_no_time():
    wanted, network = Wanted(parse_ports("1-40")), [parse_target("10.1.0.0/16")]
    start_s = time.process_time()
    found = resolve(network, parse_targets("10.1.7.0/24,10.1.0.0/16:7"), wanted)
    assert (65_536 - 256) * 39 == len(found.destinations)
    assert time.process_time() - start_s < 2


def test_a_file_of_targets_is_read(tmp_path):
    (tmp_path / "hosts").write_bytes(b"192.0.2.1 # one\n\n[2001:db8::1]:53\n")
    assert ["192.0.2.1", "[2001:db8::1]:53"] == [each.text for each in read_targets(str(tmp_path / "hosts"))]


def test_an_undecodable_byte_is_a_usage_error_with_its_line(tmp_path):
    (tmp_path / "hosts").write_bytes(b"a\n\xff\n")
    with pytest.raises(UsageError, match=r"hosts, line 2: .*xff' is not a host"):
        read_targets(str(tmp_path / "hosts"))


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(UdpprobeError, match=f"cannot read .*: {os.strerror(errno.ENOENT)}"):
        read_targets(str(tmp_path / "hosts"))


def test_standard_input_is_a_file_too(tmp_path):
    (tmp_path / "hosts").write_text("a:53\n")
    saved = os.dup(0)
    try:
        with (tmp_path / "hosts").open() as hosts:
            os.dup2(hosts.fileno(), 0)
            assert ["a:53"] == [each.text for each in read_targets("-")]
            assert os.fstat(0).st_size == 5
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_a_byte_order_mark_before_the_first_target_is_skipped(tmp_path):
    (tmp_path / "hosts").write_bytes(b"\xef\xbb\xbf192.0.2.1:7\r\n")
    assert ["192.0.2.1:7"] == [target.text for target in read_targets(str(tmp_path / "hosts"))]
