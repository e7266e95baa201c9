"""What is said of a hop: what was changed on the way, how far back it is, what extensions tell."""

from __future__ import annotations

import pytest
from trace_world import ANSWER, EXPIRED, HOST_UNREACH, OWN, REFUSED, TO, reply_of

from udpprobe.core.limiter import MS
from udpprobe.tracing.hops import PathEnd, end_of, hops_of, loop_of, worst
from udpprobe.tracing.path import TracePolicy
from udpprobe.tracing.schedule import Schedule

ROUTER = "10.0.0.1"
LABEL = {"label": 16001, "traffic_class": 0, "bottom": 1, "ttl": 1}
INTERFACE = {"role": "incoming", "name": "eth0"}


def tracing_of(*said, **policy):
    """A trace whose probes are answered by (reporter, kind, more) each, in the order of TTLs."""
    tracing = Schedule(TracePolicy(interval_ns=0, queries=1, max_ttl=len(said), **policy))
    probes = [probe for _ in said for probe in tracing.due(0)]
    tracing.take(
        [
            reply_of(probe.number, 0, (n + 1) * MS, who, kind, **({"ttl": 65 - probe.ttl} | more))
            for n, (probe, (who, kind, more)) in enumerate(zip(probes, said, strict=True))
        ]
    )
    return tracing


def reporter_of(kind=EXPIRED, who=ROUTER, **more):
    """The first hop's."""
    (hop,) = hops_of(tracing_of((who, kind, more)).paths, TO, 0)
    return hop.reporters[0]


def test_what_a_hop_says_of_itself():
    said = reporter_of()
    assert (ROUTER, 1, 1.0, 11, 0, "time-exceeded", "expired", None, (), (), (0,), ()) == (
        said.address,
        said.count,
        said.rtt_ms.median,
        said.type,
        said.code,
        said.reason,
        said.verdict,
        said.mtu,
        said.labels,
        said.interfaces,
        said.flows,
        said.notes,
    )


def test_an_answer_is_the_destination_s():
    said = reporter_of(ANSWER)
    assert (TO, None, None, "answer", "answered") == (said.address, said.type, said.code, said.reason, said.verdict)


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ("source", "a NAT changed the source"),
        ("destination", "a NAT changed the destination"),
        ("checksum", "the UDP checksum was changed, as by a NAT"),
        ("dscp", "the DSCP was changed"),
        ("ecn", "the ECN bits were changed"),
    ],
)
def test_changes_on_the_way_are_told(changed, note):
    assert (note,) == reporter_of(changed=(changed,)).notes


def test_notes_of_the_error_itself_are_told_once():
    said = reporter_of(changed=("source",), notes=("a NAT changed the source", "bad ICMP checksum"))
    assert ("a NAT changed the source", "bad ICMP checksum") == said.notes


def test_a_quoted_ttl_of_0_and_of_more_than_1_betray_routers():
    assert "quotes TTL 0" in reporter_of(quoted_ttl=0).notes[0]
    assert "quotes a TTL that is 2 too high" in reporter_of(quoted_ttl=3).notes[0]
    assert () == reporter_of(REFUSED, TO, quoted_ttl=0).notes


def test_the_way_back_is_told_where_it_is_another():
    assert ("comes back over 3 hops",) == reporter_of(ttl=253).notes
    assert () == reporter_of(ttl=128).notes
    assert () == reporter_of(HOST_UNREACH, ttl=60).notes
    assert ("comes back over 5 hops",) == reporter_of(REFUSED, TO, ttl=60).notes


def test_labels_and_interfaces_are_told_once_each():
    extensions = (
        {"class": 1, "type": 1, "mpls": [LABEL, LABEL]},
        {"class": 2, "type": 0, "interface": INTERFACE},
        {"class": 9, "type": 1, "data": ""},
    )
    said = reporter_of(extensions=extensions)
    assert ((LABEL,), (INTERFACE,)) == (said.labels, said.interfaces)


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ([(ROUTER, EXPIRED, {})], PathEnd("expired", "EHOSTUNREACH")),
        ([(TO, REFUSED, {})], PathEnd("refused", "ECONNREFUSED", reached=True)),
        ([(ROUTER, HOST_UNREACH, {})], PathEnd("unreachable", "EHOSTUNREACH")),
        ([(TO, ANSWER, {})], PathEnd("answered", None, reached=True)),
    ],
)
def test_how_a_way_ends(said, end):
    assert end == end_of(tracing_of(*said).paths[0])


def test_what_this_host_could_not_send_is_unsent():
    tracing = Schedule(TracePolicy(queries=1, max_ttl=1))
    tracing.refused(tracing.due(0), [90])
    assert PathEnd("unsent", "EMSGSIZE") == end_of(tracing.paths[0])
    assert () == hops_of(tracing.paths, TO, 0)
    probe, *_ = Schedule(TracePolicy(max_ttl=1)).due(0)
    reply = reply_of(probe.number, 0, MS, OWN, HOST_UNREACH)
    tracing = Schedule(TracePolicy(max_ttl=1))
    tracing.due(0)
    tracing.take([type(reply)(reply.number, 0, MS, "unsent", reply.event, 64)])
    assert (PathEnd("unsent", "EPERM"), ()) == (end_of(tracing.paths[0]), hops_of(tracing.paths, TO, 0))


def test_what_nothing_on_the_link_answers_for_is_unreachable_by_nobody():
    tracing = Schedule(TracePolicy(max_ttl=1, queries=1))
    (probe,) = tracing.due(0)
    reply = reply_of(probe.number, 0, MS, OWN, HOST_UNREACH)
    tracing.take([type(reply)(reply.number, 0, MS, "no-neighbour", reply.event, 64)])
    assert PathEnd("unreachable", "EHOSTUNREACH") == end_of(tracing.paths[0])
    (hop,) = hops_of(tracing.paths, TO, 0, "eth0")
    (said,) = hop.reporters
    assert (None, None, 1, ("no-neighbour", "no ARP (neighbour) reply on eth0")) == (
        said.address,
        said.rtt_ms,
        said.count,
        said.notes,
    )


def test_before_anything_was_sent_nothing_is_known():
    tracing = Schedule(TracePolicy())
    assert (PathEnd("silent", None), None, ()) == (
        worst([end_of(path) for path in tracing.paths]),
        loop_of(tracing.paths),
        hops_of(tracing.paths, TO, 0),
    )


def test_what_is_still_waited_for_is_not_lost():
    tracing = Schedule(TracePolicy(queries=1, max_ttl=1))
    tracing.due(0)
    assert [0, 1] == [hops_of(tracing.paths, TO, now_ns)[0].lost for now_ns in (MS, 9000 * MS)]
