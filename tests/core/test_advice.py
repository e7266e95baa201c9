"""What to do: a sentence for every verdict, none for what is healthy."""

import pytest
from msgspec.structs import replace
from samples import ANSWERED, REFUSED, destination, finding

from udpprobe.core.advice import SENTENCES, Case, case_of, case_of_error, listed, sentence
from udpprobe.core.model import Loop
from udpprobe.core.notes import AMPLIFIER, GROUP_MEMBER, TEXTS, Note
from udpprobe.core.verdicts import MEANINGS, VERDICTS, verdict_of


def advice(verdict, reporter="192.0.2.1", address="198.51.100.7", **about):
    case = case_of_error(verdict, **{"reason": "", "reporter": reporter, "address": address, "family": 4, **about})
    return sentence(case, ["198.51.100.7:53"], "198.51.100.7")


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda row: f"{row.family}-{row.type}-{row.code}")
@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("loop", [True, False])
def test_every_error_has_one_sentence_of_advice(meaning, itself, loop):
    reporter = "198.51.100.7" if itself else "192.0.2.1"
    said = advice(verdict_of(meaning, itself=itself, loop=loop), reporter, reason=meaning.reason, family=meaning.family)
    assert said[0].isupper()
    assert said.endswith(".")
    assert "{" not in said
    assert "\n" not in said


@pytest.mark.parametrize(("port", "key"), [(53, "refused-at-times"), (None, "refused")])
def test_answering_on_one_port_and_refusing_another_is_not_answering_sometimes(port, key):
    assert case_of(replace(REFUSED, port=port, answered=2)).key == key


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_but_answered_has_advice(verdict):
    found = [finding(verdict, (4, 3, 3), "192.0.2.1")] if verdict not in {"answered", "silent", "unsent"} else []
    case = case_of(destination("198.51.100.7", 53, verdict, *found))
    assert (case is None) == (verdict == "answered")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"verdict": "refused"}, "Nothing listens on 198.51.100.7:53: start the service or check the port."),
        (
            {"verdict": "refused", "answered": 3},
            "Check the service on 198.51.100.7:53: some datagrams were answered, others refused.",
        ),
        (
            {"verdict": "rejected"},
            "Ask whoever runs 192.0.2.1 about its filter: it refuses on behalf of 198.51.100.7:53.",
        ),
        ({"verdict": "rejected", "notes": [GROUP_MEMBER]}, "Ignore this, or tell whoever runs 192.0.2.1"),
        ({"verdict": "prohibited"}, "Ask whoever runs 192.0.2.1 about its filter"),
        ({"verdict": "prohibited", "reporter": "198.51.100.7"}, "in that host's own firewall"),
        (
            {"verdict": "too-big", "mtu": 1400},
            "at most 1372 bytes to 198.51.100.7:53: larger ones do not fit beyond 192.0.2.1.",
        ),
        ({"verdict": "too-big", "mtu": 1400, "family": 6, "address": "2001:db8::7"}, "at most 1352 bytes"),
        ({"verdict": "too-big", "mtu": 0}, "Measure the path MTU with `udpprobe mtu 198.51.100.7:53`"),
        ({"verdict": "too-big", "mtu": 1480, "notes": [TEXTS[Note.MTU_NOT_SMALLER]]}, "no plausible MTU"),
        ({"verdict": "too-big", "mtu": 1200, "family": 6}, "no plausible MTU"),
        ({"verdict": "loop", "routers": ["A", "B"]}, "Contact whoever runs A and B: the route to 198.51.100.7:53"),
        ({"verdict": "loop"}, "Contact whoever runs 192.0.2.1"),
        ({"verdict": "loop", "reporter": None}, "Find the routers in the loop with `udpprobe trace 198.51.100.7:53`"),
        (
            {"verdict": "unreachable", "reason": "host-unreach"},
            "192.0.2.1, the last router, cannot reach 198.51.100.7:53",
        ),
        ({"verdict": "unreachable", "reason": "host-unreach", "reporter": None}, "up and on this link"),
        (
            {"verdict": "unreachable", "reason": "net-unreach"},
            "Ask whoever runs 192.0.2.1 for a route to 198.51.100.7:53.",
        ),
        ({"verdict": "prohibited", "reporter": None}, "Ask whoever runs a router on the way about its filter"),
        ({"verdict": None}, "that this version does not know"),
    ],
)
def test_advice_names_whom_to_contact_and_why(about, words):
    assert words in advice(**about)


@pytest.mark.parametrize(
    ("errno", "words"),
    [
        ("EPERM", "own firewall"),
        ("ENETUNREACH", "Add a route to 198.51.100.7:53"),
        ("EMSGSIZE", "Send smaller datagrams"),
        ("EXDEV", "ip route get 198.51.100.7"),
        (None, "Allow more time"),
    ],
)
def test_advice_on_unsent_datagrams_is_about_this_host(errno, words):
    case = case_of(destination("198.51.100.7", 53, "unsent", errno=errno))
    assert words in sentence(case, ["198.51.100.7:53"], "198.51.100.7")


def test_an_amplifier_has_advice():
    assert Case("amplifier") == case_of(replace(ANSWERED, notes=(f"answers 33 times the bytes: {AMPLIFIER}",)))
    assert case_of(ANSWERED) is None


def test_a_destination_in_a_command_is_one_shell_word():
    assert "`udpprobe trace '[2001:db8::1]:53'`" in sentence(Case("no-evidence"), ["[2001:db8::1]:53"])


def test_several_places_are_one_sentence():
    places = [f"10.0.0.{host}:53" for host in range(1, 10)]
    assert "10.0.0.1:53, 10.0.0.2:53, 10.0.0.3:53 and 6 more: start" in sentence(case_of(REFUSED), places)
    assert ["A", "A and B", "A, B, C and D", "A, B, C and 2 more"] == [
        listed("ABCDE"[:count]) for count in (1, 2, 4, 5)
    ]


def test_advice_on_a_loop_names_its_routers():
    ring = finding("loop", (4, 11, 0), "192.0.2.1", loop=Loop(("192.0.2.1", "192.0.2.2"), 2))
    assert Case("loop", "192.0.2.1 and 192.0.2.2") == case_of(destination("10.0.0.1", 7, "loop", ring))


def test_every_sentence_is_used():
    assert all(text.endswith(".") and text[0].isupper() for text in SENTENCES.values())
