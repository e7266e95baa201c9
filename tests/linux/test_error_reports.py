"""Errors that were captured, and the kernel's reports of them: which belongs to which, and when nobody can say."""

from __future__ import annotations

import errno
import time
from ipaddress import ip_address

import builders as b
import pytest

from udpprobe.core.addresses import mapped_address
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.model import Process
from udpprobe.linux import error_reports as module
from udpprobe.linux.error_reports import EVENT, GRACE_S, ErrorReports, KernelEvents
from udpprobe.linux.sockets import Sender
from udpprobe.linux.tracefs import Record
from udpprobe.report import events_of

OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
FAR = {4: "198.51.100.7", 6: "2001:db8:7::7"}
PORT, CLOSED = 4000, 7
UNBOUND = Process("unbound", 812)


class Kernel:
    """A source of events, and a clock."""

    def __init__(self):
        self.records, self.lost, self.now_s = [], 0, 100.0

    def read(self):
        told, self.records = self.records, []
        return told

    def report(
        self, family, number=errno.ECONNREFUSED, port=PORT, peer=None, peer_port=0, address=None, after_ns=5_000
    ):
        whole = {
            name: mapped_address(ip_address(text)).to_bytes(16) if text else bytes(16)
            for name, text in (("saddr_v6", address), ("daddr_v6", peer))
        }
        if family == 4 and not address:
            whole["saddr_v6"] = mapped_address(ip_address("0.0.0.0")).to_bytes(16)
        self.records.append(
            Record(EVENT, time.time_ns() + after_ns, {"error": number, "sport": port, "dport": peer_port, **whole})
        )


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def reports(kernel):
    return ErrorReports(kernel, lambda: kernel.now_s)


@pytest.fixture(params=[4, 6])
def family(request):
    return request.param


def error(family, port=PORT, far=None, code=None, icmp_type=None):
    datagram = b.datagram(OWN[family], far or FAR[family], port, CLOSED, b"x")
    made = b.port_unreachable(datagram) if icmp_type is None else b.error(datagram, icmp_type, code)
    analyzer = Analyzer(7, keeps_events=True)
    now_ns = time.time_ns()
    analyzer.feed_frames((now_ns + n, frame, len(frame), 101) for n, frame in enumerate((datagram, made)))
    analyzer.flush()
    [kept] = analyzer.take_events()
    [event] = events_of(analyzer, kept, 32)
    return event


def words(reports):
    return [each.is_reported for each in reports.judged()]


def test_a_report_about_the_same_flow_decides(kernel, reports, family):
    reports.expect(error(family), Sender(UNBOUND, "connected"))
    assert [] == words(reports)
    kernel.report(family, address=OWN[family], peer=FAR[family], peer_port=CLOSED)
    assert [True] == words(reports)


def test_a_report_read_before_its_error_is_kept_for_it(kernel, reports, family):
    event = error(family)
    kernel.report(family)
    assert [] == words(reports)
    reports.expect(event, Sender(UNBOUND, "recverr"))
    assert [True] == words(reports)


def test_without_a_report_in_time_no_socket_got_an_errno(kernel, reports, family):
    reports.expect(error(family), Sender(UNBOUND, "unconnected"))
    kernel.now_s += GRACE_S / 2
    assert [] == words(reports)
    kernel.now_s += GRACE_S
    assert [False] == words(reports)


@pytest.mark.parametrize(
    "other",
    [
        {"number": errno.EHOSTUNREACH},
        {"port": PORT + 1},
        {"after_ns": -(10**12)},
        {"peer_port": CLOSED + 1, "peer": "FAR"},
        {"peer_port": CLOSED, "peer": "OWN"},
        {"address": "FAR"},
    ],
)
def test_a_report_with_another_errno_port_address_or_time_does_not_match(kernel, reports, family, other):
    places = {"OWN": OWN[family], "FAR": FAR[family]}
    reports.expect(error(family), Sender(UNBOUND, "unknown"))
    kernel.report(family, **{name: places.get(value, value) for name, value in other.items()})
    kernel.now_s += 2 * GRACE_S
    assert [False] == words(reports)


@pytest.mark.parametrize(("state", "word"), [("connected", True), ("unknown", None), ("unconnected", None)])
def test_if_the_program_took_the_errno_first_its_socket_state_decides(kernel, reports, family, state, word):
    """Linux wakes the program before it writes the event; an error queue's time stamp looks the same."""
    reports.expect(error(family), Sender(UNBOUND, state))
    kernel.report(family, 0, address=OWN[family], peer=FAR[family], peer_port=CLOSED)
    kernel.now_s += 2 * GRACE_S
    assert [word] == words(reports)


def test_each_error_takes_its_own_report(kernel, reports, family):
    for _ in range(3):
        reports.expect(error(family), Sender(UNBOUND, "recverr"))
    kernel.report(family)
    kernel.report(family)
    kernel.now_s += 2 * GRACE_S
    assert [True, True, False] == words(reports)


def test_a_report_goes_to_the_error_that_its_socket_should_get(kernel, reports):
    """Host unreachable is soft and prohibited is hard, and both are EHOSTUNREACH to a connected socket."""
    reports.expect(error(4, icmp_type=3, code=1), Sender(UNBOUND, "connected"))
    reports.expect(error(4, icmp_type=3, code=13), Sender(UNBOUND, "connected"))
    kernel.report(4, errno.EHOSTUNREACH, address=OWN[4], peer=FAR[4], peer_port=CLOSED)
    kernel.now_s += 2 * GRACE_S
    assert [False, True] == words(reports)


def test_errors_keep_their_order_while_waiting_for_reports(kernel, reports, family):
    reports.expect(error(family), None)
    assert [None] == words(reports)
    reports.expect(error(family), Sender(UNBOUND, "unconnected"))
    reports.expect(error(family, far=OWN[family]), None)
    assert [] == words(reports)
    kernel.now_s += 2 * GRACE_S
    assert [False, None] == words(reports)
    assert 0 == len(reports)


def test_a_contradicting_report_of_a_wildcard_socket_may_be_from_another_namespace(kernel, reports, family):
    reports.expect(error(family), Sender(UNBOUND, "unconnected"))
    kernel.report(family)
    assert [None] == words(reports)


def test_a_report_naming_both_ends_or_a_closed_socket_is_from_this_namespace(kernel, reports, family):
    reports.expect(error(family), Sender(UNBOUND, "unconnected", is_gone=True))
    kernel.report(family)
    [judged] = reports.judged()
    assert ("recverr", True) == (judged.sender.sees, judged.is_reported)
    reports.expect(error(family), Sender(UNBOUND, "unconnected"))
    kernel.report(family, address=OWN[family], peer=FAR[family], peer_port=CLOSED)
    [judged] = reports.judged()
    assert ("connected", UNBOUND, True) == (judged.sender.sees, judged.sender.process, judged.is_reported)


def test_a_report_about_an_unknown_sender_shows_the_state_of_its_socket(kernel, reports, family):
    reports.expect(error(family), Sender(None, "unknown"))
    kernel.report(family)
    [judged] = reports.judged()
    assert ("recverr", True) == (judged.sender.sees, judged.is_reported)


def test_while_events_are_lost_a_missing_report_proves_nothing(kernel, reports, family):
    reports.expect(error(family), Sender(UNBOUND, "unconnected"))
    kernel.lost = 0
    kernel.read = lambda: setattr(kernel, "lost", 3) or []
    reports.read_reports()
    kernel.read = list
    kernel.now_s += 2 * GRACE_S
    assert [None] == words(reports)
    assert 3 == reports.lost
    kernel.now_s += 2 * GRACE_S
    reports.expect(error(family), Sender(UNBOUND, "unconnected"))
    kernel.now_s += 2 * GRACE_S
    assert [False] == words(reports)


def test_before_events_were_enabled_a_missing_report_proves_nothing(kernel, family):
    event = error(family)
    reports = ErrorReports(kernel, lambda: kernel.now_s)
    reports.expect(event, Sender(UNBOUND, "unconnected"))
    kernel.now_s += 2 * GRACE_S
    assert [None] == words(reports)


def test_errors_of_sockets_sharing_a_port_take_the_reports_after_them(kernel, reports, family):
    """An entry of the error queue is announced twice; the first error went to the socket without IP_RECVERR."""
    for _ in range(2):
        reports.expect(error(family), Sender(UNBOUND, "unknown"))
    kernel.report(family)
    kernel.report(family)
    kernel.now_s += 2 * GRACE_S
    assert [None, True] == words(reports)  # of the first one, nobody can say


def test_many_errors_about_one_port_leave_no_state_behind(kernel, reports):
    """A blind program that sends to a closed port as fast as it can."""
    event = error(4)
    for _ in range(20_000):
        reports.expect(event, Sender(UNBOUND, "unconnected"))
    kernel.now_s += 2 * GRACE_S
    assert 20_000 == len(words(reports))
    assert not reports


def test_off_enables_no_events_and_decides_nothing(monkeypatch):
    monkeypatch.setattr(module, "Tracing", lambda _: pytest.fail("asked"))
    events = KernelEvents("off")
    events.expect(error(4), Sender(UNBOUND, "connected"))
    assert [None] == [each.is_reported for each in events.judged()]
    assert not events.waits()
    events.close()


def test_auto_continues_without_events_and_says_what_is_missing(monkeypatch):
    def refuse(_):
        raise module.UdpprobeError("the kernel's events need root")

    monkeypatch.setattr(module, "Tracing", refuse)
    said = []
    events = KernelEvents("auto", said.append)
    events.close()
    assert ["whether a socket got an error is inferred from its state: the kernel's events need root"] == said
    with pytest.raises(module.UdpprobeError, match="root"):
        KernelEvents("on")


@pytest.mark.parametrize(
    ("state", "is_reported", "text"),
    [
        (
            "connected",
            True,
            "unbound[812]; its socket is connected: its next call gives ECONNREFUSED (the kernel: reported ECONNREFUSED)",
        ),
        ("unconnected", False, "unbound[812]; its socket is unconnected: it gets no error (the kernel: not reported)"),
        (
            "connected",
            False,
            "unbound[812]; whatever its state, its socket did not get the error (the kernel: not reported)",
        ),
        (
            "unknown",
            True,
            "unbound[812]; whatever its state, its socket got the error (the kernel: reported ECONNREFUSED)",
        ),
        (
            "unknown",
            False,
            "unbound[812]; whatever its state, its socket did not get the error (the kernel: not reported)",
        ),
    ],
)
def test_the_kernels_report_is_shown_beside_the_inference(state, is_reported, text):
    assert text == Sender(UNBOUND, state).note(module.meaning_of(4, 3, 3), is_reported)


def test_while_no_error_waits_events_are_read_occasionally(kernel, reports, family):
    reads = []
    kernel.read = lambda: reads.append(kernel.now_s) or []
    for _ in range(1000):
        kernel.now_s += 0.001
        list(reports.judged())
    assert 9 <= len(reads) <= 11
    reports.expect(error(family), Sender(UNBOUND, "connected"))
    before = len(reads)
    for _ in range(3):
        list(reports.judged())
    assert before + 3 == len(reads)
