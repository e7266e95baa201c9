"""Who said what, and what is told to whom: the daemon without its sockets.

A client is a number. Its first byte, which comes with a UDP socket, chooses its tongue: `J` is JSON lines, any other
the book's (UNP 28.7): `1` once its socket is registered, then 144 bytes an error; or `0`, and the end. `S` without
a socket asks for the counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from udpprobe import __version__
from udpprobe.core.rows import Packet
from udpprobe.icmpd import lines
from udpprobe.icmpd.outbox import Outbox
from udpprobe.icmpd.records import record_of
from udpprobe.icmpd.registry import IsOwn, IsPeerNow, Quote, Registry, UdpSocket, quote_of, why_unfit

ACCEPTED, REFUSED = b"1", b"0"
JSON, STATUS = b"J", b"S"
NO_DESCRIPTOR = "no-descriptor"
HANDSHAKE_S = 30.0
"""How long a client may take to say its first byte."""
QUEUE_MESSAGES = 1024
MOST_QUEUED_BYTES = 64 << 20
"""Of all clients that do not read, together. Beyond that nobody gets more than an equal share: who reads goes on."""


Arrival = tuple[Packet, int]
"""An ICMP error that quotes UDP, and the index of the interface it came by."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why what a client sent is not registered, in a word."""

    reason: str


@dataclass(slots=True)
class Client:
    """One connection."""

    since_s: float
    outbox: Outbox
    speaks_json: bool = False
    spoke: bool = False
    ends: bool = False
    """To be closed once its outbox is empty."""


class Protocol:
    """Feed it what happens; it fills outboxes. Nothing in it waits, and it asks no clock.

    Args:
        queue_messages: errors that may wait for each client.
    """

    def __init__(self, queue_messages: int = QUEUE_MESSAGES) -> None:
        self._queue_messages = queue_messages
        self._clients: dict[int, Client] = {}
        self._silent: dict[int, float] = {}
        self._queued_bytes = 0
        self.registry = Registry()
        self.counts: Counter[str] = Counter()

    def connected(self, client: int, now_s: float) -> None:
        """A client is there, and has not spoken. Time does not go back from one to the next."""
        self._clients[client] = Client(now_s, Outbox(self._queue_messages))
        self._silent[client] = now_s
        self.counts["connections"] += 1

    def disconnected(self, client: int) -> None:
        """It went; what waited for it is forgotten."""
        self._queued_bytes -= self._clients.pop(client).outbox.bytes
        self._silent.pop(client, None)
        self.registry.remove(client)

    def overdue(self, now_s: float) -> list[int]:
        """Clients that did not say their first byte in time."""
        return list(takewhile(lambda client: now_s - self._silent[client] > HANDSHAKE_S, self._silent))

    @property
    def awaits(self) -> bool:
        """Whether any client has yet to speak."""
        return bool(self._silent)

    def received(self, client: int, byte: bytes, handed: UdpSocket | Refusal) -> None:
        """A client said a byte, and handed over a socket or something else, or nothing."""
        state = self._clients[client]
        if not state.spoke:
            self._begin(client, state, speaks_json=byte == JSON)
        if isinstance(handed, UdpSocket):
            self.registry.add(client, handed)
            self.counts["registered"] += 1
            self._say(state, lines.registered(handed) if state.speaks_json else ACCEPTED)
        elif handed.reason == NO_DESCRIPTOR and byte == STATUS:
            self._end(client, state, lines.line(**self.status()))
        else:
            self.counts[f"refused-{handed.reason}"] += 1
            self._end(client, state, lines.refused(handed.reason) if state.speaks_json else REFUSED)

    def _begin(self, client: int, state: Client, *, speaks_json: bool) -> None:
        state.spoke, state.speaks_json = True, speaks_json
        self._silent.pop(client)
        if speaks_json:
            state.outbox = Outbox(self._queue_messages, lines.dropped)

    def refuse(self, client: int, reason: str) -> None:
        """End with a client that never said what it wants."""
        self.received(client, b"", Refusal(reason))

    def closed(self, client: int) -> None:
        """The client's UDP socket is gone, and its port may be another's next; the connection stays."""
        state = self._clients[client]
        self.registry.remove(client)
        self.counts["sockets-closed"] += 1
        if state.speaks_json:
            self._say(state, lines.closed())

    def _end(self, client: int, state: Client, words: bytes) -> None:
        self.registry.remove(client)
        self._say(state, words)
        state.ends = True

    def _say(self, state: Client, words: bytes) -> None:
        """Say something that is no error; there is always room for it."""
        state.outbox.put_last(words)
        self._queued_bytes += len(words)

    def route(self, arrivals: Sequence[Arrival], is_own: IsOwn, is_peer_now: IsPeerNow,
              ) -> tuple[list[Quote], dict[int, list[int]]]:
        """Whose errors these are.

        Args:
            arrivals: the errors.
            is_own: tells this host's addresses.
            is_peer_now: tells where sockets are connected to by now.

        Returns:
            What each error quotes, and for each client that has any, which of them.
        """
        quotes = [quote_of(error, interface) for error, interface in arrivals]
        wanted: dict[int, list[int]] = {}
        nobody = 0
        for row, (error, _) in enumerate(arrivals):
            unfit = why_unfit(error)
            if unfit is not None:
                self.counts[unfit] += 1
                continue
            found = self.registry.recipients(quotes[row], is_own, is_peer_now)
            nobody += not found
            for client in found:
                wanted.setdefault(client, []).append(row)
        self.counts.update({"errors": len(arrivals), "foreign": nobody})
        return quotes, wanted

    def deliver(self, wanted: dict[int, list[int]], arrivals: Sequence[Arrival]) -> Collection[int]:
        """Put errors into their clients' outboxes; the clients that have something to read."""
        records: dict[int, bytes | None] = {}
        objects: dict[int, dict[str, Any]] = {}
        for client, rows in wanted.items():
            state = self._clients[client]
            handed = self.registry.get(client)
            if handed is None or state.ends:
                continue
            messages: list[bytes] = []
            for row in rows:        # many clients may be told of one error
                if state.speaks_json:
                    if row not in objects:
                        objects[row] = lines.error_object(*arrivals[row])
                    messages.append(lines.error_line(objects[row], handed))
                    continue
                if row not in records:
                    records[row] = record_of(*arrivals[row])
                if record := records[row]:
                    messages.append(record)
            self._queue(state, messages)
        return wanted.keys()

    def _queue(self, state: Client, messages: list[bytes]) -> None:
        is_full = self._queued_bytes > MOST_QUEUED_BYTES
        if is_full and state.outbox.bytes > MOST_QUEUED_BYTES // len(self._clients):
            lost = state.outbox.lose(len(messages))
        else:
            before = state.outbox.bytes
            lost = state.outbox.put(messages)
            self._queued_bytes += state.outbox.bytes - before
        self.counts["dropped"] += lost
        self.counts["delivered"] += len(messages) - lost

    def take(self, client: int) -> bytes:
        """The next bytes for a client; none when it has heard all."""
        outbox = self._clients[client].outbox
        before = outbox.bytes
        chunk = outbox.take()
        self._queued_bytes += outbox.bytes - before
        return chunk

    def put_back(self, client: int, chunk: bytes) -> None:
        """What of that was not taken."""
        self._clients[client].outbox.put_back(chunk)
        self._queued_bytes += len(chunk)

    def ends(self, client: int) -> bool:
        """Whether it is to be closed now that it has heard all."""
        state = self._clients[client]
        return state.ends and not state.outbox

    def status(self) -> dict[str, Any]:
        """The counters, for JSON."""
        return {"schema": lines.STATUS_SCHEMA, "kind": "status", "version": __version__,
                "clients": len(self._clients), "sockets": len(self.registry), "queued_bytes": self._queued_bytes,
                "counts": dict(sorted(self.counts.items()))}
