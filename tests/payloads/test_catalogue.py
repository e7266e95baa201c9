import subprocess
import sys

import pytest

from udpprobe.payloads import GENERIC, chosen, listing, load
from udpprobe.payloads.recipes import RECIPES, TABLE, table
from udpprobe.scanning.plan import CONTROL

CATALOGUE = load()
TABLE_ROWS = CATALOGUE.rows[9:]


def sent_to(catalogue, port):
    """Names of what goes to a port, in turn."""
    return [row if row == GENERIC else catalogue.rows[row].name
            for row in catalogue.choices[catalogue.choice_of(port)]]


def test_the_file_is_what_the_recipes_make():
    assert table() == TABLE.read_text()


def test_the_file_says_all_that_the_recipes_know():
    assert RECIPES == TABLE_ROWS


def test_generic_payloads_come_first_and_differ_in_length_only():
    assert list(range(8, 16)) == [len(row.data) for row in CATALOGUE.rows[:8]]
    assert {("token", 0, 8)} == {(row.name, row.token_at, row.token_size) for row in CATALOGUE.rows[:8]}
    assert ("empty", b"", 0) == (CATALOGUE.rows[8].name, CATALOGUE.rows[8].data, CATALOGUE.rows[8].token_size)


def test_control_ports_are_sent_the_generic_payload():
    assert [(GENERIC,)] * 2 == [catalogue.choices[CONTROL] for catalogue in (CATALOGUE, chosen(CATALOGUE, "empty"))]


def test_where_errors_have_to_prove_more_the_generic_payload_takes_turns():
    choice = CATALOGUE.choice_of(53)
    assert (*CATALOGUE.choices[choice], GENERIC) == CATALOGUE.choices[CATALOGUE.proving[choice]]
    assert [0, 1] == chosen(CATALOGUE, "dns").proving       # what the user asks for stays


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
def test_a_token_fits_and_nothing_stands_in_its_place(row):
    assert 0 <= row.token_size <= 8
    assert bytes(row.token_size) == row.data[row.token_at:row.token_at + row.token_size]


def test_payloads_are_small():
    assert {"quic"} == {row.name for row in TABLE_ROWS if len(row.data) > 300}      # RFC 9000 14.1 wants 1200


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
