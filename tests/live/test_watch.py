"""`udpprobe watch` beside real programs: whose datagram failed, does it know, and is it told in time."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from threading import Thread

import builders as b
import forked
import pytest
from network import CannotRun, Network, address
from record import play
from scanning import UDPPROBE, UNLIMITED
from waiting import until_it_sleeps

from udpprobe.errors import UdpprobeError
from udpprobe.linux.drop_reasons import EVENT as DROPPED
from udpprobe.linux.drop_reasons import DropReasons, namespace_drops
from udpprobe.linux.error_reports import EVENT, FILTER
from udpprobe.linux.hostfacts import reserve_ports
from udpprobe.linux.tracefs import Tracing

pytestmark = [pytest.mark.live, pytest.mark.slow]

PATIENCE_S = 30
CLOSED, ANSWERING = 7, 7100
SERVER = {family: address(family, 1, 2) for family in (4, 6)}
FAR = {4: "10.0.77.2", 6: "2001:db8:77::2"}
"""A host behind the server, 50 ms away, where all ports are closed."""
FARTHER = {4: "10.0.77.3", 6: "2001:db8:77::3"}
"""One half a second away: so long a program that waits for it is there to be seen, on a busy machine, too."""
FAR_S, FARTHER_S = 0.05, 0.5
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x4004_54CA, 1, 0x1000  # linux/if_tun.h
CLIENT = f"{sys.executable} {Path(__file__).with_name('watch_client.py')}"
NO_NEIGHBOURS = "udp or icmp or (icmp6 and ip6[40] < 128)"
"""What neighbours say of themselves may come before one of two captures begins."""
OTHERS = {4: "127.0.0.1", 6: "::1"}
"""The server itself."""
DOMAIN = {4: socket.AF_INET, 6: socket.AF_INET6}
RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
HEARD = {"unconnected": ("blind", False), "connected": ("connected", True), "recverr": ("recverr", True)}
MEASURED = frozenset({"notes", "first_time", "last_time", "rtt_ms", "process", "sees"})


@pytest.fixture(scope="module")
def network():
    with Network("client", "server") as made, far_host(made):
        play(made, [f"server: {UNLIMITED}"])
        made.start(f"server: answer {ANSWERING}")
        yield made


@contextlib.contextmanager
def far_host(network):
    """Refuses, a while after each datagram; the other end of a tunnel of the server's."""
    with network.inside("server"):
        try:
            tunnel = os.open("/dev/net/tun", os.O_RDWR)
        except OSError as error:
            raise CannotRun(f"/dev/net/tun: {error.strerror}") from None
        fcntl.ioctl(tunnel, TUNSETIFF, struct.pack("16sH22x", b"far", IFF_TUN | IFF_NO_PI))
    play(
        network,
        ["server: ip link set far up"]
        + [
            f"server: ip {option} route add {host} dev far"
            for option, family in (("-4", 4), ("-6", 6))
            for host in (FAR[family], FARTHER[family])
        ],
    )
    Thread(target=refuse, args=(tunnel,), daemon=True).start()
    yield


def refuse(tunnel):
    with contextlib.suppress(OSError):  # the network is taken down
        while True:
            packet = os.read(tunnel, 2048)
            protocol_at, last_at = (9, 19) if packet[0] >> 4 == 4 else (6, 39)
            if packet[protocol_at] == 17:
                time.sleep(FARTHER_S if packet[last_at] == 3 else FAR_S)
                os.write(tunnel, b.port_unreachable(packet))


@contextlib.contextmanager
def watching(network, options, **how):
    with subprocess.Popen(
        network.command(f"client: {UDPPROBE} watch -i right {options}"),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how,
    ) as process:
        try:
            until(lambda: captures(process), process)
            yield process
        finally:
            process.kill()


def captures(process):
    """Whether a packet socket of its namespace is bound, and running: the sixth column says so."""
    sockets = Path(f"/proc/{process.pid}/net/packet").read_text().splitlines()[1:]
    return any(line.split()[5] == "1" for line in sockets)


def until(holds, process):
    """The sockets of its namespace say that it listens."""
    limit_s = time.monotonic() + PATIENCE_S
    while not holds() and process.poll() is None and time.monotonic() < limit_s:
        time.sleep(0.02)
    if not (held := holds()):
        process.kill()  # its last words end only then
    assert held, process.stderr and process.stderr.read()


def ended(process):
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert "" == errors
    return out


def client(network, kind, host, port=CLOSED, options=""):
    """Who the program is, and what it heard."""
    command = network.command(f"client: {CLIENT} {kind} {host} {port} {options}")
    done = subprocess.run(command, check=True, capture_output=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("host", [*SERVER.values(), *FAR.values()])
@pytest.mark.parametrize("kind", HEARD)
def test_each_program_is_named_with_the_errnos_it_gets(network, kind, host):
    sees, hears = HEARD[kind]
    with watching(network, "--format ndjson --count 2") as process:
        who, heard = client(network, kind, host)
        events = list(map(json.loads, ended(process).splitlines()))
    assert [(who, sees, "refused", host)] * 2 == [
        (each["process"], each["sees"], each["verdict"], each["quoted"]["destination"]) for each in events
    ]
    assert hears == ("ECONNREFUSED" in heard)
    assert 0 == process.returncode


@pytest.fixture(scope="module")
def tracefs():
    try:
        Tracing({EVENT: FILTER}).close()
    except UdpprobeError as why:
        pytest.skip(f"no tracefs: {why}")


@pytest.mark.usefixtures("tracefs")
def test_kernel_events_show_which_programs_got_an_errno(network):
    """To the mapped address, one has IPV6_RECVERR, which does nothing for IPv4."""
    hosts = [SERVER[4], SERVER[6], f"::ffff:{SERVER[4]}"]
    with watching(network, "--kernel on --format ndjson --count 27") as process:
        until_it_sleeps(process)
        programs = [
            subprocess.Popen(
                network.command(f"client: {CLIENT} {kind} {host} {CLOSED} --port{how}"), stdout=subprocess.PIPE
            )
            for kind in HEARD
            for host in hosts
            for how in (" --patient" if HEARD[kind][1] and (kind, host) != ("recverr", hosts[2]) else "",)
        ]
        said = [json.loads(each.communicate(timeout=PATIENCE_S)[0]) for each in programs]
        events = list(map(json.loads, ended(process).splitlines()))
    heard = {port: bool(errnos) for port, errnos in said}
    assert 5 == sum(heard.values())
    said = [each for each in events if each["reported_by"] == "kernel"]  # others are, where events were lost
    assert said
    assert dict.fromkeys(heard, 3) == Counter(each["quoted"]["source_port"] for each in events)
    assert [heard[each["quoted"]["source_port"]] for each in said] == [each["reported"] for each in said]
    assert all(
        each["notes"][-1].endswith(
            "(the kernel: reported ECONNREFUSED)" if each["reported"] else "(the kernel: not reported)"
        )
        for each in said
    )


def opened(network, node, family, *options, port=0):
    """A socket of a node's, bound to any address."""
    with network.inside(node):
        made = socket.socket(DOMAIN[family], socket.SOCK_DGRAM)
    made.settimeout(PATIENCE_S)
    for option in options:
        made.setsockopt(*option, 1)
    made.bind(("", port))
    return made


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.usefixtures("tracefs")
def test_kernel_events_show_which_socket_of_a_port_got_an_errno(network, family):
    shared = socket.SOL_SOCKET, socket.SO_REUSEPORT
    with contextlib.ExitStack() as held, watching(network, "--kernel on --format ndjson --count 20") as process:
        until_it_sleeps(process)
        hears = held.enter_context(opened(network, "client", family, shared, RECVERR[family]))
        port = hears.getsockname()[1]
        blind = held.enter_context(opened(network, "client", family, shared, port=port))
        events = []
        for n in range(20):  # the kernel chooses by a hash of addresses and ports whom it tells
            blind.sendto(b"x", (SERVER[family], 20 + n))
            events.append(json.loads(process.stdout.readline()))
        assert "" == ended(process)
        queued = set()
        hears.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                queued.add(hears.recvmsg(10, 512, socket.MSG_ERRQUEUE)[3][1])
    said = {
        each["quoted"]["destination_port"]: each["reported"] for each in events if each["reported_by"] == "kernel"
    }  # others are, where events were lost
    assert said
    assert {port: port in queued for port in said} == said


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.usefixtures("tracefs")
def test_a_report_to_a_socket_in_another_namespace_is_ignored(network, family):
    with contextlib.ExitStack() as held, watching(network, "--kernel on --format ndjson --count 1") as process:
        until_it_sleeps(process)
        blind = held.enter_context(opened(network, "client", family))
        others = held.enter_context(opened(network, "server", family, RECVERR[family], port=blind.getsockname()[1]))
        others.sendto(b"x", (OTHERS[family], CLOSED))
        with pytest.raises(ConnectionRefusedError):
            others.recv(10)
        blind.sendto(b"x", (SERVER[family], CLOSED))
        event = json.loads(ended(process))
    assert ("blind", False) == (event["sees"], event["reported"])


REJECT_ALL = struct.pack("HBBI", 6, 0, 0, 0)  # BPF_RET 0
SO_ATTACH_FILTER = 26


def flooded(network, family, sink, times=60):
    """How many of so many datagrams a socket that nobody reads dropped, by what is in its buffer then."""
    with opened(network, "client", family) as sender:
        for _ in range(times):
            sender.sendto(b"x", (OTHERS[family], sink.getsockname()[1]))
    kept = 0
    sink.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while sink.recv(10):
            kept += 1
    return times - kept


def small(network, family):
    """A socket whose buffer holds next to nothing."""
    made = opened(network, "client", family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    return made


def dropped_in(report, port):
    return [
        (each["process"]["pid"], each["count"], each["reason"])
        for each in report["receive_drops"]
        if each["port"] == port
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_drops_of_a_full_socket_name_its_process(network, family):
    with small(network, family) as early, small(network, family) as before:
        assert flooded(network, family, early)
        assert flooded(network, family, before)
        with watching(network, "--format json -v") as process:
            assert "listening on right" in process.stderr.readline()
            dropped = flooded(network, family, early)
            with small(network, family) as late:
                dropped_late = flooded(network, family, late, 40)
                process.send_signal(signal.SIGINT)
                report = json.loads(process.communicate(timeout=PATIENCE_S)[0])
                ports = [each.getsockname()[1] for each in (early, late, before)]
    assert 0 < dropped_late < dropped < 60
    assert [(os.getpid(), dropped, "buffer-full")] == dropped_in(report, ports[0])
    assert [(os.getpid(), dropped_late, "buffer-full")] == dropped_in(report, ports[1])
    assert [] == dropped_in(report, ports[2])


@pytest.mark.parametrize("family", [4, 6])
def test_drops_by_a_socket_filter_are_not_a_full_buffer(network, family):
    with opened(network, "client", family) as sink, watching(network, "--format json -v") as process:
        program = ctypes.create_string_buffer(REJECT_ALL)
        sink.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
        assert "listening on right" in process.stderr.readline()
        assert 9 == flooded(network, family, sink, 9)
        process.send_signal(signal.SIGINT)
        report, port = json.loads(process.communicate(timeout=PATIENCE_S)[0]), sink.getsockname()[1]
    assert [(os.getpid(), 9, None)] == dropped_in(report, port)


@pytest.mark.parametrize("family", [4, 6])
def test_a_scan_on_the_same_host_causes_no_drops_and_no_advice(network, family):
    """Its sockets keep its ports, and swallow what comes to them; its control port is meant to be closed."""
    own, host = address(family, 1, 1), SERVER[family]
    with watching(network, "--all --format json -v") as process:
        assert "listening on right" in process.stderr.readline()
        with network.inside("client"):
            kept = reserve_ports([family])
            raw = socket.socket(DOMAIN[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
        with kept, raw:
            for port in (ANSWERING, CLOSED + 1):
                raw.sendto(b.datagram(own, host, kept.port, port, b"x"), (host, 0))
            client(network, "unconnected", host)  # whose refusal is seen behind those
            until_it_sleeps(process)
            process.send_signal(signal.SIGINT)
            report = json.loads(process.communicate(timeout=PATIENCE_S)[0])
    found = {each["port"]: (each["verdict"], bool(each["advice"])) for each in report["destinations"]}
    assert {ANSWERING: ("answered", False), CLOSED + 1: ("refused", False), CLOSED: ("refused", True)} == found
    assert [] == report["receive_drops"]


def namespace_drops_of(process):
    return namespace_drops(lambda name: Path(f"/proc/{process.pid}/net/{name}").read_text())


@pytest.fixture(scope="module")
def kfree_skb():
    try:
        with contextlib.closing(Tracing({})) as tracing, contextlib.closing(DropReasons()) as counted:
            counted.count_all(tracing.format_of(DROPPED))
    except UdpprobeError as why:
        pytest.skip(f"drops are not counted by reason: {why}")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.usefixtures("kfree_skb")
def test_drops_of_this_host_are_counted_by_kernel_reason(network, family):
    """A rule of its firewall, bad checksums, a closed port, and what came on an interface that does not lead back."""
    own, peer, unroutable = address(family, 1, 1), address(family, 1, 2), "203.0.113.1"
    echo = (b.icmp4(8) if family == 4 else b.icmp6(128, src=peer, dst=own)), 1 if family == 4 else 58
    spoiled = echo[0][:2] + bytes(a ^ 1 for a in echo[0][2:4]) + echo[0][4:]
    packets = {
        "NETFILTER_DROP": 7 * [b.datagram(peer, own, 4000, CLOSED + 1)],
        "UDP_CSUM": 6 * [b.datagram(peer, own, 4000, CLOSED, checksum=0xBAD)],
        "ICMP_CSUM": 5 * [b.ip(peer, own, spoiled, echo[1])],
        "NO_SOCKET": 4 * [b.datagram(peer, own, 4000, CLOSED)],
        "IP_RPFILTER": 3 * [b.datagram(unroutable, own, 4000, CLOSED)] * (family == 4),
    }
    play(
        network,
        [
            f"client: input: udp dport {CLOSED + 1} counter drop",
            f"client: ip route add blackhole {unroutable}",
            "client: sysctl -q net.ipv4.conf.right.rp_filter=1",
        ],
    )
    try:
        with network.inside("server"):
            sender = socket.socket(DOMAIN[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
        with sender, watching(network, "--kernel on --format json -v") as process:
            assert "listening on right" in process.stderr.readline()
            before = namespace_drops_of(process)
            for packet in itertools.chain.from_iterable(packets.values()):
                sender.sendto(packet, (own, 0))
            until(
                lambda: all(
                    namespace_drops_of(process)[reason] - before[reason] >= len(some)
                    for reason, some in packets.items()
                    if reason in before
                ),
                process,
            )
            until(lambda: "packets 7 " in output_of(network, "client: nft list ruleset"), process)
            process.send_signal(signal.SIGINT)
            report = json.loads(process.communicate(timeout=PATIENCE_S)[0])
    finally:
        for line in (
            "nft flush ruleset",
            f"ip route del blackhole {unroutable}",
            "sysctl -q net.ipv4.conf.right.rp_filter=0",
        ):
            network.run(f"client: {line}")
    found = {each["reason"]: each for each in report["drop_reasons"]}
    for reason, some in packets.items():
        if some:
            assert len(some) <= found[reason]["host"]  # other namespaces drop packets meanwhile, too
            assert found[reason]["namespace"] == (None if reason == "NETFILTER_DROP" else len(some))


def output_of(network, line):
    return subprocess.run(network.command(line), check=True, capture_output=True, text=True).stdout


def counters(process):
    """ICMP errors of either family that a process's namespace has sent, and that its rate limits suppressed."""
    texts = [Path(f"/proc/{process.pid}/net/{name}").read_text() for name in ("snmp", "snmp6")]
    rows = re.search(r"^Icmp: (\D.*)\nIcmp: (.*)", texts[0], re.MULTILINE)
    found = Counter({name: int(number) for name, number in zip(rows[1].split(), rows[2].split(), strict=True)})
    found += {name: int(number) for name, number in map(str.split, texts[1].splitlines())}
    return (
        found["OutDestUnreachs"] + found["Icmp6OutDestUnreachs"],
        found["OutRateLimitGlobal"] + found["OutRateLimitHost"] + found["Icmp6OutRateLimitHost"],
    )


@pytest.mark.parametrize("family", [4, 6])
def test_errors_sent_by_this_host_have_reasons_and_suppressed_ones_are_counted(network, family, tmp_path):
    if "OutRateLimitHost" not in Path("/proc/net/snmp").read_text():
        pytest.skip("this kernel does not count what its rate limits hold back")
    record, own, numbers = tmp_path / "record.pcapng", address(family, 1, 1), itertools.count()
    with contextlib.ExitStack() as held:
        with network.inside("client"):
            local = held.enter_context(socket.socket(DOMAIN[family], socket.SOCK_DGRAM))
        local.bind((OTHERS[family], 0))
        who = f"{Path('/proc/self/comm').read_text().strip()}[{os.getpid()}]"
        reasons = {
            local.getsockname()[1]: f"{who} is bound to the port at {OTHERS[family]} only",
            CLOSED: "no socket is bound to the port",
        }
        process = held.enter_context(watching(network, f"--sent -w {record} --format json -v"))
        assert "listening on right" in process.stderr.readline()
        asker, before = held.enter_context(opened(network, "server", family)), counters(process)

        def says(port):
            """Ask anew each time: what was refused lately may leave no room for one more."""
            asker.sendto(f"{next(numbers)}".encode(), (own, port))
            return f"sent by this host: {reasons[port]}".encode() in record.read_bytes()

        for port in reasons:
            until(partial(says, port), process)
        for _ in range(200):
            asker.sendto(f"{next(numbers)}".encode(), (own, CLOSED))
        total = next(numbers)
        until(lambda: total <= sum(counters(process)) - sum(before), process)
        sent, held_back = (now - then for now, then in zip(counters(process), before, strict=True))
        until(lambda: sent <= record.read_bytes().count(b"sent by this host: "), process)
        process.send_signal(signal.SIGINT)
        found = json.loads(process.communicate(timeout=PATIENCE_S)[0])["errors_sent"]
    assert {(address(family, 1, 2), own, port, reason) for port, reason in reasons.items()} == {
        (each["to"], each["address"], each["port"], each["why"]) for each in found["rows"]
    }
    assert (sent, held_back) == (sum(each["count"] for each in found["rows"]), sum(found["rate_limited"].values()))
    assert sent < total


def test_events_are_readable_lines_while_the_watch_runs(network):
    with watching(network, "--events --utc") as process:
        who, _ = client(network, "unconnected", SERVER[4])
        line = process.stdout.readline()  # of a pipe, and the watch is not over
        assert process.poll() is None
        assert re.match(
            rf"\d\d:\d\d:\d\d\.\d{{6}} refused {re.escape(SERVER[4])}:{CLOSED} by {re.escape(SERVER[4])}: "
            rf"port-unreach 3/3; sent in frame \d+; .*\[{who['pid']}\]",
            line,
        )
        process.send_signal(signal.SIGINT)
        assert " packets " in ended(process)
    assert 130 == process.returncode


@pytest.mark.parametrize("family", [4, 6])
def test_dig_is_named_and_reports_the_same_error(network, family):
    with watching(network, "--format ndjson --count 1") as process:
        said = subprocess.run(
            network.command(f"client: dig +tries=1 +timeout=5 @{FARTHER[family]} example.org"),
            check=False,
            capture_output=True,
            text=True,
        )
        event = json.loads(ended(process))
    assert "dig" == event["process"]["name"]
    assert ("refused" in said.stdout) == (event["sees"] in {"connected", "recverr"})
    assert f"dig[{event['process']['pid']}]" in event["notes"][-1]


def test_a_line_is_written_while_the_link_is_idle(network):
    with watching(network, "--format ndjson") as process:
        for turn in range(3):
            sent_s = time.time()
            client(network, "unconnected", SERVER[4])
            for _ in range(3):
                event = json.loads(process.stdout.readline())
                assert event["matched_frame"]
            assert time.time() - sent_s < PATIENCE_S, turn  # nothing comes behind the last one that could bring it


def test_lines_are_written_before_the_next_datagram(network):
    """It is sent only once the line about the one before was read."""
    command = network.command(f"client: {CLIENT} unconnected {SERVER[4]} {CLOSED} --ask")
    with (
        watching(network, "--format ndjson") as process,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as sender,
    ):
        for _ in range(3):
            sender.stdin.write(b"go\n")
            sender.stdin.flush()
            assert select.select([process.stdout], [], [], PATIENCE_S)[0]
            assert "refused" == json.loads(process.stdout.readline())["verdict"]


def test_the_report_equals_that_of_analyze_on_a_capture(network, tmp_path):
    capture, written = tmp_path / "same.pcap", tmp_path / "errors.pcapng"
    with watching(network, f"--format json --all -w {written} --filter {NO_NEIGHBOURS!r}") as process:
        with network.capturing(capture, f"client: tcpdump -i right {NO_NEIGHBOURS!r}"):
            for family in (4, 6):
                client(network, "connected", SERVER[family])
                client(network, "unconnected", FAR[family], 53)
                client(network, "unconnected", SERVER[family], ANSWERING, "--patient")
            until(lambda: all_refused(capture) and all_answered(capture), process)
            until(lambda: all_refused(written), process)
            until_it_sleeps(process)
        process.send_signal(signal.SIGINT)
        report = json.loads(ended(process))
    assert 130 == process.returncode
    expected = analyzed(capture, "--all")
    assert without_times(expected["destinations"]) == without_times(report["destinations"])
    assert (expected["unmatched"], expected["faults"]) == (report["unmatched"], report["faults"])
    assert expected["source"]["packets"] == report["source"]["packets"]
    assert {"refused", "answered"} == {each["verdict"] for each in report["destinations"]}
    failed = [each for each in expected["destinations"] if each["findings"]]
    assert [(each["address"], each["errors"]) for each in failed] == [
        (each["address"], each["errors"]) for each in analyzed(written)["destinations"]
    ]
    assert sum(2 * each["errors"] for each in failed) == analyzed(written)["source"]["packets"]


def analyzed(path, options=""):
    words = [*UDPPROBE.split(), "analyze", "--format", "json", str(path), *options.split()]
    done = forked.run(words, check=True)
    return json.loads(done.stdout)


def all_refused(path):
    """Whether each datagram to the host far away has its error in a capture."""
    found = {each["address"]: (each["sent"], each["errors"]) for each in analyzed(path, "--all")["destinations"]}
    return [(3, 3)] * len(FAR) == [found.get(host) for host in FAR.values()]


def all_answered(path):
    """Whether each datagram to the service has its answer in a capture."""
    found = {
        each["address"]: (each["sent"], each["answered"])
        for each in analyzed(path, "--all")["destinations"]
        if each["port"] == ANSWERING
    }
    return [(3, 3)] * len(SERVER) == [found.get(host) for host in SERVER.values()]


def without_times(told):
    """The two took their stamps at different moments."""
    if isinstance(told, list):
        return [without_times(each) for each in told]
    if isinstance(told, dict):
        return {name: without_times(value) for name, value in told.items() if name not in MEASURED}
    return told


def test_on_a_terminal_the_table_grows_while_it_runs(network):
    screen, inside = pty.openpty()
    with watching(network, "", stdout=inside) as process:
        os.close(inside)
        client(network, "unconnected", SERVER[4])
        running = b""
        while f"{SERVER[4]}:{CLOSED}".encode() not in running:
            running += os.read(screen, 65536)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # nobody is left to write
            while os.read(screen, 65536):
                pass
        assert 130 == process.wait(PATIENCE_S)
    os.close(screen)


def test_the_watch_ends_after_its_duration(network):
    with watching(network, "--duration 2 --format json") as process:
        assert 0 == json.loads(ended(process))["source"]["dropped"]
        assert 0 == process.returncode


def test_a_removed_interface_ends_the_watch_and_one_that_goes_down_does_not(network):
    play(
        network,
        [
            "client: ip link add short type veth peer name other",
            "client: ip link set other up",
            "client: ip link set short up",
        ],
    )
    with watching(network, "-i short --format json") as process:
        play(network, ["client: ip link set short down"])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        play(network, ["client: ip link del short"])
        out, errors = process.communicate(timeout=PATIENCE_S)
    assert (3, {"interface-down": 1}) == (process.returncode, json.loads(out)["faults"])
    assert "udpprobe: interface short is gone; watch it again when it is back\n" == errors


def test_without_privilege_it_says_what_to_do(network):
    done = subprocess.run(
        network.command(f"client: setpriv --bounding-set=-all --inh-caps=-all {UDPPROBE} watch"),
        check=False,
        capture_output=True,
        text=True,
    )
    assert (3, 1) == (done.returncode, done.stderr.count("\n"))
    assert "CAP_NET_RAW" in done.stderr
    assert "--engine" not in done.stderr
