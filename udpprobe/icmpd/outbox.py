"""What waits for a client that does not read: bounded, in whole messages, newest dropped first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

CHUNK_BYTES = 9216
"""As much as is sent at once: 64 records. The kernel takes so little as a whole or not at all (one skb), so that no
reader ever meets half a record."""


class Outbox:
    """Messages on their way to one client.

    Args:
        limit: messages that may wait.
        tell_lost: how the client is told, once there is room, that so many were dropped; None where its protocol has no
            word for that.
    """

    def __init__(self, limit: int, tell_lost: Callable[[int], bytes] | None = None) -> None:
        self._limit, self._tell_lost = limit, tell_lost
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, messages: list[bytes]) -> int:
        """Queue messages in order; how many of them, the last ones, found no room."""
        if len(self._waiting) < self._limit:
            self._tell_of_losses()
        fitting = messages[:max(self._limit - len(self._waiting), 0)]
        for each in fitting:
            self.put_last(each)
        return self.lose(len(messages) - len(fitting))

    def _tell_of_losses(self) -> None:
        if self._lost and self._tell_lost:
            self.put_last(self._tell_lost(self._lost))
            self._lost = 0

    def lose(self, count: int) -> int:
        """Note that so many messages were dropped; as many."""
        self._lost += count
        return count

    def put_last(self, message: bytes) -> None:
        """Queue what has no limit."""
        self._waiting.append(message)
        self.bytes += len(message)

    def take(self) -> bytes:
        """The next chunk of whole messages, at least one if there is any; when all are sent, what is missing."""
        if not self._waiting:
            self._tell_of_losses()
        chunk: list[bytes] = []
        size = 0
        while self._waiting and (not chunk or size + len(self._waiting[0]) <= CHUNK_BYTES):
            chunk.append(self._waiting.popleft())
            size += len(chunk[-1])
        self.bytes -= size
        return b"".join(chunk)

    def put_back(self, chunk: bytes) -> None:
        """What the kernel did not take, to be sent first next time."""
        self._waiting.appendleft(chunk)
        self.bytes += len(chunk)
