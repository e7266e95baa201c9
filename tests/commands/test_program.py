"""A program under test: what counts as told, blind and ignored, and when it is over."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import builders as b
import pytest
from builders import CLIENT, PORT, host, sent
from live_frames import frames_of
from test_watching import Live

from udpprobe.cli import main
from udpprobe.commands.program import LINGER_NS, Program, ProgramFindings, ProgramOutcome, last_sent
from udpprobe.commands.watch import Listeners, Watch, WatchOptions
from udpprobe.core.kernel import MODES
from udpprobe.core.model import Process
from udpprobe.lab.command import Signals, start
from udpprobe.linux import processes
from udpprobe.linux.sockets import Sender, Sockets
from udpprobe.reports import OutputFormat
from udpprobe.reports.lists import program_text

MS = 1_000_000
OWN, OTHER = Process("client", 812), Process("other", 813)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux's")


class Held(Sockets):
    """Sockets of which a test says what they are."""

    def __init__(self, sender):
        super().__init__(list)
        self.sender = sender

    def senders(self, events):
        return [self.sender for _ in events]


@pytest.fixture(params=[4, 6])
def family(request):
    return request.param


def found(sender, *packets):
    """The rows of a program that sent from here, and how many errors are nobody's; packets come a millisecond apart."""
    findings, source = ProgramFindings({OWN.pid}), Live([frames_of(packets, now_ns=len(packets) * MS)])
    watching = Watch(source, WatchOptions(), Held(sender), by_flow=True)
    watching.follow(Listeners(on_events=findings.take), lambda: source.is_done)
    return findings.sockets(last_sent(watching)), findings.strays


def counts(sender, *packets):
    rows, strays = found(sender, *packets)
    assert 0 == strays
    return [(row.errors, row.told, row.blind, row.ignored, row.unknown, row.too_big) for row in rows]


def refused(packet):
    return b.error_about(packet)


def too_big(packet, mtu=1400):
    return (b.frag_needed if packet[0] >> 4 == 4 else b.packet_too_big)(packet, mtu, host(9, b.family_of(packet)))


def test_an_unconnected_socket_is_blind_to_a_refusal(family):
    probe = sent(1, family)
    assert [(1, 0, 1, 0, 0, 0)] == counts(Sender(OWN, "unconnected", "WANT"), probe, refused(probe))


def test_errors_a_connected_socket_got_before_it_sent_on_are_ignored(family):
    probe, again = sent(1, family, size=20), sent(1, family, size=30)
    connected = Sender(OWN, "connected", "WANT")
    assert [(1, 1, 0, 0, 0, 0)] == counts(connected, probe, refused(probe))
    assert [(1, 1, 0, 1, 0, 0)] == counts(connected, probe, refused(probe), again)
    assert [(2, 2, 0, 1, 0, 0)] == counts(connected, probe, refused(probe), again, refused(again))


def test_sending_smaller_datagrams_after_too_big_ignores_nothing(family):
    big, again, small = (sent(1, family, size=size) for size in (1450, 1440, 20))
    connected = Sender(OWN, "connected", "WANT")
    assert [(1, 1, 0, 0, 0, 1)] == counts(connected, big, too_big(big), small)
    assert [(2, 2, 0, 1, 0, 2)] == counts(connected, big, too_big(big), again, too_big(again))


@pytest.mark.parametrize("mode", MODES)
def test_too_big_reaches_an_unconnected_socket_only_with_pmtudisc_do(mode, family):
    big = sent(1, family, size=1450)
    is_told = mode == "DO"
    assert [(1, int(is_told), int(not is_told), 0, 0, 1)] == counts(Sender(OWN, "unconnected", mode), big, too_big(big))


def test_an_unknown_mode_leaves_it_open_whether_the_socket_got_an_errno(family):
    big = sent(1, family, size=1450)
    assert [(1, 0, 0, 0, 1, 1)] == counts(Sender(OWN, "unconnected"), big, too_big(big))


def test_an_mtu_below_the_ipv6_minimum_is_not_learned_by_the_route():
    big = sent(1, 6, size=1450)
    assert [(1, 0, 1, 0, 0, 1)] == counts(Sender(OWN, "unconnected", "DO"), big, too_big(big, 1279))
    assert [(1, 1, 0, 0, 0, 1)] == counts(Sender(OWN, "unconnected", "DO"), big, too_big(big, 1280))


def test_errors_of_other_processes_are_not_counted_and_unknown_ones_are_strays(family):
    probe = sent(1, family)
    assert ((), 0) == found(Sender(OTHER, "unconnected"), probe, refused(probe))
    assert ((), 1) == found(Sender(None, "unknown"), probe, refused(probe))
    assert ((), 0) == found(None, probe, refused(probe))  # another host's


def test_an_answered_flow_does_not_count_as_ignoring_errors(family):
    probe, again = sent(1, family, size=20), sent(1, family, size=30)
    answer = b.datagram(host(1, family), CLIENT[family], PORT, 40001)
    assert [(1, 1, 0, 0, 0, 0)] == counts(Sender(OWN, "connected", "WANT"), probe, refused(probe), again, answer)


def test_the_watch_ends_half_a_second_of_packets_after_the_program():
    with Signals(signal.SIGCHLD) as signals:
        program = Program(start([sys.executable, "-c", "raise SystemExit(7)"], os.environ), signals, has_terminal=False)
        program.wait()
        now_ns = time.time_ns()
        assert not program.is_over(now_ns - 1_000_000_000)
        assert program.is_over(now_ns + LINGER_NS)
    assert 7 == program.status


def test_a_clock_set_back_does_not_prolong_the_watch_forever(monkeypatch):
    with Signals(signal.SIGCHLD) as signals:
        program = Program(start(["true"], os.environ), signals, has_terminal=False)
        program.wait()
    assert not program.is_over(0)
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 60)
    assert program.is_over(0)


def test_signals_are_passed_on_to_the_program():
    with Signals(signal.SIGCHLD) as signals:
        program = Program(start(["sleep", "60"], os.environ, own_group=True), signals, has_terminal=False)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # other threads do not block it
        program.wait()
    assert 128 + signal.SIGTERM == program.status


def test_without_a_terminal_signals_reach_its_children_too(tmp_path):
    child = tmp_path / "child"
    words = ["sh", "-c", 'sleep 60 & echo $! > "$0.new"; mv "$0.new" "$0"; wait; true', str(child)]
    with Signals(signal.SIGCHLD) as signals:
        program = Program(start(words, os.environ, own_group=True), signals, has_terminal=False)
        limit_s = time.monotonic() + 30
        while not child.exists() and time.monotonic() < limit_s:
            time.sleep(0.01)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        program.wait()
    while not processes._has_ended(int(child.read_text())) and time.monotonic() < limit_s:  # noqa: SLF001 - what it is
        time.sleep(0.01)
    assert processes._has_ended(int(child.read_text()))  # noqa: SLF001 - as above
    assert not processes._has_ended(os.getpid())  # noqa: SLF001 - as above


class Came:
    """Signals, each with whether it came from the terminal."""

    def __init__(self, *signals):
        self.signals = list(signals)

    def read(self):
        came, self.signals = self.signals, []
        return came


@pytest.mark.parametrize(("number", "status"), [(signal.SIGHUP, 128 + signal.SIGHUP), (signal.SIGINT, 0)])
def test_the_only_terminal_signal_passed_on_is_hangup(number, status):
    """The kernel signals the foreground process group itself, but of a terminal that closes only who opened it."""
    program = Program(start(["sleep", "0.5"], os.environ), Came((number, True)), has_terminal=True)
    program.wait()
    assert status == program.status


def test_every_error_before_the_last_datagram_is_ignored(family):
    sizes = range(20, 80, 10)
    probes = [sent(1, family, size=size) for size in sizes]
    exchanged = [packet for probe in probes for packet in (probe, refused(probe))]
    assert [(6, 6, 0, 5, 0, 0)] == counts(Sender(OWN, "connected", "WANT"), *exchanged)
    assert [(6, 6, 0, 6, 0, 0)] == counts(Sender(OWN, "connected", "WANT"), *exchanged, sent(1, family, size=90))


def test_errors_of_sockets_beyond_the_limit_are_counted(family, monkeypatch):
    monkeypatch.setattr("udpprobe.commands.program.MOST_SOCKETS", 1)
    probes = [sent(1, family), sent(2, family)]
    rows, strays = found(Sender(OWN, "connected", "WANT"), *probes, *map(refused, (*probes, probes[0])))
    assert (1, 1) == (len(rows), strays)


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        (["--fail-on", "refused"], 3, "closed too early to tell what was found"),
        ([], 5, "2 ICMP errors are about datagrams"),
    ],
)
def test_errors_of_unknown_senders_are_not_a_success(options, status, line, monkeypatch, capfd):
    outcome = ProgramOutcome(5, (), strays=2, running=1, lost=0)
    monkeypatch.setattr("udpprobe.commands.program.watch_program", lambda *_: outcome)
    assert status == main(["watch", *options, "--", "true"])
    told = capfd.readouterr().err
    assert line in told
    assert "1 process of the program still runs" in told
    assert "no ICMP errors" not in told


@pytest.mark.parametrize(
    "output_format",
    [OutputFormat.TABLE, OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.CSV, OutputFormat.MARKDOWN],
)
def test_each_format_shows_the_socket(output_format, family):
    probe = sent(1, family)
    rows, _ = found(Sender(OWN, "unconnected", "WANT"), probe, refused(probe))
    text = program_text(rows, output_format, 80)
    assert "refused" in text
    assert "client" in text
    if output_format is OutputFormat.TABLE:
        assert 80 >= max(map(len, text.splitlines()))
