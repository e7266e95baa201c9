"""What a host's limit on ICMP errors is, learned from when its errors come.

A limiter is a token bucket: an error takes a token, and a new one comes every `interval_ns`. Nothing is
assumed of it but that: Linux gives IPv4 one a second and IPv6 ten, other systems differ, routers give far
fewer (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f). A probe that draws no error takes no token.
"""

from __future__ import annotations

MS = 1_000_000
SECOND = 1000 * MS

LEAST_STEP_NS = 4 * MS
"""Between two probes while it is not known when the next token comes."""
STEPS = (20, 100, 250)
"""Steps are such a part of the time waited so far: before a token was met, once one was, and from the second on."""
EARLY = 0.9
"""Where the search for the next token begins, in intervals of the last one."""
SLACK = 1.002
AGREEING = 1.05
"""Two intervals in a row that differ by less are the limiter's."""
FAR_OFF = 1.03
"""An interval longer than the learned one by this factor speaks against it ..."""
MOST_FAR_OFF = 3
"""... if so many in a row do."""
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
        """What was learned; None while it is not known."""
        self.pause_ns = 0
        """Wanted between any two probes by a limiter that needs patience, else 0."""
        self._last_gap_ns: int | None = None
        self._gaps = 0
        self._far_off: list[int] = []
        self._enough: list[int] = []

    def next_ns(self, sent_ns: int, wait_ns: int) -> int:
        """When the next probe may go, after one at `sent_ns` that has not drawn an error yet."""
        if self.pause_ns:
            return sent_ns + self.pause_ns
        if self.suffices(sent_ns):
            return sent_ns + min(wait_ns, self.interval_ns or wait_ns)
        waited_ns = sent_ns - self.hit_ns
        step_ns = max(LEAST_STEP_NS, waited_ns // STEPS[min(self._gaps, 2)])
        expected = self._expected_ns()
        after = sent_ns + step_ns
        return max(after, self.hit_ns + expected) if sent_ns < self.hit_ns + expected else after

    def suffices(self, sent_ns: int) -> bool:
        """Whether a token was surely there for a probe that left at `sent_ns`."""
        wanted = self.interval_ns
        return wanted is not None and sent_ns - self.hit_ns >= wanted

    def hit(self, sent_ns: int, *, missed_before: bool) -> int:
        """Learn from an error; when to send next.

        Args:
            sent_ns: when the probe that drew it had left.
            missed_before: whether a probe that left since the last error drew none.
        """
        gap_ns = max(sent_ns - self.hit_ns, 1)
        self.hit_ns = max(self.hit_ns, sent_ns)
        if self.pause_ns:
            self.interval_ns = self.pause_ns
            return sent_ns + self.pause_ns
        self._learn(gap_ns, missed_before=missed_before)
        return sent_ns + self._expected_ns()

    def _expected_ns(self) -> int:
        """After the last error, when to try again."""
        if self.interval_ns is not None:
            return self.interval_ns
        return int(self._last_gap_ns * EARLY) if self._last_gap_ns else 0

    def _learn(self, gap_ns: int, *, missed_before: bool) -> None:
        if self.interval_ns is not None:
            self._check(gap_ns)
            return
        if not missed_before:
            self._learn_bound(gap_ns)
            return
        self._enough = []
        before, self._last_gap_ns = self._last_gap_ns, gap_ns
        self._gaps += 1
        if before and max(before, gap_ns) <= min(before, gap_ns) * AGREEING:
            self.interval_ns = int(max(before, gap_ns) * SLACK)

    def _learn_bound(self, gap_ns: int) -> None:
        """The first probe drew an error: the interval may be shorter. If it always does, this one will do."""
        self._enough.append(gap_ns)
        self._last_gap_ns = gap_ns // 2 or None
        if len(self._enough) > MOST_FAR_OFF:
            self.interval_ns = max(self._enough)

    def _check(self, gap_ns: int) -> None:
        """Give up a learned interval that several in a row exceed."""
        if gap_ns <= (self.interval_ns or 0) * FAR_OFF + LEAST_STEP_NS:
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
