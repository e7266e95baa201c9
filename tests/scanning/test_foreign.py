"""Forged errors, and those that other people's datagrams caused: never believed, and counted."""

from __future__ import annotations

import builders as b
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from scan_setup import (
    BARE,
    BELIEVED,
    EMPTY,
    ERROR,
    HEADER,
    HOST,
    LONG,
    NOT_BELIEVED,
    OTHER_HOST,
    OWN,
    PORT,
    REFUSAL,
    SHORT_TOKEN,
    WHOLE_TOKEN,
    Scan,
    other_traffic,
    plan_of,
    with_proof,
    with_udp,
    wrong_proof,
)

FAMILIES = pytest.mark.parametrize("family", [4, 6])
words = st.integers(0, 2**16 - 1)


@FAMILIES
@pytest.mark.parametrize("payload", [BARE, SHORT_TOKEN, EMPTY])
def test_a_wrong_id_or_label_is_not_believed_without_a_whole_token(family, payload):
    scan = Scan(family, payload)
    probe = scan.send()
    assert NOT_BELIEVED == scan.hear_error(probe, quote=wrong_proof(probe))


@FAMILIES
def test_a_wrong_id_in_a_quote_without_the_token_is_not_believed(family):
    scan = Scan(family)
    probe = scan.send()
    assert NOT_BELIEVED == scan.hear_error(probe, quote=wrong_proof(probe)[: HEADER[family] + 5])


@FAMILIES
@pytest.mark.parametrize("payload", [WHOLE_TOKEN, SHORT_TOKEN, BARE])
def test_a_wrong_checksum_and_payload_are_not_believed_even_with_the_right_id(family, payload):
    scan = Scan(family, payload)
    probe = with_udp(scan.send(), 6, b"\x12\x34")
    quote = probe[: HEADER[family]] + bytes(byte ^ 1 for byte in probe[HEADER[family] :])
    assert NOT_BELIEVED == scan.hear_error(probe, quote=quote)


@FAMILIES
def test_a_wrong_udp_length_in_an_8_byte_quote_is_not_believed(family):
    scan = Scan(family)
    probe = scan.send()
    assert NOT_BELIEVED == scan.hear_error(probe, quote=with_udp(probe, 4, b"\0\x99")[: HEADER[family]])


@FAMILIES
def test_an_error_about_a_port_that_was_never_probed_is_foreign(family):
    scan = Scan(family)
    forged = other_traffic(family, dport=PORT + 1)
    assert NOT_BELIEVED == scan.hear_error(forged)


@FAMILIES
def test_an_error_about_a_port_that_is_yet_to_be_probed_is_foreign(family):
    forger, scan = Scan(family), Scan(family)
    assert NOT_BELIEVED == scan.hear_error(forger.send())


@FAMILIES
def test_an_error_about_a_future_attempt_is_foreign_unless_the_token_proves_it(family):
    forger, scan = Scan(family, EMPTY), Scan(family, EMPTY)
    forger.send()
    scan.send()
    assert NOT_BELIEVED == scan.hear_error(forger.send())


def test_an_error_about_a_datagram_of_another_program_is_neither_believed_nor_foreign():
    scan = Scan()
    assert ([], 0) == scan.hear_error(other_traffic(sport=1234, dport=1))
    assert ([], 0) == scan.hear_error(b.datagram(OWN[4][0], OTHER_HOST[4], 1234, PORT))


def test_a_quote_without_ports_is_neither_believed_nor_foreign():
    scan = Scan()
    probe = scan.send()
    assert ([], 0) == scan.hear_error(probe, quote=probe[:22])


def test_a_rejected_error_leaves_no_trace_in_the_report():
    scan = Scan(payload=EMPTY)
    probe = scan.send()
    scan.receive(probe)
    scan.hear_error(probe, quote=wrong_proof(probe))
    assert ([], {}) == (scan.errors, scan.record.errors_of(0))


@FAMILIES
def test_many_near_misses_about_a_port_are_noted_and_few_are_not(family):
    scan = Scan(family, BARE, ports=(PORT, PORT + 1))
    forged, other = scan.send(0), scan.send(1)
    for _ in range(17):
        scan.hear_error(forged, quote=wrong_proof(forged))
    for _ in range(16):
        scan.hear_error(other, quote=wrong_proof(other))
    assert {0: "forged: 17 ICMP errors quote no probe to it, and are ignored"} == scan.replies.forged()


# ---- properties


@examples(150)
@given(st.sampled_from((4, 6)), words, st.binary(min_size=20, max_size=20), words)
def test_a_guessed_id_checksum_and_payload_are_never_believed(family, number, data, checksum):
    scan = Scan(family)
    real = scan.send()
    forged = with_proof(other_traffic(family, data=data), number.to_bytes(2))
    quote = with_udp(forged, 6, checksum.to_bytes(2))
    right = real[HEADER[family] - 2 : HEADER[family]] == quote[HEADER[family] - 2 : HEADER[family]]
    expected = BELIEVED if with_proof(real, number.to_bytes(2)) == real and right else NOT_BELIEVED
    assert expected == scan.hear_error(forged, quote=quote)


@pytest.mark.parametrize("family", [4, 6])
def test_every_id_but_its_own_is_foreign(family):
    """All of 16 bits at once, with the right addresses, ports, length and payload, but a wrong token in it."""
    scan = Scan(family)
    real = scan.send()
    forged = with_udp(real, 12, bytes(8))
    errors = [b.port_unreachable(with_proof(forged, number.to_bytes(2))) for number in range(0, 2**16, 16)]
    assert ([], len(errors)) == (scan.receive(*errors), scan.replies.foreign)


@examples(150)
@given(st.sampled_from((4, 6)), st.sampled_from((WHOLE_TOKEN, BARE, SHORT_TOKEN, EMPTY, LONG)), st.data())
def test_a_quote_cut_anywhere_never_raises_and_is_believed_from_8_bytes_of_udp_on(family, payload, data):
    scan = Scan(family, payload)
    probe = scan.send()
    at = data.draw(st.integers(0, len(probe)))
    heard, _ = scan.hear_error(probe, quote=probe[:at])
    assert (at >= HEADER[family]) == (heard == [(REFUSAL, 0, 0, 0)])


@examples(150)
@given(st.sampled_from((4, 6)), st.integers(0, 67), st.integers(1, 255), st.integers(0, 40))
def test_a_corrupt_byte_anywhere_never_raises(family, at, difference, cut):
    scan = Scan(family)
    packet = bytearray(b.port_unreachable(scan.send()))
    packet[at % len(packet)] ^= difference
    heard = scan.receive(bytes(packet[: len(packet) - cut]))
    assert heard in ([], [(REFUSAL, 0, 0, 0)], [(REFUSAL, 0, 0, -1)], [(ERROR, 0, 0, 0)], [(ERROR, 0, 0, -1)])


def test_many_simultaneous_errors_are_distinguished():
    scan = Scan(ports=range(1, 301))
    probes = [scan.send(task) for task in range(300)]
    mixed = [
        b.port_unreachable(probe if n % 3 else wrong_proof(probe)[:30] + bytes(18)) for n, probe in enumerate(probes)
    ]
    heard = scan.receive(*mixed)
    assert [(REFUSAL, n, 0, 0) for n in range(300) if n % 3] == sorted(heard)
    assert 100 == scan.replies.foreign


@pytest.mark.parametrize("family", [4, 6])
def test_after_many_guesses_only_true_errors_are_believed(family):
    scan = Scan(family, payload=SHORT_TOKEN)
    real = scan.send()
    guess = with_udp(real, 6, b"\x12\x34")[: HEADER[family]]
    scan.receive(*(b.port_unreachable(real, quote=with_proof(guess, number.to_bytes(2))) for number in range(1, 1000)))
    assert [] == scan.receive(b.port_unreachable(real, reporter=OTHER_HOST[family]))  # might be a guess by now
    assert [] == scan.receive(b.port_unreachable(real))
    assert [(REFUSAL, 0, 0, 1)] == scan.receive(b.port_unreachable(scan.send()))


@pytest.mark.parametrize("family", [4, 6])
def test_under_guessing_payloads_with_a_token_are_used(family):
    plan = plan_of((HOST[family], PORT), payload=BARE, proving=[0, 0])
    scan = Scan(plan=plan)
    real = scan.send()
    scan.receive(*(b.port_unreachable(real, quote=with_proof(real, number.to_bytes(2))) for number in range(1, 100)))
    assert [] == scan.receive(b.port_unreachable(real))
    assert [(REFUSAL, 0, 0, 1)] == scan.receive(b.port_unreachable(scan.send()))
