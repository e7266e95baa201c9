import io

import pytest

from udpprobe.cli import progress
from udpprobe.commands.mtu import SearchProgress
from udpprobe.commands.scan import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class State:
    done_bytes, total_bytes = 5_000_000, 10_000_000


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """Whatever terminal the tests are run at."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def clock(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0])
    return now_s


@pytest.mark.parametrize(("stream", "wanted"), [(io.StringIO(), None), (Terminal(), False), (None, None)])
def test_without_a_terminal_no_progress_is_shown(monkeypatch, stream, wanted):
    monkeypatch.setattr(progress.sys, "stderr", stream)
    with progress.shown(wanted) as update:
        assert update is None


def test_a_short_file_has_no_bar(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.shown(None) as update:
        clock[0] += 0.9
        update(State)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("wanted", "waited_s"), [(None, 1.0), (True, 0.0)])
def test_a_long_file_has_a_bar_on_stderr(monkeypatch, capsys, clock, wanted, waited_s):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.shown(wanted) as update:
        clock[0] += waited_s
        update(State)
        update(State)
    assert "MiB" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_no_color_is_obeyed(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    with progress.shown(True) as update:
        update(State)
    assert "\x1b[3" not in terminal.getvalue()
    assert clock == [100.0]


@pytest.mark.parametrize(
    ("remaining_s", "words"),
    [
        (None, "512 of 1,000 decided, 1,234 sent"),
        (11.2, "512 of 1,000 decided, 1,234 sent, about 12 s left"),
        (754.0, "512 of 1,000 decided, 1,234 sent, about 12 min 34 s left"),
    ],
)
def test_a_scan_shows_its_progress_and_remaining_time(monkeypatch, clock, remaining_s, words):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.shown_of_scan(True) as update:
        update(Progress(512, 1000, 1234, remaining_s))
    assert words in terminal.getvalue()
    assert clock == [100.0]


def test_a_scan_shows_the_answers_so_far(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.shown_of_scan(True) as update:
        update(Progress(7, 1000, 1234, None, 7, ("192.0.2.7:53", "[2001:db8::1]:123")))
    text = terminal.getvalue()
    for words in (
        "7 answered so far:",
        "  192.0.2.7:53",
        "  [2001:db8::1]:123",
        "  and 5 before",
        "7 of 1,000 decided",
    ):
        assert words in text
    assert clock == [100.0]


def test_a_short_scan_has_no_bar(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.shown_of_scan(None) as update:
        clock[0] += 0.9
        update(Progress(1, 2, 3, None))
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (SearchProgress(0, None, 1), "nothing has arrived yet, 1 probe"),
        (SearchProgress(1500, None, 4), "1500 bytes arrive, 4 probes"),
        (SearchProgress(1280, 1500, 12), "1280 bytes arrive, 1500 do not, 12 probes"),
    ],
)
def test_an_mtu_search_shows_its_progress_after_a_second(monkeypatch, clock, state, words):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with progress.shown_of_search() as update:
        update(state)
        assert terminal.getvalue() == ""
        clock[0] += 1
        update(state)
    assert words in terminal.getvalue()
