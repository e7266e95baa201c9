"""What routers say of the path MTU, and what is wrong with it beside what arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from udpprobe.core.model import Event
from udpprobe.core.mtu import LEAST
from udpprobe.core.notes import Note, texts_of
from udpprobe.core.sizing.model import Reported


@dataclass(slots=True)
class _Word:
    count: int = 0
    smallest: int = 1 << 20


class Reports:
    """Counts what was said: who, which MTU, of how large a packet."""

    def __init__(self) -> None:
        self._words: dict[tuple[str, int | None], _Word] = {}

    def take(self, event: Event, size: int) -> None:
        """A router's error about a packet of `size` bytes."""
        word = self._words.setdefault((event.reporter, event.mtu), _Word())
        word.count += 1
        word.smallest = min(word.smallest, size)

    def told(self, family: int, passed: int) -> tuple[Reported, ...]:
        """All of it, the most frequent first.

        Args:
            family: 4 or 6.
            passed: the largest size that arrived; 0 for none.
        """
        said = sorted(self._words.items(), key=lambda item: (-item[1].count, item[0][0], item[0][1] or 0))
        return tuple(Reported(reporter, mtu, word.count, word.smallest,
                              (*texts_of(_bits(family, mtu or 0, word.smallest), word.smallest, family),
                               *_contradictions(mtu or 0, word.smallest, passed)))
                     for (reporter, mtu), word in said)


def _bits(family: int, mtu: int, size: int) -> int:
    if not mtu:
        return int(Note.MTU_ZERO)
    return (Note.MTU_BELOW_MINIMUM if mtu < LEAST[family] else 0) | (Note.MTU_NOT_SMALLER if mtu >= size else 0)


def _contradictions(mtu: int, size: int, passed: int) -> Iterator[str]:
    if size <= passed:
        yield f"packets of {passed} bytes arrived all the same"
    elif 0 < mtu < passed:
        yield f"more than that fits: packets of {passed} bytes arrived"
