"""The daemon's loop: raw ICMP sockets in, clients out. No client can keep it from serving the others."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from udpprobe.icmpd.owners import Owners
from udpprobe.icmpd.peers import NOT_PERMITTED, Gate, close_foreign, credentials, receive, receive_request
from udpprobe.icmpd.protocol import MOST_ON_PORT, STATUS, Protocol, Refusal
from udpprobe.icmpd.raw import MESSAGES, RawIcmp
from udpprobe.icmpd.registry import ClientSocket, Errors

ACCEPTED_AT_ONCE = 64
TICK_S = 1.0
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S = 0.1
MOST_MATCHED = MOST_ON_PORT * MESSAGES
"""Matches of errors to clients before other events are handled: 50 ms of work."""
MOST_TURNED_AWAY = 32
"""Connections without a place that are kept until they can be told why; others are closed."""
UNREAD_BYTES, MOST_DISCARDED = 65536, 16


@dataclass(slots=True)
class Connection:
    """The server's end of a client's connection."""

    number: int
    socket: socket.socket
    events: int
    user: int
    why_not: str | None
    """Why it has no place; sent when the client sends something."""


class Server:
    """Serves until it is stopped.

    Args:
        listener: listens for clients; the caller closes it, as all sockets here except those of clients.
        raws: sources of errors.
        gate: who may register.
        protocol: decides what is sent.
        most_clients: more are refused; half of that for each user other than root and the daemon's own.
    """

    def __init__(
        self, listener: socket.socket, raws: Sequence[RawIcmp], gate: Gate, protocol: Protocol, most_clients: int
    ) -> None:
        self.protocol = protocol
        self._listener, self._raws, self._gate, self._most_clients = listener, raws, gate, most_clients
        self._connections: dict[int, Connection] = {}
        self._turned_away = 0
        self._by_user: Counter[int] = Counter()
        self._own_user = os.geteuid()
        self._number = 0
        self._spare: int | None = None
        self._keep_spare()
        self._owners = Owners()
        self._epoll = select.epoll()
        self._attending: dict[int, Callable[[int], None]] = {}
        """By descriptor: handler of its events."""
        self._missed, self._reported_s, self._has_unreported = 0, 0.0, False
        self._is_stopped = False
        listener.setblocking(False)
        self._register(listener.fileno(), lambda _: self._accept())
        for raw in raws:
            self._register(raw.fileno(), lambda _, raw=raw: self._receive_errors(raw))  # type: ignore[misc]  # bound now

    def _register(self, descriptor: int, then: Callable[[int], None]) -> None:
        self._attending[descriptor] = then
        self._epoll.register(descriptor, select.EPOLLIN)

    def watch(self, opened: socket.socket, then: Callable[[], None]) -> None:
        """Call `then` whenever a socket is readable."""
        self._register(opened.fileno(), lambda _: then())

    def stop(self) -> None:
        """Let `serve` return after the current events."""
        self._is_stopped = True

    def serve(self) -> None:
        """Serve until stopped."""
        attending = self._attending
        while not self._is_stopped:
            for descriptor, events in self._epoll.poll(
                TICK_S if self.protocol.awaits or self._has_unreported else None
            ):
                if then := attending.get(descriptor):  # an earlier event of this round may have closed it
                    then(events)
            if self.protocol.awaits:
                for client in self.protocol.overdue(time.monotonic()):
                    self.protocol.received(client, b"", Refusal("too-slow"))
                    self._flush(self._connections[client])
            if self._has_unreported:
                self._report_missed(time.monotonic())

    def close(self) -> None:
        """Close all clients."""
        close_foreign(*[self._forget(each) for each in list(self._connections.values())])
        self._owners.close()
        self._epoll.close()
        self._use_spare()

    def status(self) -> dict[str, Any]:
        """The counters, including the kernel's drops."""
        self.protocol.counts["kernel-dropped"] = sum(raw.dropped() for raw in self._raws)
        faults: Counter[str] = Counter()
        for raw in self._raws:
            faults += raw.faults()
        for name, count in faults.items():
            self.protocol.counts[name] = count
        return self.protocol.status()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._cannot_accept(error)
                return
            self._welcome(accepted)

    def _cannot_accept(self, error: OSError) -> None:
        """Without a free descriptor, use the spare one to refuse; otherwise the listener would wake us forever."""
        self.protocol.counts["accept-failed"] += 1
        if error.errno in NO_ROOM:
            self._use_spare()
            try:
                close_foreign(self._listener.accept()[0].detach())
            except OSError:
                time.sleep(PAUSE_S)
            self._keep_spare()

    def _keep_spare(self) -> None:
        with suppress(OSError):  # others took the last one; there may be one next time
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _use_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _welcome(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        user = credentials(accepted)[1]
        why_not = self._why_not(accepted, user)
        if why_not and self._turned_away >= MOST_TURNED_AWAY:
            self.protocol.counts[f"refused-{why_not}"] += 1
            close_foreign(accepted.detach())
            return
        self._number += 1
        self._turned_away += bool(why_not)
        self._by_user[user] += not why_not
        made = Connection(self._number, accepted, select.EPOLLIN, user, why_not)
        self._connections[made.number] = made
        self.protocol.connected(made.number, time.monotonic(), user, is_trusted=self._is_trusted(user))
        self._register(accepted.fileno(), lambda events: self._attend(made, events))

    def _why_not(self, accepted: socket.socket, user: int) -> str | None:
        if not self._gate.admits(accepted):
            return NOT_PERMITTED
        takes_half = not self._is_trusted(user) and self._by_user[user] >= max(self._most_clients // 2, 1)
        is_full = len(self._connections) - self._turned_away >= self._most_clients
        return "too-many-clients" if is_full or takes_half else None

    def _is_trusted(self, user: int) -> bool:
        return user in {0, self._own_user}

    def _attend(self, client: Connection, events: int) -> None:
        """A client sent something, disconnected, or is writable."""
        if client.number not in self._connections:
            return  # its descriptor belongs to a newer connection
        if events & select.EPOLLOUT or self._take_request(client):
            self._flush(client)

    def _take_request(self, client: Connection) -> bool:
        try:
            byte, handed = receive_request(client.socket, self._gate)
        except BlockingIOError:
            return False
        except OSError:
            self._part(client)
            return False
        if not byte:  # everything it sent was read: nothing in it can linger
            os.close(self._forget(client))
            return False
        if client.why_not:
            handed = Refusal(client.why_not)
        if byte == STATUS:
            self.status()
        if isinstance(handed, ClientSocket):
            self._owners.add(handed)
        self.protocol.received(client.number, byte, handed)
        return True

    def _flush(self, client: Connection) -> None:
        """Send what waits, as far as the kernel takes it. A client that does not read is not read either."""
        while chunk := self.protocol.take(client.number):
            try:
                sent = client.socket.send(chunk, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._part(client)
                return
            if sent < len(chunk):
                self.protocol.put_back(client.number, chunk[sent:])
                self._await(client, select.EPOLLOUT)
                return
        self._await(client, select.EPOLLIN)
        if self.protocol.ends(client.number):
            if client.why_not != NOT_PERMITTED:
                _discard(client.socket)
            self._part(client)

    def _await(self, client: Connection, events: int) -> None:
        if client.events != events:
            client.events = events
            self._epoll.modify(client.socket.fileno(), events)

    def _part(self, client: Connection) -> None:
        close_foreign(self._forget(client))

    def _forget(self, client: Connection) -> int:
        """Forget a client; return its descriptor, which the caller closes."""
        descriptor = client.socket.detach()
        self._epoll.unregister(descriptor)  # another process may hold a copy open
        del self._attending[descriptor]
        del self._connections[client.number]
        self._turned_away -= bool(client.why_not)
        self._by_user[client.user] -= not client.why_not
        self.protocol.disconnected(client.number)
        return descriptor

    def _receive_errors(self, raw: RawIcmp) -> None:
        # Root may register one socket ten thousand times, or as many sockets on one port, each of which gets each
        # error. Then fewer errors are read at a time, so that other events are handled in between.
        sharing = max(self.protocol.registry.most_sharing, 1)
        errors = raw.receive(min(max(MOST_MATCHED // sharing, 1), MESSAGES))
        if raw.is_full:  # otherwise nothing can have been dropped since the last read
            self._has_unreported = True
        if errors:
            self._deliver(errors)

    def _deliver(self, errors: Errors) -> None:
        self._owners.at(time.monotonic())
        wanted = self.protocol.route(errors, self._owners.is_own, self._owners.is_peer_now)
        self._forget_closed(wanted, errors)
        for client in self.protocol.deliver(wanted, errors):
            self._write(client)

    def _forget_closed(self, wanted: dict[int, list[int]], errors: Errors) -> None:
        """Drop errors of a closed socket; its port may belong to another process now."""
        for client, rows in list(wanted.items()):
            handed = self.protocol.registry.get(client)
            if handed is not None and not self._owners.is_alive(handed, partial(errors.quote, rows[0])):
                self.protocol.closed(client)
                del wanted[client]
                self._write(client)

    def _report_missed(self, now_s: float) -> None:
        """Inform JSON clients how many messages the kernel dropped, at most once a second."""
        if now_s - self._reported_s < TICK_S:
            return
        missed = sum(raw.dropped() for raw in self._raws)
        if missed > self._missed:
            for client in self.protocol.missed(missed - self._missed):
                self._write(client)
        self._missed, self._reported_s, self._has_unreported = missed, now_s, False

    def _write(self, client: int) -> None:
        """Send, unless the kernel is known to take nothing now."""
        found = self._connections.get(client)
        if found is not None and found.events == select.EPOLLIN:
            self._flush(found)


def _discard(peer: socket.socket) -> None:
    """Read everything that is unread: closing would otherwise reset the connection and may lose the last answer."""
    with suppress(OSError):
        for _ in range(MOST_DISCARDED):
            said, received = receive(peer, UNREAD_BYTES)
            with received:
                if not said:
                    return
