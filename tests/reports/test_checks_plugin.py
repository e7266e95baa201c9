"""What checks look like to monitors, CI systems and Prometheus."""

import json
import re
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from samples import ANSWERED, LONG_V6, REFUSED, T0_NS, destination

from udpprobe.checking.expectations import CheckState, Expectation, parse_range
from udpprobe.checking.states import Facts, Outcome, checked, unchecked
from udpprobe.core.verdicts import VERDICTS
from udpprobe.reports.checks import CHECK_FORMATS, line_of, place_of, plugin
from udpprobe.reports.metrics import probe_text

TIMED = Expectation(warning=parse_range("50"), critical=parse_range("@1:2"))
FINE = checked("10.0.0.1:53", None, Facts(ANSWERED), TIMED)
NAMED = replace(checked("office", "dns", Facts(REFUSED), Expectation(min_mtu=1400)), path_mtu=1500, text="refused")
LOST = unchecked("nowhere.example:53", None, "no address for nowhere.example")
LATE = replace(FINE, state="WARNING", text="late")
V6 = checked(f"[{LONG_V6}]:53", None, Facts(destination(LONG_V6, 53, "answered", answered=1)), Expectation())


def of(*checks, **changes):
    return replace(Outcome(checks, 0.5, T0_NS, "0.1.0", ("odd\x1b[1m",)), **changes)


def test_one_destination_is_one_line_with_its_performance_data():
    assert "UDPPROBE OK - 10.0.0.1:53 answered in 2.5 ms | 'rtt'=2.500ms;50;@1:2;0\n" == plugin(of(FINE), 0)
    assert f"UDPPROBE OK - [{LONG_V6}]:53 answered\n" == plugin(of(V6), 0)


def test_failures_are_listed_worst_first():
    told = plugin(of(FINE, LOST, LATE, NAMED), 0)
    assert told.startswith("UDPPROBE CRITICAL - 3 of 4 not as expected: office (198.51.100.7:53) refused, no address ")
    assert "'office (198.51.100.7:53) mtu'=1500B;;1400:;0" in told
    assert 1 == told.count("\n")
    assert plugin(of(FINE, FINE), 0).startswith("UDPPROBE OK - all 2 destinations as expected | ")
    quiet = replace(FINE, verdict="silent", meaning="listening-or-filtered", rtt_ms=None)
    assert plugin(of(FINE, quiet), 0).startswith(
        "UDPPROBE OK - all 2 destinations as expected, 1 of them silent: listening or filtered | "
    )
    assert "and 2 more |" in plugin(of(*[NAMED] * 5), 0)


def test_verbosity_adds_lines():
    counts = [plugin(of(FINE, NAMED), verbosity).count("\n") for verbosity in range(4)]
    assert [1, 3, 6, 7] == counts
    advised = plugin(of(FINE, replace(NAMED, advice="Do\x1b this.")), 1).splitlines()
    assert [4, "  Do\\x1b this."] == [len(advised), advised[3]]
    assert "warning: odd\\x1b[1m" == plugin(of(FINE), 3).splitlines()[-1]


@pytest.mark.parametrize("verbosity", [0, 3])
def test_untrusted_text_cannot_add_performance_data_or_lines(verbosity):
    hostile = replace(NAMED, target="a|b='c'\nd\x1b[1m", text="x | y\nz", notes=("p|q\n",))
    for outcome in (of(hostile), of(hostile, FINE)):
        lines = plugin(outcome, verbosity).splitlines()
        assert [1] + [0] * (len(lines) - 1) == [line.count("|") for line in lines]
        assert all(map(str.isprintable, lines))
        labels = re.findall(r"'((?:[^']|'')+)'=", lines[0].partition(" | ")[2])
        assert all("=" not in label for label in labels)
    assert "UDPPROBE UNKNOWN - a b/c" == line_of(CheckState.UNKNOWN, "a\n b|c")


def test_a_target_is_shown_as_written_or_by_name_and_endpoint():
    assert ["10.0.0.1:53", "office (198.51.100.7:53)", "nowhere.example:53"] == list(map(place_of, (FINE, NAMED, LOST)))
    assert "10.0.0.1:53" == place_of(replace(FINE, target="10.0.0.1"))
    linked = replace(FINE, target="[fe80::1%eth0]:53", address="fe80::1")
    assert linked.target == place_of(linked)


def test_json_is_one_document_and_ndjson_one_line_per_destination():
    told = json.loads(CHECK_FORMATS["json"](of(FINE, NAMED), 80))
    assert ("udpprobe.check/1", "check", "CRITICAL", 0.5, ["odd\x1b[1m"]) == tuple(
        told[name] for name in ("schema", "command", "state", "duration_s", "warnings")
    )
    first, second = told["checks"]
    assert ("10.0.0.1:53", "10.0.0.1", 53, "OK", "answered", 2.5, "50", "@1:2") == tuple(
        first[name] for name in ("target", "address", "port", "state", "verdict", "rtt_ms", "warning", "critical")
    )
    assert ("dns", 1500, 1400, "port-unreach") == (
        second["group"],
        second["path_mtu"],
        second["min_mtu"],
        second["findings"][0]["reason"],
    )
    lines = list(map(json.loads, CHECK_FORMATS["ndjson"](of(FINE, NAMED), 80).splitlines()))
    assert ["check", "check", "summary"] == [line.pop("kind") for line in lines]
    assert [*told["checks"], {name: value for name, value in told.items() if name != "checks"}] == lines


def test_a_table_has_one_row_per_destination():
    lines = CHECK_FORMATS["table"](of(FINE, LOST), 80).splitlines()
    assert [("10.0.0.1:53", "OK"), ("nowhere.example:53", "UNKNOWN")] == [tuple(line.split()[:2]) for line in lines[2:]]


def test_junit_has_failures_and_errors():
    suite = ET.fromstring(CHECK_FORMATS["junit"](of(FINE, LATE, NAMED, replace(LOST, text="\x00<&")), 80))
    assert ("4", "2", "1", "0.500") == tuple(suite.get(name) for name in ("tests", "failures", "errors", "time"))
    cases = list(suite)
    assert [[], ["failure"], ["failure"], ["error"]] == [[each.tag for each in case] for case in cases]
    assert ("dns", "office (198.51.100.7:53)") == (cases[2].get("classname"), cases[2].get("name"))
    assert "refused" == cases[2][0].get("message")
    assert "\\x00<&" == cases[3][0].get("message")


def samples(text):
    return {
        (each.name, each.labels.get("target", each.labels.get("verdict", each.labels.get("code")))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_a_text_file_has_a_gauge_for_each_known_value():
    found = samples(CHECK_FORMATS["prometheus"](of(FINE, NAMED, LOST), 80))
    assert {"10.0.0.1:53": 0, "office": 2, "nowhere.example:53": 3} == {
        target: value for (name, target), value in found.items() if name == "udpprobe_check_state"
    }
    assert (0.0025, 1500, 0.5) == (
        found["udpprobe_check_rtt_seconds", "10.0.0.1:53"],
        found["udpprobe_check_path_mtu_bytes", "office"],
        found["udpprobe_check_duration_seconds", None],
    )
    assert ("udpprobe_check_rtt_seconds", "nowhere.example:53") not in found


def test_a_probe_has_the_metrics_of_the_blackbox_exporter_and_a_verdict():
    found = samples(probe_text(NAMED, 0.25, {(4, 3, 3): 7}).decode())
    assert (0, 0.25, 4, 2, 1500, 7) == tuple(
        found[name, label]
        for name, label in (
            ("probe_success", None),
            ("probe_duration_seconds", None),
            ("probe_ip_protocol", None),
            ("probe_udp_state", None),
            ("probe_udp_path_mtu_bytes", None),
            ("probe_udp_icmp_errors_total", "3"),
        )
    )
    assert {verdict: verdict == "refused" for verdict in VERDICTS} == {
        label: bool(value) for (name, label), value in found.items() if name == "probe_udp_verdict"
    }
    found = samples(probe_text(V6, 0.25, {}).decode())
    assert (1, 6) == (found["probe_success", None], found["probe_ip_protocol", None])
    assert ("probe_udp_rtt_seconds", None) not in found
