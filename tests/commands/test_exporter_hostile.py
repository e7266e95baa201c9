"""What clients of the exporter may do to it that a Prometheus server never does."""

import contextlib
import errno
import signal
import socket
import subprocess
import sys
import threading
import time
from ipaddress import ip_network

import pytest
from msgspec.structs import replace
from samples import REFUSED

from udpprobe.checking.expectations import Expectation, Probing
from udpprobe.checking.states import Facts, Outcome, checked
from udpprobe.commands import exporter
from udpprobe.commands.check import Settings
from udpprobe.commands.exporter import MODULES, ExporterOptions, MetricsServer, ProbeService

NOWHERE = {"nowhere": (Expectation(), Probing(interface="no-such-if"))}


@pytest.fixture
def port():
    options = ExporterOptions(
        ("127.0.0.1", 0),
        (ip_network("127.0.0.1"),),
        {**MODULES, **NOWHERE},
        Settings(engine="recverr", silence_s=0.3, timeout_s=3),
    )
    with MetricsServer(options) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def asked(port, line):
    """The whole answer to a request of one line."""
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(line + b"\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_who_sends_a_byte_now_and_then_is_hung_up_on_in_time(port, monkeypatch):
    monkeypatch.setattr(exporter, "SLOW_S", 0.3)
    start_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client, contextlib.suppress(ConnectionError):
        client.settimeout(0.1)
        while time.monotonic() - start_s < 9:
            client.sendall(b"G")
            with contextlib.suppress(TimeoutError):
                if not client.recv(1):
                    break
    assert 0.2 < time.monotonic() - start_s < 9


def test_what_is_no_url_is_a_bad_request(port, capfd):
    assert asked(port, b"GET http://[ HTTP/1.0").startswith(b"HTTP/1.0 400 ")
    assert "" == capfd.readouterr().err


def test_head_is_answered_without_a_body(port):
    head, _, body = asked(port, b"HEAD /-/healthy HTTP/1.0").partition(b"\r\n\r\n")
    assert (b"HTTP/1.0 200 OK", b"") == (head.partition(b"\r\n")[0], body)


def test_a_probe_that_cannot_be_made_fails_and_says_so(port, capfd):
    answer = asked(port, b"GET /probe?target=127.0.0.1:9&module=nowhere HTTP/1.0").decode()
    assert "\nprobe_success 0.0\n" in answer
    assert "\nprobe_udp_state 3.0\n" in answer
    assert "" == capfd.readouterr().err


def test_what_a_probe_waited_for_others_is_taken_from_its_time(monkeypatch):
    given_s, began_s, began, go_on = [], [], threading.Event(), threading.Event()

    def check(_, settings):
        given_s.append(settings.timeout_s)
        began_s.append(time.monotonic())
        began.set()
        go_on.wait(5)
        return Outcome((checked("x", None, Facts(REFUSED), Expectation()),), 0, 0, "0.1.0")

    monkeypatch.setattr(exporter, "check", check)
    prober = ProbeService(
        ExporterOptions(("", 0), (ip_network("127.0.0.1"),), MODULES, replace(Settings(), timeout_s=3), at_once=1)
    )
    first = threading.Thread(target=prober.probe, args=({"target": ["127.0.0.1:1"]}, 3))
    first.start()
    began.wait(5)
    threading.Timer(1, go_on.set).start()
    asked_s = time.monotonic()
    prober.probe({"target": ["127.0.0.1:2"]}, 3)
    first.join()
    assert asked_s + 3 - began_s[1] <= given_s[1] < 2.9


def test_slow_connections_starve_nobody(port):
    with contextlib.ExitStack() as opened:
        for _ in range(exporter.CONNECTIONS + 26):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), 10)).sendall(b"G")
        start_s = time.monotonic()
        assert asked(port, b"GET /-/healthy HTTP/1.0").startswith(b"HTTP/1.0 200 ")
        assert time.monotonic() - start_s < 5


def test_where_all_have_asked_one_more_is_told_that_there_is_no_room(port, monkeypatch):
    monkeypatch.setattr(exporter, "ROOM_S", 0.1)
    go_on = threading.Event()

    def check(*_):
        go_on.wait(20)
        return Outcome((checked("x", None, Facts(REFUSED), Expectation()),), 0, 0, "0.1.0")

    monkeypatch.setattr(exporter, "check", check)
    with contextlib.ExitStack() as opened:
        opened.callback(go_on.set)
        for _ in range(exporter.CONNECTIONS):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), 10)).sendall(
                b"GET /probe?target=127.0.0.1:9 HTTP/1.0\r\n\r\n"
            )
        time.sleep(0.5)
        assert asked(port, b"GET /-/healthy HTTP/1.0").startswith(b"HTTP/1.0 503 ")


def test_sigterm_ends_it_in_order_and_it_says_where_it_listens():
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "udpprobe", "exporter", "--engine", "recverr", "--listen", where]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert f"udpprobe exporter: listens on http://{where}\n" == process.stderr.readline()
        assert asked(int(where.rpartition(":")[2]), b"GET /-/healthy HTTP/1.0").startswith(b"HTTP/1.0 200 ")
        process.send_signal(signal.SIGTERM)
        assert (0, "") == (process.wait(20), process.stderr.read())


@pytest.mark.parametrize(("limit", "probes"), [(1024, 28), (100, 1), (1 << 20, 32_764)])
def test_no_more_probes_run_at_a_time_than_there_are_descriptors_for(monkeypatch, limit, probes):
    monkeypatch.setattr(exporter.resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr(exporter.resource, "setrlimit", lambda *_: None)
    assert probes == exporter.places()


def test_where_no_descriptor_is_left_a_probe_is_told_so(port, monkeypatch, capfd):
    def check(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(exporter, "check", check)
    answer = asked(port, b"GET /probe?target=127.0.0.1:9 HTTP/1.0")
    assert answer.startswith(b"HTTP/1.0 503 ")
    assert answer.endswith(b"no room for a probe: Too many open files\n")
    assert "" == capfd.readouterr().err
