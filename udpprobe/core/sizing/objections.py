"""When routers are believed that nothing gets through: once they say so again, or nothing arrives that is sent again.

An error is a hint. It may be about the size, about one port only, of the moment, or forged; and who sent it may answer
only the first of several (Linux without a route says so twice, IOS every half second).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from udpprobe.core.limiter import MS, NEVER
from udpprobe.core.sizing.shots import Sent

OF_HOST = frozenset({"unreachable", "expired", "loop"})
"""What is said of a whole host, whatever the port."""
OF_PORT = frozenset({"prohibited", "rejected", "malformed"})
"""What may be said of one port only."""
REPEAT_NS = 250 * MS
"""After a shot that drew an error, the next ones; and after these, something may still arrive all the same."""


@dataclass(slots=True)
class _Objection:
    """What was said of a lane."""

    first_ns: int
    """When the first shot that it was said of had left ..."""
    last_ns: int
    """... and the latest."""
    smallest: int
    """Bytes of the smallest one."""
    heard_ns: int
    """When it was said of that one."""

    def over_ns(self, least: int, tries: int) -> int:
        """When it is believed; NEVER while it may be about the size."""
        if self.smallest > least:
            return NEVER
        if self.last_ns >= self.first_ns + REPEAT_NS:
            return self.first_ns + 2 * REPEAT_NS
        return self.heard_ns + (tries + 1) * REPEAT_NS


class Objections:
    """What routers said while nothing arrived.

    Args:
        least: of each lane, bytes of its smallest packet.
        tries: how often silence confirms it.
    """

    def __init__(self, least: Sequence[int], tries: int) -> None:
        self._least, self._tries = least, tries
        self._said: dict[int, _Objection] = {}
        self._repeats = 0

    def take(self, verdict: str, sent: Sent, now_ns: int) -> None:
        """An error about a shot."""
        lanes = range(len(self._least)) if verdict in OF_HOST else (sent.lane,) if verdict in OF_PORT else ()
        for lane in lanes:
            smallest = self._least[lane] if sent.size == self._least[sent.lane] else sent.size
            said = self._said.setdefault(lane, _Objection(sent.sent_ns, sent.sent_ns, smallest, now_ns))
            said.first_ns, said.last_ns = min(said.first_ns, sent.sent_ns), max(said.last_ns, sent.sent_ns)
            if smallest < said.smallest:
                said.smallest, said.heard_ns = smallest, now_ns

    @property
    def over_ns(self) -> int:
        """When they are believed if nothing arrives; NEVER while they speak of some lanes only."""
        return max((said.over_ns(self._least[lane], self._tries) for lane, said in self._said.items()),
                   default=NEVER) if len(self._said) == len(self._least) else NEVER

    @property
    def wants_repeat(self) -> bool:
        """Whether the smallest packets are to be sent again soon."""
        return bool(self._said) and self._repeats < self._tries

    def repeated(self) -> None:
        """Take note that they are."""
        self._repeats += 1
