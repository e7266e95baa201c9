"""The exporter over HTTP, probing loopback; nothing of it needs privilege."""

import contextlib
import errno
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock
from urllib.parse import quote

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from samples import REFUSED

from udpprobe.checking.expectations import Expectation, Probing
from udpprobe.checking.states import Facts, Outcome, checked
from udpprobe.cli import main
from udpprobe.commands import exporter
from udpprobe.commands.check import Settings
from udpprobe.commands.exporter import MODULES, ExporterOptions, MetricsServer, ProbeService, Tally

EXAMPLES = Path(__file__).parents[2] / "examples" / "prometheus"
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool, of Prometheus")


@contextlib.contextmanager
def serving(*networks, **changes):
    options = ExporterOptions(
        ("127.0.0.1", 0),
        tuple(map(ip_network, networks)),
        MODULES,
        Settings(engine="recverr", silence_s=0.3, timeout_s=3),
        **changes,
    )
    with MetricsServer(options) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def url():
    with serving("127.0.0.0/8", "::1") as where:
        yield where


@pytest.fixture
def closed():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def answering():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 0))

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    said, client = service.recvfrom(2048)
                    service.sendto(said, client)

        threading.Thread(target=answer, daemon=True).start()
        yield service.getsockname()[1]


def get(url, path, **headers):
    """Status and text."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=10) as found:
            assert "text/plain; version=0.0.4; charset=utf-8" == found.headers["Content-Type"]
            return found.status, found.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def values(text):
    return {
        (each.name, *each.labels.values()): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_a_service_that_answers_is_a_success_with_its_round_trip(url, answering):
    status, text = get(url, f"/probe?target=127.0.0.1:{answering}")
    found = values(text)
    assert (200, 1, 1, 0) == (
        status,
        found["probe_success",],
        found["probe_udp_verdict", "answered"],
        found["probe_udp_verdict", "refused"],
    )
    assert 0 < found["probe_udp_rtt_seconds",] < found["probe_duration_seconds",] < 3


def test_a_closed_port_fails_unless_expected_and_its_errors_add_up(url, closed):
    for count, (module, success) in enumerate([("answered", 0), ("refused", 1), ("refused", 1)]):
        found = values(get(url, f"/probe?target=127.0.0.1:{closed}&module={module}")[1])
        assert (success, 1, max(count, 1)) == (
            found["probe_success",],
            found["probe_udp_verdict", "refused"],
            found["probe_udp_icmp_errors_total", "3", "4", "3"],
        )


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/probe?target=192.0.2.1:53", 403, "--allow"),
        ("/probe?target=[2001:db8::1]:53", 403, "--allow"),
        ("/probe?target=" + quote("[::ffff:192.0.2.1]:53"), 403, "--allow"),
        ("/probe", 400, "target="),
        ("/probe?target=127.0.0.1:1&target=127.0.0.1:2", 400, "once"),
        ("/probe?target=127.0.0.1", 400, "has no port"),
        ("/probe?target=127.0.0.0/24:1", 400, "more than one"),
        ("/probe?target=127.0.0.1:1-9", 400, "more than one"),
        ("/probe?target=%20", 400, "no"),
        ("/probe?target=127.0.0.1:1&module=x", 400, "no such module"),
        ("/x", 404, "/metrics"),
    ],
)
def test_forbidden_and_impossible_targets_are_refused(url, path, status, said):
    found, text = get(url, path)
    assert status == found
    assert said in text


def test_a_name_without_address_is_a_failed_probe(url):
    status, text = get(url, "/probe?target=no.invalid:1")
    found = values(text)
    assert (200, 0, 3, 0) == (
        status,
        found["probe_success",],
        found["probe_udp_state",],
        found["probe_udp_verdict", "silent"],
    )


def test_a_name_is_probed_at_the_address_that_was_checked(monkeypatch):
    asked = []
    addresses = iter(["127.0.0.1", "192.0.2.1"])
    monkeypatch.setattr(
        "udpprobe.targets.socket.getaddrinfo",
        lambda *_: [(0, 0, 0, "", (next(addresses), 0))] if not asked else pytest.fail("asked twice"),
    )

    def check(asks, _):
        asked.extend(asks)
        return Outcome((checked("x", None, Facts(REFUSED), Expectation()),), 0, 0, "0.1.0")

    monkeypatch.setattr(exporter, "check", check)
    prober = exporter.ProbeService(ExporterOptions(("", 0), (ip_network("127.0.0.1"),), MODULES, Settings()))
    prober.probe({"target": ["rebind.example:53"]}, 1)
    assert [(0xFFFF_7F00_0001, 1)] == [(each.target.host.first, each.target.host.size) for each in asked]


def test_probes_beyond_the_limit_are_asked_to_retry(monkeypatch):
    hold = threading.Event()

    def check(*_):
        hold.wait(60)
        return Outcome((checked("x", None, Facts(REFUSED), Expectation()),), 0, 0, "0.1.0")

    monkeypatch.setattr(exporter, "check", check)
    with serving("127.0.0.1", at_once=1) as where:
        first = threading.Thread(target=get, args=(where, "/probe?target=127.0.0.1:1"))
        first.start()
        while "in_progress 1.0" not in get(where, "/metrics")[1]:
            time.sleep(0.01)
        status, text = get(where, "/probe?target=127.0.0.1:1", **{"X-Prometheus-Scrape-Timeout-Seconds": "0.7"})
        hold.set()
        first.join()
    assert (503, True) == (status, "--at-once" in text)


@pytest.mark.parametrize(
    ("given", "timeout_s"), [("2", 1.5), ("99", 3), ("0.1", 0.5), ("x", 3), ("nan", 0.5), (None, 3)]
)
def test_a_probe_takes_no_longer_than_prometheus_waits(monkeypatch, given, timeout_s):
    asked = []

    def check(_, settings):
        asked.append(settings.timeout_s)
        return Outcome((checked("x", None, Facts(REFUSED), Expectation()),), 0, 0, "0.1.0")

    monkeypatch.setattr(exporter, "check", check)
    monkeypatch.setattr(exporter, "time", SimpleNamespace(monotonic=lambda: 0.0))  # a busy machine takes some of it
    headers = {} if given is None else {"X-Prometheus-Scrape-Timeout-Seconds": given}
    with serving("127.0.0.1") as where:
        assert 200 == get(where, "/probe?target=127.0.0.1:1", **headers)[0]
    assert [timeout_s] == asked


def test_a_client_that_goes_away_leaves_no_trace(url, capfd):
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert (200, "Healthy\n") == get(url, "/-/healthy")
    assert ("", "") == capfd.readouterr()


def test_the_exporter_has_metrics_about_itself(url):
    assert (200, "Healthy\n") == get(url, "/-/healthy")
    get(url, "/probe?target=192.0.2.1:53")
    found = values(get(url, "/metrics")[1])
    assert found["udpprobe_exporter_probes_total", "answered", "Forbidden"] >= 1
    assert 0 == found["udpprobe_exporter_probes_in_progress",]


def test_the_least_recently_probed_target_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(exporter, "REMEMBERED", 2)
    tally, found = Tally(), checked("x", None, Facts(REFUSED), Expectation())
    counts = [tally.add(("m", name), found)[4, 3, 3] for name in ("a", "b", "a", "c", "c", "b")]
    assert [12, 12, 24, 12, 24, 12] == counts


@promtool
def test_promtool_accepts_every_page(url, closed):
    for path in ("/metrics", f"/probe?target=127.0.0.1:{closed}"):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=get(url, path)[1],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@promtool
def test_promtool_accepts_the_rules_and_the_configuration():
    done = subprocess.run(
        ["promtool", "check", "config", EXAMPLES / "prometheus.yml"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (0, True) == (done.returncode, "6 rules found" in done.stdout), done


def test_the_dashboard_and_the_rules_use_existing_metrics(url, closed):
    there = {name for name, *_ in values(get(url, "/metrics")[1] + get(url, f"/probe?target=127.0.0.1:{closed}")[1])}
    asked = (EXAMPLES / "alerts.yml").read_text() + (EXAMPLES / "dashboard.json").read_text()
    names = set(re.findall(r"\b(?:probe|udpprobe_exporter)_[a-z_]+", asked)) - {"udpprobe_exporter"}
    assert {"probe_udp_path_mtu_bytes"} == names - there  # this probe searches for none
    assert 6 == len(json.loads((EXAMPLES / "dashboard.json").read_text())["panels"])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="needs Prometheus")
def test_a_real_prometheus_scrapes_it(url, closed, tmp_path):
    text = (EXAMPLES / "prometheus.yml").read_text().replace("127.0.0.1:9843", url.removeprefix("http://"))
    text = text.replace("30s", "1s").replace("11s", "1s").replace("alerts.yml", str(EXAMPLES / "alerts.yml"))
    (tmp_path / "p.yml").write_text(text.replace('"192.0.2.1:53", "192.0.2.2:123"', f'"127.0.0.1:{closed}"'))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path}/p.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address={where}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert {"0"} == asked_of(where, 'probe_success{job="udpprobe"}')
        assert {"1"} == asked_of(where, 'probe_udp_verdict{verdict="refused"}')
        assert {"1"} == asked_of(where, 'up{job="udpprobe"}')
    finally:
        server.terminate()
        server.wait(10)


def asked_of(where, query):
    """The values of a query, as soon as there are any."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://{where}/api/v1/query?query={quote(query)}", timeout=5) as found,
        ):
            if result := json.load(found)["data"]["result"]:
                return {each["value"][1] for each in result}
        time.sleep(0.3)
    return set()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--listen", "0.0.0.0:9843"], 2, "--allow"),
        (["--listen", "host.example:9843"], 2, "--allow"),
        (["--listen", "[::]:9843"], 2, "--allow"),
        (["--allow", "x"], 2, "'x' does not appear"),
        (["--allow", "10.0.0.1/8"], 2, "host bits"),
        (["--allow", "::1", "--listen", "127.0.0.1"], 2, "ADDRESS:PORT"),
        (["--allow", "::1", "--listen", ":9843"], 2, "ADDRESS:PORT"),
        (
            ["--allow", "::1", "--listen", "[fe80::1%lo]:9843", "--engine", "recverr"],
            3,
            "Cannot assign requested address",
        ),
        (
            ["--allow", "::1", "--listen", "192.0.2.1:9843", "--engine", "recverr"],
            3,
            "cannot listen on 192.0.2.1, TCP port",
        ),
    ],
)
def test_usage_errors_are_one_line(capsys, words, status, said):
    assert status == main(["exporter", *words])
    error = capsys.readouterr().err
    assert (1, True) == (error.count("\n"), said in error)


@pytest.mark.parametrize("listen", ["127.0.0.1:9843", "[::1]:9843", "localhost:9843"])
def test_an_exporter_on_loopback_probes_any_target(monkeypatch, listen):
    options = []
    monkeypatch.setattr(
        exporter, "MetricsServer", lambda given: options.append(given) or contextlib.nullcontext(Mock())
    )
    assert 0 == main(["exporter", "--engine", "recverr", "--listen", listen])
    assert [True, True] == [exporter.is_allowed(each, options[0].allowed) for each in ("192.0.2.1", "2001:db8::1")]


def test_the_command_serves_modules_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "c.toml").write_text("[templates.fast]\ncritical = 5\n")
    options = []
    monkeypatch.setattr(MetricsServer, "serve_forever", lambda _: None)
    monkeypatch.setattr(exporter, "ProbeService", lambda given: options.append(given) or Mock())
    assert 0 == main(
        [
            *"exporter --allow 127.0.0.0/8,::1 --allow 10.0.0.0/8 --listen 127.0.0.1:19843 --config".split(),
            str(tmp_path / "c.toml"),
            *"--timeout 5 --engine recverr --at-once 3".split(),
        ]
    )
    found = options[0]
    assert (["answered", "listening", "not-refused", "refused", "fast"], 3, 3, 5) == (
        list(found.modules),
        len(found.allowed),
        found.at_once,
        found.settings.timeout_s,
    )
    assert "5" == found.modules["fast"][0].critical.text


# ---- what clients of the exporter may do to it that a Prometheus server never does


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


def test_a_client_that_sends_single_bytes_is_disconnected_in_time(port, monkeypatch):
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


def test_an_invalid_url_is_a_bad_request(port, capfd):
    assert asked(port, b"GET http://[ HTTP/1.0").startswith(b"HTTP/1.0 400 ")
    assert "" == capfd.readouterr().err


def test_head_is_answered_without_a_body(port):
    head, _, body = asked(port, b"HEAD /-/healthy HTTP/1.0").partition(b"\r\n\r\n")
    assert (b"HTTP/1.0 200 OK", b"") == (head.partition(b"\r\n")[0], body)


def test_an_impossible_probe_fails_and_says_so(port, capfd):
    answer = asked(port, b"GET /probe?target=127.0.0.1:9&module=nowhere HTTP/1.0").decode()
    assert "\nprobe_success 0.0\n" in answer
    assert "\nprobe_udp_state 3.0\n" in answer
    assert "" == capfd.readouterr().err


def test_waiting_for_other_probes_counts_against_the_time_limit(monkeypatch):
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


def test_slow_connections_do_not_block_others(port):
    with contextlib.ExitStack() as opened:
        for _ in range(exporter.CONNECTIONS + 26):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), 10)).sendall(b"G")
        start_s = time.monotonic()
        assert asked(port, b"GET /-/healthy HTTP/1.0").startswith(b"HTTP/1.0 200 ")
        assert time.monotonic() - start_s < 5


def test_if_all_connections_are_busy_one_more_gets_503(port, monkeypatch):
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


def test_sigterm_stops_it_cleanly_and_it_prints_its_address():
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


def test_a_probe_without_a_free_descriptor_is_refused(port, monkeypatch, capfd):
    def check(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(exporter, "check", check)
    answer = asked(port, b"GET /probe?target=127.0.0.1:9 HTTP/1.0")
    assert answer.startswith(b"HTTP/1.0 503 ")
    assert answer.endswith(b"cannot start a probe: Too many open files\n")
    assert "" == capfd.readouterr().err
