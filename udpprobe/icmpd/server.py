"""The daemon's loop: raw ICMP sockets in, clients out, and nothing that one client does can keep it from another."""

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
from udpprobe.icmpd.peers import NOT_PERMITTED, Gate, close_foreign, credentials, hear, receive
from udpprobe.icmpd.protocol import MOST_ON_PORT, STATUS, Protocol, Refusal
from udpprobe.icmpd.raw import MESSAGES, RawIcmp
from udpprobe.icmpd.registry import ClientSocket, Errors

ACCEPTED_AT_ONCE = 64
TICK_S = 1.0
NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PAUSE_S = 0.1
MOST_MATCHED = MOST_ON_PORT * MESSAGES
"""So many times an error is found to be a client's before others are attended to: 50 ms of work."""
MOST_TURNED_AWAY = 32
"""Connections without a place that are listened to, so that they can be told why; others are hung up on."""
UNREAD_BYTES, MOST_DISCARDED = 65536, 16


@dataclass(slots=True)
class Connection:
    """A client's end here."""

    number: int
    socket: socket.socket
    events: int
    user: int
    why_not: str | None
    """Why it has no place here; it is told so when it speaks."""


class Server:
    """Serves until it is told to stop.

    Args:
        listener: listens for clients; it stays the caller's, as all sockets here but those of clients.
        raws: sources of errors.
        gate: who may register.
        protocol: what is said.
        most_clients: more are refused; of one user but the superuser and the daemon's own, half of that.
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
        """By descriptor: who is told of its events."""
        self._missed, self._told_s, self._has_untold = 0, 0.0, False
        self._is_stopped = False
        listener.setblocking(False)
        self._register(listener.fileno(), lambda _: self._accept())
        for raw in raws:
            self._register(raw.fileno(), lambda _, raw=raw: self._hear(raw))  # type: ignore[misc]  # bound now

    def _register(self, descriptor: int, then: Callable[[int], None]) -> None:
        self._attending[descriptor] = then
        self._epoll.register(descriptor, select.EPOLLIN)

    def watch(self, opened: socket.socket, then: Callable[[], None]) -> None:
        """Call `then` whenever something can be read from a socket."""
        self._register(opened.fileno(), lambda _: then())

    def stop(self) -> None:
        """Let `serve` return after the events at hand."""
        self._is_stopped = True

    def serve(self) -> None:
        """Serve until stopped."""
        attending = self._attending
        while not self._is_stopped:
            for descriptor, events in self._epoll.poll(TICK_S if self.protocol.awaits or self._has_untold else None):
                if then := attending.get(descriptor):  # else it was parted with by an earlier event of this round
                    then(events)
            if self.protocol.awaits:
                for client in self.protocol.overdue(time.monotonic()):
                    self.protocol.refuse(client, "too-slow")
                    self._flush(self._connections[client])
            if self._has_untold:
                self._tell_of_missed(time.monotonic())

    def close(self) -> None:
        """Part with all clients."""
        close_foreign(*[self._forget(each) for each in list(self._connections.values())])
        self._owners.close()
        self._epoll.close()
        self._use_spare()

    def status(self) -> dict[str, Any]:
        """The counters, the kernel's drops among them."""
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
        """Without a descriptor left, use the spare one to say so; else the listener would wake us for ever."""
        self.protocol.counts["accept-failed"] += 1
        if error.errno in NO_ROOM:
            self._use_spare()
            try:
                close_foreign(self._listener.accept()[0].detach())
            except OSError:
                time.sleep(PAUSE_S)
            self._keep_spare()

    def _keep_spare(self) -> None:
        with suppress(OSError):  # others took the last one; perhaps there is one next time
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
        """A client spoke, went, or can be written to."""
        if client.number not in self._connections:
            return  # its descriptor is a newer one's by now
        if events & select.EPOLLOUT or self._heard(client):
            self._flush(client)

    def _heard(self, client: Connection) -> bool:
        try:
            byte, handed = hear(client.socket, self._gate)
        except BlockingIOError:
            return False
        except OSError:
            self._part(client)
            return False
        if not byte:  # all that it said was read: there is nothing in it to linger
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
        """Send what waits, as far as the kernel takes it. Who does not read is not listened to either."""
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
        """The descriptor of its connection, which is all that is left of it."""
        descriptor = client.socket.detach()
        self._epoll.unregister(descriptor)  # somebody may hold a copy of it open
        del self._attending[descriptor]
        del self._connections[client.number]
        self._turned_away -= bool(client.why_not)
        self._by_user[client.user] -= not client.why_not
        self.protocol.disconnected(client.number)
        return descriptor

    def _hear(self, raw: RawIcmp) -> None:
        # Root may register one socket ten thousand times, or let as many share a port, and each error be told as often.
        # Then fewer are read at a time, so that others are attended to in between.
        sharing = max(self.protocol.registry.most_sharing, 1)
        errors = raw.receive(min(max(MOST_MATCHED // sharing, 1), MESSAGES))
        if raw.is_full:  # else nothing can have found no room since it was read before
            self._has_untold = True
        if errors:
            self._tell(errors)

    def _tell(self, errors: Errors) -> None:
        self._owners.at(time.monotonic())
        wanted = self.protocol.route(errors, self._owners.is_own, self._owners.is_peer_now)
        self._forget_closed(wanted, errors)
        for client in self.protocol.deliver(wanted, errors):
            self._write(client)

    def _forget_closed(self, wanted: dict[int, list[int]], errors: Errors) -> None:
        """Errors of a socket that is closed are nobody's here; its port may be a stranger's by now."""
        for client, rows in list(wanted.items()):
            handed = self.protocol.registry.get(client)
            if handed is not None and not self._owners.is_alive(handed, partial(errors.quote, rows[0])):
                self.protocol.closed(client)
                del wanted[client]
                self._write(client)

    def _tell_of_missed(self, now_s: float) -> None:
        """Tell JSON clients how many messages the kernel had no room for, once a second at most."""
        if now_s - self._told_s < TICK_S:
            return
        missed = sum(raw.dropped() for raw in self._raws)
        if missed > self._missed:
            for client in self.protocol.missed(missed - self._missed):
                self._write(client)
        self._missed, self._told_s, self._has_untold = missed, now_s, False

    def _write(self, client: int) -> None:
        """Send, unless the kernel is known to take nothing now."""
        found = self._connections.get(client)
        if found is not None and found.events == select.EPOLLIN:
            self._flush(found)


def _discard(peer: socket.socket) -> None:
    """What is closed with something unread resets the connection, and the last answer may be lost."""
    with suppress(OSError):
        for _ in range(MOST_DISCARDED):
            said, received = receive(peer, UNREAD_BYTES)
            with received:
                if not said:
                    return
