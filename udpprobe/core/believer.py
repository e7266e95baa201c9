"""Which errors to believe: those whose sender cannot have guessed the quote.

`Prober.find` counts the unguessable bits of a quote that agree with a probe. Enough bits are proof. Fewer are proof as
long as nobody is guessing: of guesses at b bits, one in 2^b hits. The others miss and are counted, and n misses take
log2(n) bits from what a hit proves. A second probe with new bits must then draw the same error. An honest network costs
nothing extra; a flood costs a probe or two more.
"""

from __future__ import annotations

from array import array

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

# Python cannot see typed names, so those that callers need exist twice.
_MISSED = cython.declare(cython.const[index], 0)
_DOUBTED = cython.declare(cython.const[index], 1)
_BELIEVED = cython.declare(cython.const[index], 2)
MISSED, DOUBTED, BELIEVED = _MISSED, _DOUBTED, _BELIEVED
"""Verdict on an error. MISSED: it proves nothing. DOUBTED: it agrees with a probe, but another probe must draw the
same. BELIEVED: its sender has seen the probe."""

ENOUGH = cython.declare(cython.const[index], 48)
"""Bits that are proof whatever else was rewritten: 10^7 guesses hit once in 28 million runs."""
ENOUGH_ALONE = cython.declare(cython.const[index], 16)
"""Bits that a single error must have left after the misses of the whole run are deducted. So the n-th guess is believed
with a probability of at most 2^-16 / n. Where all guess the same number of bits, that is 2^-16 for the whole run.
Before the first miss nobody seems to guess, and LEAST bits are enough."""
ENOUGH_TOGETHER = cython.declare(cython.const[index], 28)
"""Bits that the errors drawn by several probes must have left together, after the destination's misses are deducted
from each."""
LEAST = cython.declare(cython.const[index], 8)
"""Least bits that are specific to one probe; fewer may agree by chance."""
_MOST_ACCIDENTS = cython.declare(cython.const[index], 16)
MOST_ACCIDENTS = _MOST_ACCIDENTS
"""Misses of a destination that may be accidents: errors about other programs' datagrams, broken quotes."""
MOST_MISSES = cython.declare(cython.const[u64], 0xFFFF_FFFF)
"""The counter stops here."""

MOST_ERRORS = 8
"""Different doubted errors remembered for a destination."""
MOST_DOUBTED = 1 << 16
"""Destinations with doubted errors. Beyond either bound the oldest are forgotten."""

Error = tuple[int, ...]
"""An error's content and sender: type, code, MTU, reporter."""


@cython.final
@cython.cclass
class Believer:
    """Judges the errors of a run. Give it every error that quotes a datagram to a probed destination.

    Args:
        destinations: number of probed destinations.
    """

    def __init__(self, destinations: int) -> None:
        self.misses = array("I", bytes(4 * destinations))
        """(destinations,) errors that agree with no probe, or not in every field."""
        self.all_misses = 0
        self.errors: dict[int, dict[Error, dict[int, int]]] = {}

    def weigh(
        self, destination: int, error: Error, attempt: int, bits: int, shared: int = 0, *, is_rewritten: bool = False
    ) -> int:
        """Return MISSED, DOUBTED or BELIEVED.

        Args:
            destination: number (from 0) of the destination that the quote names.
            error: its content and sender.
            attempt: the probe that agrees best, as `Prober.find` returns it.
            bits: `Prober.agree`.
            shared: `Prober.shared`.
            is_rewritten: `Prober.is_rewritten`.
        """
        which: index = destination
        found = self.alone(which, bits if attempt >= 0 else 0, shared, is_rewritten)
        if found != DOUBTED:
            return found
        probes = self._probes(destination, error)
        probes[attempt] = max(bits, probes.get(attempt, 0))
        doubt = bit_length(self.misses[which])
        remaining = sum([max(each - doubt, 0) for each in probes.values()])
        return BELIEVED if len(probes) > 1 and remaining >= ENOUGH_TOGETHER else DOUBTED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def alone(self, destination: index, bits: index, shared: index, is_rewritten: cython.int) -> cython.int:
        """`weigh` for a single error; counts a miss."""
        if self.is_proof(bits, shared):
            return _BELIEVED
        is_calm: cython.int = self.all_misses == 0 or bits + shared - bit_length(self.all_misses) >= ENOUGH_ALONE
        if bits >= LEAST and not is_rewritten and is_calm and self.misses[destination] <= _MOST_ACCIDENTS:
            return _BELIEVED
        if bits < LEAST or is_rewritten:
            self.all_misses += 1
            if self.misses[destination] < MOST_MISSES:
                self.misses[destination] += 1
        return _DOUBTED if bits >= LEAST else _MISSED

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def is_proof(self, bits: index, shared: index) -> cython.bint:
        """Whether this many bits are proof, however many others missed."""
        return bits >= LEAST and bits + shared >= ENOUGH

    def is_forged(self, destination: int) -> bool:
        """Whether so many errors about a destination miss that somebody seems to be guessing."""
        which: index = destination
        return bool(self.misses[which] > _MOST_ACCIDENTS)

    def forged(self) -> dict[int, str]:
        """For each destination that somebody seems to be guessing about: the note that says so."""
        if self.all_misses <= MOST_ACCIDENTS:
            return {}
        return {
            destination: f"forged: {count} ICMP errors quote no probe to it, and are ignored"
            for destination, count in enumerate(self.misses)
            if count > MOST_ACCIDENTS
        }

    def _probes(self, destination: int, error: Error) -> dict[int, int]:
        """For each probe that drew this doubted error: how many bits agreed."""
        errors = self.errors.setdefault(destination, {})
        if len(self.errors) > MOST_DOUBTED:
            del self.errors[next(iter(self.errors))]
        probes = errors.setdefault(error, {})
        if len(errors) > MOST_ERRORS:
            del errors[next(iter(errors))]
        return probes


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def bit_length(number: u64) -> cython.int:
    """Number of bits of a number."""
    bits: cython.int = 0
    while number:
        number >>= 1
        bits += 1
    return bits
