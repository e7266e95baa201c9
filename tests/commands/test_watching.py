"""A watch in simulated time: what it tells when, when it ends, and that it stays small."""

from __future__ import annotations

import resource
import struct
import sys
from ipaddress import ip_address

import builders as b
import numpy as np
import pytest
from builders import CLIENT, PORT, ROUTER, error_about, host, sent, with_refusal
from containers import pcap_header
from following import MS, RAW
from live_frames import frames_of, read_frames
from ring_blocks import DATA_AT, FIRST_AT, Packet, block, record

from udpprobe.capture.frames import Frames, SourceState
from udpprobe.capture.inputs import find_inputs
from udpprobe.capture.packet_socket import LiveCapture
from udpprobe.capture.recorder import Rotation
from udpprobe.commands import analyze as command
from udpprobe.commands import watch as module
from udpprobe.commands.watch import Listeners, Watch, WatchOptions
from udpprobe.core import is_compiled
from udpprobe.core.aging import AGED_OUT
from udpprobe.core.capture import BLOCKS, Records
from udpprobe.core.model import Process
from udpprobe.interrupt import Interrupted
from udpprobe.linux.sockets import Sender, Sockets

SECOND_NS = 10**9
DNSMASQ = Sender(Process("dnsmasq", 812), "unconnected")
BLIND = "dnsmasq[812]; its socket is unconnected: it gets no error"


class Live(LiveCapture):
    """A source of what the test says; at its end, nothing comes any more."""

    def __init__(self, heard):
        super().__init__(SourceState("interface", "eth0", dropped=0))
        self.heard = heard
        self.is_done = False

    @property
    def heard(self):
        return self._heard

    @heard.setter
    def heard(self, heard):
        self._heard, self.is_done = iter(heard), False

    def receive(self, _):
        frames = next(self._heard, None)
        self.is_done = frames is None
        return Frames(0) if frames is None else frames

    def close(self):
        self.is_closed = True


class Known(Sockets):
    """Of whom a test says who sent."""

    def __init__(self, sender=None):
        super().__init__(list)
        self.sender = sender

    def senders(self, events):
        return [self.sender for _ in events]


def watching(heard, options=None, sender=None, **how):
    return Watch(Live(heard), options or WatchOptions(), Known(sender), **how)


def followed(watch, is_over=lambda: False):
    events = []
    watch.follow(Listeners(on_events=events.extend), lambda: watch.source.is_done or is_over())
    return events


def at(time_ns, packets, first=1):
    return frames_of(packets, first=first, times_ns=[time_ns] * len(packets), now_ns=time_ns)


def test_an_error_is_reported_at_once_on_a_quiet_link():
    seen = []

    def source():
        yield at(SECOND_NS, with_refusal(sent(1)))
        seen.append(len(events))
        yield at(2 * SECOND_NS, with_refusal(sent(2)), first=3)
        seen.append(len(events))

    events = []
    watch = watching(source())
    watch.follow(Listeners(on_events=events.extend), lambda: watch.source.is_done)
    assert [1, 2] == seen


def test_events_name_the_sender_and_what_its_socket_sees():
    (event,) = followed(watching([at(1, with_refusal(sent(1)))], sender=DNSMASQ))
    assert (Process("dnsmasq", 812), "blind", BLIND) == (event.process, event.sees, event.notes[-1])
    assert ("refused", 1) == (event.verdict, event.matched_frame)


def test_datagrams_of_other_hosts_have_no_process():
    (event,) = followed(watching([at(1, with_refusal(sent(1)))]))
    assert (None, None, ()) == (event.process, event.sees, event.notes)


def test_the_report_notes_each_sender_once_per_destination():
    unseen = error_about(sent(2))
    watch = watching(
        [at(SECOND_NS, with_refusal(sent(1))), at(3 * SECOND_NS, [*with_refusal(sent(1, id=9)), unseen], first=3)],
        sender=DNSMASQ,
    )
    followed(watch)
    report = watch.report()
    assert [(host(1), 2, (BLIND,))] == [(each.address, each.errors, each.notes) for each in report.destinations]
    assert [(BLIND,)] == [each.finding.notes for each in report.unmatched]
    assert ("watch", "interface", "eth0", 5) == (
        report.command,
        report.source.kind,
        report.source.name,
        report.source.packets,
    )


def test_senders_of_a_destination_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_NOTED", 3)
    watch = watching([])
    for pid in range(10):
        watch.sockets.sender = Sender(Process("dig", pid), "connected")
        watch.source.heard = [
            at(pid * SECOND_NS, with_refusal(sent(1)) + with_refusal(sent(pid + 2)), first=1 + 4 * pid)
        ]
        followed(watch)
    noted = [each for each in watch.report().destinations if each.notes]
    assert 3 == len(noted)
    assert module.NOTES_EACH >= max(len(each.notes) for each in noted)


@pytest.mark.parametrize(
    ("options", "expected"),
    [(WatchOptions(), 9), (WatchOptions(duration_s=3), 4), (WatchOptions(count=2), 2), (WatchOptions(count=1), 1)],
)
def test_a_watch_ends_after_its_duration(options, expected):
    heard = [at(n * SECOND_NS, with_refusal(sent(n)), first=2 * n) for n in range(1, 10)]
    assert expected == len(followed(watching(heard, options)))


def test_no_more_errors_are_reported_than_requested():
    assert 2 == len(
        followed(watching([at(1, [frame for n in range(5) for frame in with_refusal(sent(n))])], WatchOptions(count=2)))
    )


def test_time_goes_on_without_packets():
    heard = (Frames(n * SECOND_NS) for n in range(1, 10**6))
    assert [] == followed(watching(heard, WatchOptions(duration_s=5)))
    assert 7 * SECOND_NS == next(heard).now_ns


def test_a_watch_can_be_ended_by_its_caller():
    heard = (at(n * SECOND_NS, with_refusal(sent(1, id=n)), first=2 * n) for n in range(1, 10**6))
    assert 1 == len(followed(watching(heard), lambda: True))


def test_errors_and_their_datagrams_are_written_and_nothing_else(tmp_path):
    path = tmp_path / "errors.pcapng"
    with Rotation(str(path), most_bytes=10**6, files=2, application="test") as rotation:
        frames = [
            sent(7),
            *with_refusal(sent(1)),
            sent(8),
            b.datagram("192.0.2.9", "192.0.2.8", 1, 2, b"x"),
            *with_refusal(sent(2)),
        ]
        watch = watching([at(1, frames[:3]), at(SECOND_NS, frames[3:], first=4)], sender=DNSMASQ, rotation=rotation)
        events = followed(watch)
    assert [2, 6] == [event.matched_frame for event in events]
    written = [frame.data for frame in read_frames(path)]
    assert [frames[number] for number in (1, 2, 5, 6)] == written
    assert f"{host(1)}:{PORT}: refused; {BLIND}".encode() in path.read_bytes()


def test_a_packet_that_could_not_be_written_is_a_fault(tmp_path):
    with Rotation(str(tmp_path / "x"), most_bytes=10**6, files=2, application="test", remembered_bytes=1) as rotation:
        watch = watching([at(1, [sent(1)]), at(2, [error_about(sent(1))], first=2)], rotation=rotation)
        followed(watch)
    assert {"datagram-not-written": 1} == watch.report().faults


class Strangers(Live):
    """Blocks of 1,024 packets; every 64th is an error, and no address comes twice."""

    def __init__(self):
        super().__init__([])
        datagram = b.datagram(CLIENT[4], "0.0.0.0", 4000, PORT, b"x")
        packets = [Packet(datagram, SECOND_NS)] * 63 + [Packet(error_about(datagram, reporter=ROUTER[4]), SECOND_NS)]
        sizes = [len(record(each, last=False)) for each in packets] * 16
        starts = FIRST_AT + np.cumsum([0, *sizes[:-1]])
        at = starts + DATA_AT + 16 + np.array(([0] * 63 + [28]) * 16)  # the destination, or the quoted one
        self.places = at[:, None] + np.array([0, 1, 2, 3, 4, 5])  # and the source port
        self.block = np.frombuffer(block(packets * 16), np.uint8).copy()
        self.records, self.done = Records(BLOCKS, capacity=1), 0

    def follow(self, analyzer, *_):
        for _ in range(16):
            addresses = np.arange(self.done, self.done + 1024, dtype=">u4")
            self.block[self.places] = addresses.view(np.uint8).reshape(-1, 4)[:, [0, 1, 2, 3, 2, 3]]
            self.records.take_block(self.block.tobytes())
            analyzer.feed(self.records)
            self.done += 1024
        self.is_done = self.done % (512 * 1024) == 0
        return self.done


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
@pytest.mark.skipif(not is_compiled(), reason="an interpreted core takes hours")
def test_a_watch_of_other_hosts_traffic_has_bounded_memory(monkeypatch):
    """2.6 million packets, datagrams each to a destination of its own, and errors about datagrams that nobody saw."""
    monkeypatch.setattr(module, "MOST_NOTED", 500)
    watch = watching([], most_rows=1 << 12)
    watch.source = Strangers()
    told, peaks_kb = [], []
    for _ in range(5):
        watch.source.is_done = False
        watch.follow(Listeners(on_events=lambda events: told.append(len(events))), lambda: watch.source.is_done)
        peaks_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        assert watch.analyzer.findings.table.size <= 1 << 13
        assert watch.analyzer.conversations.endpoints.size <= 1 << 13
    assert peaks_kb[-1] - peaks_kb[3] < 80_000  # tables doubled for the last time before 2^21
    report = watch.report()
    assert report.faults[AGED_OUT] > 1 << 19
    assert (5 << 19, 5 << 13) == (report.source.packets, sum(told))
    assert len(report.unmatched) <= 1 << 13


@pytest.fixture
def capture(monkeypatch):
    made = Live([at(SECOND_NS, with_refusal(sent(1)))])

    def open_capture(expression, *, interface, bulk, capture):
        made.asked = (expression, interface, bulk)
        assert capture == "auto"
        return made

    monkeypatch.setattr(module, "open_capture", open_capture)
    monkeypatch.setattr(module, "own_addresses", lambda: {ip_address("192.0.2.77")})
    return made


def test_a_watch_captures_everything_related_to_udp(capture):
    assert 1 == len(module.watch(WatchOptions("eth0", count=1), Listeners()).destinations)
    assert (module.TRAFFIC, "eth0", True) == capture.asked
    assert capture.is_closed


def test_a_filter_narrows_the_capture(capture):
    module.watch(WatchOptions(filter="port 53 or icmp", count=1), Listeners())
    assert f"({module.TRAFFIC}) and (port 53 or icmp)" == capture.asked[0]


class PressedOnce:
    came = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_ctrl_c_ends_it_with_its_report(capture, monkeypatch):
    capture.heard = (at(n * SECOND_NS, with_refusal(sent(n)), first=2 * n) for n in range(1, 10))
    monkeypatch.setattr(module, "CtrlC", PressedOnce)
    with pytest.raises(Interrupted) as ended:
        module.watch(WatchOptions(), Listeners())
    assert [host(1)] == [each.address for each in ended.value.report.destinations]
    assert capture.is_closed


def test_progress_comes_with_every_batch_and_a_report_on_request(capture, tmp_path):
    capture.heard = [Frames(1), at(SECOND_NS, with_refusal(sent(1)))]
    sizes = []
    options = WatchOptions(write=str(tmp_path / "x"), count=1)
    module.watch(
        options, Listeners(on_progress=lambda state, report: sizes.append((state.name, len(report().destinations))))
    )
    assert [("eth0", 0), ("eth0", 1)] == sizes
    assert (tmp_path / "x").stat().st_size > 100


# ---- errors of a file wait for its end in a file of their own; none is lost, and they are told in capture order


ERRORS = 2500
"""More than two `Kept` hold."""


def written(path, times_ns):
    """A capture of refused datagrams, at these times."""
    frames = [packet for n in range(ERRORS) for packet in with_refusal(sent(n % 200 + 1, id=n))]
    records = [
        struct.pack("<IIII", ns // 10**9, ns % 10**9 // 1000, len(frame), len(frame)) + frame
        for ns, frame in zip(times_ns, frames, strict=True)
    ]
    path.write_bytes(pcap_header(link_type=RAW) + b"".join(records))
    return find_inputs([str(path)], None, are_apart=False)


@pytest.mark.parametrize("kept_bytes", [1, 1 << 30])
@pytest.mark.parametrize("late", [0, 300])
def test_events_are_reported_in_frame_order(kept_bytes, late, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "WAITING_BYTES", kept_bytes)
    times_ns = [10**18 + MS * n // 4 for n in range(2 * ERRORS)]
    for first in range(0, 2 * ERRORS, 1000):  # what stands there was recorded earlier
        times_ns[first : first + 4] = [ns - late * MS for ns in times_ns[first : first + 4]]
    events = []
    report = command.analyze(written(tmp_path / "x.pcap", times_ns), command.AnalyzeOptions(), on_events=events.extend)
    assert list(range(2, 2 * ERRORS + 1, 2)) == [event.frame for event in events]
    assert {"exact"} == {event.match for event in events}
    assert ERRORS == sum(each.errors for each in report.destinations)


def test_only_the_events_being_reported_are_in_memory(tmp_path, monkeypatch):
    loaded = []
    load = command.Waiting._load  # noqa: SLF001 - how much is read at a time shows nowhere else
    monkeypatch.setattr(command.Waiting, "_load", lambda self, number: loaded.append(number) or load(self, number))
    told_by = []
    inputs = written(tmp_path / "x.pcap", [10**18 + MS * n for n in range(2 * ERRORS)])
    command.analyze(inputs, command.AnalyzeOptions(), on_events=lambda some: told_by.append((len(some), len(loaded))))
    assert sorted(set(loaded)) == loaded
    assert len(loaded) >= 3
    assert (command.EVENTS_AT_A_TIME, 1) == told_by[0]
