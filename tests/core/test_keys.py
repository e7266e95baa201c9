"""Keys of endpoints and conversations, and their numbers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

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
