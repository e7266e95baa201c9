"""A probe's token: a keyed hash that nobody guesses, and what of it stands in the IP header."""

from __future__ import annotations

import numpy as np
import pytest
from engine_probes import probes_to
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.core.probing.probes import flow_label, ip_id, siphash, token_of

WORD = np.uint64
ZERO = np.zeros(1, WORD)
numbers = st.integers(0, 2**64 - 1)


def words_of(data):
    return tuple(np.frombuffer(data, "<u8").astype(WORD).reshape(-1, 1))


@pytest.mark.parametrize(("length", "expected"), [(8, 0x93F5F5799A932462), (16, 0x3F2ACC7F57C29BDB)])
def test_siphash_2_4_is_that_of_its_authors_vectors(length, expected):
    key = tuple(int(word) for word in np.frombuffer(bytes(range(16)), "<u8"))
    assert [expected] == siphash(key, words_of(bytes(range(length))), compressions=2, finalizations=4).tolist()


@pytest.mark.parametrize(("length", "expected"), [
    (8, 0xEAD411E67EBE2EEA), (16, 0x8972188433A5C5B7), (40, 0x95BC321AB41D8206)])
def test_siphash_1_3_is_that_of_cpython_without_a_hash_seed(length, expected):
    assert [expected] == siphash((0, 0), words_of(bytes(range(length)))).tolist()


def test_every_row_is_hashed_as_if_it_were_alone():
    rows = np.arange(9, dtype=WORD)
    assert [siphash((1, 2), (row[None], row[None] + WORD(5)))[0] for row in rows] == siphash(
        (1, 2), (rows, rows + WORD(5))).tolist()


def token(key=(1, 2), source=(ZERO, ZERO), destination=(ZERO, ZERO), ports=ZERO):
    return int(token_of(key, source, destination, ports)[0])


def test_a_token_changes_with_the_key_and_with_every_part_of_the_flow():
    one = np.ones(1, WORD)
    assert 8 == len({
        token(), token((1, 3)), token((0, 2)), token(source=(one, ZERO)), token(source=(ZERO, one)),
        token(destination=(one, ZERO)), token(destination=(ZERO, one)), token(ports=one)})


def test_the_tokens_of_all_ports_of_a_host_differ():
    ports = np.arange(65_536, dtype=WORD)
    none = np.zeros(65_536, WORD)
    assert 65_536 == len(np.unique(token_of((1, 2), (none, none), (none, none), ports)))


def probe(token, attempt):
    probes = probes_to([("192.0.2.7", 9)], "192.0.2.1", 40_000, attempt=attempt)
    probes.token[:] = token
    return probes


@given(numbers, st.integers(0, 40))
def test_an_ip_id_is_never_0_and_fits_its_field(token, attempt):
    (identification,) = ip_id(probe(token, attempt)).tolist()
    assert 1 <= identification <= 0xFFFF


@given(numbers, st.integers(0, 40))
def test_a_flow_label_fits_its_field(token, attempt):
    (label,) = flow_label(probe(token, attempt)).tolist()
    assert 0 <= label <= 0xFFFFF


@given(numbers.filter(lambda number: number < 2**64 - 40))
def test_every_attempt_has_an_id_and_a_label_of_its_own(token):
    for of in (ip_id, flow_label):
        assert 40 == len({int(of(probe(token, attempt))[0]) for attempt in range(40)})
