"""The messages from and to clients: the daemon without its sockets.

A client is a number. Its first byte, which comes with a UDP socket, selects the protocol: `J` is JSON lines, any other
the book's (UNP 28.7): `1` once its socket is registered, then 144 bytes per error; or `0`, and the end. `S` without a
socket asks for the counters.
"""

from __future__ import annotations

import errno
import struct
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

from udpprobe import __version__
from udpprobe.core.addresses import address_text
from udpprobe.core.extensions import extensions_of
from udpprobe.core.model import quoted_of
from udpprobe.core.notes import mtu_notes, texts_of
from udpprobe.core.rows import Packet
from udpprobe.core.stencils import rfc3339
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, meaning_of, verdict_of
from udpprobe.icmpd.registry import ClientSocket, Errors, IsOwn, IsPeerNow, Registry
from udpprobe.reports.json import encoded

ACCEPTED, REFUSED = b"1", b"0"
JSON, STATUS = b"J", b"S"
NO_DESCRIPTOR = "no-descriptor"
SCHEMA, STATUS_SCHEMA = "udpprobe.icmpd/1", "udpprobe.icmpd.status/1"
TOO_MANY_ON_PORT = "too-many-on-port"
MOST_ON_PORT = 64
"""Sockets of one user that may share a port, each of which gets every error about it: one for each processor of a large
host. Root and the daemon's own user may have more."""
MOST_ERRORS_AT_ONCE = 16_384
"""Errors sent to clients at a time, 30 to 150 ms of work. If there are more, users get equal shares."""
HANDSHAKE_S = 30.0
"""Time for a client's first byte."""
QUEUE_MESSAGES = 1024
MOST_QUEUED_BYTES = 64 << 20
"""Queued bytes of all slow clients together. Beyond that, nobody gets more than an equal share, so clients that read
are not affected."""
CHUNK_BYTES = 9216
"""Bytes sent at once: 64 records. The kernel takes so little whole or not at all (one skb), so that no reader ever sees
half a record."""


# ---- the book's record

# `struct icmpd_err`, as the book's client reads it on Linux: 144 bytes in native byte order. Two fields are more exact
# than in the book's daemon: padding is zero, and a link-local destination has its scope. The family determines what the
# type means, so an error about a v4-mapped destination is sent as an IPv4 error.
RECORD_BYTES = 144
AF_INET, AF_INET6 = 2, 10
"""Linux's (bits/socket.h); the sizes of their addresses are 16 and 28 bytes."""
HEAD = struct.Struct("=iBB2xi4xH")
"""errno, type, code, size of the address; its family. The port and an IPv4 address follow."""
REST4, REST6 = bytes(RECORD_BYTES - HEAD.size - 6), bytes(RECORD_BYTES - HEAD.size - 26)


@cache
def errno_of(family: int, icmp_type: int, icmp_code: int) -> int:
    """The errno of UNP table 28.1; 0 for an error that the book's daemon does not forward."""
    return getattr(errno, meaning_of(family, icmp_type, icmp_code).errno or "", 0)


@cache
def _head(kind: int) -> bytes:
    """Start of the records of a kind (family << 16 | type << 8 | code); empty if it is not forwarded."""
    family, icmp_type, icmp_code = kind >> 16, kind >> 8 & 0xFF, kind & 0xFF
    number = errno_of(family, icmp_type, icmp_code)
    size, domain = (16, AF_INET) if family == 4 else (28, AF_INET6)
    return HEAD.pack(number, icmp_type, icmp_code, size, domain) if number else b""


def record_of(errors: Errors, row: int) -> bytes:
    """The record of an error; empty for one that the book's daemon does not forward."""
    kind, port, low = errors.kinds[row], errors.ports[row] & 0xFFFF, errors.destination_low[row]
    head = _head(kind)
    if not head:
        return b""
    if kind >> 16 == 4:
        return head + (port << 32 | low & 0xFFFF_FFFF).to_bytes(6) + REST4
    high = errors.destination_high[row]
    scope = errors.interfaces[row] if high >> 54 == 0xFE80 >> 6 else 0
    flow_label_and_address = (high << 64 | low).to_bytes(20)
    return head + port.to_bytes(2) + flow_label_and_address + struct.pack("=I", scope) + REST6


# ---- JSON lines

# An error's fields are those of `analyze --events`, without those that need the sent datagram; the incoming interface
# and the client's socket are added.


def line(**values: Any) -> bytes:  # noqa: ANN401 - JSON's values have no narrower type
    """One object on one line, in ASCII: nothing in it can break the line."""
    return encoded(values).encode() + b"\n"


def error_object(error: Packet, interface: int) -> dict[str, Any]:
    """What a client gets about an error, without its socket; the fields are those of `core.model.Event`.

    Args:
        error: with ports.
        interface: index of the incoming interface; 0 if unknown.
    """
    family = error.family
    meaning = meaning_of(family, error.icmp_type, error.icmp_code)
    verdict = verdict_of(meaning, itself=error.reporter == error.destination, loop=False)
    objects, more = extensions_of(error.data, family)
    notes = error.notes | more | mtu_notes(family, error.mtu, error.length)
    return {
        "kind": "error",
        "time": rfc3339(error.time_ns),
        "family": family,
        "type": error.icmp_type,
        "code": error.icmp_code,
        "verdict": verdict,
        "errno": ERRNO_OF_VERDICT.get(verdict or ""),
        "reason": meaning.reason,
        "reporter": address_text(*error.reporter),
        "mtu": error.mtu if error.mtu >= 0 else None,
        "interface": interface or None,
        "quoted": quoted_of(error),
        "extensions": objects,
        "notes": texts_of(notes, error.length, family),
    }


def socket_object(handed: ClientSocket) -> dict[str, Any]:
    """A client's socket as it was when registered; no address if it was bound to none."""
    peer = handed.peer and {"address": _text(handed.peer[0]), "port": handed.peer[1]}
    return {
        "family": handed.family,
        "address": _text(handed.address) if handed.address else None,
        "port": handed.port,
        "peer": peer,
    }


def _text(address: int) -> str:
    return address_text(address >> 64, address & (1 << 64) - 1)


# ---- outgoing messages


class Outbox:
    """Messages on their way to one client: bounded and whole; the newest are dropped first.

    Args:
        limit: most messages that may wait.
        loss_message: makes the message that so many were dropped, which is sent once there is room; None if the
            protocol has none.
    """

    def __init__(self, limit: int, loss_message: Callable[[int], bytes] | None = None) -> None:
        self._limit, self._loss_message = limit, loss_message
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def room(self) -> int:
        """Number of further messages that may wait."""
        return max(self._limit - len(self._waiting), 0)

    def put(self, messages: list[bytes]) -> int:
        """Queue messages in order; return the number of last ones that did not fit."""
        if self._lost and len(self._waiting) < self._limit:
            self._queue_loss_message()
        room = self.room()
        fitting = messages[:room] if room < len(messages) else messages
        self._waiting.extend(fitting)
        self.bytes += sum(map(len, fitting))
        return self.lose(len(messages) - len(fitting))

    def _queue_loss_message(self) -> None:
        if self._lost and self._loss_message:
            self.put_last(self._loss_message(self._lost))
            self._lost = 0

    def lose(self, count: int) -> int:
        """Record a number of dropped messages, and return it."""
        self._lost += count
        return count

    def put_last(self, message: bytes) -> None:
        """Queue a message beyond the limit."""
        self._waiting.append(message)
        self.bytes += len(message)

    def take(self) -> bytes:
        """The next chunk of whole messages, at least one if there is any; after all of them, the count of lost ones."""
        waiting = self._waiting
        if not waiting:
            self._queue_loss_message()
        if self.bytes <= CHUNK_BYTES:
            chunk = b"".join(waiting)
            waiting.clear()
            self.bytes = 0
            return chunk
        some = [waiting.popleft()]
        size = len(some[0])
        while waiting and size + len(waiting[0]) <= CHUNK_BYTES:
            some.append(waiting.popleft())
            size += len(some[-1])
        self.bytes -= size
        return b"".join(some)

    def put_back(self, chunk: bytes) -> None:
        """Queue what the kernel did not take, to be sent first next time."""
        self._waiting.appendleft(chunk)
        self.bytes += len(chunk)


def equal_share(wanted: Iterable[int], total: int) -> int:
    """The largest equal share such that all together have at most `total`; unused parts go to others."""
    remaining, others = total, sorted(wanted)
    for place, count in enumerate(others):
        share = remaining // (len(others) - place)
        if count > share:
            return share
        remaining -= count
    return total


# ---- clients


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client's message was refused, in a word."""

    reason: str
    limit: int | None = None
    """The limit that was exceeded, if any."""


@dataclass(slots=True)
class Client:
    """One connection."""

    since_s: float
    outbox: Outbox
    user: int = 0
    is_trusted: bool = True
    """Root, or the daemon's own user."""
    speaks_json: bool = False
    has_begun: bool = False
    ends: bool = False
    """Close it once its outbox is empty."""


class Protocol:
    """Handles events and fills outboxes. It never waits, and reads no clock.

    Args:
        queue_messages: errors that may wait for each client.
    """

    def __init__(self, queue_messages: int = QUEUE_MESSAGES) -> None:
        self._queue_messages = queue_messages
        self._clients: dict[int, Client] = {}
        self._awaiting_first_byte: dict[int, float] = {}
        self._queued_bytes = 0
        self.registry = Registry()
        self.counts: Counter[str] = Counter()

    def connected(self, client: int, now_s: float, user: int = 0, *, is_trusted: bool = True) -> None:
        """A client has connected, and has sent nothing. Times must not decrease.

        Args:
            client: its number.
            now_s: the time.
            user: of its process.
            is_trusted: whether that is root, or the daemon's own user.
        """
        self._clients[client] = Client(now_s, Outbox(self._queue_messages), user, is_trusted)
        self._awaiting_first_byte[client] = now_s
        self.counts["connections"] += 1

    def disconnected(self, client: int) -> None:
        """Forget a client and its queue."""
        self._queued_bytes -= self._clients.pop(client).outbox.bytes
        self._awaiting_first_byte.pop(client, None)
        self.registry.remove(client)

    def overdue(self, now_s: float) -> list[int]:
        """Clients that did not send their first byte in time."""
        return list(
            takewhile(lambda client: now_s - self._awaiting_first_byte[client] > HANDSHAKE_S, self._awaiting_first_byte)
        )

    @property
    def awaits(self) -> bool:
        """Whether any client's first byte is missing."""
        return bool(self._awaiting_first_byte)

    def received(self, client: int, byte: bytes, handed: ClientSocket | Refusal) -> None:
        """A client sent a byte, with a socket, something else, or nothing."""
        state = self._clients[client]
        if not state.has_begun:
            self._begin(client, state, speaks_json=byte == JSON)
        if isinstance(handed, ClientSocket) and self._is_crowded(client, state, handed.port):
            handed = Refusal(TOO_MANY_ON_PORT, MOST_ON_PORT)
        if isinstance(handed, ClientSocket):
            self.registry.add(client, handed)
            self.counts["registered"] += 1
            self._say(
                state,
                line(
                    schema=SCHEMA, kind="registered", registered=True, version=__version__, socket=socket_object(handed)
                )
                if state.speaks_json
                else ACCEPTED,
            )
        elif handed.reason == NO_DESCRIPTOR and byte == STATUS:
            self._end(client, state, line(**self.status()))
        else:
            self.counts[f"refused-{handed.reason}"] += 1
            self._end(
                client,
                state,
                line(
                    schema=SCHEMA,
                    kind="refused",
                    registered=False,
                    version=__version__,
                    reason=handed.reason,
                    limit=handed.limit,
                )
                if state.speaks_json
                else REFUSED,
            )

    def _is_crowded(self, client: int, state: Client, port: int) -> bool:
        """Whether the client's user has as many sockets on a port as it may."""
        if state.is_trusted:
            return False
        others = (self._clients[each] for each in self.registry.sharing(port) if each != client)
        return sum(each.user == state.user for each in others) >= MOST_ON_PORT

    def _begin(self, client: int, state: Client, *, speaks_json: bool) -> None:
        state.has_begun, state.speaks_json = True, speaks_json
        self._awaiting_first_byte.pop(client)
        if speaks_json:
            state.outbox = Outbox(self._queue_messages, lambda count: line(kind="dropped", count=count))

    def closed(self, client: int) -> None:
        """The client's UDP socket is closed, and its port may be another's next; the connection stays."""
        state = self._clients[client]
        self.registry.remove(client)
        self.counts["sockets-closed"] += 1
        if state.speaks_json:
            self._say(state, line(kind="closed"))

    def missed(self, count: int) -> Collection[int]:
        """Record a number of ICMP messages of any kind that were lost unread; return the clients to inform."""
        listeners = [client for client, state in self._clients.items() if state.speaks_json and client in self.registry]
        for client in listeners:
            state = self._clients[client]
            self._queue(state, [line(kind="missed", count=count)][: self._room(state)], 1)
        return listeners

    def _end(self, client: int, state: Client, words: bytes) -> None:
        self.registry.remove(client)
        self._say(state, words)
        state.ends = True

    def _say(self, state: Client, words: bytes) -> None:
        """Queue a message other than an error; there is always room for it."""
        state.outbox.put_last(words)
        self._queued_bytes += len(words)

    def route(self, errors: Errors, is_own: IsOwn, is_peer_now: IsPeerNow) -> dict[int, list[int]]:
        """The errors of each client that has any, by row.

        Args:
            errors: as they arrived.
            is_own: whether an address is local.
            is_peer_now: whether a socket is connected to a destination now.
        """
        wanted, undelivered = self.registry.recipients(errors, is_own, is_peer_now)
        self.counts["errors"] += len(errors)
        for reason, count in undelivered.items():
            self.counts[reason] += count
        return wanted

    def deliver(self, wanted: dict[int, list[int]], errors: Errors) -> Collection[int]:
        """Queue errors for their clients; return the clients with something to send."""
        objects: dict[int, dict[str, Any]] = {}  # many clients may get the same error
        records: dict[int, bytes] = {}
        shares = self._shares(wanted)
        for client, rows in wanted.items():
            state = self._clients[client]
            handed = self.registry.get(client)
            if handed is None or state.ends:
                continue
            if not state.speaks_json:
                for row in rows:
                    if row not in records:
                        records[row] = record_of(errors, row)
                messages = [record for row in rows if (record := records[row])]
                self._queue(
                    state,
                    messages[: min(self._room(state), shares.get(client, MOST_ERRORS_AT_ONCE))],
                    len(messages),
                )
                continue
            # a line costs more than everything else, so make none to drop it
            fitting = rows[: min(self._room(state), shares.get(client, MOST_ERRORS_AT_ONCE))]
            for row in fitting:
                if row not in objects:
                    objects[row] = error_object(errors.packet(row), errors.interfaces[row])
            self._queue(state, [line(**objects[row], socket=socket_object(handed)) for row in fitting], len(rows))
        return wanted.keys()

    def _shares(self, wanted: dict[int, list[int]]) -> dict[int, int]:
        """Errors per client if there are too many in total, so that a flood affects its own user only."""
        errors_of_user: Counter[int] = Counter()
        for client, rows in wanted.items():
            errors_of_user[self._clients[client].user] += len(rows)
        if errors_of_user.total() <= MOST_ERRORS_AT_ONCE:
            return {}
        most = equal_share(errors_of_user.values(), MOST_ERRORS_AT_ONCE)
        shares: dict[int, int] = {}
        for user in (user for user, count in errors_of_user.items() if count > most):
            its = {client: len(rows) for client, rows in wanted.items() if self._clients[client].user == user}
            shares |= dict.fromkeys(its, equal_share(its.values(), most))
        return shares

    def _room(self, state: Client) -> int:
        """Number of further messages that may wait for a client."""
        outbox = state.outbox
        if self._queued_bytes > MOST_QUEUED_BYTES and outbox.bytes > MOST_QUEUED_BYTES // len(self._clients):
            return 0
        return outbox.room()

    def _queue(self, state: Client, messages: list[bytes], count: int) -> None:
        """Queue what fits of `count` messages."""
        outbox = state.outbox
        before = outbox.bytes
        lost = outbox.put(messages) if messages else 0
        lost += outbox.lose(count - len(messages))
        self._queued_bytes += outbox.bytes - before
        self.counts["dropped"] += lost
        self.counts["delivered"] += count - lost

    def take(self, client: int) -> bytes:
        """The next bytes for a client; empty if there are none."""
        outbox = self._clients[client].outbox
        before = outbox.bytes
        chunk = outbox.take()
        self._queued_bytes += outbox.bytes - before
        return chunk

    def put_back(self, client: int, chunk: bytes) -> None:
        """What the kernel did not take."""
        self._clients[client].outbox.put_back(chunk)
        self._queued_bytes += len(chunk)

    def ends(self, client: int) -> bool:
        """Whether to close it now that its queue is empty."""
        state = self._clients[client]
        return state.ends and not state.outbox

    def status(self) -> dict[str, Any]:
        """The counters, for JSON."""
        return {
            "schema": STATUS_SCHEMA,
            "kind": "status",
            "version": __version__,
            "clients": len(self._clients),
            "sockets": len(self.registry),
            "queued_bytes": self._queued_bytes,
            "counts": dict(sorted(self.counts.items())),
        }
