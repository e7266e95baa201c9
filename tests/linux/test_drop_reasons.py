"""Why this host dropped packets: a namespace's counters as texts that a test says, and the kernel's event itself."""

from __future__ import annotations

import errno
import os
import socket
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from udpprobe.core.model import DropReason
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.linux import drop_reasons as module
from udpprobe.linux.drop_reasons import (
    COUNTERS,
    EVENT,
    REASONS,
    DropReasons,
    EventCounters,
    namespace_drops,
    numbers_of,
)
from udpprobe.linux.tracefs import Format, Tracing
from udpprobe.reports.own_host import REASONS as WORDS

SNMP = """\
Ip: Forwarding DefaultTTL ReasmTimeout
Ip: 1 64 8
Icmp: InMsgs InErrors InCsumErrors
Icmp: 9 1 1
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 39 12 4102 55 4100 0 2 0 3
UdpLite: InDatagrams NoPorts RcvbufErrors InCsumErrors
UdpLite: 7 7 7 7
"""
SNMP6 = "Udp6NoPorts                     \t30\nUdp6RcvbufErrors 5\nUdpLite6NoPorts 7\nIcmp6InCsumErrors 4\n"
NETSTAT = "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 6\nIpExt: InNoRoutes InCsumErrors\nIpExt: 0 9\n"
TEXTS = {"snmp": SNMP, "snmp6": SNMP6, "netstat": NETSTAT}
KFREE_SKB = Format.parse("""\
ID: 2310
\tfield:void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:unsigned short protocol;\toffset:32;\tsize:2;\tsigned:0;
\tfield:enum skb_drop_reason reason;\toffset:36;\tsize:4;\tsigned:0;
print fmt: "%s", __print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, { 3, "NO_SOCKET" }, { 71, "NETFILTER_DROP" })
""")


def test_a_namespace_s_counters_are_of_both_families():
    assert {
        "NO_SOCKET": 42,
        "SOCKET_RCVBUFF": 4105,
        "PROTO_MEM": 3,
        "UDP_CSUM": 2,
        "ICMP_CSUM": 5,
        "IP_CSUM": 9,
        "IP_RPFILTER": 6,
        "FRAG_REASM_TIMEOUT": 8,
    } == namespace_drops(TEXTS.__getitem__)


@pytest.mark.parametrize("text", ["", "Udp: InDatagrams\nUdp: 3\n", "Udp: NoPorts\n", "Udp: NoPorts\nUdp: x\n"])
def test_counters_missing_in_a_kernel_are_absent(text):
    assert {} == namespace_drops(lambda _: text)


@example("0 ²")
@example("Udp: ²\nUdp: ²")
@given(st.text(alphabet="Udp6: NoPrts\n019²", max_size=60))
def test_no_text_makes_parsing_counters_fail(text):
    assert all(number >= 0 for number in numbers_of(text).values())


@pytest.fixture
def counts(monkeypatch):
    """What a namespace counts, and how often the event came; the filters of its counters."""
    made = {"here": {"NO_SOCKET": 5, "UDP_CSUM": 2**64 - 1}, "host": {}, "filters": None}

    class Counters:
        def __init__(self, event, filters):
            made["filters"] = event, filters

        def read(self):
            return module.Counter(made["host"])

        def close(self):
            made["filters"] = None

    monkeypatch.setattr(module, "namespace_drops", lambda: dict(made["here"]))
    monkeypatch.setattr(module, "EventCounters", Counters)
    return made


def test_without_the_event_drops_come_from_the_namespaces_counters(counts):
    drops = DropReasons()
    assert () == drops.found()
    counts["here"] = {"NO_SOCKET": 6, "UDP_CSUM": 2}
    assert (DropReason("UDP_CSUM", None, 3), DropReason("NO_SOCKET", None, 1)) == drops.found()
    drops.close()


def test_the_event_counts_reasons_that_namespaces_do_not(counts):
    drops = DropReasons()
    drops.count_all(KFREE_SKB)
    counts["host"] = {"NETFILTER_DROP": 7, "NO_SOCKET": 9}
    counts["here"]["NO_SOCKET"] += 4
    assert (DropReason("NO_SOCKET", 9, 4), DropReason("NETFILTER_DROP", 7, None)) == drops.found()


def test_reason_numbers_come_from_the_running_kernel(counts):
    DropReasons().count_all(KFREE_SKB)
    event, filters = counts["filters"]
    assert (2310, {"NO_SOCKET", "NETFILTER_DROP"}) == (event, set(filters))
    assert filters["NETFILTER_DROP"].startswith("reason == 71 && ")


@pytest.mark.parametrize("text", ["ID: 7\n", 'ID: 7\n\tfield:int reason;\toffset:8;\tsize:4;\tsigned:0;\n{ 3, "X" }'])
def test_a_kernel_without_drop_reasons_is_reported_as_too_old(text):
    with pytest.raises(UdpprobeError, match=r"5\.17"):
        DropReasons().count_all(Format.parse(text))


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EPERM, PrivilegeError), (errno.EACCES, PrivilegeError), (errno.ENOSYS, UdpprobeError)]
)
def test_an_obstacle_to_counting_is_reported_in_one_line(monkeypatch, number, kind):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "_perf_event_open", refuse)
    with pytest.raises(kind, match=f"perf_event_open: {os.strerror(number)}"):
        EventCounters(2310, {"NO_SOCKET": "reason == 3"})


def test_every_reason_has_a_description():
    assert set(REASONS) == set(WORDS)
    assert set(COUNTERS) <= set(REASONS)


# ---- with the kernel itself


@pytest.fixture
def drops():
    made = DropReasons()
    try:
        tracing = Tracing({})
        try:
            made.count_all(tracing.format_of(EVENT))
        finally:
            tracing.close()
    except UdpprobeError as why:
        pytest.skip(f"no drops by reason: {why}")
    yield made
    made.close()


def of(drops, reason):
    return next((each for each in drops.found() if each.reason == reason), DropReason(reason, 0, 0))


@pytest.mark.live
@pytest.mark.parametrize(("domain", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_datagrams_without_a_socket_are_counted_by_host_and_namespace(drops, domain, host):
    """Others may drop some meanwhile; a busy kernel does so long after `sendto`."""
    with socket.socket(domain, socket.SOCK_DGRAM) as closed, socket.socket(domain, socket.SOCK_DGRAM) as sender:
        closed.bind((host, 0))
        to = closed.getsockname()[:2]
        closed.close()
        for _ in range(9):
            sender.sendto(b"x", to)
    limit_s = time.monotonic() + 30
    while (found := of(drops, "NO_SOCKET")) and min(found.host, found.namespace) < 9 and time.monotonic() < limit_s:
        time.sleep(0.01)
    assert min(found.host, found.namespace) >= 9
