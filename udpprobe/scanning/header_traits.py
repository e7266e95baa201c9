"""Errors that look different from the others of their host: perhaps somebody else sent them in its name.

A firewall that rejects with port unreachable speaks with the host's address. Where it stands on the host's own
input path, its errors are the host's own; where it stands before that, or on the way, the TTL, DF or id of their
IP header may differ (of Linux, nftables' netdev hook: DF set and id 0, where the host's own count up without DF).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

FEWEST = 3
"""So many ports of a host, and more than half of them, make a look the usual one."""
MOST_WITHOUT_0 = 655
"""Of so many ids one is 0 in one of a hundred hosts."""


class Trait(Struct, frozen=True):
    """One thing that errors of one host have in common."""

    value: Callable[[int], int]
    """It, of a look."""
    text: Callable[[int, int], str]
    """In words, of a look and of the usual value."""


TRAITS = (
    Trait(lambda look: look >> 3, lambda look, usual: f"{'hop limit' if look & 4 else 'TTL'} {look >> 3}, not {usual}"),
    Trait(lambda look: look >> 1 & 1, lambda look, _: "DF set" if look & 2 else "DF not set"),
    Trait(lambda look: look & 1, lambda look, _: "id 0" if look & 1 else "an id other than 0"),
)


class HeaderTraits:
    """How the refusals of each host look: TTL << 3 | family is IPv6 << 2 | DF << 1 | id is 0.

    Args:
        hosts: (tasks,) the host of each task: 0, 1, 2 ….
    """

    def __init__(self, hosts: Sequence[int]) -> None:
        self._hosts = hosts
        self.first = array("h", [-1]) * len(hosts)
        """(tasks,) how its first refusal looks, -1 for none."""
        count = max(hosts, default=-1) + 1
        self.of_host = array("h", [-1]) * count
        """(hosts,) how the first refusal of each looks."""
        self.is_uneven = bytearray(count)
        """(hosts,) whether another one looked different."""

    def take(self, task: int, family: int, ttl: int, ip_id: int, *, has_df: bool) -> None:
        """Remember a refusal.

        Args:
            task: what it is about.
            family: 4 or 6.
            ttl: of its IP header, as are the others.
            ip_id: 0 in IPv6.
            has_df: DON'T FRAGMENT is set.
        """
        look, host = ttl << 3 | (family == 6) << 2 | has_df << 1 | (ip_id == 0), self._hosts[task]
        if self.of_host[host] < 0:
            self.of_host[host] = look
        elif self.of_host[host] != look:
            self.is_uneven[host] = 1
        if self.first[task] < 0:
            self.first[task] = look

    def notes(self) -> dict[int, str]:
        """By task, what is odd about its refusal."""
        if not any(self.is_uneven):
            return {}
        counts: dict[int, dict[int, int]] = {}
        for (host, look), count in Counter(zip(self._hosts, self.first, strict=True)).items():
            if look >= 0 and self.is_uneven[host]:
                counts.setdefault(host, {})[look] = count
        odd = {
            (host, look): text
            for host, looks in counts.items()
            for look in looks
            if (text := _differences(look, looks))
        }
        if not odd:
            return {}
        return {
            task: f"its error differs from the host's other errors ({odd[pair]}): perhaps a firewall speaks for it"
            for task, pair in enumerate(zip(self._hosts, self.first, strict=True))
            if pair in odd
        }


def _differences(look: int, looks: Mapping[int, int]) -> str:
    """In words, what of a look is not the usual one of its host."""
    texts = []
    for trait in TRAITS:
        usual = usual_of((trait.value(each), count) for each, count in looks.items())
        if usual is not None and usual != trait.value(look) and not _is_chance(trait, look, looks):
            texts.append(trait.text(look, usual))
    return ", ".join(texts)


def _is_chance(trait: Trait, look: int, looks: Mapping[int, int]) -> bool:
    """Whether a host's ids, which differ where DF is not set (RFC 6864, 4.1), may have come to 0 among so many."""
    return trait is TRAITS[-1] and look & 3 == 1 and sum(looks.values()) > MOST_WITHOUT_0


def usual_of(values: Iterable[tuple[int, int]]) -> int | None:
    """The value that most ports of a host have, where there is one.

    Args:
        values: each with how many have it; one may come several times.
    """
    counts: Counter[int] = Counter()
    for value, count in values:
        counts[value] += count
    usual, times = max(counts.items(), key=lambda each: each[1], default=(0, 0))
    return usual if times >= FEWEST and 2 * times > counts.total() else None
