"""From what a scan heard to its report: every destination that was asked for, also those that said nothing."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

import numpy as np
from msgspec.structs import replace

from udpprobe.core.addresses import address_text
from udpprobe.core.batch import I64
from udpprobe.core.model import Destination, Finding
from udpprobe.core.probing.probes import Destinations
from udpprobe.core.scanning.pacing import Pacing
from udpprobe.core.scanning.plan import Plan
from udpprobe.core.scanning.suspects import HELD, OPEN, UNSENT
from udpprobe.core.spelling import spelled
from udpprobe.core.summaries.told import rank_of


def outcome(told: Iterable[Destination], plan: Plan, pacing: Pacing, errnos: dict[int, int]) -> tuple[Destination, ...]:
    """The destinations of a scan, worst first, without its control ports and what it had no time to ask.

    Args:
        told: what the capture says of destinations.
        plan: what was asked for.
        pacing: what became of it.
        errnos: by task, why this host did not send to it.
    """
    names = _names(plan)
    left = dict(zip(names, range(plan.asked), strict=True))
    heard = [(each, left.pop((each.address, each.port), None), _judged) for each in told]
    is_asked = ((pacing.state != OPEN) | (plan.left > 0)).tolist()
    unheard = [(_unheard(name), task, _unseen) for name, task in left.items() if is_asked[task]]
    found = [(each, task, explain) for each, task, explain in heard + unheard if task is not None]
    sent, sent_bytes = plan.left.tolist(), plan.left_bytes.tolist()
    counted = ((_counted(each, sent[task], sent_bytes[task]), task, explain) for each, task, explain in found)
    judged = [each if each.verdict != "silent" else
              _refused(each, errnos.get(task, 0)) if pacing.state[task] == UNSENT else
              explain(each, task, plan, pacing) for each, task, explain in counted]
    tasks = plan.tasks.take(np.array([task for _, task, _ in found], np.int64))
    return tuple(map(judged.__getitem__, _worst_first(judged, tasks)))


def _worst_first(judged: list[Destination], tasks: Destinations) -> list[int]:
    """The order of the most telling verdicts first, and then as people look them up: by address and port."""
    rank = np.array([rank_of(each.verdict) for each in judged], np.int64)
    order: list[int] = np.lexsort((tasks.port, tasks.low, tasks.high, rank)).tolist()
    return order


def _names(plan: Plan) -> list[tuple[str, int | None]]:
    """Of every task that was asked for, its address and port."""
    tasks = plan.tasks.take(slice(plan.asked))
    return list(zip(spelled(tasks.high, tasks.low).texts(), tasks.port.tolist(), strict=True))


def _name(plan: Plan, task: int) -> tuple[str, int | None]:
    tasks = plan.tasks
    return address_text(int(tasks.high[task]), int(tasks.low[task])), int(tasks.port[task])


def _unheard(name: tuple[str, int | None]) -> Destination:
    """One that the capture does not know."""
    return Destination(
        address=name[0], port=name[1], verdict="silent", errno=None, meaning="no-evidence", sent=0, sent_bytes=0,
        answered=0, errors=0, rtt_ms=None, findings=())


def _counted(found: Destination, sent: int, sent_bytes: int) -> Destination:
    """With every probe that left, also those that the capture missed."""
    told = found if found.sent == sent else replace(found, sent=sent, sent_bytes=sent_bytes)
    return _without_rtt(told) if sent > 1 and told.rtt_ms and not told.errors else told


def _without_rtt(answered: Destination) -> Destination:
    """What was asked again may have answered any of the probes: no RTT can be taken from that (RFC 6298, section 3)."""
    return replace(answered, rtt_ms=None, notes=(*answered.notes, f"asked {answered.sent} times before it answered"))


def _unseen(silent: Destination, task: int, _: Plan, pacing: Pacing) -> Destination:
    """One that the capture does not know: who says that a probe left?"""
    why = "held by this scan itself" if pacing.state[task] == HELD else "not seen leaving this host"
    return replace(silent, notes=(why,))


def _judged(silent: Destination, task: int, plan: Plan, pacing: Pacing) -> Destination:
    """With what the scan knows that silence means."""
    host = int(plan.tasks.host[task])
    meaning = _meaning(task, host, pacing)
    return replace(silent, meaning=meaning, notes=(*silent.notes, *_why(meaning, task, host, plan, pacing)))


def _refused(silent: Destination, code: int) -> Destination:
    """One that this host would not send to: at all, or any more."""
    name = errno.errorcode.get(code)
    if silent.sent == 0:
        return replace(silent, verdict="unsent", errno=name, meaning=None)
    return replace(silent, meaning="no-evidence", notes=(*silent.notes, f"not asked again: {name}"))


def _meaning(task: int, host: int, pacing: Pacing) -> str:
    if pacing.spoke[host] and (pacing.state[task] == OPEN or host in pacing.exhausted):
        return "rate-limited"
    return "listening-or-filtered" if pacing.refused[host] else "no-evidence"


def _why(meaning: str, task: int, host: int, plan: Plan, pacing: Pacing) -> tuple[str, ...]:
    """How sure that is."""
    asked = f"asked {plan.left[task]} times" if plan.left[task] > 1 else "asked once"
    refused = int(pacing.refused[host])
    texts = {
        "listening-or-filtered": f"{asked}, while {'another port was' if refused == 1 else 'other ports were'} "
                                 f"refused {refused} times".replace("refused 1 times", "refused"),
        "rate-limited": f"{asked}; the host's limit on errors left no token for it",
        "no-evidence": f"{asked}; no closed port was refused either" if plan.left[plan.asked + host]
                       else asked,
    }
    return (texts[meaning],)


TOLD_BY_ERRNO = frozenset({"refused", "too-big"})
"""Verdicts of which the errno says as much as type and code."""


def with_notes(destinations: Iterable[Destination], plan: Plan, notes: Mapping[int, str]) -> tuple[Destination, ...]:
    """The destinations with one note more, where there is one.

    Args:
        destinations: of the report.
        plan: what was asked for.
        notes: by task.
    """
    texts = {_name(plan, task): text for task, text in notes.items()}
    return tuple(replace(each, notes=(*each.notes, texts[each.address, each.port]))
                 if (each.address, each.port) in texts else each for each in destinations)


def without_origin(destination: Destination) -> Destination:
    """Of an engine that hears only an errno: without what it made up to tell it."""
    return replace(destination, findings=tuple(map(_anonymous, destination.findings)))


def _anonymous(finding: Finding) -> Finding:
    reason = finding.reason if finding.verdict in TOLD_BY_ERRNO else "dest-unreach"
    return replace(finding, icmp_type=None, icmp_code=None, reporter=None, linux=None, reason=reason)


def comments_of(destinations: Iterable[Destination], plan: Plan, frames: I64, tasks: I64) -> dict[int, str]:
    """By frame, what the destination it is about turned out to be.

    Args:
        destinations: of the report.
        plan: what was asked for.
        frames: (n,) frame numbers.
        tasks: (n,) the task each is about, -1 for none.
    """
    texts = {(each.address, each.port): _comment(each) for each in destinations}
    by_task = {task: texts.get(_name(plan, task)) for task in set(tasks.tolist()) if task >= 0}
    told = ((frame, by_task.get(task)) for frame, task in zip(frames.tolist(), tasks.tolist(), strict=True))
    return {frame: text for frame, text in told if text}


def _comment(destination: Destination) -> str:
    words = [destination.verdict]
    if destination.meaning:
        words.append(f"({destination.meaning})")
    words += [f"by {finding.reporter}" for finding in destination.findings[:1] if finding.reporter]
    return " ".join(words)
