"""Probes: an ICMP error that quotes one proves that its sender has seen the probe.

Every free field of a probe comes from a keyed hash of its addresses, ports and attempt. To validate an error, the probe
is computed again, so nothing has to be stored (Durumeric, Wustrow, Halderman, "ZMap", USENIX Security 2013, section 3).
A forger who sees no probe has to guess:

    field            bits                           of           quoted
    source port      log2(ports we own)             task, flow   always; NATs change it
    IPv4 id          16                             probe        always; some firewalls change it
    IPv6 flow label  20                             probe, flow  always
    UDP length       3 where the payload is GENERIC probe        always
    UDP checksum     up to 16                       probe        always; NATs change it
    token            8 a byte, up to 64             probe        by most, but routers may end after 8 bytes of UDP

The checksum follows from the payload, so it counts only as many bits as the token loses to a short quote. The id comes
from other bits of the hash than the token. (If both came from one 64-bit word they would be worth 16 bits, not 32,
because 2^16 is 1 modulo 65535.)

Load balancers choose a path by addresses, ports and flow label. A flow of `trace` or `mtu` keeps these constant, and
its probes differ in id, token and checksum (Augustin et al., "Avoiding traceroute anomalies with Paris traceroute", IMC
2006). Bits that probes share are counted apart, because a second probe does not prove them again.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core.siphash import SipHash

MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
MASK32 = cython.declare(cython.const[u64], 0xFFFF_FFFF)
MASK16 = cython.declare(cython.const[u64], 0xFFFF)
MAPPED = cython.declare(cython.const[u64], 0xFFFF)
"""Upper half of the low word of an IPv4-mapped address (RFC 4291, 2.5.5.2)."""
IS_LITTLE = cython.declare(cython.bint, sys.byteorder == "little")

UDP = cython.declare(cython.const[u64], 17)
UDP_BYTES = cython.declare(cython.const[index], 8)
IPV6_BYTES = cython.declare(cython.const[index], 40)
MOST_BYTES = cython.declare(cython.const[index], 65_535)
"""Limit of the length field: IPv4's includes its header, IPv6's does not."""
DONT_FRAGMENT = cython.declare(cython.const[u64], 0x4000)

TOKEN_BYTES = 8
ID_BITS = cython.declare(cython.const[index], 16)
LABEL_BITS = cython.declare(cython.const[index], 20)
CHECKSUM_BITS = cython.declare(cython.const[index], 16)
VARIANT_BITS = cython.declare(cython.const[index], 3)
VARIANTS = 8
"""Payloads that GENERIC stands for; their lengths differ."""

# Used in place of an attempt for values that several probes share.
FLOW = cython.declare(cython.const[u64], 0xFFFF_FFFF)
HOST = cython.declare(cython.const[u64], 0xFFFF_FFFE)

# Python cannot see typed names, so those that callers need exist twice.
_GENERIC = cython.declare(cython.const[index], -1)
GENERIC = _GENERIC
"""In a choice of payloads: one of the first VARIANTS rows, selected by the hash."""
_ANY_SIZE = cython.declare(cython.const[index], -1)
ANY_SIZE = _ANY_SIZE
"""For `find`: take the size from the quote; for callers that check it themselves."""
_SOURCE = cython.declare(cython.const[index], 1)
_DESTINATION = cython.declare(cython.const[index], 2)
_IDENT = cython.declare(cython.const[index], 4)
_SWAPPED = cython.declare(cython.const[index], 8)
_CHECKSUM = cython.declare(cython.const[index], 16)
SOURCE, DESTINATION, IDENT, SWAPPED, CHECKSUM = _SOURCE, _DESTINATION, _IDENT, _SWAPPED, _CHECKSUM
"""Bits of `Prober.changed`: fields that differ, are cleared, or (the checksum) are missing in the quote. SWAPPED: the
id is byte-swapped."""


@cython.final
@cython.cclass
class Payloads:
    """What probes may carry.

    Args:
        rows: per payload: its bytes, the offset of the token, and the bytes of the token, 0 to TOKEN_BYTES. If GENERIC
            is used, it stands for the first VARIANTS rows.
        choices: what a task's probes carry, in turn: rows, or GENERIC.

    Raises:
        ValueError: a token does not fit, or a choice is empty or names a row that does not exist.
    """

    def __init__(self, rows: Sequence[tuple[bytes, int, int]], choices: Sequence[Sequence[int]] = ((0,),)) -> None:
        _check_payloads(rows, choices)
        data = bytearray()
        start = array("I")
        for row, at, size in rows:
            start.append(len(data))
            data += row[:at] + bytes(size) + row[at + size :]
            while len(data) % 4:  # payloads are copied in words
                data.append(0)
        self.data = bytes(data)
        self.words = memoryview(self.data).cast("I")
        self.start = start
        self.length = array("I", [len(row) for row, _, _ in rows])
        self.token_at = array("I", [at for _, at, _ in rows])
        self.token_size = bytes([size for _, _, size in rows])
        self.sum = array("I", [_word_sum(row[:at] + bytes(size) + row[at + size :]) for row, at, size in rows])
        self.longest = max(self.length)
        self.order = array("i", [row for choice in choices for row in choice])
        self.first = array("I", [sum(map(len, choices[:number])) for number in range(len(choices))])
        self.count = array("I", [len(choice) for choice in choices])


@cython.final
@cython.cclass
class Tasks:
    """What is probed: (n,) columns, read in place.

    Args:
        destination_high: the upper half of each address ("Q"); IPv4 addresses are mapped.
        destination_low: the lower half ("Q").
        source_port: source port of each task's probes ("H").
        port: destination port ("H").
        choice: index into the choices of `Payloads` ("H").
    """

    def __init__(
        self,
        destination_high: array[int],
        destination_low: array[int],
        source_port: array[int],
        port: array[int],
        choice: array[int],
    ) -> None:
        self.destination_high = destination_high
        self.destination_low = destination_low
        self.source_port = source_port
        self.port = port
        self.choice = choice


@cython.final
@cython.cclass
class Batch:
    """Room for probes that are sent together. The caller fills its columns, except `length` and `packets`.

    Args:
        capacity: number of probes.
        stride: bytes from one packet to the next, at least the length of the longest; a multiple of 4.

    Raises:
        ValueError: the stride is no multiple of 4.
    """

    def __init__(self, capacity: int, stride: int) -> None:
        if stride <= 0 or stride % 4:
            raise ValueError(f"a stride of {stride} bytes is no multiple of 4")
        self.stride = stride
        self.task = array("I", bytes(4 * capacity))
        self.source = array("H", bytes(2 * capacity))
        """Index of each probe's source address in the prober."""
        self.attempt = array("I", bytes(4 * capacity))
        self.ttl = bytearray(capacity)
        self.size = array("I", bytes(4 * capacity))
        """Bytes of the IP packet that a shorter payload is padded to, with zeros; 0 for no padding."""
        self.length = array("I", bytes(4 * capacity))
        """Bytes of each IP packet."""
        self.packets = bytearray(capacity * stride)
        self.words = memoryview(self.packets).cast("B").cast("I")

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def put(self, word: index, value: u64) -> cython.int:
        """Write 32 bits in network byte order: one row of the header diagrams in RFCs."""
        if IS_LITTLE:  # pragma: no branch - machines where it isn't are rare
            value = (value & 0xFF) << 24 | (value & 0xFF00) << 8 | value >> 8 & 0xFF00 | value >> 24 & 0xFF
        self.words[word] = value & MASK32
        return 0


@cython.final
@cython.cclass
class QuotedProbe:
    """What an ICMP error quotes of a datagram; -1 for fields beyond the end of the quote.

    Args:
        buffer: the bytes that `begin`, `payload_at` and `payload_end` index: start of the quote, start and end of its
            payload. They are not copied.
    """

    def __init__(self, buffer: bytes | bytearray | memoryview = b"") -> None:
        self.source_high = self.source_low = self.destination_high = self.destination_low = 0
        self.source_port = self.port = -1
        self.ident = 0
        """IPv4 id, or IPv6 flow label."""
        self.udp_length = self.checksum = -1
        self.begin = self.payload_at = self.payload_end = 0
        self.load(buffer)

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def load(self, buffer: bytes | bytearray | memoryview) -> cython.int:
        """Index `buffer` from now on."""
        self.data = buffer
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def is_padding(self, at: index) -> cython.int:
        """Whether only zeros follow: RFC 4884 pads short quotes with them."""
        while at < self.payload_end:
            if self.data[at] != 0:
                return 0
            at += 1
        return 1


@cython.final
@cython.cclass
class Prober:
    """Computes probes, writes them, and compares them with quotes.

    It holds one current probe, so each thread needs its own prober. Everything else may be shared.

    Args:
        key: two halves of 128 secret bits, drawn for this run.
        payloads: what probes carry.
        sources: source addresses, two halves each.
        first_port: the first source port that we own.
        ports: number of these ports.
        port_bits: bits that guessing a probe's source port is worth to somebody who sees other probes of ours. None for
            log2 of `ports`. For a single flow, log2 of the range that its port was drawn from.
        label_per_flow: whether all probes of a flow have the same IPv6 flow label.
    """

    def __init__(
        self,
        key: tuple[int, int],
        payloads: Payloads,
        sources: Sequence[tuple[int, int]],
        *,
        first_port: int,
        ports: int = 1,
        port_bits: int | None = None,
        label_per_flow: bool = False,
    ) -> None:
        self.hash = SipHash(key)
        self.payloads = payloads
        self.sources_high = array("Q", [high for high, _ in sources])
        self.sources_low = array("Q", [low for _, low in sources])
        self.source_count = len(sources)
        self.first_port = first_port
        self.ports = ports
        self.port_bits = ports.bit_length() - 1 if port_bits is None else port_bits
        self.label_per_flow = label_per_flow
        self.source_high = self.source_low = self.destination_high = self.destination_low = 0
        self.family = self.source_port = self.port = self.row = self.header = self.length = 0
        self.token = self.ident = self.checksum = self.rest = self.length_bits = 0
        self.agree = self.shared = self.disagree = self.changed = self.hidden = 0
        self.source = self.attempt = self.score = 0

    # ---- the current probe

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def select(self, tasks: Tasks, task: index, source: index, attempt: index, size: index) -> cython.int:
        """Compute the probe of a task, source and attempt; the result is always the same."""
        return self.compute(
            self.sources_high[source],
            self.sources_low[source],
            tasks.destination_high[task],
            tasks.destination_low[task],
            tasks.source_port[task],
            tasks.port[task],
            tasks.choice[task],
            attempt,
            size,
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compute(  # noqa: PLR0913, PLR0917
        self,
        source_high: u64,
        source_low: u64,
        destination_high: u64,
        destination_low: u64,
        source_port: u64,
        port: u64,
        choice: index,
        attempt: index,
        size: index,
    ) -> cython.int:
        """Compute a probe: its payload, token, id or label, length and checksum."""
        self.source_high = source_high
        self.source_low = source_low
        self.destination_high = destination_high
        self.destination_low = destination_low
        self.source_port = source_port
        self.port = port
        flow: u64 = source_port << 48 | port << 32
        self.hash.five(source_high, source_low, destination_high, destination_low, flow | attempt)
        self.token = self.hash.first
        mark: u64 = self.hash.second

        turn: index = 0
        if self.payloads.count[choice] > 1:  # a division would cost more than everything else here
            turn = attempt % self.payloads.count[choice]
        row: index = self.payloads.order[self.payloads.first[choice] + turn]
        self.length_bits = 0
        if row == _GENERIC:
            row = mark >> 61
            if size == 0:
                self.length_bits = VARIANT_BITS
        self.row = row

        if family_of(destination_high, destination_low) == 4:
            self.family = 4
            self.header = 28
            self.ident = 1 + (mark & MASK32) % 0xFFFF  # never 0: the kernel would choose another
        else:
            self.family = 6
            self.header = 48
            if self.label_per_flow:
                self.hash.five(source_high, source_low, destination_high, destination_low, flow | FLOW)
                mark = self.hash.first
            self.ident = 1 + (mark & MASK32) % 0xFFFFF  # never 0: that is no label (RFC 6437, section 2)
        self.length = max(self.header + self.payloads.length[row], size)
        return self.sum_up()

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def sum_up(self) -> cython.int:
        """Compute the UDP checksum."""
        size: index = self.payloads.token_size[self.row]
        self.rest = UDP + 2 * (self.length - self.header + UDP_BYTES) + self.payloads.sum[self.row]
        if size > 0:
            token: u64 = self.token >> (64 - 8 * size) << (64 - 8 * size)
            token = folded(halves(token))
            if self.payloads.token_at[self.row] & 1:  # the token begins in the middle of a word
                token <<= 8
            self.rest += token
        self.checksum = checksum_of(
            self.rest,
            self.source_high,
            self.source_low,
            self.destination_high,
            self.destination_low,
            self.source_port,
            self.port,
        )
        return 0

    def port_for(self, destination: tuple[int, int], rank: int) -> int:
        """Source port of a task's probes.

        The tasks of a host use the ports in turn, so as few as possible share one: an answer from another port tells
        its task by the port at which it arrives. The first port is secret for each host.

        Args:
            destination: the host's address.
            rank: 0, 1, 2 … for the tasks of a host.
        """
        self.hash.five(0, 0, destination[0], destination[1], HOST)
        return int(self.first_port + (self.hash.first + rank) % self.ports)

    def token_of(self, tasks: Tasks, task: int, *, source: int = 0, attempt: int = 0) -> bytes:
        """TOKEN_BYTES; the probe carries the first of them, as many as its payload has room for."""
        self.select(tasks, task, source, attempt, 0)
        return int(self.token).to_bytes(TOKEN_BYTES)

    # ---- packets

    def craft(self, tasks: Tasks, batch: Batch, count: int) -> None:
        """Write the first `count` packets of a batch, and their lengths.

        Raises:
            ValueError: a packet is longer than the stride, or than an IP packet can be.
            IndexError: no such task, source, choice or row.
        """
        wanted: index = count
        with cython.nogil:
            done: index = self.write_all(tasks, batch, wanted)
        if done < wanted:
            raise ValueError(f"a probe of {self.length} bytes has no room in {batch.stride}, or in an IP packet")

    def craft_one(
        self, tasks: Tasks, task: int, *, source: int = 0, attempt: int = 0, ttl: int = 64, size: int = 0
    ) -> bytes:
        """The IP packet of one probe.

        Args:
            tasks: what is probed.
            task: which task.
            source: index of the source address.
            attempt: 0 for the task's first probe, 1 for the second …, below 2^32 - 2.
            ttl: or hop limit.
            size: bytes of the IP packet that a shorter payload is padded to.

        Raises:
            ValueError: it would be longer than an IP packet can be.
            IndexError: no such task, source or choice.
        """
        self.select(tasks, task, source, attempt, size)
        batch = Batch(1, 4 * ((self.length + 3) // 4))
        batch.task[0], batch.source[0], batch.attempt[0] = task, source, attempt
        batch.ttl[0], batch.size[0] = ttl, size
        self.craft(tasks, batch, 1)
        return bytes(batch.packets[: self.length])

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def write_all(self, tasks: Tasks, batch: Batch, count: index) -> index:
        """Like `craft`, up to the first probe that does not fit; return the number written."""
        row: index
        for row in range(count):
            self.select(tasks, batch.task[row], batch.source[row], batch.attempt[row], batch.size[row])
            if self.length > batch.stride or self.length > MOST_BYTES + (0 if self.family == 4 else IPV6_BYTES):
                return row
            self.write(batch, row, batch.ttl[row])
        return count

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def write(self, batch: Batch, row: index, ttl: u64) -> cython.int:
        """Write the current probe into a batch that has room for it (RFC 791, RFC 8200, RFC 768)."""
        at: index = row * batch.stride
        word: index = at // 4
        length: u64 = self.length
        if self.family == 4:
            source: u64 = self.source_low & MASK32
            destination: u64 = self.destination_low & MASK32
            total: u64 = 0x4500 + length + self.ident + DONT_FRAGMENT + (ttl << 8 | UDP) + source + destination
            batch.put(word, 0x4500_0000 | length)
            batch.put(word + 1, self.ident << 16 | DONT_FRAGMENT)
            batch.put(word + 2, ttl << 24 | UDP << 16 | MASK16 ^ folded(total))
            batch.put(word + 3, source)
            batch.put(word + 4, destination)
            word += 5
        else:
            batch.put(word, 0x6000_0000 | self.ident)
            batch.put(word + 1, (length - IPV6_BYTES) << 16 | UDP << 8 | ttl)
            batch.put(word + 2, self.source_high >> 32)
            batch.put(word + 3, self.source_high)
            batch.put(word + 4, self.source_low >> 32)
            batch.put(word + 5, self.source_low)
            batch.put(word + 6, self.destination_high >> 32)
            batch.put(word + 7, self.destination_high)
            batch.put(word + 8, self.destination_low >> 32)
            batch.put(word + 9, self.destination_low)
            word += 10
        batch.put(word, self.source_port << 16 | self.port)
        batch.put(word + 1, (length - self.header + UDP_BYTES) << 16 | self.checksum)
        batch.length[row] = length
        return self.write_payload(batch, at + self.header)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def write_payload(self, batch: Batch, at: index) -> cython.int:
        """Write the payload, zeros up to the packet's end, in words; then the token."""
        word: index = at // 4
        read: index = self.payloads.start[self.row] // 4
        end: index = word + (self.payloads.length[self.row] + 3) // 4
        while word < end:
            batch.words[word] = self.payloads.words[read]
            word += 1
            read += 1
        end = (at + self.length - self.header + 3) // 4
        while word < end:
            batch.words[word] = 0
            word += 1
        at += self.payloads.token_at[self.row]
        end = at + self.payloads.token_size[self.row]
        shift: index = 56
        while at < end:
            batch.packets[at] = self.token >> shift & 0xFF
            at += 1
            shift -= 8
        return 0

    # ---- quotes

    @cython.ccall
    @cython.nogil
    @cython.exceptval(0xFFFF_FFFF_FFFF_FFFF, check=True)
    def mark_of(self, quoted: QuotedProbe, reply_id: u64) -> u64:
        """Hash that tells an error from others about the same probe: its own IPv4 id, and every byte that it quotes."""
        at: index = quoted.begin
        place: index
        word: u64
        self.hash.start()
        self.hash.take(reply_id)
        while at < quoted.payload_end:
            word = 0
            for place in range(at, min(at + 8, quoted.payload_end)):
                word = (word << 8 & MASK64) | quoted.data[place]
            self.hash.take(word)
            at += 8
        self.hash.take(quoted.payload_end - quoted.begin)
        return self.hash.finish()

    def find(self, quoted: QuotedProbe, tasks: Tasks, task: int, attempts: int, size: int = 0) -> int:
        """The quoted attempt of a task: the one that agrees best; -1 if no bit of any agrees.

        That probe then is the current one, `source` is the index of its source address, and of the quote
        - `agree` bits agree that are specific to this probe, less what a choice among several probes gives away,
        - `shared` bits agree that other probes of the task or flow have too,
        - `disagree` bits do not, and `changed` tells in which fields (see `is_rewritten`).

        Args:
            quoted: what an error quotes.
            tasks: what is probed.
            task: the task by the quote's destination, unless a NAT changed that.
            attempts: number of its probes so far.
            size: what they were padded to, or ANY_SIZE.
        """
        return int(self.search(quoted, tasks, task, attempts, size))

    def agrees(self, quoted: QuotedProbe, tasks: Tasks, task: int, attempt: int, size: int = 0) -> bool:
        """Whether a quote may be of one probe, sent from the first of our addresses.

        For callers that find probes by their content, where `find` would compute all of them. It sets the current
        probe, `agree`, `shared`, `disagree` and `changed` as `find` does, except that it does not reduce `agree` for a
        choice among several probes: the caller must.
        """
        self.select(tasks, task, 0, attempt, size)
        return bool(self.compare(quoted))

    @property
    def is_rewritten(self) -> bool:
        """Whether the quote differs in a way that only a middlebox, or a guess, explains."""
        return bool(self.changed & ~SWAPPED)

    @property
    def evidence(self) -> tuple[str, ...]:
        """What distinguished the probe from its neighbours: as in `core.recent.EVIDENCE`, or `flow-label`."""
        names: list[str] = []
        if not self.changed & _IDENT:
            if self.family == 4:
                names.append("ip-id")
            elif not self.label_per_flow:
                names.append("flow-label")
        if not self.changed & _CHECKSUM:
            names.append("udp-checksum")
        if 8 * self.payloads.token_size[self.row] > self.hidden:
            names.append("payload")
        return tuple(names)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def search(self, quoted: QuotedProbe, tasks: Tasks, task: index, attempts: index, size: index) -> index:
        """As `find`."""
        family: cython.int = family_of(tasks.destination_high[task], tasks.destination_low[task])
        if size == _ANY_SIZE:
            size = 0
            if quoted.udp_length >= UDP_BYTES:
                size = quoted.udp_length + (20 if family == 4 else IPV6_BYTES)
        known: index = self.source_of(quoted)
        tried: index = 0
        source: index
        attempt: index
        self.attempt = -1
        self.source = self.score = 0
        for source in range(self.source_count):
            if source == known or (
                known < 0 and family_of(self.sources_high[source], self.sources_low[source]) == family
            ):
                for attempt in range(attempts):
                    self.consider(quoted, tasks, task, source, attempt, size)
                tried += attempts
        if self.attempt < 0:
            self.agree = self.shared = self.disagree = self.changed = 0
        elif tried > 1:
            self.select(tasks, task, self.source, self.attempt, size)
            self.compare(quoted)
            self.agree = max(self.agree - doublings(tried), 0)  # each doubling doubles the chance of a guess
        return self.attempt

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def consider(
        self, quoted: QuotedProbe, tasks: Tasks, task: index, source: index, attempt: index, size: index
    ) -> cython.int:
        """Note a probe if it agrees better than those before; among equals the latest."""
        self.select(tasks, task, source, attempt, size)
        if self.compare(quoted) == 0 or self.agree == 0:
            return 0
        score: index = 1024 * (self.agree + self.shared) - self.disagree
        if score >= self.score:
            self.score = score
            self.source = source
            self.attempt = attempt
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def source_of(self, quoted: QuotedProbe) -> index:
        """Index of our address that a quote has as source; -1 for none, because a NAT may have changed it."""
        source: index
        for source in range(self.source_count):
            if self.sources_high[source] == quoted.source_high and self.sources_low[source] == quoted.source_low:
                return source
        return -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare(self, quoted: QuotedProbe) -> cython.int:
        """Compare a quote with the current probe; 0 if it is of another one, whatever happened on the way."""
        self.agree = self.shared = self.disagree = self.changed = 0
        if quoted.udp_length >= 0:
            if quoted.udp_length != self.length - self.header + UDP_BYTES:
                return 0
            self.agree += self.length_bits
        if self.compare_payload(quoted) == 0:
            return 0
        if quoted.source_high != self.source_high or quoted.source_low != self.source_low:
            self.changed |= _SOURCE
        if quoted.source_port != self.source_port:
            self.changed |= _SOURCE
        else:
            self.shared += self.port_bits
        if quoted.destination_high != self.destination_high or quoted.destination_low != self.destination_low:
            self.changed |= _DESTINATION
        if quoted.port != self.port:
            self.changed |= _DESTINATION
        self.compare_ident(quoted)
        self.compare_checksum(quoted)
        return 1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare_payload(self, quoted: QuotedProbe) -> cython.int:
        """Compare the payload up to the end of the token; 0 if it differs. `hidden` bits of it are not quoted."""
        size: index = self.payloads.token_size[self.row]
        token_at: index = self.payloads.token_at[self.row]
        self.hidden = 8 * size
        if size == 0:
            return 1
        there: index = min(quoted.payload_end - quoted.payload_at, token_at + size)
        at: index
        sent: u64
        for at in range(there):
            if at < token_at:
                sent = self.payloads.data[self.payloads.start[self.row] + at]
            else:
                sent = self.token >> (56 - 8 * (at - token_at)) & 0xFF
            if quoted.data[quoted.payload_at + at] != sent:
                return quoted.is_padding(quoted.payload_at + at)
            if at >= token_at:
                self.agree += 8
                self.hidden -= 8
        return 1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare_ident(self, quoted: QuotedProbe) -> cython.int:
        """Compare the IPv4 id or flow label. Some routers clear it; no probe has 0."""
        bits: index = ID_BITS if self.family == 4 else LABEL_BITS
        if quoted.ident == self.ident:
            if self.family == 6 and self.label_per_flow:
                self.shared += bits
            else:
                self.agree += bits
        elif self.family == 4 and ((quoted.ident & 0xFF) << 8 | quoted.ident >> 8) == self.ident:
            self.agree += bits - 1  # two guesses would do
            self.changed |= _SWAPPED
        else:
            self.changed |= _IDENT
            if quoted.ident != 0:
                self.disagree += bits
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare_checksum(self, quoted: QuotedProbe) -> cython.int:
        """Compare the UDP checksum. A NAT may have adapted it to its changes; no probe has 0."""
        bits: index = min(self.hidden, CHECKSUM_BITS)
        adapted: cython.longlong = self.checksum
        if self.changed & (_SOURCE | _DESTINATION):
            adapted = checksum_of(
                self.rest,
                quoted.source_high,
                quoted.source_low,
                quoted.destination_high,
                quoted.destination_low,
                quoted.source_port,
                quoted.port,
            )
            bits = max(bits - 1, 0)  # two guesses would do
        if quoted.checksum == self.checksum or quoted.checksum == adapted:  # noqa: PLR1714 - no tuple is made
            self.agree += bits
        else:
            self.changed |= _CHECKSUM
            if quoted.checksum > 0:
                self.disagree += CHECKSUM_BITS
        return 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def family_of(high: u64, low: u64) -> cython.int:
    """4 for an IPv4 address, else 6."""
    return 4 if high == 0 and low >> 32 == MAPPED else 6


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def doublings(number: index) -> cython.int:
    """Number of times that 1 must be doubled to reach `number`."""
    times: cython.int = 0
    while number > 1:
        number = (number + 1) // 2
        times += 1
    return times


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def halves(word: u64) -> cython.longlong:
    """Sum of both 32-bit halves. Folded, it is the sum of the four 16-bit words."""
    return (word >> 32) + (word & MASK32)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def folded(total: u64) -> cython.longlong:
    """A sum of 16-bit words with its carries added (RFC 1071)."""
    while total >> 16:
        total = (total & MASK16) + (total >> 16)
    return total


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def checksum_of(
    rest: u64,
    source_high: u64,
    source_low: u64,
    destination_high: u64,
    destination_low: u64,
    source_port: u64,
    port: u64,
) -> cython.longlong:
    """The UDP checksum (RFC 768; RFC 8200, 8.1); `rest` is the sum of everything but addresses and ports.

    Mapping an IPv4 address adds 0xFFFF, which leaves the folded sum unchanged.
    """
    ends: u64 = halves(source_high) + halves(source_low) + halves(destination_high) + halves(destination_low)
    checksum: u64 = MASK16 ^ folded(rest + ends + source_port + port)
    return checksum or 0xFFFF  # 0 would mean no checksum


def _word_sum(data: bytes) -> int:
    """Sum of the 16-bit words of `data`, an odd byte padded with zero."""
    return 256 * sum(data[0::2]) + sum(data[1::2])


def _check_payloads(rows: Sequence[tuple[bytes, int, int]], choices: Sequence[Sequence[int]]) -> None:
    for number, (row, at, size) in enumerate(rows):
        if not (0 <= size <= TOKEN_BYTES and 0 <= at <= len(row) - size and len(row) <= 0xFFFF):
            raise ValueError(f"payload {number}: {size} bytes of token at {at} of {len(row)}")
    for choice in choices:
        if not choice or not all(GENERIC <= row < len(rows) for row in choice):
            raise ValueError(f"no choice of {len(rows)} payloads: {choice}")
    if len(rows) < VARIANTS and any(GENERIC in choice for choice in choices):
        raise ValueError(f"fewer payloads than the {VARIANTS} that GENERIC stands for")
