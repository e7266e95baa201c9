"""Refusals that look different from the others of their host are told, with what differs."""

from __future__ import annotations

import builders as b
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_setup import HOST, OTHER_HOST, Scan, plan_of

from udpprobe.scanning.record import HeaderTraits, usual_of

TAIL = "perhaps a firewall answers for it"


def notes_of(family, *headers, hosts=None):
    """Notes by task, where each host's next port is refused by an error with these fields of the IP header."""
    hosts = hosts or [HOST[family]] * len(headers)
    plan = plan_of(*((host, port) for port, host in enumerate(hosts, 1)))
    scan = Scan(plan=plan)
    probes = [scan.send(task) for task in range(len(hosts))]
    scan.receive(*(b.port_unreachable(probe, **fields) for probe, fields in zip(probes, headers, strict=True)))
    return scan.record.header_traits.notes()


def said(differences):
    return f"its error differs from the host's other errors ({differences}): {TAIL}"


USUAL = [{"ttl": 64, "id": 100 + n} for n in range(4)]


@pytest.mark.parametrize(
    ("fields", "differences"),
    [
        ({"ttl": 63, "id": 9}, "TTL 63, not 64"),
        ({"ttl": 64, "id": 0}, "id 0"),
        ({"ttl": 64, "id": 9, "df": True}, "DF set"),
        ({"ttl": 255, "id": 0, "df": True}, "TTL 255, not 64, DF set, id 0"),
    ],
)
def test_a_differing_header_field_is_named(fields, differences):
    assert {4: said(differences)} == notes_of(4, *USUAL, fields)


def test_a_differing_header_field_is_named_with_roles_swapped():
    usual = [{"id": 0, "df": True}] * 4
    assert {4: said("DF not set, an id other than 0")} == notes_of(4, *usual, {"id": 7})


def test_in_ipv6_only_the_hop_limit_can_differ():
    assert {0: said("hop limit 62, not 64")} == notes_of(6, {"hop_limit": 62}, *[{"hop_limit": 64}] * 3)


def test_equal_headers_are_not_noted():
    assert {} == notes_of(4, *USUAL)


def test_too_few_refusals_define_no_usual_value():
    assert {} == notes_of(4, *USUAL[:2], {"ttl": 63})


def test_with_two_equal_halves_neither_is_odd():
    assert {} == notes_of(4, *USUAL, *[{"ttl": 63}] * 4)


def test_hosts_are_not_compared_with_each_other():
    hosts = [HOST[4]] * 4 + [OTHER_HOST[4]] * 4
    assert {} == notes_of(4, *USUAL, *[{"ttl": 255}] * 4, hosts=hosts)
    assert {7: said("TTL 64, not 255")} == notes_of(4, *USUAL, *[{"ttl": 255}] * 3, {"ttl": 64}, hosts=hosts)


def test_errors_of_other_reporters_are_not_compared():
    assert {} == notes_of(4, *USUAL, {"ttl": 61, "reporter": "203.0.113.1"})


def test_a_port_that_is_refused_several_times_counts_once():
    looks = HeaderTraits([0] * 5)
    for task, ttl in [(0, 64), (1, 64), *[(2, 63)] * 6]:
        looks.take(task, 4, ttl, 1, has_df=False)
    assert {} == looks.notes()


def test_without_refusals_nothing_is_odd():
    assert ({}, {}) == (HeaderTraits([]).notes(), HeaderTraits([0, 0, 0]).notes())


def test_one_zero_id_among_thousands_is_chance():
    looks = HeaderTraits([0] * 2000 + [1] * 655)
    for task in range(2000 + 655):
        looks.take(task, 4, 64, ip_id=task % 2000, has_df=False)
    assert {2000: said("id 0")} == looks.notes()


@given(st.lists(st.integers(0, 3)))
def test_the_usual_value_is_the_most_frequent(values):
    usual = max(values, key=values.count, default=0)
    is_usual = values.count(usual) >= 3 and 2 * values.count(usual) > len(values)
    assert (usual if is_usual else None) == usual_of((value, 1) for value in values)
