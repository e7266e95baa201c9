"""What the answers of a scan say about who answered."""

from __future__ import annotations

from collections.abc import Mapping

from udpprobe.payloads.catalogue import Catalogue, Payload, name_of_answer
from udpprobe.scanning.plan import Plan

UNKNOWN = "answers, but not as any protocol of the table (--list-payloads)"


def notes_of_answers(catalogue: Catalogue, plan: Plan, answers: Mapping[int, bytes]) -> dict[int, str]:
    """By task, which protocol its answer looks like.

    An unknown one is worth a note only where the port was asked in a protocol: whoever answers a token or
    bytes of the user's own does not thereby say that it speaks none.

    Args:
        catalogue: what was sent.
        plan: to whom.
        answers: by task, bytes of the first datagram that came back.
    """
    notes = {}
    for task, answer in answers.items():
        name = name_of_answer(catalogue.rows, plan.port[task], answer)
        if name or catalogue.rows[plan.payload_of(task, 0)].answer:
            notes[task] = f"answers as {name}" if name else UNKNOWN
    return notes


def notes_of_other_ports(
    catalogue: Catalogue, plan: Plan, answers: Mapping[int, bytes], other_ports: Mapping[int, int]
) -> dict[int, str]:
    """By task, which other port of the host it was answered from, and whether that was what it was asked for.

    Args:
        catalogue: what was sent.
        plan: to whom.
        answers: by task, bytes of the first datagram that came back.
        other_ports: by task, the port.
    """
    notes = {}
    for task, port in ((task, port) for task, port in other_ports.items() if task in answers):
        asked = _asked(catalogue, plan, task)
        known = not asked or name_of_answer(asked, plan.port[task], answers[task])
        notes[task] = f"answer-from port {port}" + ("" if known else f", not recognised as {asked[0].name}")
    return notes


def is_what_was_asked(catalogue: Catalogue, plan: Plan, task: int, answer: bytes) -> bool:
    """Whether a datagram is an answer in the protocol that a task was asked in."""
    asked = _asked(catalogue, plan, task)
    return bool(asked) and name_of_answer(asked, plan.port[task], answer) is not None


def _asked(catalogue: Catalogue, plan: Plan, task: int) -> list[Payload]:
    """What a task was sent whose answers are known."""
    sent = [catalogue.rows[plan.payload_of(task, attempt)] for attempt in range(plan.attempts[task])]
    return [row for row in sent if row.answer]
