"""Large results between processes of a host."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest

from udpprobe import parcels
from udpprobe.parcels import Parcel, unwrap, wrap

LARGE = {"many": np.arange(1 << 18), "none": np.arange(0), "odd": np.ones(5, np.uint8), "word": "text"}


def test_a_small_result_goes_as_it_is():
    value = {"few": np.arange(3)}
    assert value is unwrap(wrap(value))


def test_a_large_result_arrives_whole_and_writable():
    parcel = wrap(LARGE)
    assert isinstance(parcel, Parcel)
    assert len(parcel.head) < 2000
    arrived = unwrap(parcel)
    arrived["many"][0] = 7

    assert LARGE["many"][1:].tolist() == arrived["many"][1:].tolist()
    assert (7, 0, [1] * 5, "text") == (arrived["many"][0], arrived["none"].size, arrived["odd"].tolist(),
                                       arrived["word"])


def test_what_has_arrived_takes_no_memory_at_the_sender():
    parcel = wrap(LARGE)
    sent = Path(parcel.path).stat().st_size
    unwrap(parcel)

    assert (LARGE["many"].nbytes + 5, 0) == (sent, Path(parcel.path).stat().st_size)


def test_no_more_files_are_kept_open_than_others_may_have_to_read(monkeypatch):
    monkeypatch.setattr(parcels, "MOST_KEPT", 2)
    monkeypatch.setattr(parcels, "_kept", deque())
    first, *others = [wrap(LARGE) for _ in range(3)]

    assert [False, True, True] == [Path(each.path).exists() for each in (first, *others)]
    with pytest.raises(FileNotFoundError):
        unwrap(first)
