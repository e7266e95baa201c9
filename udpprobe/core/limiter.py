"""What a host's limit on ICMP errors is, learned from when its errors come.

A limiter is a token bucket: an error takes a token, and a new one comes every `interval_ns`. Nothing is
assumed of it but that: Linux gives IPv4 one a second and IPv6 ten, other systems differ, routers give far
fewer (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f). A probe that draws no error takes no token.
"""

from __future__ import annotations

MS = 1_000_000
SECOND = 1000 * MS
NEVER = 1 << 63
"""When nothing is to happen."""

LEAST_STEP_NS = 4 * MS
"""Between two probes while it is not known when the next token comes."""
STEPS = (20, 100, 250)
"""Steps are such a part of the time waited so far: before a token was met, once one was, and from the second on."""
EARLY = 0.9
"""Where the search for the next token begins, in intervals of the last one."""
SLACK = 1.002
AGREEING = 1.05
"""Two intervals in a row that differ by less are the limiter's."""
LATE = 1.02
FAR_OFF = 1.03
"""An interval longer than the learned one by this factor speaks against it, if a closed port missed meanwhile ..."""
MOST_FAR_OFF = 3
"""... and if so many in a row do."""
MOST_SAVED = 10
"""Tokens that a limiter may have saved up where none was ever missed."""
CLOSE_ENOUGH = 0.99
"""How near a wait that is too short comes to the learned interval before the search for a shorter one ends."""
MUTE_NS = 4 * SECOND
"""After so long without an error, or four intervals: perhaps every probe sets the limiter back (Linux's routing
table does so), and only patience helps."""
FIRST_PAUSE_NS = 2200 * MS
LAST_PAUSE_NS = 10 * SECOND


class Limiter:
    """The limit that one of our addresses meets at one host.

    Args:
        hit_ns: when the last probe that drew an error had left.
    """

    def __init__(self, hit_ns: int) -> None:
        self.hit_ns = hit_ns
        self.interval_ns: int | None = None
        """What was learned, long enough for a token; None while it is not known."""
        self.pause_ns = 0
        """Wanted between any two probes by a limiter that needs patience, else 0."""
        self._short_ns = 0
        """The longest wait that did not suffice, as far as is known."""
        self._empty_ns, self._since = 0, 0
        """When there surely was no token, and how many errors came since: so many intervals passed, but one."""
        self._last_gap_ns: int | None = None
        self._gaps = 0
        self._saved_ns = 0
        """How long before the last error's probe the token may have been there already: that long is saved for the
        next."""
        self._far_off: list[int] = []
        self._enough: list[int] = []

    def next_ns(self, sent_ns: int, wait_ns: int) -> int:
        """When the next probe may go, after one at `sent_ns` that has not drawn an error yet."""
        if self.pause_ns:
            return sent_ns + self.pause_ns
        if self.interval_ns is not None:
            if self.suffices(sent_ns):
                return sent_ns + min(wait_ns, self._expected_ns())
            return max(sent_ns + LEAST_STEP_NS, self.ready_ns)
        waited_ns = sent_ns - self.hit_ns
        after = sent_ns + max(LEAST_STEP_NS, waited_ns // STEPS[min(self._gaps, 2)])
        return max(after, self.hit_ns + self._expected_ns())

    def suffices(self, sent_ns: int) -> bool:
        """Whether a token was surely there for a probe that left at `sent_ns`."""
        wanted = self.interval_ns
        return wanted is not None and sent_ns - self.hit_ns >= wanted

    @property
    def ready_ns(self) -> int:
        """When there surely will be a token; where the interval is learned."""
        return self.hit_ns + (self.interval_ns or 0)

    @property
    def late_ns(self) -> int:
        """When there would be one even if the interval were a little longer than was learned."""
        return self.hit_ns + int((self.interval_ns or 0) * (1 if self.pause_ns else LATE))

    def hit(self, sent_ns: int, missed_ns: list[int], *, known_missed: bool = False) -> int:
        """Learn from an error; when to send next.

        Args:
            sent_ns: when the probe that drew it had left.
            missed_ns: when those before it had left that drew none since the last error.
            known_missed: whether one of these was to a port that is surely closed.
        """
        gap_ns, short_ns = max(sent_ns - self.hit_ns, 1), self._too_short(missed_ns)
        self.hit_ns = max(self.hit_ns, sent_ns)
        if self.pause_ns:
            self.interval_ns = self.pause_ns
            return sent_ns + self.pause_ns
        if self.interval_ns is None:
            self._learn(gap_ns, short_ns)
        else:
            self._refine(gap_ns, short_ns, known_missed=known_missed)
        return sent_ns + self._expected_ns()

    def _too_short(self, missed_ns: list[int]) -> int:
        """The longest wait that was in vain, of those after which no token was sure."""
        in_vain = (each - self.hit_ns for each in missed_ns if not self.suffices(each))
        return max(in_vain, default=0)

    def _expected_ns(self) -> int:
        """After the last error, when to try again: between what did not suffice and what did, until these are close."""
        if self.interval_ns is None:
            return int(self._last_gap_ns * EARLY) if self._last_gap_ns else 0
        if self._short_ns >= self.interval_ns * CLOSE_ENOUGH:
            return self.interval_ns
        return (self._short_ns + self.interval_ns) // 2

    def _learn(self, gap_ns: int, short_ns: int) -> None:
        if not short_ns:
            self._learn_bound(gap_ns)
            return
        self._enough = []
        before, self._last_gap_ns = self._last_gap_ns, gap_ns + self._saved_ns
        self._gaps += 1
        self._saved_ns = gap_ns - short_ns
        longest_ns = max(before or 0, self._last_gap_ns)
        if before and longest_ns <= min(before, self._last_gap_ns) * AGREEING + LEAST_STEP_NS:
            self._settle(longest_ns, min(short_ns, before), max(2 * self._saved_ns, gap_ns // 20))

    def _learn_bound(self, gap_ns: int) -> None:
        """The first probe drew an error: the interval may be shorter. If it always does, this one will do."""
        self._enough.append(gap_ns)
        self._last_gap_ns = gap_ns // 2 or None
        if len(self._enough) > MOST_FAR_OFF:
            self._settle(max(self._enough), 0, MOST_SAVED * max(self._enough))

    def _settle(self, interval_ns: int, short_ns: int, late_ns: int) -> None:
        """Take an interval for granted, after an error whose token came at most `late_ns` before its probe."""
        self.interval_ns, self._short_ns = int(interval_ns * SLACK), short_ns
        self._empty_ns, self._since = self.hit_ns - late_ns, 1

    def _refine(self, gap_ns: int, short_ns: int, *, known_missed: bool) -> None:
        """Shorten a learned interval where less sufficed; give it up where several in a row were longer."""
        interval_ns = self.interval_ns or 0
        self._short_ns = max(self._short_ns, short_ns)
        self._since += 1
        mean_ns = (self.hit_ns - self._empty_ns) / (self._since - 1)
        self.interval_ns = min(interval_ns, int(mean_ns * SLACK))
        if not known_missed or gap_ns <= interval_ns * FAR_OFF + LEAST_STEP_NS:
            self._far_off = []
            return
        self._far_off.append(gap_ns)
        if len(self._far_off) >= MOST_FAR_OFF:
            self.interval_ns, self._last_gap_ns, self._far_off = None, min(self._far_off), []

    def is_mute(self, now_ns: int) -> bool:
        """Whether no error came for so long that something is wrong."""
        return not self.pause_ns and now_ns - self.hit_ns > max(MUTE_NS, 4 * (self.interval_ns or 0))

    def be_patient(self) -> bool:
        """Leave more time between probes; False when there is no point any more."""
        self.pause_ns = 2 * self.pause_ns or FIRST_PAUSE_NS
        return self.pause_ns <= LAST_PAUSE_NS
