"""Randomness that is the same in every run, on every machine."""

from __future__ import annotations

from hashlib import blake2b

_MASK = (1 << 64) - 1


class Dice:
    """Random numbers by SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).

    Args:
        seed: of the run.
        owner: who throws them. Each owner has a sequence of its own, so that one does not disturb another's.
    """

    def __init__(self, seed: int, owner: str = "") -> None:
        self._state = int.from_bytes(blake2b(f"{seed} {owner}".encode(), digest_size=8).digest())

    def next(self) -> int:
        """The next 64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        return self.next() * limit >> 64

    def happens(self, chance: float) -> bool:
        """Whether something happens whose chance is 0 to 1."""
        return chance > 0 and self.next() < chance * (_MASK + 1)
