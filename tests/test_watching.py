"""A watch in simulated time: what it tells when, when it ends, and that it stays small."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field
from ipaddress import ip_address

import builders as b
import numpy as np
import pytest
from crafting import CLIENT, PORT, PORT_UNREACHABLE, ROUTER, host, said, sent, told
from feeding import MS, batch_of

from udpprobe import watch as module
from udpprobe.core.batch import SourceState, tick
from udpprobe.core.model import Process
from udpprobe.core.summaries import conversations, elsewhere, episodes
from udpprobe.core.summaries.aging import AGED_OUT, Aging
from udpprobe.interrupt import Interrupted
from udpprobe.rotation import Rotation
from udpprobe.sockets import Sender, Sockets
from udpprobe.sources import open_captures
from udpprobe.watch import Listeners, Watch, WatchOptions

SECOND_NS = 10**9
DNSMASQ = Sender(Process("dnsmasq", 812), "unconnected")
BLIND = "dnsmasq[812]; its socket is unconnected: it does not know"


@dataclass
class Live:
    """A source of what the test says."""

    batches: object
    state: SourceState = field(default_factory=lambda: SourceState("interface", "eth0", dropped=0))

    def __iter__(self):
        return iter(self.batches)


class Known(Sockets):
    """Of whom a test says who sent."""

    def __init__(self, sender=None):
        super().__init__(list)
        self.sender = sender

    def senders(self, events):
        return [self.sender for _ in events]


def watching(batches, options=None, sender=None, **how):
    return Watch(Live(batches), options or WatchOptions(), Known(sender), **how)


def followed(watch, is_over=lambda: False):
    events = []
    watch.follow(Listeners(on_events=events.extend), is_over)
    return events


def at(time_ns, frames, first=1):
    return batch_of(frames, first=first, times_ns=[time_ns] * len(frames), now_ns=time_ns)


def test_an_error_is_told_at_once_where_little_happens():
    seen = []

    def source():
        yield at(SECOND_NS, told(sent(1)))
        seen.append(len(events))
        yield at(2 * SECOND_NS, told(sent(2)), first=3)
        seen.append(len(events))
    events = []
    watching(source()).follow(Listeners(on_events=events.extend), lambda: False)
    assert [1, 2] == seen


def test_after_a_quiet_while_nothing_waits_for_what_came_just_before():
    heard, now_ns = [], SECOND_NS

    def source():
        for n in range(1, 5):
            yield at(now_ns + n * 3 * MS, [sent(n)], first=n)
            heard.append(watch.pipeline.summary.conversations.open.size)
    watch = watching(source())
    followed(watch)
    assert [1, 2, 3, 4] == heard


def test_a_source_that_is_never_idle_gets_ticks_of_its_own():
    frames = [frame for n in range(1, 60) for frame in told(sent(n))]
    batches = [at(SECOND_NS + number * 10 * MS, [frame], first=number + 1) for number, frame in enumerate(frames)]
    lags_ns, now_ns = [], [0]

    def source():
        for batch in batches:
            now_ns[0] = batch.now_ns
            yield batch
    watching(source()).follow(
        Listeners(on_events=lambda events: lags_ns.extend(now_ns[0] - each.time_ns for each in events)), lambda: False)
    assert 59 == len(lags_ns)
    assert max(lags_ns) <= module.TICK_NS


def test_events_name_who_sent_and_what_its_socket_sees():
    event, = followed(watching([at(1, told(sent(1)))], sender=DNSMASQ))
    assert (Process("dnsmasq", 812), "blind", BLIND) == (event.process, event.sees, event.notes[-1])
    assert ("refused", 1) == (event.verdict, event.matched_frame)


def test_of_other_hosts_datagrams_nothing_is_said():
    event, = followed(watching([at(1, told(sent(1)))]))
    assert (None, None, ()) == (event.process, event.sees, event.notes)


def test_the_report_says_it_once_a_destination():
    unseen = said(sent(2))
    watch = watching([at(SECOND_NS, told(sent(1))), at(3 * SECOND_NS, [*told(sent(1, id=9)), unseen], first=3)],
                     sender=DNSMASQ)
    followed(watch)
    report = watch.report()
    assert [(host(1), 2, (BLIND,))] == [(each.address, each.errors, each.notes) for each in report.destinations]
    assert [(BLIND,)] == [each.finding.notes for each in report.unmatched]
    assert ("watch", "interface", "eth0", 5) \
        == (report.command, report.source.kind, report.source.name, report.source.packets)


def test_senders_of_a_destination_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_NOTED", 3)
    watch = watching([])
    for pid in range(10):
        watch.sockets.sender = Sender(Process("dig", pid), "connected")
        watch.source.batches = [at(pid * SECOND_NS, told(sent(1)) + told(sent(pid + 2)), first=1 + 4 * pid)]
        followed(watch)
    noted = [each for each in watch.report().destinations if each.notes]
    assert 3 == len(noted)
    assert module.NOTES_EACH >= max(len(each.notes) for each in noted)


@pytest.mark.parametrize(("options", "expected"), [
    (WatchOptions(), 9), (WatchOptions(duration_s=3), 4), (WatchOptions(count=2), 2), (WatchOptions(count=1), 1)])
def test_it_ends_when_it_is_to(options, expected):
    batches = [at(n * SECOND_NS, told(sent(n)), first=2 * n) for n in range(1, 10)]
    assert expected == len(followed(watching(batches, options)))


def test_no_more_errors_are_told_than_were_asked_for():
    assert 2 == len(followed(watching([at(1, [frame for n in range(5) for frame in told(sent(n))])],
                                      WatchOptions(count=2))))


def test_time_goes_on_without_packets():
    batches = (tick(n * SECOND_NS) for n in range(1, 10**6))
    assert [] == followed(watching(batches, WatchOptions(duration_s=5)))
    assert 7 * SECOND_NS == next(batches).now_ns


def test_somebody_may_end_it():
    batches = (at(n * SECOND_NS, told(sent(1, id=n)), first=2 * n) for n in range(1, 10**6))
    assert 1 == len(followed(watching(batches), lambda: True))


def test_errors_and_their_datagrams_are_written_and_nothing_else(tmp_path):
    path = tmp_path / "errors.pcapng"
    with Rotation(str(path), most_bytes=10**6, files=2, application="test") as rotation:
        frames = [sent(7), *told(sent(1)), sent(8), b.datagram("192.0.2.9", "192.0.2.8", 1, 2, b"x"), *told(sent(2))]
        watch = watching([at(1, frames[:3]), at(SECOND_NS, frames[3:], first=4)], sender=DNSMASQ, rotation=rotation)
        events = followed(watch)
    assert [2, 6] == [event.matched_frame for event in events]
    written = [batch.data[start:start + size].tobytes() for batch in open_captures([str(path)])
               for start, size in zip(batch.offset, batch.captured, strict=True)]
    assert [frames[number] for number in (1, 2, 5, 6)] == written
    assert f"{host(1)}:{PORT}: refused; {BLIND}".encode() in path.read_bytes()


def test_what_could_not_be_written_is_a_fault(tmp_path):
    with Rotation(str(tmp_path / "x"), most_bytes=10**6, files=2, application="test", remembered_bytes=1) as rotation:
        watch = watching([at(1, [sent(1)]), at(2, [said(sent(1))], first=2)], rotation=rotation)
        followed(watch)
    assert {"datagram-not-written": 1} == watch.report().faults


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
def test_an_hour_of_mixed_traffic_takes_no_more_memory_than_its_first_minutes(monkeypatch):
    """Strangers all the time: every destination, source and reporter is new after a while."""
    monkeypatch.setattr(module, "MOST_NOTED", 500)
    watch = watching([], aging=Aging(most_rows=500, most_samples=20_000), sender=DNSMASQ)
    watch.pipeline = module.Pipeline(keep_messages=True, horizon=5_000)
    for each in (conversations, elsewhere, episodes):     # so that an hour needs no million of packets
        monkeypatch.setattr(each, "QUIET_FRAMES", 1_000)
    watch.pipeline.summary.conversations = conversations.Conversations(most=500)
    peaks_kb, sizes = [], []
    for minute in range(60):
        watch.source.batches = minute_of(minute)
        followed(watch)
        watch.report()
        peaks_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        sizes.append(rows_of(watch))
    assert max(sizes[10:]) <= 1.5 * max(sizes[:10])
    assert peaks_kb[-1] - peaks_kb[25] < 4_000      # copies are looked for among the last 25 minutes' frames here
    assert watch.report().faults[AGED_OUT] > 1000
    assert 60 * 2_000 == watch.report().source.packets
    assert 60 * 200 == watch.told


def minute_of(minute):
    """2,000 packets: answered, silent, refused and reported on the way."""
    start_ns, random, frames = minute * 60 * SECOND_NS, np.random.default_rng(minute), []
    for n in range(400):
        peer = f"198.{minute % 200}.{n % 250}.{n // 250}"
        datagram = b.datagram(CLIENT[4], peer, int(random.integers(1024, 65535)), 53, b"x" * 20, id=n)
        answer = b.datagram(peer, CLIENT[4], 53, 4000, b"y")
        silent = b.datagram(CLIENT[6], f"2001:db8::{minute:x}:{n:x}", 5000, PORT, b"z")
        last = said(datagram, PORT_UNREACHABLE, reporter=peer if n % 4 else ROUTER[4]) if n % 2 else answer
        frames += [datagram, answer, silent, last, b"\x45"]
    return [at(start_ns + part * SECOND_NS, frames[200 * part:200 * (part + 1)], first=1 + 2_000 * minute + 200 * part)
            for part in range(10)]


def rows_of(watch):
    summary, pipeline = watch.pipeline.summary, watch.pipeline
    return (summary.conversations.endpoints.size + summary.conversations.open.size + summary.record.findings.size
            + len(summary.record.rtt) + len(summary.conversations.rtt)
            + sum(map(len, pipeline.log._segments)))       # noqa: SLF001 - nothing else says how much is remembered


class FakeCapture(Live):
    """In an interface's place."""

    def close(self):
        self.is_closed = True


@pytest.fixture
def capture(monkeypatch):
    made = FakeCapture([at(SECOND_NS, told(sent(1)))])

    def open_capture(expression, *, interface, bulk):
        made.asked = (expression, interface, bulk)
        return made
    monkeypatch.setattr(module, "open_capture", open_capture)
    monkeypatch.setattr(module, "own_addresses", lambda: {ip_address("192.0.2.77")})
    return made


def test_a_watch_listens_to_all_that_has_to_do_with_udp(capture):
    assert 1 == len(module.watch(WatchOptions("eth0"), Listeners()).destinations)
    assert (module.TRAFFIC, "eth0", True) == capture.asked
    assert capture.is_closed


def test_a_filter_leaves_packets_out_of_that(capture):
    module.watch(WatchOptions(filter="port 53 or icmp"), Listeners())
    assert f"({module.TRAFFIC}) and (port 53 or icmp)" == capture.asked[0]


class PressedOnce:
    came = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_ctrl_c_ends_it_with_its_report(capture, monkeypatch):
    capture.batches = (at(n * SECOND_NS, told(sent(n)), first=2 * n) for n in range(1, 10))
    monkeypatch.setattr(module, "CtrlC", PressedOnce)
    with pytest.raises(Interrupted) as ended:
        module.watch(WatchOptions(), Listeners())
    assert [host(1)] == [each.address for each in ended.value.report.destinations]
    assert capture.is_closed


def test_progress_is_told_after_each_batch_with_a_report_on_request(capture, tmp_path):
    capture.batches = [tick(1), at(SECOND_NS, told(sent(1)))]
    sizes = []
    options = WatchOptions(write=str(tmp_path / "x"))
    module.watch(options, Listeners(on_progress=lambda state, report: sizes.append(
        (state.name, len(report().destinations)))))
    assert [("eth0", 0), ("eth0", 1)] == sizes
    assert (tmp_path / "x").stat().st_size > 100
