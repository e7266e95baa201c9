"""Which errors are believed: those that whoever sends them can't have guessed.

`Prober.find` says how many unguessable bits of a quote agree with a probe. Many are proof. Fewer are proof as long as
nobody is guessing: of guesses at b bits one in 2^b hits. The others miss, and are seen. So it is known how many there
were, and n of them take log2(n) bits from what a hit proves. Then a second probe, with new bits, must draw the same
error. An honest network pays nothing for this, and a flood costs a probe or two more.
"""

from __future__ import annotations

from array import array

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

# Typed names are not seen from Python, so those that callers need have two.
_MISSED = cython.declare(cython.const[index], 0)
_DOUBTED = cython.declare(cython.const[index], 1)
_BELIEVED = cython.declare(cython.const[index], 2)
MISSED, DOUBTED, BELIEVED = _MISSED, _DOUBTED, _BELIEVED
"""What becomes of an error. MISSED: it proves nothing. DOUBTED: it agrees with a probe, but another probe must draw
the same. BELIEVED: whoever sent it has seen the probe."""

ENOUGH = cython.declare(cython.const[index], 48)
"""Bits that are proof whatever else was rewritten: of 10^7 guesses one hits in one of 28 million runs."""
LEFT_ALONE = cython.declare(cython.const[index], 16)
"""Bits that must be left of a single error, less what the misses of the whole run take. So the n-th guess is believed
with a chance of 2^-16 / n at most. Where all guess the same number of bits, that is 2^-16 for the whole run."""
LEFT_TOGETHER = cython.declare(cython.const[index], 28)
"""Bits that must be left of the errors that several probes drew, less what the destination's misses take from each."""
LEAST = cython.declare(cython.const[index], 8)
"""Bits of a probe's own; fewer agree by chance."""
RARE = cython.declare(cython.const[index], 16)
MOST_ACCIDENTS = 16
"""Misses of a destination that may be accidents: errors about other programs' datagrams, broken quotes."""
MOST_MISSES = cython.declare(cython.const[u64], 0xFFFF_FFFF)
"""Where counting them ends."""

MOST_ERRORS = 8
"""Different doubted errors that are remembered of a destination."""
MOST_DOUBTED = 1 << 16
"""Destinations of which they are. Beyond either bound the oldest are forgotten."""

Error = tuple[int, ...]
"""What an error says, and who says so: type, code, MTU, reporter."""


@cython.final
@cython.cclass
class Believer:
    """Judges the errors of a run. It must be given every error that quotes something sent to a probed destination.

    Args:
        destinations: how many are probed.
    """

    def __init__(self, destinations: int) -> None:
        self.misses = array("I", bytes(4 * destinations))
        """(destinations,) errors that agree with no probe, or not in all."""
        self.all_misses = 0
        self.errors: dict[int, dict[Error, dict[int, int]]] = {}

    def weigh(
        self, destination: int, error: Error, attempt: int, bits: int, shared: int = 0, *, is_rewritten: bool = False
    ) -> int:
        """Return MISSED, DOUBTED or BELIEVED.

        Args:
            destination: 0, 1, 2 …: the one that the quote names.
            error: what it says.
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
        left = sum([max(each - doubt, 0) for each in probes.values()])
        return BELIEVED if len(probes) > 1 and left >= LEFT_TOGETHER else DOUBTED

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def alone(self, destination: index, bits: index, shared: index, is_rewritten: cython.int) -> cython.int:
        """As `weigh`, of a single error; counts what misses."""
        if self.is_proof(bits, shared):
            return _BELIEVED
        is_calm: cython.int = self.all_misses == 0 or bits + shared - bit_length(self.all_misses) >= LEFT_ALONE
        if bits >= LEAST and not is_rewritten and is_calm and self.misses[destination] <= RARE:
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
        """Whether so many bits are proof, however many others missed."""
        return bits >= LEAST and bits + shared >= ENOUGH

    def is_forged(self, destination: int) -> bool:
        """Whether so many errors about a destination miss that somebody seems to be guessing."""
        which: index = destination
        return bool(self.misses[which] > RARE)

    def forged(self) -> dict[int, str]:
        """By destination that somebody seems to be guessing about, the note that says so."""
        if self.all_misses <= MOST_ACCIDENTS:
            return {}
        return {
            destination: f"forged: {count} ICMP errors quote no probe of it, and are not believed"
            for destination, count in enumerate(self.misses)
            if count > MOST_ACCIDENTS
        }

    def _probes(self, destination: int, error: Error) -> dict[int, int]:
        """By probe that drew a doubted error of a destination: how many bits agreed."""
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
    """How many bits a number has."""
    bits: cython.int = 0
    while number:
        number >>= 1
        bits += 1
    return bits
