"""The lab around real programs: what they see, how they end, and that nothing is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from builders import datagram
from forked import UDPPROBE
from network import require

UNPRIVILEGED = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all"]
PATIENCE_S = 60
HOST = {4: "198.18.9.9", 6: "2001:db8:9::9"}
OPEN, CLOSED, ECHO = 53, 54, 7
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
FAMILIES = pytest.mark.parametrize("family", [4, 6])
ROUTERS = {4: ["198.18.0.1", "198.18.1.1"], 6: ["2001:db8::1", "2001:db8:1::1"]}


def lab_words(*command, options=()):
    return [*UDPPROBE, "lab", *map(str, options), "--", *map(str, command)]


def run(words, **how):
    return forked.run(words, timeout=PATIENCE_S, **how)


def in_lab(*command, options=()):
    """A finished command of the lab."""
    return run(lab_words(*command, options=options))


def target(family, port):
    return f"{HOST[family]}:{port}" if family == 4 else f"[{HOST[family]}]:{port}"


def network_of(process):
    """Its network namespace; None where it has ended."""
    try:
        return str(Path("/proc", str(process), "ns/net").readlink())
    except OSError:
        return None


def processes_in(network):
    """Those that are in a network namespace, each with its words."""
    found = {}
    for each in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end between two looks
            if network_of(each) == network:
                found[each] = Path("/proc", str(each), "cmdline").read_text().split("\0")[:-1]
    return found


@pytest.fixture(scope="module", autouse=True)
def _possible():
    done = in_lab("true")
    if done.returncode == 3:
        pytest.skip(done.stderr)


@contextlib.contextmanager
def started(words, **how):
    with forked.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as process:
        try:
            yield process
        finally:
            process.kill()


def soon(happens):
    """Whether it comes true before patience ends."""
    end = time.monotonic() + PATIENCE_S
    while not (true := happens()) and time.monotonic() < end:
        time.sleep(0.02)
    return true


# ---- how a command ends


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
        ([""], 127),
        (["test", "-z", ""], 0),
    ],
)
def test_the_lab_exits_with_the_status_of_its_command(command, status):
    assert status == in_lab(*command).returncode


def test_a_missing_command_is_one_line():
    assert "udpprobe: cannot run no-such-program: No such file or directory\n" == in_lab("no-such-program").stderr


def test_a_missing_command_writes_nothing_to_standard_output():
    done = run(["sh", "-c", 'exec "$@" 2>&-', "sh", *lab_words("no-such-program")])
    assert (127, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("ip link del lab0; sleep 60", 3, "udpprobe: lab0 is gone, perhaps removed from inside: "),
        ("ip link set lab0 down; ip link set lab0 name other; exit 7", 7, ""),
    ],
)
def test_a_command_that_breaks_its_interface_causes_no_traceback(command, status, said):
    require("ip")
    done = in_lab("sh", "-c", command)
    assert (status, bool(said)) == (done.returncode, "\n" in done.stderr)
    assert done.stderr.startswith(said)


def test_the_output_of_a_command_is_unchanged():
    done = in_lab("sh", "-c", "echo out; echo error >&2")
    assert ("out\n", "error\n") == (done.stdout, done.stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_is_passed_on_once(number):
    code = (
        "import signal, time; came = []\n"
        f"signal.signal({number:d}, lambda *_: came.append(1)); print('ready', flush=True)\n"
        "while not came: time.sleep(0.01)\n"
        "time.sleep(0.5); print(len(came))"
    )  # a second one would come at once
    with started(lab_words(sys.executable, "-c", code)) as process:
        assert "ready\n" == process.stdout.readline()
        process.send_signal(number)
        assert "1\n" == process.stdout.readline()
        assert 0 == process.wait(PATIENCE_S)


def test_a_stopped_command_still_receives_signals():
    with started(lab_words("sh", "-c", "echo ready; kill -STOP $$")) as process:
        assert "ready\n" == process.stdout.readline()
        network = network_of(process.pid)
        assert soon(lambda: "T" in {state_of(each) for each in processes_in(network)})
        process.send_signal(signal.SIGTERM)
        assert 128 + signal.SIGTERM == process.wait(PATIENCE_S)


def state_of(process):
    """That of proc(5); X where it has ended."""
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


SLOW_TO_STOP = (
    "import subprocess, time\n"
    "subprocess.run(['ping', '-c', '1', '-W', '1', '198.18.0.1'], stdout=-3)\n"
    "try: print('ready', flush=True); time.sleep(30)\n"
    "except KeyboardInterrupt: time.sleep(1); print('orderly')"
)


def status_after_ctrl_c_on_a_terminal(words):
    """That of these words, whose program Ctrl-C at a terminal must reach once.

    exec: a shell between the two would get it as well, and some (dash) then end with a status of their own.
    """
    command = f"exec {shlex.join(map(str, words))}"
    with started(
        ["script", "--quiet", "--flush", "--return", "--command", command, "/dev/null"], stdin=subprocess.PIPE
    ) as process:
        assert "ready\n" == process.stdout.readline()
        process.stdin.write("\x03")
        process.stdin.flush()
        assert "^Corderly\n" == process.stdout.readline()
        return process.wait(PATIENCE_S)


def test_ctrl_c_on_a_terminal_reaches_the_command_once():
    require("script", "ping")
    assert 0 == status_after_ctrl_c_on_a_terminal(lab_words(sys.executable, "-c", SLOW_TO_STOP))


def test_a_ctrl_c_for_an_ended_command_does_not_end_a_busy_lab():
    require("script", "ping")
    words = in_a_world("time.sleep(5)", [sys.executable, "-c", SLOW_TO_STOP])
    assert 0 == status_after_ctrl_c_on_a_terminal(words)


def test_the_lab_ends_with_its_terminal():
    pid, terminal = pty.fork()
    if not pid:
        os.execv(UDPPROBE[0], lab_words("sh", "-c", "trap 'exit 9' HUP; echo ready; while :; do sleep 0.1; done"))
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1024)
    os.close(terminal)
    ended = soon(lambda: (found := os.waitpid(pid, os.WNOHANG)) != (0, 0) and found)
    assert 9 == os.waitstatus_to_exitcode(ended[1])


# ---- what is left


@pytest.mark.parametrize(("victim", "status"), [("the lab", -9), ("its keeper", 137), ("the command", 137)])
def test_nothing_is_left_when_one_is_killed(victim, status):
    detached = "import os; os.setsid(); os.execvp('sleep', ['sleep', '600'])"
    words = lab_words("sh", "-c", f'readlink /proc/self/ns/net; {sys.executable} -c "{detached}" & exec sleep 601')
    with started(["env", *words]) as process:  # not forked, so that its words are there
        network = process.stdout.readline().strip()
        assert network_of("self") != network
        assert soon(lambda: [["sleep", "600"], ["sleep", "601"]] == sorted(processes_in(network).values())[-2:])
        there = processes_in(network)
        pids = {
            "the lab": process.pid,
            "its keeper": next(pid for pid, words in there.items() if "lab" in words and pid != process.pid),
            "the command": next(pid for pid, words in there.items() if words == ["sleep", "601"]),
        }
        os.kill(pids[victim], signal.SIGKILL)
        assert status == process.wait(PATIENCE_S)
    assert soon(lambda: not processes_in(network))
    assert "lab0" not in [name for _, name in socket.if_nameindex()]


def in_a_world(receive, command):
    """The words for a lab whose world does this with a packet."""
    code = (
        "import os, sys, time; from collections import Counter; from ipaddress import ip_interface\n"
        "from udpprobe.lab.run import Surroundings, run\n"
        "class World:\n"
        "    faults, next_ns = Counter(), None\n"
        f"    def receive(self, raw, now_ns):\n        {receive}\n"
        "    def due(self, now_ns, most): return []\n"
        "around = Surroundings(World(), [ip_interface('198.18.0.2/24')], 1500)\n"
        f"run(around, {command!r}, os.environ); print(around.world.faults['overrun'])"
    )
    return [sys.executable, "-c", code]


def test_nothing_is_left_when_the_world_breaks():
    send = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('198.18.0.1', 7))"
    command = ["sh", "-c", f'readlink /proc/self/ns/net; {sys.executable} -W ignore -c "{send}"; sleep 600']
    with started(in_a_world("raise RuntimeError('broken')", command)) as process:
        network = process.stdout.readline().strip()
        assert 1 == process.wait(PATIENCE_S)
        assert "RuntimeError: broken" in process.stderr.read()
    assert network_of("self") != network
    assert soon(lambda: not processes_in(network))


def test_a_world_that_never_settles_ends_with_its_command(tmp_path):
    """Two hosts that echo each other for ever, in no time."""
    page = tmp_path / "echoes.toml"
    page.write_text(
        "conclude = 'they never stop'\n[nodes]\nyou = { address = '198.18.0.2/24' }\n"
        "a = { address = '198.18.0.1', udp = { 7 = 'echo' } }\n"
        "b = { address = '198.18.9.9', udp = { 7 = 'echo' } }\n"
        "[links]\n'you - a - b' = { delay_ms = 0 }\n"
    )
    packet = datagram("198.18.0.1", "198.18.9.9", 7, 7, b"x")
    code = (
        "import socket, time; raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n"
        f"raw.sendto({packet!r}, ('198.18.9.9', 0)); time.sleep(0.3)"
    )
    assert 0 == in_lab(sys.executable, "-c", code, options=["--scenario", page]).returncode


# ---- what a command sees


def test_a_command_cannot_leave_the_lab():
    done = in_lab("cat", "/proc/net/dev")
    assert {"lo", "lab0"} == set(re.findall(r"(\S+):", done.stdout))


def test_proc_and_sys_show_the_namespace():
    done = in_lab("sh", "-c", "ls /sys/class/net; echo $$; exec readlink /proc/self")
    assert ["lab0", "lo", "2", "2"] == done.stdout.split()


def test_the_scenario_is_in_the_environment():
    assert "plain\n" == in_lab("sh", "-c", "echo $UDPPROBE_LAB").stdout


@FAMILIES
def test_an_unprivileged_user_can_ping_at_once(family):
    require("ping", "setpriv")
    assert 0 == in_lab(*UNPRIVILEGED, "ping", f"-{family}", "-c", 1, "-W", 5, HOST[family]).returncode


@FAMILIES
def test_traceroute_sees_the_routers(family):
    require("traceroute")
    done = in_lab("traceroute", "-n", "-q", 1, f"-{family}", HOST[family])
    assert [*ROUTERS[family], HOST[family]] == re.findall(r"^ *\d+ +(\S+)", done.stdout, re.MULTILINE)


@FAMILIES
def test_nmap_sees_the_ports(family):
    require("nmap")
    done = in_lab("nmap", *{4: [], 6: ["-6"]}[family], "-n", "-Pn", "-sU", "-p", f"{OPEN},{CLOSED}", HOST[family])
    assert [(str(OPEN), "open"), (str(CLOSED), "closed")] == re.findall(r"^(\d+)/udp +(\S+)", done.stdout, re.MULTILINE)


@FAMILIES
def test_dig_is_answered(family):
    require("dig")
    done = in_lab("dig", "+tries=1", "+time=5", f"@{HOST[family]}", "www.example.org", {4: "A", 6: "AAAA"}[family])
    assert 0 == done.returncode, done.stdout
    address = {4: "192.0.2.53", 6: "2001:db8::53"}[family]
    assert re.search(
        rf"status: NOERROR.*^www\.example\.org\.\s+60\s+IN\s+A+\s+{address}$", done.stdout, re.MULTILINE | re.DOTALL
    )
    assert not re.search("warning", done.stdout, re.IGNORECASE)


@FAMILIES
def test_an_ntp_client_can_set_its_clock(family, tmp_path):
    require("chronyd")
    page = tmp_path / "clock.toml"
    page.write_text(
        "conclude = 'the time'\n[nodes]\nyou = { address = ['198.18.0.2/24', '2001:db8::2/64'] }\n"
        f"clock = {{ address = ['{HOST[4]}', '{HOST[6]}'], udp.123 = 'ntp' }}\n"
        "[links]\n'you - clock' = {}\n"
    )
    quietly = "cmdport 0", "bindcmdaddress /", f"pidfile {tmp_path}/pid"  # beside the one that this host may run
    done = in_lab(
        "chronyd", "-Q", "-t", 20, *quietly, f"server {HOST[family]} iburst maxsamples 1", options=["--scenario", page]
    )
    assert 0.5 > float(re.search("System clock wrong by ([-0-9.]+) seconds", done.stderr + done.stdout)[1]) > -0.5


# ---- our own commands inside


def told(*words, scenario="plain"):
    """The JSON of one of our commands."""
    done = in_lab(*UDPPROBE, *words, "--format", "json", options=["--scenario", scenario])
    return json.loads(done.stdout)


@FAMILIES
def test_scan_distinguishes_open_from_closed_ports(family):
    report = told("scan", target(family, f"{OPEN},{CLOSED}"))
    told_of = {each["port"]: each for each in report["destinations"]}
    assert ("answered", ["answers as dns"]) == (told_of[OPEN]["verdict"], told_of[OPEN]["notes"])
    assert "refused" == told_of[CLOSED]["verdict"]


@FAMILIES
def test_trace_finds_the_routers(family):
    report = told("trace", target(family, CLOSED))
    assert ("refused", True) == (report["verdict"], report["reached"])
    assert [*ROUTERS[family], HOST[family]] == [hop["reporters"][0]["address"] for hop in report["hops"]]


@FAMILIES
def test_mtu_measures_the_path(family):
    report = told("mtu", target(family, OPEN))
    assert ("ok", 1500) == (report["verdict"], report["path_mtu"])


@FAMILIES
def test_check_is_ok(family):
    done = in_lab(*UDPPROBE, "check", target(family, OPEN))
    assert (0, "UDPPROBE OK") == (done.returncode, done.stdout[:11])


@FAMILIES
def test_trace_names_a_loop(family):
    loop = told("trace", target(family, OPEN), scenario="loop-3")["loop"]
    assert (3, 2, ROUTERS[family][1]) == (loop["period"], loop["first_ttl"], loop["routers"][0])


@FAMILIES
def test_mtu_measures_a_black_hole(family):
    report = told("mtu", target(family, OPEN), scenario="vpn-black-hole")
    assert ("black-hole", 1420, ROUTERS[family][1]) == (
        report["verdict"],
        report["path_mtu"],
        report["black_hole"]["after"],
    )


@FAMILIES
def test_scan_gets_refusals_through_a_nat(family):
    report = told("scan", target(family, CLOSED), scenario="home-nat")
    assert "refused" == next(each["verdict"] for each in report["destinations"] if CLOSED == each["port"])


@FAMILIES
def test_scan_does_not_believe_a_forger(family):
    report = told("scan", target(family, OPEN), scenario="forger")
    assert "answered" == next(each["verdict"] for each in report["destinations"] if OPEN == each["port"])
    assert report["faults"]["foreign"] > 0


def test_watch_names_the_process_inside():
    code = (
        "import select, socket, subprocess\n"
        f"watch = subprocess.Popen({[*UDPPROBE, 'watch', '-i', 'lab0', '--format', 'ndjson']!r}, stdout=-1)\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "while True:\n"
        f"    s.sendto(b'x', ('{HOST[4]}', {CLOSED}))\n"
        "    if select.select([watch.stdout], [], [], 0.5)[0]: break\n"
        "print(watch.stdout.readline().decode(), end=''); watch.terminate(); watch.communicate()"
    )
    event = json.loads(in_lab(sys.executable, "-c", code).stdout)
    assert ("refused", "blind") == (event["verdict"], event["sees"])
    assert 2 == event["process"]["pid"]  # behind its keeper, the first of its namespace


@FAMILIES
def test_icmpd_serves_programs_inside(family, tmp_path):
    path = tmp_path / "icmpd"
    code = (
        "import socket, subprocess, time, os\n"
        "from udpprobe.icmpd.client import Icmpd\n"
        f"daemon = subprocess.Popen({[*UDPPROBE, 'icmpd', '--socket', str(path)]!r}, stderr=-3)\n"
        f"while not os.path.exists({str(path)!r}): time.sleep(0.05)\n"
        f"s = socket.socket(socket.AF_INET{6 if family == 6 else ''}, socket.SOCK_DGRAM); s.bind(('', 0))\n"
        f"errors = Icmpd(s, {str(path)!r}); s.sendto(b'x', ('{HOST[family]}', {CLOSED}))\n"
        "print(next(iter(errors)).verdict); daemon.terminate(); daemon.wait()"
    )
    done = in_lab(sys.executable, "-c", code)
    assert "refused\n" == done.stdout, done.stderr


def test_two_thousand_packets_a_second_pass():
    code = (
        "import socket, time\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(1, 8, 1 << 22)\n"
        f"s.connect(('{HOST[4]}', {ECHO})); s.settimeout(5); start = time.monotonic()\n"
        "for n in range(2000):\n"
        "    time.sleep(max(0, start + n / 2000 - time.monotonic())); s.send(b'%d' % n)\n"
        "print(len({s.recv(99) for _ in range(2000)}))"
    )
    assert "2000\n" == in_lab(sys.executable, "-c", code).stdout


@pytest.mark.parametrize(("sent", "least", "most"), [(5_000, 0, 0), (15_000, 4_500, 5_000)])
def test_packets_sent_too_fast_are_counted(tmp_path, sent, least, most):
    """While the world is busy with the first packet, all the others come."""
    all_sent = tmp_path / "all-sent"
    flood = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for _ in range({sent}): s.sendto(b'', ('198.18.0.1', 7))\n"
        f"open({str(all_sent)!r}, 'w')"
    )
    done = run(
        in_a_world(f"while not os.path.exists({str(all_sent)!r}): time.sleep(0.01)", [sys.executable, "-c", flood])
    )
    assert least <= int(done.stdout) <= most, done.stderr


# ---- what passed


def test_the_capture_has_both_directions(tmp_path):
    require("tshark")
    path = tmp_path / "seen.pcapng"
    in_lab(*UDPPROBE, "scan", *(target(family, f"{OPEN},{CLOSED}") for family in (4, 6)), options=["--write", path])
    fields = (
        "-T fields -e _ws.malformed -e ip.checksum.status -e udp.checksum.status -e icmp.checksum.status -e "
        "icmpv6.checksum.status"
    ).split()
    checks = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    seen = run(["tshark", "-r", str(path), *checks, *fields])
    assert 8 <= len(seen.stdout.splitlines())
    statuses = set(re.split(r"[\t\n,]", seen.stdout)) - {""}
    assert {"1"} == statuses - {"0", "2"}  # good where it is there and covers a whole packet
    found = json.loads(run([*UDPPROBE, "analyze", "--all", "--format", "json", str(path)]).stdout)
    verdicts = {(each["address"], each["port"]): each["verdict"] for each in found["destinations"]}
    assert {
        (host, port): verdict for host in HOST.values() for port, verdict in ((OPEN, "answered"), (CLOSED, "refused"))
    }.items() <= verdicts.items()


def test_the_last_packet_of_the_command_is_in_the_capture(tmp_path):
    path = tmp_path / "seen.pcapng"
    code = (
        "import os, socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for _ in range(300): s.sendto(b'x', ('{HOST[4]}', {ECHO}))\n"
        "os._exit(0)"
    )
    in_lab(sys.executable, "-c", code, options=["--write", path])
    found = json.loads(run([*UDPPROBE, "analyze", "--all", "--format", "json", str(path)]).stdout)
    # answers that come when it has ended are refused by this host: they are another destination
    assert [300] == [each["sent"] for each in found["destinations"] if each["address"] == HOST[4]]


def test_the_last_packet_into_a_held_world_is_captured_or_counted(tmp_path):
    require("nsenter")
    path = tmp_path / "seen.pcapng"
    flood = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for _ in range(10_500): s.sendto(b'x', ('{HOST[4]}', {ECHO}))\n"
    )
    with started([*UDPPROBE, "lab", "--up", "plain", "--write", path]) as process:
        entrance = re.search(r"enter with: (nsenter .*) COMMAND", process.stderr.readline())[1]
        process.send_signal(signal.SIGSTOP)
        assert 0 == run([*entrance.split(), sys.executable, "-c", flood]).returncode
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        lost = int(re.search(r"overrun (\d+)", process.stderr.read())[1])
    found = json.loads(run([*UDPPROBE, "analyze", "--all", "--format", "json", str(path)]).stdout)
    assert 10_500 - lost == found["source"]["packets"]


def test_an_ipv4_interface_may_be_narrower_than_ipv6_allows(tmp_path):
    require("ping")
    path = tmp_path / "narrow.toml"
    path.write_text(
        'conclude = "x"\nmtu = 576\n[links]\n"you - isp" = {}\n[nodes]\n'
        'you = { address = "198.18.0.2/24" }\nisp = { address = "198.18.0.1" }\n'
    )
    assert 0 == in_lab("ping", "-c", "1", "-s", "1000", "198.18.0.1", options=["-s", path]).returncode


# ---- for staying inside


def test_a_world_is_held_until_ctrl_c():
    require("nsenter", "ping")
    with started([*UDPPROBE, "lab", "--up", "plain"]) as process:
        entrance = re.search(r"enter with: (nsenter .*) COMMAND", process.stderr.readline())[1]
        assert 0 == run([*entrance.split(), "ping", "-c", "1", "-W", "5", HOST[4]]).returncode
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(PATIENCE_S)


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_shell_prompt_names_the_scenario(shell):
    require("script", shell)
    words = " ".join([*UDPPROBE, "lab", "--shell"])
    done = run(
        ["script", "--quiet", "--return", "--command", words, "/dev/null"],
        input="exit 5\n",
        env={**os.environ, "SHELL": f"/bin/{shell}"},
    )
    assert "(lab plain) " in done.stdout
    assert 5 == done.returncode


# ---- without privilege


def as_nobody(device, *command):
    """The lab for `nobody`, in a mount namespace where /dev/net/tun has these permissions."""
    prepare = (
        f"mount -t tmpfs none /mnt && mknod /mnt/tun c 10 200 && chmod {device} /mnt/tun && "
        'mount --bind /mnt/tun /dev/net/tun && cd / && exec "$@"'
    )
    return run(["unshare", "--mount", "sh", "-c", prepare, "sh", *UNPRIVILEGED, *lab_words(*command)])


@pytest.fixture
def _nobody():
    require("unshare", "setpriv")
    if run(["sh", "-c", 'cd / && exec "$@"', "sh", *UNPRIVILEGED, *UDPPROBE, "--version"]).returncode:
        pytest.skip("nobody may not read this Python")


@pytest.mark.usefixtures("_nobody")
@FAMILIES
def test_any_user_may_run_the_lab_if_the_device_allows(family):
    require("ping")
    done = as_nobody(666, "ping", "-c", 1, "-W", 5, HOST[family])
    if "allow user namespaces" in done.stderr:
        pytest.skip(done.stderr)
    assert 0 == done.returncode, done.stderr


@pytest.mark.usefixtures("_nobody")
def test_a_user_without_the_device_gets_advice():
    done = as_nobody(600, "true")
    assert 3 == done.returncode
    assert re.fullmatch("udpprobe: cannot (open /dev/net/tun|make a private network): .*be root, or .*\n", done.stderr)


# ---- the demo


def test_the_demo_shows_what_it_explains():
    done = run([*UDPPROBE, "demo"])
    assert (0, "") == (done.returncode, done.stderr)
    firewall, loop, narrow, program = re.split(r"^\d\. ", done.stdout, flags=re.MULTILINE)[1:]
    for port, verdict in ((53, "answered"), (123, "refused"), (20, "prohibited"), (54, "rejected")):
        assert re.search(rf"^198\.18\.9\.9:{port} +{verdict} ", firewall, re.MULTILINE)
    assert "loop of 3 between" in loop
    assert "path MTU 1420, black-hole" in narrow
    # errors, told, blind, ignored
    assert [("1", "0", "1", "0"), ("1", "1", "0", "0")] == sorted(
        re.findall(r"^198\.18\.0\.2:\d+ python\S* +(\d) +(\d) +(\d) +(\d) +refused$", program, re.MULTILINE)
    )
