import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import LONG_V6, Spread, destination, finding, report

from udpprobe.reports.crowd import ranges, summed_up
from udpprobe.reports.table import closing, report_markdown, report_table


def _refused(port, address="10.0.0.1", reporter=None, **changes):
    reporter = reporter or address
    verdict = "refused" if reporter == address else "rejected"
    return destination(address, port, verdict, finding(verdict, (4, 3, 3), reporter, rtt_ms=Spread(1, 1, 1)),
                       sent=1, **changes)


def _silent(port, address="10.0.0.1", **changes):
    return destination(address, port, "silent", sent=3, **{"meaning": "no-evidence", **changes})


def _told(*destinations):
    return [(each.address, each.port, each.verdict, each.notes) for each in summed_up(destinations)]


def test_fifty_of_a_kind_are_shown_one_by_one():
    few = tuple(_refused(port) for port in range(1, 51))
    assert few == summed_up(few)


def test_a_crowd_is_a_row_a_host():
    many = [_refused(port) for port in range(1, 41)] + [_refused(port, "10.0.0.2") for port in range(1, 41)]
    assert [("10.0.0.1", None, "refused", ("40 ports: 1-40",)),
            ("10.0.0.2", None, "refused", ("40 ports: 1-40",))] == _told(*many)


def test_a_row_of_a_crowd_counts_all_of_it():
    row, = summed_up([_refused(port) for port in range(1, 101)])
    assert (100, 140_000, 100, None) == (row.sent, row.sent_bytes, row.errors, row.rtt_ms)
    assert (100, None, "10.0.0.1") == (row.findings[0].count, row.findings[0].rtt_ms, row.findings[0].reporter)


def test_who_fared_otherwise_is_a_row_of_its_own():
    crowd = [_silent(port, meaning="listening-or-filtered") for port in range(1, 101)]
    assert [("10.0.0.1", None, "silent", ("100 ports: 1-100",)), ("10.0.0.1", 200, "silent", ()),
            ("10.0.0.9", 7, "refused", ())] == _told(*crowd, _silent(200), _refused(7, "10.0.0.9"))


def test_reporters_are_kept_apart():
    crowd = [_refused(port, reporter=f"192.0.2.{port % 2}") for port in range(1, 101)]
    assert [("rejected", "192.0.2.1"), ("rejected", "192.0.2.0")] == [
        (each.verdict, each.findings[0].reporter) for each in summed_up(crowd)]


def test_answers_are_never_summed_up():
    answers = tuple(destination("10.0.0.1", port, "answered", answered=1) for port in range(1, 101))
    assert answers == summed_up(answers)


def test_a_crowd_of_hosts_is_one_row():
    crowd = [_silent(port, f"10.0.{host}.1") for host in range(100) for port in (53, 123)]
    assert [("10.0.0.1 and 99 other hosts", None, "silent", ("2 ports: 53, 123",))] == _told(*crowd)


def test_hosts_of_one_port_each_are_one_row():
    crowd = [_refused(53, f"10.0.{host}.1") for host in range(100)]
    assert [("10.0.0.1 and 99 other hosts", None, "refused", ("1 port: 53",))] == _told(*crowd)
    assert "itself" in report_table(report(*crowd, kind="probe"), 120)


def test_notes_that_all_have_are_kept():
    crowd = [_silent(port, notes=("asked 3 times", f"n{port}")) for port in range(1, 101)]
    assert [("10.0.0.1", None, "silent", ("100 ports: 1-100", "asked 3 times"))] == _told(*crowd)


@pytest.mark.parametrize(("ports", "text"), [
    ([], ""), ([53], "53"), ([2, 1, 3, 7], "1-3, 7"), ([65535, 1], "1, 65535"),
    (range(1, 20, 2), "1, 3, 5, 7, 9, 11, 13, 15 and 2 more"),
])
def test_ports_are_told_as_ranges(ports, text):
    assert text == ranges(ports)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200), st.sampled_from("rsu")), unique_by=lambda x: x[:2],
                max_size=300))
def test_summing_up_loses_no_probe_and_no_error(rows):
    kinds = {"r": _refused, "s": _silent, "u": lambda port, address: _refused(port, address, "192.0.2.9")}
    all_of_them = [kinds[kind](port, f"10.0.0.{host}") for host, port, kind in rows]
    shown = summed_up(all_of_them)
    assert sum(each.sent for each in all_of_them) == sum(each.sent for each in shown)
    assert sum(each.errors for each in all_of_them) == sum(each.errors for each in shown)
    assert sum(each.errors for each in shown) == sum(found.count for each in shown for found in each.findings)


def test_the_last_line_of_a_scan_counts_destinations_and_probes():
    crowd = [_refused(port) for port in range(1, 61)]
    text = closing(report(*crowd, _silent(99), kind="probe", faults={"foreign": 2}, dropped=5))
    assert ("61 destinations: 60 refused, 1 silent; 63 probes in 12.0 s from 2023-11-14 22:13:20 UTC; "
            "faults: foreign 2; 5 packets dropped.") == text


def test_a_scan_that_was_interrupted_at_once_has_a_last_line_too():
    assert "0 destinations; 0 probes." == closing(report(kind="probe", first_time_ns=None, last_time_ns=None))


@pytest.mark.parametrize(("errno", "reason"), [
    ("ENETUNREACH", "no route"), ("EPERM", "a firewall of this host"), ("EINVAL", "a blackhole route"),
    ("EMSGSIZE", "larger than the interface's MTU"), ("EACCES", "a prohibit route, or a broadcast address"),
    ("EAFNOSUPPORT", "no address of its family to send from"), ("EHOSTUNREACH", "an unreachable route"),
    ("EADDRNOTAVAIL", "no address of this host to send from"), ("ENETDOWN", "the interface is down"),
    ("ENOBUFS", "the interface's queue was full"), ("ENODEV", "the interface is gone"), ("E2BIG", ""),
])
def test_what_this_host_did_not_send_has_its_errno_and_reason(errno, reason):
    told = report(destination("10.0.0.1", 53, "unsent", sent=0, errno=errno), kind="probe")
    line = report_table(told, 120).splitlines()[2]
    assert ["10.0.0.1:53", "unsent", errno, "0", *reason.split()] == line.split()


def test_a_table_of_crowds_fits_80_columns():
    crowd = [_silent(port, LONG_V6) for port in range(1, 200, 2)] + [_refused(port) for port in range(1, 200)]
    text = report_table(report(*crowd, kind="probe"), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert 100 > len(text.splitlines())


def test_markdown_sums_up_too():
    crowd = [_refused(port) for port in range(1, 200)]
    assert "| 10.0.0.1      | refused   | ECONNREFUSED | 199 of 199 | itself | 199 ports: 1-199 |" in report_markdown(
        report(*crowd, kind="probe"), 80)


def test_a_report_of_captures_shows_every_row():
    crowd = [_refused(port) for port in range(1, 200)]
    assert 199 == report_table(report(*crowd), 80).count("10.0.0.1:")


def test_a_crowd_on_a_link_keeps_its_zone():
    many = [_silent(port, "fe80::1", zone="eth0") for port in range(1, 100)]
    assert "fe80::1%eth0 " in report_table(report(*many, kind="probe"), 100)
    hosts = [_silent(7, f"fe80::{host:x}", zone="eth0") for host in range(1, 100)]
    assert "fe80::1%eth0 and 98 other hosts " in report_table(report(*hosts, kind="probe"), 100)
