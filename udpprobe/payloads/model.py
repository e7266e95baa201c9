"""A row of the table, and whether bytes that came back are its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from msgspec import Struct


class Payload(Struct, frozen=True):
    """A request, and how its answer is known."""

    name: str
    ports: tuple[int, ...]
    """UDP ports where its service is found."""
    data: bytes
    """What is sent, zeros where the token goes."""
    token_at: int = 0
    token_size: int = 0
    """Bytes of the probe's token that go into `data` at `token_at`; 0 where it has no room."""
    answer: str = ""
    """Regular expression over the bytes of an answer, from their first on (`re`, with DOTALL). Its group `token`
    is what the server copies from the request. Empty: no answer is expected without a key or a session."""
    source: str = ""
    """What specifies it."""
    loose: bool = False
    """The answer is too plain to be told from others by its bytes alone."""


def recognise(payload: Payload, token: bytes, answer: bytes) -> bool:
    """Whether `answer` is what the payload's service says to a request with this token.

    Args:
        payload: what was sent.
        token: the probe's, TOKEN_BYTES of it; its first `token_size` were sent.
        answer: bytes of the UDP datagram that came back.
    """
    found = _pattern(payload.answer).match(answer) if payload.answer else None
    if found is None:
        return False
    sent = token[:payload.token_size]
    return found.groupdict().get("token", sent) == sent


def name_of_answer(payloads: Iterable[Payload], port: int, answer: bytes) -> str | None:
    """Which protocol's answer it looks like, whatever was sent: the port's own first, then every other.

    Args:
        payloads: the table.
        port: UDP port it came from.
        answer: bytes of the datagram.
    """
    known = [each for each in payloads if each.answer and (port in each.ports or not each.loose)]
    known.sort(key=lambda each: port not in each.ports)
    return next((each.name for each in known if _pattern(each.answer).match(answer)), None)


@cache
def _pattern(answer: str) -> re.Pattern[bytes]:
    return re.compile(answer.encode("latin-1"), re.DOTALL)
