"""Many addresses at once, spelled as one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.core.addresses import address_text
from udpprobe.core.spelling import spelled

HALF = st.sampled_from([0, 0xFFFF_0A00_0001, 0xFFFF_0A00_000A, 0x2001_0DB8 << 32, (1 << 64) - 1]) | st.integers(
    0, (1 << 64) - 1)


@given(st.lists(st.tuples(HALF, HALF), max_size=20))
def test_every_address_has_its_text_and_texts_their_order(addresses):
    halves = np.array(addresses, np.uint64).reshape(-1, 2)
    texts = [address_text(high, low) for high, low in addresses]
    found = spelled(halves[:, 0], halves[:, 1])
    assert texts == found.texts()
    assert [sorted(set(texts)).index(text) + 1 for text in texts] == found.rank.tolist()
