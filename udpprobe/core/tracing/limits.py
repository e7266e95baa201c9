"""Whether a hop that left shots without reply limits its errors, or whether these were lost.

Loss does not care how fast shots follow each other, a limit does: of several at once it answers the first, as many as
it has tokens for, and no other; and after a pause as many again. So a hop that left some is asked again in bursts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import comb

BURST = 6
"""Shots at once for a hop that is asked again."""
UNLIKELY = 0.0025
"""Less likely than that, it was not loss ..."""
UNUSUAL = 0.03
"""... and less than that, perhaps not."""


def chance_of_loss(first: Sequence[bool], bursts: Sequence[Sequence[bool]], beyond: int) -> float:
    """How likely losses fall as if by a limit; 1 where a limit would be no explanation.

    All shots are equally likely to get lost, so all ways to spread the losses over them are (Fisher's exact test).

    Args:
        first: which of the shots of the usual pace were answered, as they left.
        bursts: likewise, of each burst after a pause.
        beyond: shots to hops behind this one, of which none was lost.
    """
    again = [each for each in bursts if any(each)]    # one without reply may have met an outage, or a longer interval
    if not again or all(first) or not all(map(_is_limits, again)):
        return 1.0
    answered = [*first, *chain.from_iterable(again)]
    ways = 1 if _runs_dry(first) else comb(len(first), list(first).count(False))
    chance = ways / comb(len(answered) + beyond, answered.count(False))
    # what was only seen once may have been an outage
    return chance if not all(map(all, again)) else max(chance, UNLIKELY)


def _is_limits(burst: Sequence[bool]) -> bool:
    """Whether a limit may do so: one that has tokens for most of a burst has them for the usual pace."""
    return all(burst) or (_runs_dry(burst) and 2 * sum(burst) <= len(burst))


def _runs_dry(burst: Sequence[bool]) -> bool:
    """Whether the first ones were answered and no other."""
    return sorted(burst, reverse=True) == list(burst)
