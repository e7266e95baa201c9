"""What is said of a hop: what was changed on the way, how far back it is, what extensions tell."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from trace_world import ANSWER, EXPIRED, HOST_UNREACH, OWN, REFUSED, TO, Way, reply_of, traced

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


def test_a_hop_has_reporters_rtts_and_loss():
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


def test_an_answer_is_reported_for_the_destination():
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
def test_changes_along_the_path_are_noted(changed, note):
    assert (note,) == reporter_of(changed=(changed,)).notes


def test_notes_of_the_error_itself_appear_once():
    said = reporter_of(changed=("source",), notes=("a NAT changed the source", "bad ICMP checksum"))
    assert ("a NAT changed the source", "bad ICMP checksum") == said.notes


def test_quoted_ttls_of_0_or_above_1_reveal_routers():
    assert "quotes TTL 0" in reporter_of(quoted_ttl=0).notes[0]
    assert "quotes a TTL that is 2 too high" in reporter_of(quoted_ttl=3).notes[0]
    assert () == reporter_of(REFUSED, TO, quoted_ttl=0).notes


def test_a_different_return_path_is_noted():
    assert ("replies return over 3 hops",) == reporter_of(ttl=253).notes
    assert () == reporter_of(ttl=128).notes
    assert () == reporter_of(HOST_UNREACH, ttl=60).notes
    assert ("replies return over 5 hops",) == reporter_of(REFUSED, TO, ttl=60).notes


def test_labels_and_interfaces_appear_once_each():
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
def test_each_end_of_a_path_has_its_verdict(said, end):
    assert end == end_of(tracing_of(*said).paths[0])


def test_a_probe_this_host_could_not_send_is_unsent():
    tracing = Schedule(TracePolicy(queries=1, max_ttl=1))
    tracing.unsent(tracing.due(0), [90])
    assert PathEnd("unsent", "EMSGSIZE") == end_of(tracing.paths[0])
    assert () == hops_of(tracing.paths, TO, 0)
    probe, *_ = Schedule(TracePolicy(max_ttl=1)).due(0)
    reply = reply_of(probe.number, 0, MS, OWN, HOST_UNREACH)
    tracing = Schedule(TracePolicy(max_ttl=1))
    tracing.due(0)
    tracing.take([type(reply)(reply.number, 0, MS, "unsent", reply.event, 64)])
    assert (PathEnd("unsent", "EPERM"), ()) == (end_of(tracing.paths[0]), hops_of(tracing.paths, TO, 0))


def test_a_missing_neighbour_is_unreachable_without_a_reporter():
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


def test_a_probe_still_waiting_is_not_lost():
    tracing = Schedule(TracePolicy(queries=1, max_ttl=1))
    tracing.due(0)
    assert [0, 1] == [hops_of(tracing.paths, TO, now_ns)[0].lost for now_ns in (MS, 9000 * MS)]


# ---- hops in whose name somebody else speaks, and those of a loop that limits its errors


TOO_BIG = (3, 4)


def notes_of(who, kind, **about):
    tracing = Schedule(TracePolicy(interval_ns=0, queries=1, max_ttl=1))
    tracing.take([reply_of(probe.number, 0, 1, who, kind, **about) for probe in tracing.due(0)])
    return hops_of(tracing.paths, TO, 0)[0].reporters[0].notes


@pytest.mark.parametrize(
    ("kind", "about", "note"),
    [
        (EXPIRED, {"changed": ("df",)}, "the DF bit was cleared: packets that are too big get fragmented"),
        (EXPIRED, {}, "a NAT replies with the destination's address for the hosts behind it"),
    ],
)
def test_oddities_of_an_error_are_noted(kind, about, note):
    assert note in notes_of(TO, kind, **about)


def test_a_damaged_error_is_not_said_to_show_changes():
    damaged = "bad ICMP checksum: a host would ignore this error"
    assert (damaged,) == notes_of("10.0.0.1", EXPIRED, changed=("source",), notes=(damaged,))


class Balanced(Way):
    """Each packet takes a way with this many routers, or with one more."""

    def reply(self, probe, now_ns):
        longer = probe.number % 3 == 0
        self.routers = [f"10.0.{longer:d}.{n}" for n in range(1, 4 + longer)]
        return super().reply(probe, now_ns)


def test_with_paths_of_different_lengths_a_quoted_ttl_reveals_no_hidden_hops():
    said = traced(Balanced([]), queries=9)
    assert {5} == {path.end_ttl for path in said.paths}
    assert not [note for each in said.hops[-1].reporters for note in each.notes if "too high" in note]


def test_an_answer_from_another_port_is_noted_at_its_hop():
    assert () == notes_of(TO, ANSWER)
    assert ("answers from a port other than the one probed",) == notes_of(TO, ANSWER, changed=("port",))


@dataclass
class Forgetful(Way):
    """All that expire at hop 4 are lost."""

    def reply(self, probe, now_ns):
        said = super().reply(probe, now_ns)
        return None if probe.ttl == 4 else said


def test_a_limit_before_a_loop_is_no_loss_even_if_a_router_falls_silent():
    routers = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    said = traced(Forgetful(routers, period=2, limits={routers[0]: (1, 1)}))
    first = said.hops[0]
    assert (2, 2, 0) == (said.loop.period, said.loop.first_ttl, first.lost)
    assert ("limits its replies: answered 2 of 9",) == first.reporters[0].notes


@pytest.mark.parametrize("period", [0, 2])
def test_beyond_the_path_a_first_ttl_reveals_no_hidden_hops(period):
    said = traced(Way([f"10.0.0.{n}" for n in range(1, 4)], period=period), first_ttl=6)
    assert set() == {note for hop in said.hops for each in hop.reporters for note in each.notes}


def test_if_the_first_ttl_expired_hidden_hops_are_noted():
    way = Way([f"10.0.0.{n}" for n in range(1, 4)], hidden=2)
    first = traced(way, first_ttl=2).hops[0].reporters[0]
    assert any("quotes a TTL that is 2 too high" in note for note in first.notes)


@pytest.mark.parametrize(
    ("who", "kind", "surplus"), [("10.0.0.1", TOO_BIG, 0), (TO, REFUSED, 1), ("10.0.0.1", EXPIRED, 1)]
)
def test_a_router_may_report_before_it_decrements_the_ttl(who, kind, surplus):
    assert bool(surplus) == any("too high" in note for note in notes_of(who, kind, quoted_ttl=2))
    assert any(f"that is {surplus + 1} too high" in note for note in notes_of(who, kind, quoted_ttl=3))


def test_hidden_hops_before_the_end_are_noted_once():
    end = traced(Way([f"10.0.0.{n}" for n in range(1, 4)], hidden=2)).hops[-1].reporters[0]
    assert 1 == len([note for note in end.notes if "too high" in note])
