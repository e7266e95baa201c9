"""Reports as the analysis would make them, for tests of what is done with them."""

import json

from msgspec.structs import replace

from udpprobe.core.model import (
    Destination,
    Event,
    Finding,
    Loop,
    Quoted,
    Report,
    SourceReport,
    Spread,
    Unmatched,
)
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, meaning_of
from udpprobe.pmtud.model import BlackHole, MtuReport
from udpprobe.reports.json import report_json
from udpprobe.tracing.model import Target, TraceLoop, TraceReport

T0_NS = 1_700_000_000_123_456_789
LONG_V6 = "2001:db8:1111:2222:3333:4444:5555:6666"


def finding(verdict, key, reporter, count=1, **changes):
    """A finding; `key` is (family, type, code), or a family alone for a loop without any ICMP error."""
    family, icmp_type, icmp_code = key if isinstance(key, tuple) else (key, None, None)
    meaning = meaning_of(*key) if isinstance(key, tuple) else None
    made = Finding(
        verdict=verdict,
        errno=ERRNO_OF_VERDICT.get(verdict),
        linux=meaning.linux if meaning else None,
        family=family,
        icmp_type=icmp_type,
        icmp_code=icmp_code,
        reason=meaning.reason if meaning else "",
        reporter=reporter,
        count=count,
        first_time_ns=T0_NS,
        last_time_ns=T0_NS + 10**9,
        mtu=None,
        match="exact",
        rtt_ms=None,
        loop=None,
        notes=(),
    )
    return replace(made, **changes)


def destination(address, port, verdict, *findings, **changes):
    made = Destination(
        address=address,
        port=port,
        verdict=verdict,
        errno=ERRNO_OF_VERDICT.get(verdict),
        meaning=None,
        sent=14,
        sent_bytes=1400,
        answered=0,
        errors=sum(each.count for each in findings),
        rtt_ms=None,
        findings=findings,
    )
    return replace(made, **changes)


def source(**changes):
    made = SourceReport(
        kind="file",
        name="office.pcap",
        link_types=(1,),
        packets=12345,
        bytes=999_999,
        first_time_ns=T0_NS,
        last_time_ns=T0_NS + 12 * 10**9,
        dropped=None,
        cut_short=False,
    )
    return replace(made, **changes)


def report(*destinations, unmatched=(), faults=None, **source_changes):
    return Report(
        command="analyze",
        version="0.1.0",
        source=source(**source_changes),
        destinations=destinations,
        unmatched=tuple(unmatched),
        faults=faults or {},
    )


def parsed(report):
    """A report as scripts get it."""
    return json.loads("".join(report_json(report)))


REFUSED = destination(
    "198.51.100.7",
    53,
    "refused",
    finding("refused", (4, 3, 3), "198.51.100.7", 12, rtt_ms=Spread(0.1, 0.21345678, 0.4)),
)
TOO_BIG = destination(
    "203.0.113.9",
    4500,
    "too-big",
    finding("expired", (4, 11, 0), "192.0.2.254", 33_000),
    finding("too-big", (4, 3, 4), "192.0.2.1", 3, mtu=1400),
    sent=40_000,
)
LOOP = destination(
    "198.51.100.99",
    33434,
    "loop",
    finding("loop", (4, 11, 0), "192.0.2.1", 5, loop=Loop(("192.0.2.1", "192.0.2.2"), 2)),
)
UNREACHABLE_V6 = destination(
    LONG_V6,
    65535,
    "unreachable",
    finding("unreachable", (6, 1, 3), "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", 3, notes=("MTU of 0",)),
)
ANSWERED = destination("10.0.0.1", 53, "answered", answered=14, rtt_ms=Spread(1.0, 2.5, 3.0))
LONE = Unmatched("192.0.2.77", None, finding("prohibited", (4, 3, 13), "10.9.9.9", 2, match="none"))

EVENT = Event(
    frame=7,
    time_ns=T0_NS,
    family=4,
    type=3,
    code=4,
    verdict="too-big",
    errno="EMSGSIZE",
    linux=meaning_of(4, 3, 4).linux,
    reason="packet-too-big",
    reporter="192.0.2.1",
    mtu=1400,
    quoted=Quoted("10.0.0.1", 5000, "203.0.113.9", 4500, 7, 60, 1500, 1480, 0xBEEF, 548),
    match="exact",
    matched_frame=3,
    rtt_ms=0.25,
    extensions=({"class": 1, "labels": [16]},),
    notes=("bad checksum",),
)
EVENT_V6 = replace(
    EVENT,
    frame=123_456,
    family=6,
    reporter="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
    match="none",
    matched_frame=None,
    rtt_ms=None,
    mtu=None,
    extensions=None,
    notes=(),
    quoted=replace(EVENT.quoted, destination=LONG_V6, destination_port=65535),
)


# ---- what checks, traces and path MTUs are


def mtu_report(address="10.0.0.1", *, mtu=1500, **changes):
    """Of a path whose MTU was found."""
    made = MtuReport(
        version="0.1.0",
        target=Target(address, 53),
        verdict="ok",
        errno=None,
        path_mtu=mtu,
        udp_payload_max=mtu - 28,
        proof="refusal",
        state="SEARCH_COMPLETE",
        interface="eth0",
        interface_mtu=1500,
        source_address="10.0.0.9",
        control_port=None,
        reports=(),
        black_hole=None,
        sent=2,
        duration_ms=1.0,
        time_ns=0,
    )
    return replace(made, **changes)


MTU = mtu_report(notes=("n",), advice="Do this.")
HOLE = replace(MTU, verdict="black-hole", path_mtu=1420, black_hole=BlackHole(1420, 1421, "192.0.2.1", None))
TRACE = TraceReport("0.1.0", Target("10.0.0.1", 53), "10.0.0.9", (40_000,), "eth0", 0, "silent", None, False, (), None)
LOOPING = replace(TRACE, verdict="loop", loop=TraceLoop(("192.0.2.1", None, "192.0.2.3"), 3, 2))
MUTE = destination("10.0.0.1", 53, "silent", meaning="no-evidence")
QUIET = replace(MUTE, meaning="listening-or-filtered")
LIMITED = replace(MUTE, meaning="rate-limited")
