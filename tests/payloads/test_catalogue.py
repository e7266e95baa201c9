"""The table of payloads, what the user adds to it, and which port is sent what."""

import subprocess
import sys
from pathlib import Path

import pytest
from payload_recipes import RECIPES, TABLE, table

from udpprobe.core.probe import GENERIC
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.payloads import chosen, from_nmap, listing, load
from udpprobe.scanning.plan import CONTROL

CATALOGUE = load()
TABLE_ROWS = CATALOGUE.rows[9:]


def sent_to(catalogue, port):
    """Names of what goes to a port, in turn."""
    return [
        row if row == GENERIC else catalogue.rows[row].name
        for row in catalogue.choices[catalogue.choices_by_port()[port]]
    ]


def test_the_payload_file_is_current():
    assert table() == TABLE.read_text()


def test_the_payload_file_has_every_field_of_the_recipes():
    assert RECIPES == TABLE_ROWS


def test_generic_payloads_come_first_and_differ_in_length_only():
    assert list(range(8, 16)) == [len(row.data) for row in CATALOGUE.rows[:8]]
    assert {("token", 0, 8)} == {(row.name, row.token_at, row.token_size) for row in CATALOGUE.rows[:8]}
    assert ("empty", b"", 0) == (CATALOGUE.rows[8].name, CATALOGUE.rows[8].data, CATALOGUE.rows[8].token_size)


def test_control_ports_get_the_generic_payload():
    assert [(GENERIC,)] * 2 == [catalogue.choices[CONTROL] for catalogue in (CATALOGUE, chosen(CATALOGUE, "empty"))]


def test_if_errors_must_prove_more_the_generic_payload_alternates():
    choice = CATALOGUE.choices_by_port()[53]
    assert (*CATALOGUE.choices[choice], GENERIC) == CATALOGUE.choices[CATALOGUE.proving[choice]]
    assert [0, 1] == chosen(CATALOGUE, "dns").proving  # what the user asks for stays


def test_a_port_with_several_services_gets_their_payloads_in_turn():
    assert ["dns"] == sent_to(CATALOGUE, 53)
    assert ["quic", "dtls"] == sent_to(CATALOGUE, 443)
    assert ["ikev2", "ikev1"] == sent_to(CATALOGUE, 500)
    assert ["snmp-v3", "snmp-v2c", "snmp-v1"] == sent_to(CATALOGUE, 161)


@pytest.mark.parametrize("port", [0, 1, 40000, 65535])
def test_a_port_of_no_known_service_gets_the_generic_payload(port):
    assert [GENERIC] == sent_to(CATALOGUE, port)


def test_every_port_of_the_table_gets_its_payload():
    for row in TABLE_ROWS:
        for port in row.ports:
            assert row.name in sent_to(CATALOGUE, port)


@pytest.mark.parametrize("row", TABLE_ROWS, ids=lambda row: row.name)
def test_a_token_fits_into_zero_bytes_of_its_payload(row):
    assert 0 <= row.token_size <= 8
    assert bytes(row.token_size) == row.data[row.token_at : row.token_at + row.token_size]


def test_payloads_are_small():
    assert {"quic"} == {row.name for row in TABLE_ROWS if len(row.data) > 300}  # RFC 9000 14.1 wants 1200


def test_names_are_unique_and_every_row_has_ports_and_a_source():
    assert len(TABLE_ROWS) == len({row.name for row in TABLE_ROWS})
    assert all(row.ports and row.source for row in TABLE_ROWS)


def test_the_listing_has_the_generic_payload_once():
    rows = listing(CATALOGUE)
    assert ["token", "empty", "dns"] == [name for name, *_ in rows[:3]]
    assert ("tftp", "69", 30, "yes") == next(row[:4] for row in rows if row[0] == "tftp")
    assert "no" == next(row[3] for row in rows if row[0] == "wireguard")


def test_reading_the_table_loads_no_scapy():
    code = "import sys; from udpprobe.payloads import load; load(); sys.exit('scapy' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


ALL = load()


def rows_for(catalogue, port=53):
    return list(catalogue.choices[catalogue.choices_by_port()[port]])


def sent(text):
    """Bytes that go to every port."""
    catalogue = chosen(ALL, text)
    assert rows_for(catalogue, 53) == rows_for(catalogue, 40000)
    return [catalogue.rows[row].data for row in rows_for(catalogue)]


def test_auto_selects_the_payload_table():
    assert ALL is chosen(ALL, "auto")


def test_token_selects_the_generic_payload_for_every_port():
    assert [GENERIC] == rows_for(chosen(ALL, "token")) == rows_for(chosen(ALL, "token"), 40000)


def test_empty_payloads_have_no_bytes():
    assert [b""] == sent("empty")


def test_named_payloads_go_to_every_port_in_turn():
    dns, ntp = (next(row.data for row in ALL.rows if row.name == name) for name in ("dns", "ntp"))
    assert [dns] == sent("dns")
    assert [dns, ntp] == sent("dns, ntp")


@pytest.mark.parametrize("text", ["hex:DEadbe ef", "hex:de:ad:be:ef"])
def test_hexadecimal_digits_are_bytes(text):
    assert [b"\xde\xad\xbe\xef"] == sent(text)


def test_given_bytes_have_no_token_and_no_known_answer():
    given = chosen(ALL, "hex:00").rows[-1]
    assert (0, "") == (given.token_size, given.answer)


def test_a_file_is_sent_as_it_is(tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(b"\0\xffabc")
    assert [b"\0\xffabc"] == sent(f"file:{path}")


def test_the_largest_datagram_is_accepted_and_no_larger_one(tmp_path):
    path = tmp_path / "payload"
    path.write_bytes(bytes(65507))
    assert [65507] == [len(data) for data in sent(f"file:{path}")]
    path.write_bytes(bytes(65508))
    with pytest.raises(UsageError, match="65507"):
        chosen(ALL, f"file:{path}")


def test_an_endless_file_is_refused():
    with pytest.raises(UsageError, match="65507"):
        chosen(ALL, "file:/dev/zero")


def test_a_missing_payload_file_is_an_error(tmp_path):
    with pytest.raises(UdpprobeError, match="No such file") as raised:
        chosen(ALL, f"file:{tmp_path}/none")
    assert 3 == raised.value.exit_status


@pytest.mark.parametrize("text", ["hex:abc", "hex:zz"])
def test_bad_digits_are_a_usage_error(text):
    with pytest.raises(UsageError, match=text):
        chosen(ALL, text)


@pytest.mark.parametrize(("text", "near"), [("ikev3", "ikev"), ("dsn", "dns"), ("Auto", "auto"), ("dns,nttp", "ntp")])
def test_an_error_about_an_unknown_name_suggests_similar_ones(text, near):
    with pytest.raises(UsageError, match=rf"\(.*{near}.*\?\)"):
        chosen(ALL, text)


@pytest.mark.parametrize("text", ["", "zzzzzz", "ftp:x"])
def test_an_error_about_a_dissimilar_name_points_to_the_list(text):
    with pytest.raises(UsageError, match="--list-payloads"):
        chosen(ALL, text)


INSTALLED = Path("/usr/share/nmap/nmap-payloads")
TEXT = r"""# a comment with "quotes"
udp 7 "\x0D\x0A"

udp 53,1000-1002
  # what it is: udp 1 "no"
  "ab#c" "\"\\\0\n"   # behind
  "\xff"
source 500
unknown keyword with udp 1 "x"
udp 53 "second"
"""


@pytest.fixture
def read(tmp_path):
    def reading(text):
        path = tmp_path / "payloads"
        path.write_text(text, "latin-1")
        return from_nmap(load(), f"nmap:{path}")

    return reading


def bytes_to(catalogue, port):
    return [
        row if row == GENERIC else catalogue.rows[row].data
        for row in catalogue.choices[catalogue.choices_by_port()[port]]
    ]


def test_adjacent_strings_are_joined_and_escapes_decoded(read):
    catalogue = read(TEXT)
    assert b"\r\n" == bytes_to(catalogue, 7)[0]
    assert [b'ab#c"\\\0\n\xff'] == bytes_to(catalogue, 1001)


def test_several_payloads_of_a_port_are_sent_in_turn(read):
    assert [b'ab#c"\\\0\n\xff', b"second"] == bytes_to(read(TEXT), 53)[:2]


def test_nmap_payloads_are_sent_before_our_own(read):
    assert bytes_to(load(), 53) == bytes_to(read(TEXT), 53)[2:]
    assert bytes_to(load(), 123) == bytes_to(read(TEXT), 123)


def test_comments_and_other_keywords_are_ignored(read):
    assert [GENERIC] == bytes_to(read(TEXT), 1)


def test_a_row_names_its_line_in_the_file(read):
    assert ["nmap-2", "nmap-4", "nmap-10"] == [row.name for row in read(TEXT).rows[9:12]]


def test_the_built_in_payloads_stay(read):
    assert load().rows == read("").rows
    assert load().rows[:9] == read(TEXT).rows[:9]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\nudp", 2),
        ("udp 53\n", 1),
        ('udp "x"', 1),
        ('udp 53 "open', 1),
        ('udp 53 "a"\n"b" tail\n\n!', 4),
        ('\n\nudp 70000 "x"', 3),
        ('udp 1-99999 "x"', 1),
        ('udp 5-1 "x"', 1),
        ('udp 1,,2 "x"', 1),
        ('udp 53 "a"\n"b"\n"\\', 3),
    ],
)
def test_a_fault_is_reported_with_its_line(read, text, line):
    with pytest.raises(UsageError, match=f"line {line}:"):
        read(text)


def test_only_nmaps_files_are_known(tmp_path):
    with pytest.raises(UsageError, match="nmap:FILE"):
        from_nmap(load(), str(tmp_path))


def test_a_missing_nmap_file_is_an_error(tmp_path):
    with pytest.raises(UdpprobeError, match="cannot read"):
        from_nmap(load(), f"nmap:{tmp_path}/none")


@pytest.mark.skipif(not INSTALLED.exists(), reason="no nmap with a file nmap-payloads is installed")
def test_the_installed_nmaps_file_is_read_whole():
    catalogue = from_nmap(load(), f"nmap:{INSTALLED}")
    found = [row for row in catalogue.rows if row.name.startswith("nmap-")]
    text = INSTALLED.read_text("latin-1")
    assert sum(line.startswith("udp ") for line in text.splitlines()) == len(found)
    assert 0 < min(len(row.data) for row in found)
