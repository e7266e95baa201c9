"""What a report says about who answered."""

from __future__ import annotations

from array import array

import pytest

from udpprobe.payloads import UNKNOWN, chosen, load, notes_of_answers, notes_of_other_ports
from udpprobe.scanning.plan import Plan, ProbedDestinations, Sources

DNS = bytes.fromhex("1122 8180 0001 0000 0000 0000")
KEY = (1, 2)


def plan_of(catalogue, *ports):
    """Of one host."""
    destinations = ProbedDestinations()
    for port in ports:
        destinations.add(0, (7, 7), [port])
    choice = array("H", map(catalogue.choices_by_port().__getitem__, ports))
    return Plan(destinations, Sources([[(9, 9)]], 40_000), choice, catalogue.payloads(), KEY)


def notes(answers, payload="auto", ports=(53, 123, 9999)):
    catalogue = chosen(load(), payload)
    return notes_of_answers(catalogue, plan_of(catalogue, *ports), answers)


def test_an_answer_is_recognised_by_its_bytes_on_any_port():
    assert {0: "answers as dns", 2: "answers as dns"} == notes({0: DNS, 2: DNS})


def test_an_answer_in_an_unknown_protocol_is_noted():
    assert {1: UNKNOWN} == notes({1: b"\x1b[31mred"})


def test_no_text_from_the_network_enters_a_note():
    assert all(text.isprintable() for text in notes({0: DNS, 1: b"\x1b[31mred"}).values())


@pytest.mark.parametrize("payload", ["token", "empty", "hex:00"])
def test_an_unknown_answer_to_a_generic_payload_is_not_noted(payload):
    assert {0: "answers as dns"} == notes({0: DNS, 1: b"what?", 2: b""}, payload)


def test_a_port_without_a_protocol_may_answer_anything():
    assert {} == notes({2: b"what?"})


def test_without_answers_there_are_no_notes():
    assert {} == notes({})


@pytest.mark.parametrize(
    ("payload", "port", "answer", "expected"),
    [
        ("auto", 53, DNS, "answer-from port 4242"),
        ("auto", 53, b"what?", "answer-from port 4242, not recognised as dns"),
        ("auto", 9999, b"what?", "answer-from port 4242"),
        ("token", 53, b"what?", "answer-from port 4242"),
    ],
)
def test_an_answer_from_another_port_in_another_protocol_is_noted(payload, port, answer, expected):
    catalogue = chosen(load(), payload)
    plan = plan_of(catalogue, port)
    plan.next_attempt(0, 1)
    assert {0: expected} == notes_of_other_ports(catalogue, plan, {0: answer}, {0: 4242})
    assert {} == notes_of_other_ports(catalogue, plan, {}, {0: 4242})
