"""The command line of watch: what it takes, what goes where, how it ends."""

from __future__ import annotations

import importlib
import io
import json
import re

import pytest
from builders import sent, with_refusal
from following import story_of
from msgspec.structs import replace
from samples import destination, finding, report

from udpprobe.capture.frames import SourceState
from udpprobe.cli import main
from udpprobe.cli.watch import parse_size
from udpprobe.commands import watch as watching
from udpprobe.commands.watch import Stopped, WatchOptions
from udpprobe.core.model import DropReason, ErrorSent, ErrorsSent, Process, ReceiveDrops, WatchedEvent
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.interrupt import Interrupted
from udpprobe.reports.table import latest_first

command = importlib.import_module("udpprobe.cli.watch")  # of that name, the package has the function
NOTE = "dnsmasq[812]; its socket is unconnected: it gets no error"
REFUSED = destination("10.0.0.5", 53, "refused", finding("refused", (4, 3, 3), "10.0.0.5", 23), notes=(NOTE,))
HEALTHY = destination("10.0.0.6", 53, "answered")
FOUND = report(REFUSED, HEALTHY, kind="interface", name="eth0", dropped=0)


class Stand:
    """In the watch's place: tells what the test prepared."""

    def __init__(self):
        self.found = FOUND
        self.asked, self.events, self.dropped, self.interrupt, self.stop = None, [], [0], False, None

    def __call__(self, options, listeners):
        self.asked = options
        found = self.found if options.all_destinations else replace(self.found, destinations=(REFUSED,))
        for each in self.events:
            listeners.on_events([each])
        for dropped in self.dropped:
            listeners.on_progress(SourceState("interface", "eth0", dropped=dropped), lambda: found)
        if self.stop:
            raise Stopped(self.stop, found)
        if self.interrupt:
            raise Interrupted(found)
        return found


@pytest.fixture
def stand(monkeypatch):
    made = Stand()
    monkeypatch.setattr(watching, "watch", made)
    return made


def watched(**changes):
    (plain,) = story_of(with_refusal(sent(1))).events
    return WatchedEvent(**{name: getattr(plain, name) for name in plain.__struct_fields__}, **changes)


def test_options_reach_the_watch(stand):
    assert 0 == main(
        [
            "watch",
            "-i",
            "eth0",
            "--filter",
            "port 53",
            *"-w x.pcapng --rotate 2MB --keep 3 --duration 60 --count 9 --all --loop-ttl 50".split(),
        ]
    )
    assert WatchOptions("eth0", "port 53", "x.pcapng", 2_000_000, 3, 60, 9, True, 50) == stand.asked


def test_without_options_it_watches_all_interfaces_until_ctrl_c(stand):
    assert 0 == main(["watch"])
    assert WatchOptions() == stand.asked


@pytest.mark.parametrize(
    "words",
    [
        ["eth0"],
        ["--duration", "-1"],
        ["--count", "0"],
        ["--keep", "0"],
        ["-w", "-"],
        ["--rotate", "much"],
        ["--rotate", "0"],
        ["-w", "x", "-o", "./x"],
        ["--fail-on", "nonsense"],
    ],
)
def test_invalid_values_are_usage_errors(stand, capsys, words):
    assert 2 == main(["watch", *words])
    assert "" == capsys.readouterr().out
    assert stand.asked is None


@pytest.mark.parametrize(("text", "size"), [("5", 5), ("64k", 64_000), ("100MB", 10**8), ("1 G", 10**9), ("7b", 7)])
def test_sizes_have_units(text, size):
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "k", "-1k", "1.5M", "1T", "0MB", "\u0661k"])
def test_an_invalid_size_is_reported(text):
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize("events", [[], ["--events"]])
def test_json_has_the_sockets_that_dropped_datagrams(stand, capsys, events):
    assert 0 == main(["watch", "--format", "json", *events])
    assert "receive_drops" not in json.loads(capsys.readouterr().out)  # nobody looked for them
    drops = ReceiveDrops(Process("unbound", 812), "::", 53, 4102, "buffer-full")
    stand.found = replace(FOUND, receive_drops=(drops,))
    assert 0 == main(["watch", "--format", "json", *events])
    assert [
        {
            "process": {"name": "unbound", "pid": 812},
            "address": "::",
            "port": 53,
            "count": 4102,
            "reason": "buffer-full",
        }
    ] == json.loads(capsys.readouterr().out)["receive_drops"]


def test_json_has_why_packets_were_dropped(stand, capsys):
    assert 0 == main(["watch", "--format", "json"])
    assert "drop_reasons" not in json.loads(capsys.readouterr().out)  # nobody looked for them
    stand.found = replace(FOUND, drop_reasons=(DropReason("NETFILTER_DROP", 31, None), DropReason("UDP_CSUM", 2, 1)))
    assert 0 == main(["watch", "--format", "json"])
    assert [
        {"reason": "NETFILTER_DROP", "host": 31, "namespace": None},
        {"reason": "UDP_CSUM", "host": 2, "namespace": 1},
    ] == json.loads(capsys.readouterr().out)["drop_reasons"]


def test_json_has_the_errors_this_host_sent_if_requested(stand, capsys):
    assert 0 == main(["watch", "--format", "json"])
    assert not stand.asked.sent
    assert "errors_sent" not in json.loads(capsys.readouterr().out)
    row = ErrorSent(
        "192.0.2.9",
        "192.0.2.1",
        53,
        "refused",
        "port-unreach",
        4,
        3,
        3,
        12,
        0,
        1,
        None,
        "no socket is bound to the port",
    )
    stand.found = replace(FOUND, errors_sent=ErrorsSent((row,), 0, {"ipv4_host": 188}))
    assert 0 == main(["watch", "--format", "json", "--sent"])
    assert stand.asked.sent
    found = json.loads(capsys.readouterr().out)["errors_sent"]
    assert ({"ipv4_host": 188}, 0) == (found["rate_limited"], found["more"])
    assert [("192.0.2.9", 53, 12, "no socket is bound to the port")] == [
        (each["to"], each["port"], each["count"], each["why"]) for each in found["rows"]
    ]


def test_the_report_comes_at_the_end_without_healthy_destinations(stand, capsys):
    assert 0 == main(["watch", "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert [("10.0.0.5", [NOTE])] == [(each["address"], each["notes"]) for each in found["destinations"]]
    assert "interface" == found["source"]["kind"]
    assert 0 == main(["watch", "--format", "json", "--all"])
    assert 2 == len(json.loads(capsys.readouterr().out)["destinations"])
    assert stand.asked.all_destinations


def test_ndjson_has_one_line_per_error_and_nothing_else(stand, capsys):
    stand.events = [watched(process=Process("dnsmasq", 812), sees="blind"), watched()]
    assert 0 == main(["watch", "--format", "ndjson"])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert ({"name": "dnsmasq", "pid": 812}, "blind") == (first["process"], first["sees"])
    assert (None, None) == (second["process"], second["sees"])


def test_ctrl_c_gives_the_report_and_status_130(stand, capsys):
    stand.interrupt = True
    assert 130 == main(["watch"])
    assert "dnsmasq[812]" in capsys.readouterr().out


def test_the_reason_for_stopping_follows_the_report(stand, capsys):
    stand.stop = UdpprobeError("interface eth0 is gone")
    assert 3 == main(["watch"])
    told = capsys.readouterr()
    assert "dnsmasq[812]" in told.out
    assert "udpprobe: interface eth0 is gone\n" == told.err


@pytest.mark.usefixtures("stand")
def test_failing_verdicts_set_the_exit_status():
    assert [1, 0] == [main(["watch", "--fail-on", verdict]) for verdict in ("refused", "loop")]


def test_a_warning_about_losses_comes_each_time_they_double(stand, capsys):
    stand.dropped = [0, 1, 1, 2, 3, 1000, 1001]
    assert 0 == main(["watch"])
    warned = capsys.readouterr().err.splitlines()
    assert ["dropped 1 ", "dropped 2 ", "dropped 1000 "] == [
        next(word for word in ("dropped 1 ", "dropped 2 ", "dropped 1000 ") if word in line) for line in warned
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_screen_is_drawn_at_most_once_a_second_and_less_often_if_slow(monkeypatch):
    clock, drawn = [0.0], []
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    writer = command.ReportWriter(Terminal(), command.OutputFormat.TABLE, events=False, hide_healthy=True)
    screen = command._Screen(lambda text, **_: drawn.append((clock[0], str(text))), writer)  # noqa: SLF001 - it has no other door

    def slow():
        clock[0] += 0.5
        return FOUND

    for step in range(30):
        clock[0] = max(clock[0], step / 2)
        screen.show(slow if step >= 6 else lambda: FOUND)
    assert [0.0, 1.0, 2.0, 3.5, 8.5, 13.5] == [time_s for time_s, _ in drawn]
    assert all("dnsmasq[812]" in text and "10.0.0.6" not in text for _, text in drawn)


@pytest.mark.parametrize(("out", "output_format"), [(io.StringIO(), "table"), (Terminal(), "json")])
def test_without_a_terminal_no_screen_is_drawn(out, output_format):
    writer = command.ReportWriter(out, command.OutputFormat(output_format), events=False, hide_healthy=True)
    with command._screen(writer) as show:  # noqa: SLF001 - as above
        show(lambda: pytest.fail("a report was made"))


@pytest.mark.parametrize("text", ["nan", "inf", "-1"])
def test_a_duration_must_be_finite(capsys, text):
    assert 2 == main(["watch", "-i", "lo", "--duration", text])
    assert "--duration" in capsys.readouterr().err


class Heard(io.StringIO):
    """What is written, and what was there by each flush."""

    def __init__(self):
        super().__init__()
        self.flushed = []

    def flush(self):
        self.flushed.append(self.getvalue())


def test_each_event_is_a_line_at_once_and_the_last_line_is_a_summary(stand, capsys):
    stand.events = [watched(process=Process("dnsmasq", 812), sees="blind"), watched()]
    assert 0 == main(["watch", "--events", "--utc"])
    *lines, blank, last = capsys.readouterr().out.splitlines()
    assert (2, "") == (len(lines), blank)
    assert all(
        re.match(r"\d\d:\d\d:\d\d\.\d{6} refused \S+ by \S+: port-unreach 3/3; sent in frame ", line) for line in lines
    )
    assert "12,345 packets" in last
    out = Heard()
    writer = command.ReportWriter(out, command.OutputFormat.TABLE, events=True, is_live=True)
    writer.take([watched()])
    assert 1 == len(out.flushed) == out.flushed[0].count("\n")


def test_events_on_a_terminal_are_wrapped_without_a_screen():
    terminal = Terminal()
    writer = command.ReportWriter(
        terminal,
        command.OutputFormat.TABLE,
        events=True,
        is_live=True,
        style=command.style_of(terminal, command.opt.Color.ALWAYS),
    )
    with command._screen(writer) as show:  # noqa: SLF001 - it has no other door
        show(lambda: pytest.fail("a report was made"))
    writer.take([replace(watched(), notes=("what a note says " * 9,))])
    first, *rest = terminal.getvalue().splitlines()
    assert " \x1b[31mrefused\x1b[0m " in first
    assert rest
    assert all(line.startswith("  ") and len(line) <= 80 for line in rest)


@pytest.mark.usefixtures("stand")
def test_documents_can_have_events_too(stand, capsys):
    stand.events = [watched()]
    assert 0 == main(["watch", "--events", "--format", "json"])
    assert 1 == len(json.loads(capsys.readouterr().out)["events"])


def test_the_screen_shows_the_worst_first_and_then_the_latest():
    def seen(address, verdict, last_s, code=(4, 3, 3)):
        found = replace(finding(verdict, code, address, 1), last_time_ns=last_s * 10**9)
        return destination(address, 53, verdict, found)

    old, new, expired = (
        seen("10.0.0.1", "refused", 1),
        seen("10.0.0.2", "refused", 9),
        seen("10.0.0.3", "expired", 99, (4, 11, 0)),
    )
    shown = latest_first(report(old, new, expired, HEALTHY))
    assert [new, old, expired, HEALTHY] == list(shown.destinations)
    assert 4 == len(shown.destinations)
    many = latest_first(report(*[old] * 1500, new))
    assert (1501, new) == (len(many.destinations), list(many.destinations)[-1])
