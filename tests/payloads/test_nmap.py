from pathlib import Path

import pytest

from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.payloads import GENERIC, from_nmap, load

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


def sent_to(catalogue, port):
    return [row if row == GENERIC else catalogue.rows[row].data
            for row in catalogue.choices[catalogue.choice_of(port)]]


def test_strings_are_joined_and_escapes_are_bytes(read):
    catalogue = read(TEXT)
    assert b"\r\n" == sent_to(catalogue, 7)[0]
    assert [b'ab#c"\\\0\n\xff'] == sent_to(catalogue, 1001)


def test_several_payloads_of_a_port_go_in_turn(read):
    assert [b'ab#c"\\\0\n\xff', b"second"] == sent_to(read(TEXT), 53)[:2]


def test_what_nmap_has_goes_before_the_own_payload(read):
    assert sent_to(load(), 53) == sent_to(read(TEXT), 53)[2:]
    assert sent_to(load(), 123) == sent_to(read(TEXT), 123)


def test_comments_and_other_keywords_send_nothing(read):
    assert [GENERIC] == sent_to(read(TEXT), 1)


def test_a_row_says_where_it_stands(read):
    assert ["nmap-2", "nmap-4", "nmap-10"] == [row.name for row in read(TEXT).rows[9:12]]


def test_the_built_in_payloads_stay(read):
    assert load().rows == read("").rows
    assert load().rows[:9] == read(TEXT).rows[:9]


@pytest.mark.parametrize(("text", "line"), [
    ("\nudp", 2), ("udp 53\n", 1), ('udp "x"', 1), ('udp 53 "open', 1), ('udp 53 "a"\n"b" tail\n\n!', 4),
    ('\n\nudp 70000 "x"', 3), ('udp 1-99999 "x"', 1), ('udp 5-1 "x"', 1), ('udp 1,,2 "x"', 1),
    ('udp 53 "a"\n"b"\n"\\', 3)])
def test_a_fault_is_told_with_its_line(read, text, line):
    with pytest.raises(UsageError, match=f"line {line}:"):
        read(text)


def test_only_nmaps_files_are_known(tmp_path):
    with pytest.raises(UsageError, match="nmap:FILE"):
        from_nmap(load(), str(tmp_path))


def test_a_missing_file_cannot_be_done(tmp_path):
    with pytest.raises(UdpprobeError, match="cannot read"):
        from_nmap(load(), f"nmap:{tmp_path}/none")


@pytest.mark.skipif(not INSTALLED.exists(), reason="no nmap with a file nmap-payloads is installed")
def test_the_installed_nmaps_file_is_read_whole():
    catalogue = from_nmap(load(), f"nmap:{INSTALLED}")
    found = [row for row in catalogue.rows if row.name.startswith("nmap-")]
    text = INSTALLED.read_text("latin-1")
    assert sum(line.startswith("udp ") for line in text.splitlines()) == len(found)
    assert 0 < min(len(row.data) for row in found)
