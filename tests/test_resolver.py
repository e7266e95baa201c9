"""Names of addresses: looked up beside the work, waited for a second at most, and never trusted."""

import ipaddress
import socket
import threading
import time

import pytest

from udpprobe import resolver
from udpprobe.cli import main
from udpprobe.errors import UdpprobeError
from udpprobe.reports.text import Style, named
from udpprobe.resolver import Names


@pytest.fixture
def dns(monkeypatch):
    """Reverse DNS, by a dictionary; what is not in it has no name."""
    zone = {}

    def look_up(address, _flags):
        answer = zone.get(address[0])
        if callable(answer):
            answer = answer()
        if answer is None:
            raise socket.gaierror(socket.EAI_NONAME, "no name")
        return answer, "0"

    monkeypatch.setattr(resolver.socket, "getnameinfo", look_up)
    return zone


def test_names_are_looked_up_in_parallel_and_only_once(dns):
    asked, together = [], threading.Barrier(3, timeout=5)

    def slow():
        asked.append(1)
        together.wait()
        return "router.example."

    dns |= {f"192.0.2.{host}": slow for host in range(3)}
    names = Names()
    names.ask(f"192.0.2.{host % 3}" for host in range(9))
    names.wait()
    assert ["router.example"] * 3 == [names.of(f"192.0.2.{host}") for host in range(3)]
    assert 3 == len(asked)


def test_an_address_without_a_name_stays_unnamed(dns):
    dns["192.0.2.2"] = "router.example"
    names = Names()
    names.ask(["192.0.2.1", None, "fe80::1%eth0"])
    names.wait()
    assert ["", "", ""] == [names.of(each) for each in ("192.0.2.1", "198.51.100.1", "fe80::1%eth0")]


def test_a_silent_resolver_costs_a_second_in_total(dns):
    never = threading.Event()
    dns["192.0.2.1"] = lambda: never.wait() and None
    names = Names()
    start_s = time.monotonic()
    names.ask(["192.0.2.1"])
    for _ in range(3):
        names.wait()
    assert resolver.PATIENCE_S <= time.monotonic() - start_s < resolver.PATIENCE_S + 0.5
    assert names.of("192.0.2.1") == ""
    never.set()


def test_without_look_ups_there_is_no_wait():
    start_s = time.monotonic()
    Names().wait()
    assert time.monotonic() - start_s < 0.1


def test_a_report_names_addresses_and_escapes_the_names(dns, capsys):
    dns |= {"10.0.1.2": "host.example", "2001:db8:1::2": "evil\x1b[31m.example"}
    assert main(["analyze", "--resolve", "pcaps/refused.pcap"]) == 0
    out = capsys.readouterr().out
    assert "itself: host.example;" in out
    assert "evil\\x1b[31m.example" in out
    assert "\x1b" not in out


def test_reporters_are_named_too(dns, capsys):
    dns["10.0.1.2"] = "router.example"
    assert main(["analyze", "--resolve", "pcaps/too-big.pcap"]) == 0
    assert "reporter router.example" in " ".join(capsys.readouterr().out.split())


def test_json_needs_no_names(dns, capsys):
    dns["10.0.1.2"] = lambda: pytest.fail("asked")
    assert main(["analyze", "--resolve", "--format", "json", "pcaps/refused.pcap"]) == 0
    assert "advice" in capsys.readouterr().out


def _value(value):
    if isinstance(value, str):
        return _control(2, len(value.encode())) + value.encode()
    if isinstance(value, tuple):  # a number of another kind than uint32
        kind, number = value
        data = number.to_bytes((number.bit_length() + 7) // 8)
        return _control(kind, len(data)) + data
    if isinstance(value, int):
        return _value((6, value))
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(_value, value))
    return _control(7, len(value)) + b"".join(_value(key) + _value(each) for key, each in value.items())


def _control(kind, size):
    if size >= 29:
        assert kind < 8
        return bytes([kind << 5 | 29, size - 29])
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])


def database(network, record):
    """A file in MaxMind's format (MaxMind DB 2.0), written by hand: every address of the network has the record."""
    network = ipaddress.ip_network(network)
    width, prefix = network.max_prefixlen, network.prefixlen
    nothing, bits = prefix, int(network.network_address) >> (width - prefix)
    tree = b""
    for depth in range(prefix):
        ahead = depth + 1 if depth + 1 < prefix else prefix + 16
        pair = (nothing, ahead) if bits >> (prefix - 1 - depth) & 1 else (ahead, nothing)
        tree += b"".join(each.to_bytes(3) for each in pair)
    about = {
        "binary_format_major_version": (5, 2),
        "binary_format_minor_version": (5, 0),
        "build_epoch": (9, 1),
        "database_type": "ASN",
        "description": {"en": "test"},
        "ip_version": (5, network.version),
        "languages": ["en"],
        "node_count": prefix,
        "record_size": (5, 24),
    }
    return tree + bytes(16) + _value(record) + b"\xab\xcd\xefMaxMind.com" + _value(about)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}, "AS64500 Example"),
        ({"asn": "AS64500", "as_name": "Example", "country_code": "DE"}, "AS64500 Example, DE"),
        ({"country": {"iso_code": "DE"}}, "DE"),
        ({"asn": "AS64500", "country": "DE"}, "AS64500, DE"),
        ({"something": "else"}, ""),
    ],
)
@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [("192.0.2.0/24", "192.0.2.7", "192.0.3.7"), ("2001:db8::/32", "2001:db8::7", "2001:db9::7")],
)
def test_systems_come_from_a_file(tmp_path, network, inside, outside, record, words):
    pytest.importorskip("maxminddb")
    (tmp_path / "asn.mmdb").write_bytes(database(network, record))
    names = Names(dns=False, asn_db=str(tmp_path / "asn.mmdb"))
    names.ask([inside])
    names.wait()
    assert (words, "") == (names.of(inside), names.of(outside))


def test_a_missing_or_broken_file_of_systems_is_named(tmp_path):
    pytest.importorskip("maxminddb")
    (tmp_path / "broken").write_bytes(b"x" * 100)
    for name, words in (("nowhere", "cannot read"), ("broken", "is not a MaxMind database")):
        with pytest.raises(UdpprobeError, match=words):
            Names(dns=False, asn_db=str(tmp_path / name))


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "maxminddb", None)
    with pytest.raises(UdpprobeError, match=r"install udpprobe\[asn\]"):
        Names(dns=False, asn_db="x")


def test_the_file_can_be_named_in_the_environment(tmp_path, monkeypatch, capsys):
    pytest.importorskip("maxminddb")
    (tmp_path / "asn.mmdb").write_bytes(database("10.0.0.0/8", {"asn": "AS64500", "as_name": "Example"}))
    monkeypatch.setenv("UDPPROBE_ASN_DB", str(tmp_path / "asn.mmdb"))
    assert main(["analyze", "pcaps/refused.pcap"]) == 0
    assert "AS64500 Example" in " ".join(capsys.readouterr().out.split())


def test_names_are_looked_up_only_on_request():
    assert (Style().name("192.0.2.1"), Style().service(53)) == ("", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("prohibited by 192.0.2.1", "prohibited by 192.0.2.1 (fw.example)"),
        ("192.0.2.1, then 192.0.2.1.", "192.0.2.1 (fw.example), then 192.0.2.1."),
        ("behind 2001:db8::1: gone", "behind 2001:db8::1 (v6.example): gone"),
        ("192.0.2.1:53 and [2001:db8::1]:53", "192.0.2.1:53 and [2001:db8::1]:53"),
        ("192.0.2.10, 1192.0.2.1 and 192.0.2.1.5", "192.0.2.10, 1192.0.2.1 and 192.0.2.1.5"),
        ("192.0.2.1/24 after 12:04:05, 9.16 ms", "192.0.2.1/24 after 12:04:05, 9.16 ms"),
    ],
)
def test_prose_names_an_address_at_its_first_mention_but_not_an_endpoint(text, shown):
    names = {"192.0.2.1": "fw.example", "2001:db8::1": "v6.example"}
    assert shown == named(text, Style(name=lambda address: names.get(address, "")))


def test_names_in_prose_are_escaped():
    assert named("by 192.0.2.1", Style(name=lambda _: "x\x1b[1m")) == r"by 192.0.2.1 (x\x1b[1m)"


@pytest.mark.parametrize("output_format", ["plugin", "table"])
def test_a_check_names_the_refusing_host(dns, capsys, output_format):
    dns["127.0.0.1"] = "this.example"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    assert main(["check", "--resolve", "--engine", "recverr", "--format", output_format, f"127.0.0.1:{port}"]) == 2
    assert "refused by 127.0.0.1 (this.example) itself" in " ".join(capsys.readouterr().out.split())
