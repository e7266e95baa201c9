"""What a scan sends: its tasks, source addresses and payloads; and what was sent so far.

A task is a destination to decide. After the requested tasks comes one more per host: its control port, surely closed,
whose refusal shows that the host sends errors.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import le, sub

from msgspec import Struct, field

from udpprobe.core.departures import Departures, counts
from udpprobe.core.directory import Directory
from udpprobe.core.probe import Batch, Payloads, Prober, Tasks
from udpprobe.core.siphash import SipHash


def _column(typecode: str) -> array[int]:
    return field(default_factory=lambda: array(typecode))


Key = tuple[int, int]
"""128 secret bits in two halves."""
Address = tuple[int, int]
"""128 bits in two halves, IPv4 mapped."""

CONTROL = 0
"""The choice of payloads for control ports: see `Catalogue.choices`."""
CONTROL_PORTS = (49_152, 65_536)
"""Range of control ports: nothing is registered there (RFC 6335, section 6)."""


class Sources(Struct, frozen=True):
    """Source addresses and ports of probes."""

    addresses: Sequence[Sequence[Address]]
    """Per host: the k source addresses of its probes, the same number for every host."""
    port: int
    ports: int = 1
    """Number of source ports, from `port` on. The tasks of a host use them in turn, so an answer from another port of
    the host tells its task by the port at which it arrives."""
    port_bits: int | None = None
    """Bits that guessing a source port is worth, if more than log2 of their number: where nobody else is probed, nobody
    else can learn another one."""


class Plan:
    """Tasks in columns, and their state.

    Args:
        destinations: the requested ones.
        sources: source addresses and ports.
        choice: per destination, which of the choices of payloads.
        payloads: what probes may carry; CONTROL is one of their choices.
        key: the scan's secret.
        ttl: of every probe.
        size: bytes of the IP packet that shorter payloads are padded to; 0 for no padding.
        proving: by choice, the one to use instead where errors must prove more.
    """

    def __init__(
        self,
        destinations: ProbedDestinations,
        sources: Sources,
        choice: array[int],
        payloads: Payloads,
        key: Key,
        ttl: int = 64,
        size: int = 0,
        proving: Sequence[int] = (),
    ) -> None:
        self.requested_count = len(destinations)
        self.sources, self.ttl, self.size = sources, ttl, size
        self.hosts = len(sources.addresses)
        """Number of hosts; the control of host h is task `requested_count + h`."""
        self._order_by_host(destinations)
        self.tasks = ProbedDestinations.concatenate([destinations, self._controls(destinations, key)])
        self.host, self.port = self.tasks.host, self.tasks.port
        self._number_sources()
        self.prober = Prober(
            key, payloads, self._addresses, first_port=sources.port, ports=sources.ports, port_bits=sources.port_bits
        )
        self.source_port = self._source_ports()
        """(tasks,) source port of each."""
        self._choice, self._proving = choice + array("H", [CONTROL]) * self.hosts, proving
        self.crafted = Tasks(self.tasks.high, self.tasks.low, self.source_port, self.port, self._choice)
        """The tasks in the form that `Prober` needs."""
        count = len(self.tasks)
        self.attempts = array("I", bytes(4 * count))
        """(tasks,) probes made so far."""
        self.sent = array("I", bytes(4 * count))
        """(tasks,) probes sent."""
        self.sent_bytes = array("Q", bytes(8 * count))
        """(tasks,) bytes of their IP packets."""
        self.last_ns = array("q", bytes(8 * count))
        """(tasks,) send time of the last probe; 0 for never."""
        self._frame, self._before = array("I", bytes(4 * count)), array("I", bytes(4 * count))
        """(tasks,) frame that shows the last probe, 0 for none; and 1 + the row of the probe before it, 0 for none."""
        self._earlier = array("q"), array("I"), array("I")
        """(probes,) for probes that are not the last: send time, frame, and the row before it."""
        self.directory = Directory(
            self.by_host, self._ports_by_host, self.starts, self.port[self.requested_count :], key[0]
        )
        for row in range(self.requested_count, count):
            self.directory.add_host(self.tasks.high[row], self.tasks.low[row], self.host[row])

    def __len__(self) -> int:
        return len(self.tasks)

    # ---- tasks and hosts

    def _order_by_host(self, destinations: ProbedDestinations) -> None:
        """Sort tasks by host and port: (requested_count,) `by_host`, and the start of each host."""
        hosts, ports = destinations.host, destinations.port
        self._is_by_host = all(map(le, zip(hosts, ports, strict=True), zip(hosts[1:], ports[1:], strict=True)))
        if self._is_by_host:
            self.by_host, self._ports_by_host = array("I", range(self.requested_count)), ports[:]
        else:
            self.by_host = array(
                "I", sorted(range(self.requested_count), key=lambda row: hosts[row] << 16 | ports[row])
            )
            self._ports_by_host = array("H", map(ports.__getitem__, self.by_host))
        self.starts = array("I", accumulate(counts(hosts, self.hosts), initial=0))

    def tasks_of(self, host: int) -> array[int]:
        """The requested tasks of a host."""
        return self.by_host[self.starts[host] : self.starts[host + 1]]

    def _controls(self, destinations: ProbedDestinations, key: Key) -> ProbedDestinations:
        """One task per host: a high port that is neither requested nor, if the host is this one, the scan's own."""
        taken = set(destinations.port)
        taken.update(range(self.sources.port, self.sources.port + self.sources.ports))
        free = [port for port in range(*CONTROL_PORTS) if port not in taken]
        free = free or [0]  # reserved (RFC 6335, section 6): closed, but fewer hosts send errors about it
        chance, found = SipHash(key), ProbedDestinations()
        for host in range(self.hosts):
            row = self.by_host[self.starts[host]]
            address = destinations.address(row)
            found.add(host, address, [free[chance.of(address) % len(free)]], destinations.zone[row])
        return found

    def find(self, high: int, low: int, port: int) -> int:
        """The task of an address and port; -1 if it is not probed."""
        return int(self.directory.find(high, low, port))

    def host_of(self, high: int, low: int) -> int:
        """The host with an address; -1 if it is not probed."""
        return int(self.directory.host_of(high, low))

    # ---- sources

    def _number_sources(self) -> None:
        """Number the source addresses, for `Prober`."""
        addresses = self.sources.addresses
        self.per_host = len(addresses[0]) if addresses else 1
        numbers: dict[Address, int] = {}
        self.source_numbers = array(
            "H", [numbers.setdefault(each, len(numbers)) for of_host in addresses for each in of_host]
        )
        """(hosts * per_host,) `Prober`'s numbers of each host's source addresses."""
        self._addresses = list(numbers)
        self._number_of = numbers

    def _source_ports(self) -> array[int]:
        ports, first_port = self.sources.ports, self.sources.port
        if ports == 1:
            return array("H", [first_port]) * len(self.tasks)
        sizes = list(map(sub, self.starts[1:], self.starts))
        turns = array("H", range(first_port, first_port + ports)) * (max(sizes, default=0) // ports + 2)
        found, controls = array("H"), array("H")
        for host, size in enumerate(sizes):
            begin = self.prober.port_for(self.tasks.address(self.requested_count + host), 0) - first_port
            found.extend(turns[begin : begin + size])
            controls.append(turns[begin + size])
        if not self._is_by_host:
            ports_by_host = found[:]
            for task, port in zip(self.by_host, ports_by_host, strict=True):
                found[task] = port
        return found + controls

    def source_number(self, task: int, source: int) -> int:
        """`Prober`'s number of a source address of a task's host."""
        return self.source_numbers[self.host[task] * self.per_host + source]

    def source_of(self, task: int, address: Address) -> int:
        """Index of an address among the source addresses of a task's host; -1 for none."""
        number = self._number_of.get(address, -1)
        return -1 if number < 0 else self.source_with(task, number)

    def source_with(self, task: int, number: int) -> int:
        """Index of the source address with `Prober`'s number `number` for a task's host; -1 for none."""
        at = self.host[task] * self.per_host
        for source in range(self.per_host):
            if self.source_numbers[at + source] == number:
                return source
        return -1

    def is_own_address(self, address: Address) -> bool:
        """Whether probes are sent from this address."""
        return address in self._number_of

    def family_of(self, task: int) -> int:
        """4 or 6."""
        return 4 if self.tasks.high[task] == 0 and self.tasks.low[task] >> 32 == 0xFFFF else 6

    def is_own(self, port: int) -> bool:
        """Whether probes are sent from this port."""
        return 0 <= port - self.sources.port < self.sources.ports

    # ---- what is sent

    def next_attempt(self, task: int, now_ns: int) -> int:
        """Number one more probe of a task; it counts as sent now, until the capture shows the real time."""
        attempt = self.attempts[task]
        if attempt:
            self.keep_last(task)
        self.attempts[task], self.last_ns[task], self._frame[task] = attempt + 1, now_ns, 0
        return attempt

    def keep_last(self, task: int) -> None:
        """Save the send time of a task's last probe, before there is another."""
        times, frames, before = self._earlier
        times.append(self.last_ns[task])
        frames.append(self._frame[task])
        before.append(self._before[task])
        self._before[task] = len(times)

    def departures(self, batch: Batch, seen: bytearray) -> Departures:
        """Numbers the probes of a batch, as `next_attempt` and the other methods do one by one.

        Args:
            batch: filled in.
            seen: (tasks,) whether a probe was confirmed as sent.
        """
        return Departures(
            batch,
            ttl=self.ttl,
            size=self.size,
            hosts=self.host,
            sources=self.source_numbers,
            zones=self.tasks.zone,
            attempts=self.attempts,
            sent=self.sent,
            sent_bytes=self.sent_bytes,
            last_ns=self.last_ns,
            frame=self._frame,
            seen=seen,
        )

    def prove(self, task: int) -> None:
        """Let further probes of a task carry a whole token, in turn with their usual payload."""
        choice = self._choice[task]
        if choice < len(self._proving):
            self._choice[task] = self._proving[choice]

    def count_sent(self, task: int, length: int) -> None:
        """Count a probe as sent; `length` is in bytes of its IP packet."""
        self.sent[task] += 1
        self.sent_bytes[task] += length

    def uncount_sent(self, task: int, length: int) -> None:
        """Undo `count_sent`: this host could not send the last probe of a task."""
        self.sent[task] -= 1
        self.sent_bytes[task] -= length

    def seen(self, task: int, time_ns: int, frame: int = 0) -> None:
        """The capture shows the last probe of a task; of several sightings the first counts."""
        if self.attempts[task] and not self._frame[task]:
            self.last_ns[task], self._frame[task] = time_ns, frame

    def set_sent_ns(self, task: int, time_ns: int) -> None:
        """The last probe of a task was sent, as its sender reports."""
        self.last_ns[task] = time_ns

    def sent_ns(self, task: int) -> int:
        """Send time of the last probe of a task; 0 for never."""
        return self.last_ns[task]

    def departure(self, task: int, attempt: int) -> tuple[int, int]:
        """Send time of a probe, and the frame that shows it (0 for none); attempt -1 is the task's last."""
        later = self.attempts[task] - 1 - attempt if attempt >= 0 else 0
        if later <= 0:
            return self.last_ns[task], self._frame[task]
        times, frames, before = self._earlier
        row = self._before[task]
        for _ in range(later - 1):
            row = before[row - 1]
        return times[row - 1], frames[row - 1]

    def payload_of(self, task: int, attempt: int, source: int = 0) -> int:
        """Row of the payload that a probe carries."""
        self.prober.token_of(self.crafted, task, source=self.source_number(task, source), attempt=attempt)
        return self.prober.row

    def length_of(self, task: int, attempt: int, source: int = 0) -> int:
        """Bytes of a probe's IP packet."""
        self.prober.token_of(self.crafted, task, source=self.source_number(task, source), attempt=attempt)
        return max(self.prober.length, self.size)


class ProbedDestinations(Struct):
    """(n,) columns: each an address and a UDP port, without duplicates."""

    host: array[int] = _column("I")
    """0, 1, 2 …: one number per address (and zone)."""
    high: array[int] = _column("Q")
    """Upper and lower half of the address, IPv4 mapped."""
    low: array[int] = _column("Q")
    port: array[int] = _column("H")
    zone: array[int] = _column("I")
    """Index of the interface of a link-local address (RFC 4007), else 0."""

    def __len__(self) -> int:
        return len(self.port)

    def add(self, host: int, address: tuple[int, int], ports: Sequence[int], zone: int = 0) -> None:
        """Append the ports of one host."""
        count = len(ports)
        self.host.extend(array("I", [host]) * count)
        self.high.extend(array("Q", [address[0]]) * count)
        self.low.extend(array("Q", [address[1]]) * count)
        self.zone.extend(array("I", [zone]) * count)
        if isinstance(ports, array) and ports.typecode == "H":
            self.port.extend(ports)
        else:
            self.port.extend(array("H", ports))

    def address(self, row: int) -> tuple[int, int]:
        """Both halves of a row's address."""
        return self.high[row], self.low[row]

    def take(self, rows: slice) -> ProbedDestinations:
        """Some of them."""
        return ProbedDestinations(self.host[rows], self.high[rows], self.low[rows], self.port[rows], self.zone[rows])

    @classmethod
    def concatenate(cls, some: Iterable[ProbedDestinations]) -> ProbedDestinations:
        """Several, one after another."""
        made = cls()
        for each in some:
            for name in cls.__struct_fields__:
                getattr(made, name).extend(getattr(each, name))
        return made
