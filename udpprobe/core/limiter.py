"""A host's rate limit on ICMP errors, learned from the times of its errors.

A limiter is a token bucket: each error takes a token, and a new one is added every `interval_ns`. Nothing else is
assumed. Linux adds one token a second for IPv4 and ten for IPv6 (icmp_ratelimit); other systems differ, and routers are
far slower (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f). A probe that draws no error takes no token.
"""

from __future__ import annotations

MS = 1_000_000
SECOND = 1000 * MS
NEVER = 1 << 63
"""The time of an event that will not happen."""

LEAST_STEP_NS = 4 * MS
"""Least time between two probes while the time of the next token is unknown."""
STEPS = (20, 100, 250)
"""The next step is the time waited so far divided by this: with no interval measured, with one, and with two or
more."""
EARLY = 0.9
"""The search for the next token begins after this part of the last interval."""
SLACK = 1.002
"""Margin on a learned interval, because the host's clock ticks and the network jitters: Linux's errors for a limit of
one a second were measured 0.996 to 1.002 s apart. A shorter interval than the real one would make a closed port look
silent; a longer one only costs time."""
AGREEING = 1.05
"""Two consecutive intervals whose ratio is below this are the limiter's."""
LATE = 1.02
"""Margin on a learned interval for probes whose silence decides: they wait this much longer, in case the real interval
is a little longer than learned. Below FAR_OFF, so that waiting longer does not look like a longer interval."""
FAR_OFF = 1.03
"""An interval longer than the learned one by this factor contradicts it if a closed port was silent meanwhile ..."""
MOST_FAR_OFF = 3
"""... and if this many in a row do. One may be a lost packet."""
MOST_SAVED = 10
"""Most tokens that a limiter is assumed to have saved up if no probe ever missed one. Linux saves 6."""
CLOSE_ENOUGH = 0.99
"""The search for a shorter interval ends once a wait that was too short is this close to the learned one."""
MUTE_NS = 4 * SECOND
"""Time without an error, or four intervals, after which only longer pauses can help: perhaps every probe takes a token,
error or not. Linux does that for errors from its IPv4 routing table, which pass two limiters that share one bucket
(ip_error and icmpv4_xrlim_allow). Probed every 0.1 s, it sent two errors and then none; every 2.1 s, one for each probe
(measured)."""
FIRST_PAUSE_NS = 2200 * MS
LAST_PAUSE_NS = 10 * SECOND


class Limiter:
    """The limit that one host applies to one of our source addresses.

    Args:
        hit_ns: send time of the last probe that drew an error.
    """

    def __init__(self, hit_ns: int) -> None:
        self.hit_ns = hit_ns
        self.interval_ns: int | None = None
        """The learned interval, long enough for a token; None while unknown."""
        self.pause_ns = 0
        """Pause between any two probes for a limiter that needs patience, else 0."""
        self._short_ns = 0
        """The longest wait known to be too short."""
        self._empty_ns, self._since = 0, 0
        """A time at which there was surely no token, and the number of errors since then. The first error's token came
        at that time or later, and each further one an interval later. So `_since - 1` intervals fit between
        `_empty_ns` and the last error, and the mean of these is never shorter than the limiter's interval."""
        self._last_gap_ns: int | None = None
        self._gaps = 0
        self._saved_ns = 0
        """How long the last error's token may have been there before its probe. The next gap is longer by this."""
        self._far_off: list[int] = []
        self._enough: list[int] = []

    def next_ns(self, sent_ns: int, wait_ns: int) -> int:
        """The time for the next probe, after one sent at `sent_ns` that has drawn no error yet."""
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
        """Whether a token was surely there for a probe sent at `sent_ns`."""
        wanted = self.interval_ns
        return wanted is not None and sent_ns - self.hit_ns >= wanted

    @property
    def ready_ns(self) -> int:
        """The time at which a token will surely be there. Needs a learned interval."""
        return self.hit_ns + (self.interval_ns or 0)

    @property
    def late_ns(self) -> int:
        """Like `ready_ns`, with a margin in case the interval is a little longer than learned."""
        return self.hit_ns + int((self.interval_ns or 0) * (1 if self.pause_ns else LATE))

    def hit(self, sent_ns: int, missed_ns: list[int], *, known_missed: bool = False) -> int:
        """Learn from an error; return the time of the next probe.

        Args:
            sent_ns: send time of the probe that drew it.
            missed_ns: send times of the probes since the last error that drew none.
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
        """The longest wait of a probe that drew no error, without those that a token was certain for."""
        in_vain = (each - self.hit_ns for each in missed_ns if not self.suffices(each))
        return max(in_vain, default=0)

    def _expected_ns(self) -> int:
        """How long to wait after the last error: halfway between too short and long enough, until these are close."""
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
        """The first probe drew an error, so the interval may be shorter. If that keeps happening, use this wait."""
        self._enough.append(gap_ns)
        self._last_gap_ns = gap_ns // 2 or None
        if len(self._enough) > MOST_FAR_OFF:
            self._settle(max(self._enough), 0, MOST_SAVED * max(self._enough))

    def _settle(self, interval_ns: int, short_ns: int, late_ns: int) -> None:
        """Accept an interval, after an error whose token was there for at most `late_ns` before its probe."""
        self.interval_ns, self._short_ns = int(interval_ns * SLACK), short_ns
        self._empty_ns, self._since = self.hit_ns - late_ns, 1

    def _refine(self, gap_ns: int, short_ns: int, *, known_missed: bool) -> None:
        """Shorten a learned interval if less was enough; drop it if several in a row were longer."""
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
        """Whether there has been no error for so long that something must be wrong."""
        return not self.pause_ns and now_ns - self.hit_ns > max(MUTE_NS, 4 * (self.interval_ns or 0))

    def be_patient(self) -> bool:
        """Lengthen the pause between probes. False if it is too long already."""
        self.pause_ns = 2 * self.pause_ns or FIRST_PAUSE_NS
        return self.pause_ns <= LAST_PAUSE_NS
