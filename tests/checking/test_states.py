import pytest
from msgspec.structs import replace
from samples import (
    ANSWERED,
    HOLE,
    LIMITED,
    LOOP,
    LOOPING,
    MTU,
    MUTE,
    QUIET,
    REFUSED,
    TOO_BIG,
    TRACE,
    UNREACHABLE_V6,
    destination,
    finding,
)

from udpprobe.checking.expectations import CheckState, Expectation, parse_range, target_with_port
from udpprobe.checking.states import (
    Facts,
    Outcome,
    cause,
    checked,
    judged,
    mtu_cause,
    rtt_ms,
    unchecked,
    wants_mtu,
    wants_path,
)
from udpprobe.core.model import Spread
from udpprobe.core.notes import NO_REPLY
from udpprobe.core.verdicts import VERDICTS
from udpprobe.errors import UsageError
from udpprobe.pmtud.model import BlackHole, Reported

ROUTERS = "routing loop between 192.0.2.1, a silent router and 192.0.2.3"
MUTE_TEXT = "no reply, and no port of this host was refused"
QUIET_TEXT = "listening or filtered: silence cannot tell"
UNSENT = replace(MUTE, verdict="unsent", meaning=None, errno="ENETUNREACH")
STRUCK = replace(UNSENT, errno=None)
FLAPPING = replace(REFUSED, answered=1)
MIXED = replace(TOO_BIG, verdict="answered", answered=3, rtt_ms=Spread(1.0, 2.0, 3.0))
NO_ARP = "no ARP (neighbour) reply on eth0"
NOBODY = destination(
    "10.0.0.1", 53, "unreachable", finding("unreachable", (4, 3, 1), None, notes=("no-neighbour", NO_ARP))
)


def state(found, asked, **facts):
    return checked("x", None, Facts(found, **facts), Expectation(**asked)).state


@pytest.mark.parametrize(
    ("found", "states"),
    [
        (ANSWERED, "OK OK OK CRITICAL"),
        (REFUSED, "CRITICAL CRITICAL CRITICAL OK"),
        (QUIET, "CRITICAL WARNING OK CRITICAL"),
        (MUTE, "CRITICAL UNKNOWN UNKNOWN CRITICAL"),
        (LIMITED, "CRITICAL UNKNOWN UNKNOWN CRITICAL"),
        (TOO_BIG, "CRITICAL CRITICAL CRITICAL CRITICAL"),
        (LOOP, "CRITICAL CRITICAL CRITICAL CRITICAL"),
        (UNSENT, "UNKNOWN UNKNOWN UNKNOWN UNKNOWN"),
        (NOBODY, "CRITICAL CRITICAL CRITICAL CRITICAL"),
        (STRUCK, "UNKNOWN UNKNOWN UNKNOWN UNKNOWN"),
        (MIXED, "WARNING WARNING WARNING CRITICAL"),
        (FLAPPING, "WARNING WARNING WARNING WARNING"),
    ],
)
def test_the_state_of_a_verdict_depends_on_the_expectation(found, states):
    assert states.split() == [
        state(found, {"expect": each}) for each in ("answered", "listening", "not-refused", "refused")
    ]


@pytest.mark.parametrize(
    ("found", "asked", "words"),
    [
        (ANSWERED, {}, None),
        (REFUSED, {"expect": "refused"}, None),
        (QUIET, {"expect": "not-refused"}, None),
        (REFUSED, {}, "Do this."),
        (QUIET, {"expect": "listening"}, "Do this."),
        (MIXED, {}, "Use a higher TTL for 203.0.113.9:4500"),
        (ANSWERED, {"expect": "refused"}, "Stop the service on 10.0.0.1:53, or correct what is expected of it."),
        (ANSWERED, {"warning": parse_range("1")}, "Check the load of 10.0.0.1:53, and the RTT of each hop"),
    ],
)
def test_an_unexpected_result_has_advice(found, asked, words):
    told = checked(
        "x", None, Facts(replace(found, advice=None if found is ANSWERED else "Do this.")), Expectation(**asked)
    ).advice
    assert told == words or words in told


def test_a_name_that_answers_over_one_family_is_judged_by_that_family():
    told = checked("x", None, Facts(UNSENT, instead="IPv4"), Expectation())
    assert ("OK", "this host cannot send there: ENETUNREACH; IPv4 was checked instead") == (told.state, told.text)


def test_the_text_on_silence_says_how_long_it_waited():
    told = checked("x", None, Facts(MUTE, patience="; no reply within 1 s (--wait)"), Expectation())
    assert f"{MUTE_TEXT}; no reply within 1 s (--wait)" == told.text


@pytest.mark.parametrize("found", [QUIET, MUTE])
@pytest.mark.parametrize("expect", ["answered", "listening", "not-refused", "refused"])
def test_silence_is_unknown_if_this_host_dropped_packets(found, expect):
    told = checked("x", None, Facts(found, dropped=4102), Expectation(expect=expect))
    assert "UNKNOWN" == told.state
    assert "; but this host dropped packets unread (4,102): an answer or a refusal may be among them" in told.text
    told = checked("x", None, Facts(found, dropped=4102), Expectation(expect=expect, silence=CheckState.WARNING))
    assert "unread" not in told.text


@pytest.mark.parametrize("found", [QUIET, MUTE, LIMITED])
@pytest.mark.parametrize("silence", [CheckState.OK, CheckState.WARNING, CheckState.CRITICAL])
def test_inconclusive_silence_counts_as_the_user_chose(found, silence):
    assert silence.name == state(found, {"expect": "answered", "silence": silence})
    for expect, quiet in (("listening", "WARNING"), ("not-refused", "OK")):
        expected = quiet if found is QUIET else silence.name
        assert expected == state(found, {"expect": expect, "silence": silence})


@pytest.mark.parametrize(
    ("warning", "critical", "expected"),
    [
        ("3", "5", "OK"),
        ("2", "5", "WARNING"),
        ("2", "2.4", "CRITICAL"),
        (None, "2", "CRITICAL"),
        ("2", None, "WARNING"),
        ("@0:2", "@2:3", "CRITICAL"),
    ],
)
def test_an_rtt_out_of_range_alerts_and_critical_wins(warning, critical, expected):
    ranges = {"warning": warning and parse_range(warning), "critical": critical and parse_range(critical)}
    assert expected == state(ANSWERED, ranges)


def test_the_rtt_of_a_refusal_is_checked_too():
    assert 0.21345678 == rtt_ms(REFUSED)
    assert "WARNING" == state(REFUSED, {"expect": "refused", "warning": parse_range("0.2")})


def test_without_an_rtt_a_range_is_unknown():
    assert "UNKNOWN" == state(QUIET, {"expect": "not-refused", "warning": parse_range("10")})
    assert "OK" == state(QUIET, {"expect": "not-refused"})


@pytest.mark.parametrize(
    ("least", "facts", "expected", "text"),
    [
        (1500, {"mtu": MTU}, "OK", "answered in 2.5 ms; 1500 bytes fit"),
        (
            1421,
            {"mtu": HOLE},
            "CRITICAL",
            "PMTU black hole after 192.0.2.1: 1420 fits, 1421 is lost; answered in 2.5 ms",
        ),
        (
            1421,
            {"mtu": replace(MTU, path_mtu=None, verdict="silent")},
            "UNKNOWN",
            "path MTU not found: silent; answered in 2.5 ms",
        ),
        (1421, {"blind": "no privilege"}, "UNKNOWN", "path MTU not checked: no privilege; answered in 2.5 ms"),
        (0, {}, "OK", "answered in 2.5 ms"),
    ],
)
def test_a_path_mtu_below_the_wanted_size_names_the_limit(least, facts, expected, text):
    told = checked("x", None, Facts(ANSWERED, **facts), Expectation(min_mtu=least))
    assert (expected, text) == (told.state, told.text)


@pytest.mark.parametrize(
    ("found", "facts", "expected", "text"),
    [
        (ANSWERED, {}, "OK", "answered in 2.5 ms"),
        (QUIET, {}, "WARNING", QUIET_TEXT),
        (MUTE, {"trace": TRACE}, "OK", MUTE_TEXT),
        (MUTE, {"trace": LOOPING}, "CRITICAL", f"{ROUTERS}; {MUTE_TEXT}"),
        (MUTE, {"blind": "no privilege"}, "UNKNOWN", f"routing loop not ruled out: no privilege; {MUTE_TEXT}"),
        (LOOP, {}, "CRITICAL", "routing loop between 192.0.2.1 and 192.0.2.2"),
        (
            replace(LOOP, verdict="answered", answered=1),
            {"trace": LOOPING},
            "CRITICAL",
            f"{ROUTERS}; answered, but also {ROUTERS}",
        ),
    ],
)
def test_with_no_loop_a_loop_is_critical_and_an_untraced_path_is_not_ok(found, facts, expected, text):
    told = checked(
        "x", None, Facts(found, **facts), Expectation(expect="listening", silence=CheckState.OK, no_loop=True)
    )
    assert (expected, text) == (told.state, told.text)


def test_an_answer_instead_of_a_refusal_says_so():
    told = checked("x", None, Facts(ANSWERED), Expectation(expect="refused"))
    assert ("CRITICAL", "answered in 2.5 ms, but a refusal was expected") == (told.state, told.text)


def test_without_no_loop_no_loop_is_looked_for():
    assert not wants_path(MUTE, Expectation())
    assert wants_path(LOOP, Expectation())
    assert wants_path(MUTE, Expectation(no_loop=True))
    assert wants_path(destination("10.0.0.1", 7, "expired"), Expectation(no_loop=True))
    assert not wants_path(REFUSED, Expectation(no_loop=True))


@pytest.mark.parametrize(
    ("found", "least", "wanted"),
    [(ANSWERED, 1400, True), (QUIET, 1400, True), (TOO_BIG, 1400, True), (LOOP, 1400, False), (ANSWERED, 0, False)],
)
def test_the_path_mtu_is_searched_if_wanted_and_if_probes_arrive(found, least, wanted):
    assert wanted == wants_mtu(found, Expectation(min_mtu=least))


ERRORS = {
    "refused": (4, 3, 3),
    "rejected": (4, 3, 3),
    "too-big": (4, 3, 4),
    "loop": (4, 11, 0),
    "expired": (4, 11, 0),
    "prohibited": (4, 3, 13),
    "unreachable": (4, 3, 1),
    "reassembly": (4, 11, 1),
    "quenched": (4, 4, 0),
    "malformed": (4, 12, 0),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_names_its_reporter(verdict):
    findings = [finding(verdict, ERRORS[verdict], "192.0.2.1")] if verdict in ERRORS else []
    text = cause(destination("10.0.0.1", 53, verdict, *findings))
    assert text
    assert ("192.0.2.1" in text) == (verdict in ERRORS)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (REFUSED, "refused by 198.51.100.7 itself"),
        (TOO_BIG, "too big for 192.0.2.1 (MTU 1400)"),
        (LOOP, "routing loop between 192.0.2.1 and 192.0.2.2"),
        (LIMITED, "undecided: the host's ICMP rate limit was used up"),
        (UNREACHABLE_V6, "unreachable (host-unreach), reported by 2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"),
        (NOBODY, f"unreachable: {NO_ARP}"),
        (UNSENT, "this host cannot send there: ENETUNREACH"),
        (STRUCK, "this host cannot send there: time ran out"),
        (replace(REFUSED, findings=(replace(REFUSED.findings[0], reporter=None),)), "refused by 198.51.100.7 itself"),
        (replace(ANSWERED, rtt_ms=None), "answered"),
        (destination("10.0.0.1", 7, "loop", finding("loop", (4, 11, 0), "192.0.2.1")), "routing loop at 192.0.2.1"),
        (
            destination("10.0.0.1", 7, "prohibited", finding("prohibited", (4, 3, 13), None)),
            "prohibited by an unnamed router",
        ),
    ],
)
def test_a_cause_is_described_briefly(found, text):
    assert text == cause(found)


def test_a_silent_host_is_distinguished_from_a_silent_port():
    assert "no reply from any port of this host" == cause(replace(MUTE, notes=("probed 3 times; " + NO_REPLY,)))


@pytest.mark.parametrize(
    ("warning", "text"), [("2", "RTT 2.5 ms > 2 ms"), ("@2:3", "RTT 2.5 ms in 2:3 ms"), ("3:", "RTT 2.5 ms < 3 ms")]
)
def test_an_rtt_out_of_range_is_shown_with_the_range(warning, text):
    told = checked("x", None, Facts(ANSWERED), Expectation(warning=parse_range(warning)))
    assert f"{text}; answered in 2.5 ms" == told.text


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (HOLE, "PMTU black hole after 192.0.2.1: 1420 fits, 1421 is lost"),
        (replace(HOLE, black_hole=BlackHole(1420, 1421, None, None)), "PMTU black hole: 1420 fits, 1421 is lost"),
        (MTU, "path MTU 1500"),
        (
            replace(MTU, path_mtu=1400, reports=(Reported("192.0.2.1", 1400, 1, 1500, ()),)),
            "path MTU 1400, limited by 192.0.2.1",
        ),
    ],
)
def test_a_path_mtu_is_shown_with_the_router_that_limits_it(found, text):
    assert text == mtu_cause(found)


def test_a_check_reports_all_its_results():
    told = checked(
        "office",
        "resolvers",
        Facts(ANSWERED, MTU),
        Expectation(min_mtu=1400, warning=parse_range("50"), critical=parse_range("200")),
    )
    assert ("office", "resolvers", "10.0.0.1", 53, "OK", "answered", None, 2.5, 1500, 1400, "50", "200") == (
        told.target,
        told.group,
        told.address,
        told.port,
        told.state,
        told.verdict,
        told.meaning,
        told.rtt_ms,
        told.path_mtu,
        told.min_mtu,
        told.warning,
        told.critical,
    )
    assert ("14 sent, 14 answered, 0 ICMP errors", "n") == told.notes


def test_each_expectation_has_its_own_ruling():
    asked = Expectation(warning=parse_range("1"), min_mtu=1600)
    assert [CheckState.OK, CheckState.WARNING, CheckState.CRITICAL] == [
        each.state for each in judged(Facts(ANSWERED, MTU), asked)
    ]


def test_an_outcome_has_the_state_of_its_worst_check():
    missing = unchecked("nowhere.example:53", None, "no address")
    assert ("UNKNOWN", None, "no address") == (missing.state, missing.address, missing.text)
    fine = checked("x", None, Facts(ANSWERED), Expectation())
    assert CheckState.UNKNOWN == Outcome((fine, missing), 1.0, 0, "0.1.0").state
    assert CheckState.OK == Outcome((fine,), 1.0, 0, "0.1.0").state


def test_a_target_names_its_port_or_gets_one():
    assert (range(53, 54),) == target_with_port("192.0.2.1:53").ports
    assert (range(53, 54),) == target_with_port("192.0.2.1:53", "99").ports
    assert (range(99, 100),) == target_with_port("192.0.2.1", "99").ports
    with pytest.raises(UsageError, match=r"'192\.0\.2\.1' has no port"):
        target_with_port("192.0.2.1")
