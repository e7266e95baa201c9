"""Checks of made-up networks: the scan, the search for the path MTU and the trace are stand-ins."""

import signal
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from msgspec.structs import replace
from samples import HOLE, LOOPING, MTU, MUTE, TRACE, report

import udpprobe.commands.check
import udpprobe.interrupt
from udpprobe.checking.expectations import Check, CheckState, Expectation, Probing, target_with_port
from udpprobe.commands import mtu, scan, trace
from udpprobe.commands.check import Settings, check
from udpprobe.commands.mtu import Measured
from udpprobe.commands.trace import Traced
from udpprobe.core.addresses import address_text
from udpprobe.core.model import Spread
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.interrupt import CtrlC, Interrupted


class Network:
    """What a test prepares, and what was asked of it; time passes when it says so."""

    def __init__(self):
        self.now_s = 0.0
        self.verdicts, self.scans, self.error = {}, [], None
        self.found, self.way = Measured(MTU, interrupted=False), Traced(TRACE, interrupted=False)
        self.stopped, self.wasted_s, self.left_out, self.undecided = False, 0.0, (), frozenset()
        self.dropped = [0]
        """Of each scan."""

    def scan(self, destinations, options, listeners):
        listeners.warn("be warned")
        self.scans.append((options, len(destinations)))
        self.now_s += self.wasted_s
        if self.error:
            raise self.error
        told = report(
            *map(
                self.destination,
                map(address_text, destinations.high.tolist(), destinations.low.tolist()),
                destinations.port.tolist(),
            )
        )
        told = replace(
            told,
            source=replace(told.source, dropped=self.dropped.pop(0) if len(self.dropped) > 1 else self.dropped[0]),
            destinations=tuple(each for each in told.destinations if each.port not in self.left_out),
        )
        if self.stopped:
            raise Interrupted(told, self.undecided)
        return told

    def destination(self, address, port):
        verdicts = self.verdicts.get(port, ["answered"])
        verdict = verdicts.pop(0) if len(verdicts) > 1 else verdicts[0]
        meaning = "no-evidence" if verdict == "silent" else None
        errno = "ENETUNREACH" if verdict == "unsent" or (verdict == "v6-unsent" and ":" in address) else None
        verdict = "unsent" if errno else "answered" if verdict == "v6-unsent" else verdict
        return replace(
            MUTE,
            address=address,
            port=port,
            verdict=verdict,
            meaning=meaning,
            errno=errno,
            rtt_ms=Spread(1.0, 2.0, 3.0),
        )

    def mtu(self, place, options):
        self.asked = place, options
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def trace(self, place, options):
        self.asked = place, options
        return self.way


@pytest.fixture
def network(monkeypatch):
    made = Network()
    for module in (udpprobe.commands.check, udpprobe.interrupt):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now_s, time_ns=time.time_ns))
    monkeypatch.setattr(scan, "scan", made.scan)
    monkeypatch.setattr(mtu, "mtu", made.mtu)
    monkeypatch.setattr(trace, "trace", made.trace)
    monkeypatch.setattr(udpprobe.commands.check, "has_net_raw", lambda: True)
    return made


PLAIN = Probing()


def ask(text, probing=PLAIN, **expected):
    return Check(text, target_with_port(text), Expectation(**expected), probing)


def states(outcome):
    return [each.state for each in outcome.checks]


def test_targets_with_equal_options_share_a_scan_and_others_share_the_rate(network):
    outcome = check(
        [ask("127.0.0.1:1,2"), ask("[::1]:1"), ask("127.0.0.1:1"), ask("127.0.0.1:9", Probing("empty"))],
        Settings(rate_pps=100, retries=5, silence_s=0.5, engine="recverr"),
    )
    assert {("auto", 3), ("empty", 1)} == {(options.payload, size) for options, size in network.scans}
    assert {(50, 5, 3.0, "recverr")} == {
        (each.rate_pps, each.retries, each.timeout_s, each.engine) for each, _ in network.scans
    }
    assert [("127.0.0.1", 1), ("127.0.0.1", 2), ("::1", 1), ("127.0.0.1", 1), ("127.0.0.1", 9)] == [
        (each.address, each.port) for each in outcome.checks
    ]
    assert (["OK"] * 5, ("be warned",)) == (states(outcome), outcome.warnings)


def test_hosts_of_two_links_may_have_one_address(network):
    outcome = check([ask(f"[fe80::1%{index}]:53") for index, _ in socket.if_nameindex()[:2]], Settings())
    assert len(socket.if_nameindex()[:2]) == len(network.scans)
    assert {"OK"} == set(states(outcome))


def test_a_name_is_checked_at_each_address_and_one_without_any_is_unknown(network, monkeypatch):
    def look_up(name, *_):
        if name != "two.example":
            raise socket.gaierror(-2, "Name or service not known")
        return [(0, 0, 0, "", ("192.0.2.1", 0)), (0, 0, 0, "", ("2001:db8::1", 0, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    outcome = check([ask("two.example:53"), ask("none.example:53")], Settings())
    assert ["192.0.2.1", "2001:db8::1", None] == [each.address for each in outcome.checks]
    assert (["OK", "OK", "UNKNOWN"], CheckState.UNKNOWN) == (states(outcome), outcome.state)
    assert "no address for none.example: Name or service not known" == outcome.checks[2].text
    assert 1 == len(network.scans)


def two_addresses(*_):
    return [(0, 0, 0, "", ("192.0.2.1", 0)), (0, 0, 0, "", ("2001:db8::1", 0, 0, 0))]


def test_a_name_that_answers_over_one_family_is_ok_and_the_other_is_named(network, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    network.verdicts[53] = ["v6-unsent"]
    outcome = check([ask("two.example:53")], Settings())
    assert ["OK", "OK"] == states(outcome)
    assert "this host cannot send there: ENETUNREACH; IPv4 was checked instead" == outcome.checks[1].text


@pytest.mark.parametrize("targets", [["two.example:53"], ["192.0.2.1:53"], ["192.0.2.1:53", "[2001:db8::1]:53"]])
def test_a_target_that_this_host_cannot_send_to_is_unknown(network, monkeypatch, targets):
    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    network.verdicts[53] = ["unsent"]
    assert {"UNKNOWN"} == set(states(check([ask(each) for each in targets], Settings())))


def test_addresses_named_separately_are_judged_separately(network):
    network.verdicts[53] = ["v6-unsent"]
    assert ["OK", "UNKNOWN"] == states(check([ask("192.0.2.1:53"), ask("[2001:db8::1]:53")], Settings()))


def test_probes_in_flight_at_the_deadline_are_unknown_never_silent(network):
    network.stopped, network.wasted_s, network.verdicts = True, 0.06, {1: ["silent"], 2: ["answered"]}
    network.undecided = frozenset({("127.0.0.1", 1)})
    outcome = check([ask("127.0.0.1:1-2")], Settings(timeout_s=0.1))
    assert [("UNKNOWN", "undecided: time ran out"), ("OK", "answered in 2 ms")] == [
        (each.state, each.text) for each in outcome.checks
    ]
    assert not outcome.interrupted


@pytest.mark.parametrize(("silence_s", "retries", "expected"), [(1, 2, 3.3), (1, 4, 5), (0.1, 2, 0.4), (2, 0, 3.3)])
def test_each_probe_is_waited_for_and_a_neighbour_as_long_as_the_kernel_needs(silence_s, retries, expected):
    assert expected == pytest.approx(Settings(silence_s=silence_s, retries=retries).patience_s)


def test_drops_during_the_scan_make_silence_unknown(network):
    network.verdicts, network.dropped = {7: ["silent"]}, [12]
    outcome = check([ask("127.0.0.1:7"), ask("127.0.0.1:9")], Settings())
    assert ["UNKNOWN", "OK"] == states(outcome)
    assert "this host dropped packets unread (12)" in outcome.checks[0].text


def test_drops_in_one_scan_do_not_affect_silence_in_another(network):
    network.verdicts, network.dropped = {7: ["silent"]}, [12, 0]
    assert ["CRITICAL"] == states(check([ask("127.0.0.1:7")], Settings(confirm=1)))
    network.dropped = [0, 12]
    outcome = check([ask("127.0.0.1:7"), ask("127.0.0.1:7", Probing("empty"))], Settings())
    assert ["CRITICAL", "UNKNOWN"] == sorted(states(outcome))


@pytest.mark.parametrize(("dropped", "state"), [(0, "CRITICAL"), (12, "UNKNOWN")])
def test_silence_is_reported_once_its_scan_has_ended(network, monkeypatch, dropped, state):
    told, early = [], []

    def settling(destinations, options, listeners):
        listeners.on_settled([network.destination("127.0.0.1", port) for port in (7, 9)])
        early.extend(each.port for each in told)
        return network.scan(destinations, options, listeners)

    network.verdicts, network.dropped = {7: ["silent"]}, [dropped]
    monkeypatch.setattr(scan, "scan", settling)
    check([ask("127.0.0.1:7"), ask("127.0.0.1:9")], Settings(), told.append)
    assert ([9], [(9, "OK"), (7, state)]) == (early, [(each.port, each.state) for each in told])


def test_an_impossible_scan_is_unknown(network):
    network.error = PrivilegeError("be root")
    outcome = check([ask("127.0.0.1:1")], Settings())
    assert [("UNKNOWN", "be root", "127.0.0.1")] == [(each.state, each.text, each.address) for each in outcome.checks]


@pytest.mark.parametrize(
    ("verdicts", "confirm", "expected", "scans"),
    [
        (["silent", "answered"], 0, "CRITICAL", 1),
        (["silent", "answered"], 1, "OK", 2),
        (["silent", "silent", "answered"], 1, "CRITICAL", 2),
        (["answered"], 3, "OK", 1),
    ],
)
def test_a_failure_counts_once_it_is_confirmed_as_often_as_requested(network, verdicts, confirm, expected, scans):
    network.verdicts[1] = verdicts
    outcome = check([ask("127.0.0.1:1"), ask("127.0.0.1:2")], Settings(confirm=confirm))
    assert ([expected, "OK"], scans) == (states(outcome), len(network.scans))
    assert [2, *[1] * (scans - 1)] == [size for _, size in network.scans]


@pytest.mark.parametrize(("again", "expected"), [("silent", "CRITICAL"), ("answered", "OK")])
def test_a_failure_that_was_not_rechecked_in_time_stays_a_failure(network, again, expected):
    network.verdicts = {1: ["silent", again]}

    def scan(*asked):
        found = network.scan(*asked)
        if len(network.scans) == 2:
            network.now_s += 1
            raise Interrupted(found if again == "answered" else report())
        return found

    udpprobe.commands.check.scan.scan = scan  # the fixture takes it back
    assert [expected] == states(check([ask("127.0.0.1:1")], Settings(timeout_s=1, confirm=1)))


def test_no_failure_is_rechecked_after_half_of_the_time(network):
    network.verdicts[1], network.wasted_s = ["silent"], 0.06
    check([ask("127.0.0.1:1")], Settings(timeout_s=0.1, confirm=5))
    assert 1 == len(network.scans)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Measured(MTU, interrupted=False), "OK"),
        (Measured(HOLE, interrupted=False), "CRITICAL"),
        (Measured(HOLE, interrupted=True), "UNKNOWN"),
        (Measured(MTU, interrupted=True), "OK"),
        (UdpprobeError("no way"), "UNKNOWN"),
    ],
)
def test_the_path_mtu_is_searched_up_to_the_wanted_size(network, found, expected):
    network.found = found
    outcome = check([ask("127.0.0.1:1", Probing("empty", interface="lo"), min_mtu=1450)], Settings(silence_s=0.5))
    place, options = network.asked
    assert (expected, 1450, "empty", "lo", 0.5, 1) == (
        *states(outcome),
        options.most,
        options.payload,
        options.interface,
        options.timeout_s,
        place.port,
    )
    assert ("not checked" in outcome.checks[0].text) == (expected == "UNKNOWN")


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (Traced(TRACE, interrupted=False), "OK"),
        (Traced(LOOPING, interrupted=False), "CRITICAL"),
        (Traced(LOOPING, interrupted=True), "UNKNOWN"),
    ],
)
def test_paths_to_silent_targets_are_traced_for_loops(network, way, expected):
    network.verdicts[1], network.way = ["silent"], way
    asked = ask("127.0.0.1:1", expect="listening", silence=CheckState.OK, no_loop=True)
    assert [expected] == states(check([asked], Settings()))


@pytest.mark.parametrize(("engine", "raw"), [("recverr", True), ("auto", False)])
def test_without_raw_sockets_unchecked_expectations_are_named(network, monkeypatch, engine, raw):
    monkeypatch.setattr(udpprobe.commands.check, "has_net_raw", lambda: raw)
    found = check([ask("127.0.0.1:1", min_mtu=1400)], Settings(engine=engine)).checks[0]
    assert "path MTU not checked: this needs CAP_NET_RAW; answered in 2 ms" == found.text
    assert not hasattr(network, "asked")


def test_results_known_at_the_deadline_count(network):
    network.stopped, network.wasted_s = True, 0.06
    assert ["OK"] == states(check([ask("127.0.0.1:1")], Settings(timeout_s=0.1)))


def test_targets_not_probed_by_the_deadline_are_unknown(network):
    network.stopped, network.wasted_s, network.left_out = True, 0.06, {2}
    outcome = check([ask("127.0.0.1:1-2")], Settings(timeout_s=0.1))
    assert [("OK", 1), ("UNKNOWN", 2)] == [(each.state, each.port) for each in outcome.checks]
    assert "undecided: time ran out" == outcome.checks[1].text


@pytest.mark.usefixtures("network")
def test_ctrl_c_stops_parallel_scans():
    def scan(*_):
        with CtrlC() as ctrl_c:
            for _ in range(6000):
                if ctrl_c.came:
                    raise Interrupted(report())
                time.sleep(0.01)

    udpprobe.commands.check.scan.scan = scan  # the fixture takes it back
    start_s = time.monotonic()
    threading.Timer(0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
    outcome = check([ask("127.0.0.1:1"), ask("127.0.0.1:2", Probing("empty"))], Settings(timeout_s=60))
    assert (["UNKNOWN"] * 2, CheckState.UNKNOWN, True) == (states(outcome), outcome.state, outcome.interrupted)
    assert {"undecided: interrupted"} == {each.text for each in outcome.checks}
    assert time.monotonic() - start_s < 30  # it would take 60


def test_ctrl_c_differs_from_the_deadline_and_keeps_the_results_so_far(network):
    network.stopped, network.left_out = True, {2}
    outcome = check([ask("127.0.0.1:1-2")], Settings(confirm=2))
    assert ([("OK", "answered in 2 ms"), ("UNKNOWN", "undecided: interrupted")], 1) == (
        [(each.state, each.text) for each in outcome.checks],
        len(network.scans),
    )
    assert (CheckState.UNKNOWN, True) == (outcome.state, outcome.interrupted)


def test_a_time_limit_stops_what_runs_inside_it_and_nothing_after_it(network, monkeypatch):
    came = []

    def look(*_):
        came.append(CtrlC().came)
        network.now_s += 1
        came.append(CtrlC().came)
        return report(network.destination("127.0.0.1", 1))

    monkeypatch.setattr(scan, "scan", look)
    check([ask("127.0.0.1:1")], Settings(timeout_s=1))
    assert [False, True, False] == [*came, CtrlC().came]
