"""What a port says that speaks a protocol: Scapy, which has no part in it, reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playing import SECOND, page, played, probe, world
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRROPT
from scapy.layers.inet import UDP
from scapy.layers.ntp import NTP, NTPHeader
from virtual import commanded

from udpprobe.lab.hosts import SERVICES, dns, ntp
from udpprobe.lab.scenario import ServiceSpec

NOW_NS = 1_790_000_000 * SECOND + SECOND // 4
NTP_EPOCH_S = 2_208_988_800


def asked(name="www.example.org", kind="A", **fields):
    return bytes(DNS(**({"id": 4711, "rd": 1, "qd": DNSQR(qname=name, qtype=kind)} | fields)))


@pytest.mark.parametrize(("kind", "address"), [("A", "192.0.2.53"), ("AAAA", "2001:db8::53")])
def test_a_name_has_an_address_in_each_family(kind, address):
    said = DNS(dns(asked(kind=kind), NOW_NS))
    assert (4711, 1, 0, 1, 1, 0) == (said.id, said.qr, said.opcode, said.rd, said.ra, said.rcode)
    assert b"www.example.org." == said.qd[0].qname == said.an[0].rrname
    assert address == said.an[0].rdata


def test_a_missing_record_type_is_not_an_error():
    chaos = asked(qd=DNSQR(qname="version.bind", qtype="TXT", qclass=3))
    for query in (chaos, asked(kind="MX"), asked(name=".", kind="NS")):
        said = DNS(dns(query, NOW_NS))
        assert (1, 0, 1, 0) == (said.qr, said.rcode, said.qdcount, said.ancount)


def test_edns_and_padding_are_ignored():
    for behind in (bytes(DNSRROPT(rclass=1232)), bytes(1000)):
        assert dns(asked(), NOW_NS) == dns(asked(arcount=1) + behind, NOW_NS)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (bytes(12), 1),
        (asked(qd=[DNSQR(), DNSQR()]), 1),
        (asked()[:-1], 1),
        (asked()[:20], 1),
        (asked()[:12] + b"\xc0\x0c\0\1\0\1", 1),
        (asked()[:12] + b"\x3f".ljust(64, b"x") * 4 + b"\0\0\1\0\1", 1),
        (asked(opcode=5), 4),
    ],
)
def test_an_unsupported_query_is_an_error_without_records(query, code):
    said = dns(query, NOW_NS)
    assert (12, code) == (len(said), DNS(said).rcode)
    assert query[:2] == said[:2]


def test_responses_and_short_messages_are_not_answered():
    assert [None, None] == [dns(asked(qr=1, an=DNSRR()), NOW_NS), dns(asked()[:11], NOW_NS)]


@pytest.mark.parametrize("version", [1, 3, 4])
def test_an_ntp_answer_has_the_lab_time_and_repeats_the_clients_time(version):
    said = NTP(ntp(bytes(NTPHeader(version=version, mode=3, sent=77)), NOW_NS))
    assert (0, version, 4, 1) == (said.leap, said.version, said.mode, said.stratum)
    assert 77 == said.orig
    assert [NOW_NS / SECOND + NTP_EPOCH_S] * 3 == [said.ref, said.recv, said.sent]


def test_time_goes_on_after_2036():
    end_ns = (2**32 - NTP_EPOCH_S) * SECOND
    before, after = (NTP(ntp(bytes(NTPHeader(mode=3)), end_ns + more)).sent for more in (-1, SECOND))
    assert (2**32 - 1, 1) == (int(before), int(after))


@pytest.mark.parametrize("mode", [0, 1, 2, 4, 5, 6, 7])
def test_an_ntp_service_answers_only_clients(mode):
    assert ntp(bytes(NTPHeader(mode=mode)), NOW_NS) is None
    assert ntp(bytes(NTPHeader(mode=3))[:47], NOW_NS) is None


@given(st.binary(max_size=80))
def test_no_service_answers_its_own_answers_or_raises(request):
    for service in SERVICES.values():
        said = service(request, NOW_NS)
        assert said is None or service(said, NOW_NS) is None


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("family", [4, 6])
def test_our_scan_recognises_every_service(name, family):
    port, host = {"dns": 53, "ntp": 123}[name], {4: "198.18.9.9", 6: "[2001:db8:9::9]"}[family]
    (found,) = commanded(served(name, port), "scan", f"{host}:{port}")["destinations"]
    assert ("answered", [f"answers as {name}"]) == (found["verdict"], found["notes"])


def test_a_service_can_be_late_repeat_itself_or_stay_silent():
    lab = world(host='udp.53 = { like = "dns", delay_ms = 20, times = 2 }')
    twice = played(lab, probe(data=asked()))
    assert [dns(asked(), 0)] * 2 == [bytes(each[UDP].payload) for each in twice]
    assert [] == played(lab, probe(data=b"no query"), at_ns=SECOND)


def test_every_service_has_a_name():
    literal = ServiceSpec.model_fields["like"].annotation
    assert all(repr(name) in str(literal) for name in SERVICES)


def served(name, port):
    return page(host=f"udp = {{ {port} = '{name}' }}")
