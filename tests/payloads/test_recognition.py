"""What servers answer, as recorded or as the specification has it; the daemons of tests/live say it themselves."""

import pytest

from udpprobe.payloads import Payload, load, name_of_answer, recognise

TOKEN = bytes.fromhex("1122334455667788")
OTHER = bytes(8)
ROWS = load().rows[9:]
BY_NAME = {row.name: row for row in ROWS}
LOCALHOST = "096c6f63616c686f737400 0001 0001"
ISAKMP = "1122334455667788 aabbccddeeff0011"

ANSWERS = {
    name: bytes.fromhex(text) if isinstance(text, str) else text
    for name, text in {
        "dns": f"1122 8180 0001 0001 0000 0000 {LOCALHOST} c00c 0001 0001 00000000 0004 7f000001",
        "mdns": "1122 8400 0001 0001 0000 0000" + b"\x09_services\x07_dns-sd\x04_udp\x05local".hex() + "00 000c 8001",
        "llmnr": f"1122 8000 0001 0001 0000 0000 {LOCALHOST}",
        "netbios-ns": "1122 8400 0000 0001 0000 0000 20 434b" + "41" * 30 + "00 0021 0001 00000000",
        "ntp": "24 02 06 e9 00000210 00000c1d c0a80001" + "e5c8a1b2c3d4e5f6" + "1122334455667788" + "e5c8a1b3" * 4,
        "ssdp": b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\n\r\n",
        "snmp-v3": "3068 020103 3011 0204 40112233 020300ffe3 040100 020103 0421",
        "snmp-v2c": "3081 88 020101 0406 7075626c6963 a27b 0204 40112233 020100 020100",
        "snmp-v1": "3082 0088 020100 0406 7075626c6963 a27b 0204 40112233 020100 020100",
        "asf-ping": "0600ff06 000011be 40 11 00 10 000011be 00000000 81 00 000000000000",
        "ipmi": "0600ff07 00 00000000 00000000 10 81 1c 63 20 00 38 00 0e 1f 02",
        "bacnet": "810a0014 0100 30 11 0c 0c 023fffff 194b 3e c402000001 3f",
        "ethernet-ip": "0400 1a00 00000000 00000000 1122334455667788 00000000 0100",
        "tftp": b"\0\5\0\1File not found\0",
        "portmap": "11223344 00000001 00000000 00000000 00000000 00000000",
        "radius": "03 00 0014" + "ab" * 16,
        "cldap": "300c 0204 40112233 6404 0400 3000",
        "kerberos": "7e 6b 3069 a003020105 a10302011e",
        "ikev2": f"{ISAKMP} 21 20 22 20 00000000 00000050",
        "ikev1": f"{ISAKMP} 01 10 02 00 00000000 00000050",
        "ikev2-natt": f"00000000 {ISAKMP} 29 20 22 20 00000000 00000024",
        "ikev1-natt": f"00000000 {ISAKMP} 0b 10 05 00 00000000 00000028",
        "quic": "ea 00000000 08 7564707072 6f6265 08 1122334455667788 00000001 6b3343cf",
        "dtls": "16 feff 0000 000000000000 0023 03 000017 0000 000000 000017 feff 14" + "ab" * 20,
        "openvpn": "40 0102030405060708 01 00000000 1122334455667788 00000000",
        "stun": "0101 000c 2112a442 1122334455667788 00000000 0020 0008 0001 bd52 211ea643",
        "coap": "70 00 1122",
        "rip": "02 02 0000 0002 0000 c0000200 ffffff00 00000000 00000010",
        "ripng": "02 01 0000 20010db8 000000000000000000000000 0000 20 10",
        "l2tp": "c802 0014 1122 0000 0000 0001 8008 0000 0000 0002",
        "bfd": "20 c0 03 18 00000007 11223344 000f4240 000f4240 00000000",
        "nat-pmp": "00 80 0000 000004d2 cb007105",
        "pcp": "02 80 00 00 00000000 000004d2" + "00" * 12,
        "dhcp-inform": "02010600 11223344" + "00" * 228 + "63825363 350105",
        "dhcpv6-inform": "07 112233 0002 000e" + "00" * 14,
        "sip": b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP invalid\r\n\r\n",
        "iax2": "8002 8001 11223344 00 01 06 03",
        "mgcp": b"500 1 Endpoint unknown\r\n",
        "gtpv2": "40 02 0009 112233 00 03 0001 00 00",
        "gtpv1": "32 02 0006 00000000 1122 0000 0e00",
        "pfcp": "20 02 000c 112233 00 0060 0004 e5c8a1b2",
        "memcached": "1122 0000 0001 0000" + b"VERSION 1.6.18\r\n".hex(),
        "ms-sql-browser": "05 0600 01 9a05",
        "a2s": "ffffffff 41 0a0b0c0d",
        "quake3": b"\xff\xff\xff\xffchallengeResponse 12345",
        "dht": b"d1:rd2:id20:abcdefghij0123456789e1:t2:\x11\x221:y1:re",
        "echo": "1122334455667788",
        "daytime": b"Sunday, October 4, 2026 12:00:00-UTC\r\n",
        "time": "e5c8a1b2",
        "xdmcp": "0001 0005 0006 0000 0002 3a29",
    }.items()
}
ANSWERS["nfs"] = ANSWERS["portmap"]

SAME_FORMAT = ({"dns", "mdns", "llmnr", "netbios-ns"}, {"portmap", "nfs"})
"""Protocols whose answers have one format."""

LOOSE = {row.name for row in ROWS if row.loose}


def test_every_row_that_has_an_answer_has_one_here():
    assert set(ANSWERS) == {row.name for row in ROWS if row.answer}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_recognised(name):
    assert recognise(BY_NAME[name], TOKEN, ANSWERS[name])


@pytest.mark.parametrize("name", [name for name in ANSWERS if "(?P<token>" in BY_NAME[name].answer])
def test_an_answer_to_another_token_is_not_recognised(name):
    assert not recognise(BY_NAME[name], OTHER, ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_another_protocol_is_not_recognised(name):
    family = next((names for names in SAME_FORMAT if name in names), {name})
    assert [] == [
        other
        for other, answer in ANSWERS.items()
        if other not in family | LOOSE and name not in LOOSE and recognise(BY_NAME[name], TOKEN, answer)
    ]


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - LOOSE))
def test_truncated_answers_and_noise_are_not_recognised(name):
    for noise in (b"", b"\0", ANSWERS[name][:3], bytes(64), b"\xff" * 64, b"GET / HTTP/1.0\r\n\r\n" * 4):
        assert not recognise(BY_NAME[name], TOKEN, noise)


@pytest.mark.parametrize("name", [row.name for row in ROWS if "(?P<token>" in row.answer and row.name != "echo"])
def test_a_reflected_request_is_not_an_answer(name):
    row = BY_NAME[name]
    assert not recognise(
        row, TOKEN, row.data[: row.token_at] + TOKEN[: row.token_size] + row.data[row.token_at + row.token_size :]
    )


def test_if_no_answer_is_expected_nothing_is_recognised():
    assert not recognise(BY_NAME["wireguard"], TOKEN, b"")
    assert not recognise(Payload("hex", (), b"x"), TOKEN, b"x")


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_names_its_protocol_at_its_own_port(name):
    assert name == name_of_answer(ROWS, BY_NAME[name].ports[0], ANSWERS[name])


@pytest.mark.parametrize("name", ["dns", "sip", "stun", "tftp", "memcached"])
def test_an_answer_names_its_protocol_at_a_strange_port(name):
    assert name == name_of_answer(ROWS, 40000, ANSWERS[name])


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\0", b"12345678", b"hello, world\r\n"])
def test_an_ambiguous_answer_at_a_strange_port_is_not_named(answer):
    assert None is name_of_answer(ROWS, 40000, answer)
