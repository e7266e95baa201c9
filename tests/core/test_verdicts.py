"""The table of meanings against what was measured (icmp_errno.csv, crafted errors on Linux 6.18)."""

import csv
from pathlib import Path

import pytest

from udpprobe.core.verdicts import (
    ERRNO_OF_VERDICT,
    MEANINGS,
    VERDICTS,
    is_error,
    meaning_of,
    parse_verdicts,
    verdict_of,
)
from udpprobe.errors import UsageError

with (Path(__file__).parent / "icmp_errno.csv").open(encoding="ascii") as _file:
    MEASURED = [row for row in csv.DictReader(_file) if row["verdict"] or row["family"] == "6"]


def _key(row):
    return int(row["family"]), int(row["type"]), int(row["code"])


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: "v{family}-{type}-{code}".format(**row))
def test_a_row_gives_the_measured_errnos(row):
    meaning = meaning_of(*_key(row))
    assert (row["verdict"].split("|")[0] or None) == meaning.verdict
    assert (row["icmpd"] or None) == meaning.errno
    assert {
        "unconnected": None,
        "connected": row["linux_connected"] or None,
        "recverr": row["linux_recverr"] or None,
    } == meaning.linux


@pytest.mark.parametrize("row", [row for row in MEASURED if row["name"]], ids=lambda row: row["name"])
def test_a_row_has_the_measurement_s_name(row):
    assert row["name"] == meaning_of(*_key(row)).name


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        # what nmap's portreasons prints
        ((4, 3, 0), "net-unreach"),
        ((4, 3, 1), "host-unreach"),
        ((4, 3, 2), "proto-unreach"),
        ((4, 3, 3), "port-unreach"),
        ((4, 3, 9), "net-prohibited"),
        ((4, 3, 10), "host-prohibited"),
        ((4, 3, 13), "admin-prohibited"),
        ((4, 3, 6), "dest-unreach"),
        ((4, 4, 0), "source-quench"),
        ((4, 11, 0), "time-exceeded"),
        ((6, 1, 0), "no-route"),
        ((6, 1, 1), "admin-prohibited"),
        ((6, 1, 2), "beyond-scope"),
        ((6, 1, 3), "host-unreach"),
        ((6, 1, 4), "port-unreach"),
        ((6, 1, 5), "admin-prohibited"),
        ((6, 1, 6), "reject-route"),
        ((6, 1, 8), "dest-unreach"),
        ((6, 3, 0), "time-exceeded"),
        ((6, 4, 1), "param-problem"),
        ((6, 100, 0), "unknown-response"),
        # ours, where nmap has no word
        ((4, 3, 4), "packet-too-big"),
        ((6, 2, 0), "packet-too-big"),
        ((4, 12, 0), "param-problem"),
    ],
)
def test_the_reason_is_nmap_s_word(key, reason):
    assert reason == meaning_of(*key).reason


@pytest.mark.parametrize(
    ("key", "verdict", "recverr"),
    [
        ((4, 3, 99), "unreachable", None),
        ((4, 4, 7), "quenched", None),
        ((4, 11, 255), "expired", "EHOSTUNREACH"),
        ((4, 12, 9), "malformed", "EPROTO"),
        ((6, 1, 200), "unreachable", "EPROTO"),
        ((6, 2, 77), "too-big", "EMSGSIZE"),
        ((6, 3, 9), "expired", "EHOSTUNREACH"),
        ((6, 4, 9), "malformed", "EPROTO"),
        ((6, 5, 0), None, "EPROTO"),
        ((6, 126, 255), None, "EPROTO"),
    ],
)
def test_an_unassigned_code_or_type_has_its_general_meaning(key, verdict, recverr):
    meaning = meaning_of(*key)
    assert key == (meaning.family, meaning.type, meaning.code)
    assert (verdict, recverr) == (meaning.verdict, meaning.recverr)


def test_every_error_of_every_code_has_a_meaning():
    for family in (4, 6):
        for icmp_type in filter(lambda number: is_error(family, number), range(256)):
            for icmp_code in range(256):
                meaning = meaning_of(family, icmp_type, icmp_code)
                assert meaning.verdict in (*VERDICTS, None)
                assert (family, icmp_type, icmp_code) == (meaning.family, meaning.type, meaning.code)


def test_errors_are_these_types_and_no_others():
    assert [3, 4, 11, 12] == [number for number in range(256) if is_error(4, number)]
    assert list(range(1, 128)) == [number for number in range(256) if is_error(6, number)]


@pytest.mark.parametrize("key", [(4, 5, 0), (4, 8, 0), (6, 0, 0), (6, 128, 0)])
def test_a_type_that_is_no_error_has_no_meaning(key):
    with pytest.raises(KeyError):
        meaning_of(*key)


def test_the_table_has_each_row_once_and_only_known_verdicts():
    keys = [(row.family, row.type, row.code) for row in MEANINGS]
    assert len(keys) == len(set(keys))
    assert {row.verdict for row in MEANINGS} < set(VERDICTS)
    assert set(ERRNO_OF_VERDICT) < set(VERDICTS)


@pytest.mark.parametrize(
    ("key", "itself", "loop", "verdict"),
    [
        ((4, 3, 3), True, False, "refused"),
        ((6, 1, 4), False, True, "rejected"),
        ((4, 11, 0), False, False, "expired"),
        ((6, 3, 0), True, True, "loop"),
        ((4, 11, 1), False, True, "reassembly"),
        ((4, 3, 4), True, True, "too-big"),
        ((6, 9, 0), True, True, None),
    ],
)
def test_reporter_and_evidence_complete_the_verdict(key, itself, loop, verdict):
    assert verdict == verdict_of(meaning_of(*key), itself=itself, loop=loop)


def test_a_list_of_verdicts_is_read_in_its_order():
    assert ("loop", "refused") == parse_verdicts("loop, refused")


@pytest.mark.parametrize("words", ["", "refuse", "refused,,loop", "REFUSED"])
def test_an_error_about_a_wrong_verdict_lists_the_valid_ones(words):
    with pytest.raises(UsageError, match=r"is not a verdict; use refused, .*silent, unsent"):
        parse_verdicts(words)
