"""Keys of endpoints and conversations, and their numbers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from udpprobe.core import keys
from udpprobe.core.keys import SECRET, Numbering, columns_key, conversation_key, endpoint_key, pair_key


def u64s(*values):
    return np.array(values, np.uint64)


def test_a_hundred_thousand_endpoints_have_as_many_keys():
    random = np.random.default_rng(1)
    low, port = random.integers(0, 2**32, 100_000, np.uint64), random.integers(0, 2**16, 100_000, np.uint64)
    distinct = len(set(zip(low.tolist(), port.tolist(), strict=True)))
    assert distinct == len(np.unique(endpoint_key(np.zeros(100_000, np.uint64), low, port)))


def test_neighbours_have_keys_of_their_own():
    low, port = (values.ravel().astype(np.uint64) for values in np.meshgrid(np.arange(300), np.arange(300)))
    keys = endpoint_key(np.zeros(len(low), np.uint64), low | np.uint64(0xFFFF_0A00_0000), port)
    assert 300 * 300 == len(np.unique(keys))
    assert 300 * 300 == len(np.unique(pair_key(keys, keys[::-1].copy())))


def test_both_directions_are_one_conversation_and_two_flows():
    one, other = u64s(3), u64s(5)
    assert conversation_key(one, other) == conversation_key(other, one)
    assert pair_key(one, other) != pair_key(other, one)


def test_every_column_and_their_order_matter():
    first, second = u64s(1, 2), np.array([3, -4])
    assert len({*columns_key([first, second]).tolist(), *columns_key([second, first]).tolist()}) == 4
    assert (columns_key([first, second]) != columns_key([first, second + 1])).all()


TOP = 1 << 63
ALIKE_IN_A_LINEAR_HASH = {
    "the top bits, whatever odd factors": ((0, 0, 53), (TOP, TOP, 53)),
    "an address that undoes a known difference of ports": (
        (0, 0, 53), (0, 0xC2B2AE3D27D4EB4F * pow(0xD6E8FEB86659FD93, -1, 2**64) % 2**64, 52)),
    "halves that undo each other by known factors": (
        (0, 0, 53), (1, -0x9E3779B97F4A7C15 * pow(0xD6E8FEB86659FD93, -1, 2**64) % 2**64, 53)),
}


@pytest.mark.parametrize("pair", ALIKE_IN_A_LINEAR_HASH.values(), ids=ALIKE_IN_A_LINEAR_HASH)
def test_nobody_can_choose_an_address_that_has_the_key_of_another(pair):
    high, low, port = (u64s(*column) for column in zip(*pair, strict=True))
    assert 2 == len(set(endpoint_key(high, low, port).tolist()))


@pytest.fixture
def agreeing():
    before = keys.FACTORS.copy()
    yield keys.agree
    keys.FACTORS[:] = before


def test_keys_are_those_of_the_secret_that_was_agreed_on(agreeing):
    def key(secret):
        agreeing(secret)
        return endpoint_key(u64s(1), u64s(2), u64s(3)).tolist(), columns_key([u64s(4), u64s(5)]).tolist()

    assert key(1 << 70 | 7) == key(7)
    assert 3 == len({str(key(secret)) for secret in (7, 8, 0)})


def test_factors_are_odd_whatever_the_secret(agreeing):
    for secret in (0, 1, 2**64 - 1, -1):
        agreeing(secret)
        assert (keys.FACTORS & np.uint64(1)).all()


UNDO = np.uint64(pow(int(SECRET), -1, 2**64))
CROWDED = [u64s(*range(50)) * UNDO,                         # all want the first slot
           u64s(*range(2**64 - 50, 2**64)) * UNDO,          # all want the last one, and go on at the first
           np.random.default_rng(1).integers(0, 2**64, 5000, np.uint64)]


@pytest.mark.parametrize("keys", CROWDED, ids=["first", "last", "many"])
def test_keys_are_numbered_in_the_order_in_which_they_appear(keys):
    numbering, known = Numbering(), {}
    for part in np.array_split(np.concatenate([keys, keys[::-1], keys[::3]]), 7):
        new_keys = [key for key in dict.fromkeys(part.tolist()) if key not in known]
        known |= {key: number for number, key in enumerate(new_keys, len(known))}
        numbers, new = numbering.add(part)
        assert [known[key] for key in part.tolist()] == numbers.tolist()
        assert new_keys == part[new].tolist()
    assert len(known) == len(numbering)
    assert [known[key] for key in keys.tolist()] == numbering.find(keys).tolist()


def test_an_unknown_key_has_no_number():
    numbering = Numbering()
    assert [-1, -1] == numbering.find(u64s(0, 9)).tolist()
    numbering.add(u64s(0, 1, 2**63))
    assert [0, -1, 2, -1] == numbering.find(u64s(0, 9, 2**63, 2)).tolist()


SECRETS = np.random.default_rng(1).integers(0, 2**64, 20, np.uint64) | np.uint64(1)


@pytest.mark.parametrize("step", [1, 1 << 20, 1 << 44], ids=hex)
def test_keys_that_somebody_chose_do_not_crowd_in_one_place(step):
    crafted = u64s(*range(0, 4000 * step, step))
    for secret in SECRETS:
        numbering = Numbering(secret)
        numbering.add(crafted)
        assert 1000 < len(np.unique(numbering.slots(crafted)))


def test_numbers_from_another_process_are_found_here():
    code = ("import pickle, sys, numpy as np; from udpprobe.core.keys import Numbering; one = Numbering()\n"
            "one.add(np.arange(1000, dtype=np.uint64)); sys.stdout.buffer.write(pickle.dumps(one))")
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True,
                            env=os.environ | {"PYTHONHASHSEED": "1"}).stdout
    assert list(range(1000)) == pickle.loads(theirs).find(np.arange(1000, dtype=np.uint64)).tolist()
