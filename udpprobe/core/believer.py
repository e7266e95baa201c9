"""Which errors are believed: those that whoever sends them can't have guessed.

`Prober.find` says how many unguessable bits of a quote agree with a probe. Many are proof. Fewer are proof as long as
nobody is guessing: with b bits, one in 2^b guesses hits. Guesses that miss are seen, so how many there are is known,
and n of them take log2(n) bits from what a hit proves. In a flood a second probe, whose bits are new, must draw the same
error. An honest network pays nothing for this, and a flood costs one or two probes more.
"""

from __future__ import annotations

from array import array

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

_MISSED = cython.declare(cython.int, 0)
_DOUBTED = cython.declare(cython.int, 1)
_BELIEVED = cython.declare(cython.int, 2)
MISSED, DOUBTED, BELIEVED = _MISSED, _DOUBTED, _BELIEVED
"""What becomes of an error. MISSED: it proves nothing. DOUBTED: it agrees with a probe, but another probe must draw
the same error. BELIEVED: whoever sent it has seen the probe. (Typed names are not seen from Python.)"""

ENOUGH = cython.declare(index, 48)
"""Bits that are proof, whatever else was rewritten and whoever is guessing: 10^7 guesses hit once in 28 million runs."""
LEFT_ALONE = cython.declare(index, 16)
"""Bits that must be left of a single error's, after what the misses of the whole run take. So the n-th guess is believed
alone with a chance of at most 2^-16 / n, and in a run of 2^32 guesses any is with 2^-12; if all have the same number of
bits, with 2^-16."""
LEFT_TOGETHER = cython.declare(index, 28)
"""Bits that must be left of all the probes that drew the same error, after what the destination's misses take of each."""
LEAST = cython.declare(index, 8)
"""Bits of a probe's own, below which agreement is chance."""
RARE = cython.declare(index, 16)
"""Misses of a destination that may be accidents: errors about another program's datagrams, or damaged quotes."""
MOST_MISSES = cython.declare(u64, 0xFFFF_FFFF)

MOST_ERRORS = 8
"""Different errors that are remembered of a destination, while they are doubted."""
MOST_DOUBTED = 1 << 16
"""Destinations of which doubted errors are remembered; beyond, the oldest are forgotten."""

Error = tuple[int, ...]
"""What an error says: reporter, type, code, MTU. Two that draw the same say the same."""


@cython.cclass
class Believer:
    """Judges the errors of a run.

    Args:
        destinations: how many are probed; they are numbered from 0.
    """

    def __init__(self, destinations: int) -> None:
        self.misses = self.missed = array("I", bytes(4 * destinations))
        """Errors about each destination that agree with no probe of it."""
        self.all_misses = 0
        self._errors: dict[int, dict[Error, dict[int, int]]] = {}

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def alone(self, destination: index, bits: index, shared: index, is_rewritten: cython.int) -> cython.int:
        """What becomes of an error that no other has confirmed; counts it where it misses."""
        agree: index = bits + shared
        if agree >= ENOUGH and bits >= LEAST:
            return _BELIEVED
        if bits >= LEAST and not is_rewritten and self.missed[destination] <= RARE:
            if self.all_misses == 0 or agree - bit_length(self.all_misses) >= LEFT_ALONE:
                return _BELIEVED
        if bits < LEAST or is_rewritten:
            self.all_misses += 1
            if self.missed[destination] < MOST_MISSES:
                self.missed[destination] += 1
        return _MISSED if bits < LEAST else _DOUBTED

    def weigh(self, destination: int, error: Error, attempt: int, bits: int, shared: int = 0, *,  # noqa: PLR0913
              is_rewritten: bool = False) -> int:
        """MISSED, DOUBTED or BELIEVED.

        Args:
            destination: which one the quote names.
            error: what it says, and who says so.
            attempt: the probe that agrees best (`Prober.attempt`), -1 for none.
            bits: how many bits agree that are this probe's own (`Prober.agree`).
            shared: how many agree that are also those of the destination's other probes (`Prober.shared`).
            is_rewritten: whether something differs (`Prober.is_rewritten`): somebody on the way changed it, or it is a
                guess that hit in part.
        """
        if attempt < 0:
            bits = 0
        found = self.alone(destination, bits, shared, is_rewritten)
        if found != DOUBTED:
            return found
        probes = self._remembered(destination, error)
        probes[attempt] = max(bits, probes.get(attempt, 0))
        doubt = bit_length(self.misses[destination])
        left = sum(each - doubt for each in probes.values() if each > doubt)
        return BELIEVED if len(probes) > 1 and left >= LEFT_TOGETHER else DOUBTED

    def is_forged(self, destination: int) -> bool:
        """Whether so many errors about a destination miss that somebody seems to be guessing."""
        return bool(self.misses[destination] > RARE)

    def _remembered(self, destination: int, error: Error) -> dict[int, int]:
        """The probes that drew an error of a destination so far, and how many bits of each agreed."""
        errors = self._errors.setdefault(destination, {})
        if len(self._errors) > MOST_DOUBTED:
            del self._errors[next(iter(self._errors))]
        probes = errors.setdefault(error, {})
        if len(errors) > MOST_ERRORS:
            del errors[next(iter(errors))]
        return probes


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def bit_length(number: u64) -> cython.int:
    bits: cython.int = 0
    while number:
        number >>= 1
        bits += 1
    return bits
