"""`trace --watch` on a terminal of 80x24, as somebody sees and drives it."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import time
import uuid

import pytest
from network import address, require
from scanning import FAMILIES, UDPPROBE
from trace_network import CLOSED, HOST, SIDE, trace_network

pytestmark = [pytest.mark.live, pytest.mark.slow]
PATIENCE_S = 30


class Tmux:
    """A terminal in which a shell runs a command, and then says how it ended."""

    def __init__(self, command):
        require("tmux")
        self._name = f"trace-{uuid.uuid4()}"
        shell = f"trap : INT; stty -a; echo before; {command}; echo status $?; stty -a; echo after; read -r rest"
        self("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "env", "LC_ALL=C.UTF-8", "sh", "-c", shell)

    def __call__(self, *words):
        return subprocess.run(
            ["tmux", "-u", "-L", self._name, *words], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        ).stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["tmux", "-L", self._name, "kill-server"], check=False, capture_output=True)

    def press(self, *keys):
        self("send-keys", *keys)

    def until(self, pattern):
        """The screen, once it shows that."""
        until_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, screen := self("capture-pane", "-p"), re.MULTILINE):
            assert time.monotonic() < until_s, f"no {pattern} in\n{screen}"
            time.sleep(0.1)
        assert 24 == len(screen.split("\n")) - 1
        return screen

    def all_lines(self):
        return self("capture-pane", "-p", "-S", "-", "-J")


@pytest.fixture
def closed_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def watch(port):
    return f"{UDPPROBE} trace --watch --interval 0.3 --timeout 0.3 --max-ttl 3 -n 127.0.0.1:{port}"


def is_restored(told):
    before, after = (
        re.sub(r"\s+", " ", part.rpartition("speed ")[2])
        for part in (told.partition("\nbefore")[0], told.partition("\nafter")[0])
    )
    return before == after and "speed" in told and " icanon" in before and " echo " in before


def test_keys_control_the_screen_and_changes_stay(closed_port):
    with Tmux(watch(closed_port)) as terminal:
        screen = terminal.until(r"next round in|round [2-9]")
        assert re.search(r"^ +1 127\.0\.0\.1 +0\.0 +\d+ .*[▁▂▃▄▅▆▇█]", screen, re.MULTILINE)
        assert re.search(rf"^trace 127\.0\.0\.1:{closed_port} .* round \d+ +\d\d:\d\d:\d\d \w+$", screen, re.MULTILINE)
        assert "\nrefused by 127.0.0.1 at hop 1\n" in screen
        terminal.press("?")
        assert "RFC 3550" in terminal.until("loss% .* probes without a reply")
        terminal.press("?")
        terminal.until("127.0.0.1 .* 0.0")
        terminal.press("n")
        terminal.until(r"^ +1 localhost")
        terminal.press("n")
        terminal.until(r"^ +1 127\.0\.0\.1")
        terminal.press("Up")  # sends an Escape and letters, which are no keys of ours
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
            listening.bind(("127.0.0.1", closed_port))
            terminal.until(r"^\d\d:\d\d:\d\d verdict: refused -> silent$")
        screen = terminal.until(r"^\d\d:\d\d:\d\d verdict: silent -> refused$")
        assert "verdict: refused -> silent" in screen
        terminal.press("p")
        terminal.until("help +paused$")
        paused = int(re.search(r"round (\d+)", terminal.until("paused$"))[1])
        time.sleep(1.5)
        assert paused == int(re.search(r"round (\d+)", terminal.until("paused$"))[1])  # what was under way, at most
        terminal.press("r")
        assert "verdict: silent" not in terminal.until("no change so far|round 1 ")
        terminal.press("p")
        terminal.until("round [2-9]")
        terminal.press("q")
        told = (terminal.until("^status"), terminal.all_lines())[1]
        assert "status 0" in told
        assert "127.0.0.1 " in told.partition("before")[2]
        terminal.until("^after")
        assert is_restored(terminal.all_lines())


def test_targets_are_side_by_side_and_tab_chooses_one(closed_port):
    two = f"{watch(closed_port)} 127.0.0.2:{closed_port}"
    with Tmux(two) as terminal:
        screen = terminal.until(r"^  2 127\.0\.0\.2:\d+ +refused +1 +0\.0 +[\d.]+")
        assert re.search(rf"^> 1 127\.0\.0\.1:{closed_port} ", screen, re.MULTILINE)
        assert "\nrefused by 127.0.0.1 at hop 1\n" in screen
        terminal.press("Tab")
        screen = terminal.until(r"^> 2 127\.0\.0\.2")
        assert "\nrefused by 127.0.0.2 at hop 1\n" in screen
        terminal.press("Down")
        terminal.until(r"^> 1 127\.0\.0\.1")
        terminal.press("2")
        terminal.until(r"^> 2 127\.0\.0\.2")
        terminal.press("q")
        terminal.until("^after")
        told = terminal.all_lines()
        assert "\nstatus 0\n" in told
        assert [f"127.0.0.{last}:{closed_port}: refused" in told for last in (1, 2)] == [True, True]
        assert is_restored(told)


def test_ctrl_c_ends_with_130_and_restores_the_terminal(closed_port):
    with Tmux(watch(closed_port)) as terminal:
        terminal.until("^refused by")
        terminal.press("C-c")
        terminal.until("^after")
        told = terminal.all_lines()
        assert "\nstatus 130\n" in told
        assert f"127.0.0.1:{closed_port}: refused by 127.0.0.1 at hop 1" in told
        assert is_restored(told)


def test_an_unfinished_first_round_is_running():
    silent = f"{UDPPROBE} trace --watch --timeout 20 --max-ttl 2 -n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        with Tmux(f"{silent} 127.0.0.1:{listening.getsockname()[1]}") as terminal:
            terminal.until("^running")
            terminal.press("q")
            terminal.until("^after")
            assert "undecided: interrupted" in terminal.all_lines()


def test_without_keys_the_screen_mentions_ctrl_c(closed_port):
    with Tmux(f"{watch(closed_port)} < /dev/null") as terminal:
        terminal.until("^Ctrl-C stops it")
        terminal.press("C-c")
        terminal.until("^status 130")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with trace_network(tmp_path_factory.mktemp("rules")) as made:
        yield made


@pytest.mark.parametrize("family", FAMILIES)
def test_another_route_and_a_new_loop_stay_on_the_screen(network, family):
    to, bits = HOST[family], 32 if family == 4 else 128
    target = f"[{to}]:{CLOSED}" if family == 6 else f"{to}:{CLOSED}"
    words = f"prober: {UDPPROBE} trace --watch --interval 0.3 --timeout 0.5 --max-ttl 12 -n {target}"
    with Tmux(shlex.join(network.command(words))) as terminal:
        screen = terminal.until(r"round [2-9]")
        assert [address(family, hop, 2) for hop in range(1, 6)] == re.findall(
            r"^ +[1-5] ([0-9a-f.:]+) ", screen, re.MULTILINE
        )
        network.run(f"a: ip -{family} route add {to}/{bits} via {SIDE[family][1]}")
        routed = re.escape(f"hop 2: {address(family, 2, 2)} -> {SIDE[family][1]}")
        terminal.until(rf"^\d\d:\d\d:\d\d {routed}$")
        network.run(f"d: ip -{family} route add {to}/{bits} via {address(family, 4, 1)}")
        try:
            screen = terminal.until(r"^\d\d:\d\d:\d\d verdict: refused -> loop of 2 between")
            assert re.search(r"^loop of 2 between ", screen, re.MULTILINE)
            terminal.until(r"^ *[\d-]+ \(loop repeats\)")
        finally:
            network.run(f"d: ip -{family} route del {to}/{bits}")
            network.run(f"a: ip -{family} route del {to}/{bits}")
        screen = terminal.until("^refused by")
        assert "refused -> loop of 2" in screen
        terminal.press("q")
        terminal.until("^after")
        told = terminal.all_lines()
        assert re.search(rf"^\S+T\S+ {routed}$", told, re.MULTILINE)
        assert "status 0" in told
