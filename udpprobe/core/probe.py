"""Probes: datagrams that prove, by what an ICMP error quotes of them, that whoever sends the error has seen them.

Everything in a probe that is free to choose is taken from a keyed hash of its addresses, its ports and its attempt.
So an error is validated by computing the probe again, and nothing needs to be remembered of it (Durumeric, Wustrow,
Halderman, "ZMap", USENIX Security 2013, section 3). What has to be guessed by a forger who sees no probe:

| field                  | scan, check: bits                 | trace, mtu: bits         | quoted                        |
|------------------------|-----------------------------------|--------------------------|-------------------------------|
| source port            | log2(ports we own), the same for all probes of a task or flow | | always                        |
| IPv4 id                | 16, of each probe                 | 16, of each probe        | always; some devices change it |
| IPv6 flow label        | 20, of each probe                 | 20, the same in a flow   | always                        |
| UDP length             | 3 where the payload is generic    | 0                        | always                        |
| UDP checksum           | up to 16, of each probe           | likewise                 | always; NATs change it        |
| token in the payload   | 8 a byte, up to 64, of each probe | likewise                 | by most hosts and routers     |

The checksum follows from the payload. It counts as much as is not quoted of the token, at most 16 bits. The id comes
from other bits of the hash than the token does, so id and checksum are independent.

Load balancers choose a path by addresses, ports and flow label. So in a flow of `trace` or `mtu` these are constant
(Augustin et al., "Avoiding traceroute anomalies with Paris traceroute", IMC 2006).
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

MASK64 = cython.declare(u64, 0xFFFF_FFFF_FFFF_FFFF)
MASK32 = cython.declare(u64, 0xFFFF_FFFF)
MASK16 = cython.declare(u64, 0xFFFF)
MAPPED = cython.declare(u64, 0xFFFF)
"""Bits 32 to 47 of the low word of an IPv4 address (RFC 4291, 2.5.5.2)."""
SIP_A = cython.declare(u64, 0x736F_6D65_7073_6575)
SIP_B = cython.declare(u64, 0x646F_7261_6E64_6F6D)
SIP_C = cython.declare(u64, 0x6C79_6765_6E65_7261)
SIP_D = cython.declare(u64, 0x7465_6462_7974_6573)
FIVE_WORDS = cython.declare(u64, 40 << 56)

IS_LITTLE = cython.declare(cython.int, sys.byteorder == "little")
UDP = cython.declare(u64, 17)
UDP_BYTES = cython.declare(index, 8)
DONT_FRAGMENT = cython.declare(u64, 0x4000)
TOKEN_BYTES = 8
ID_BITS = cython.declare(index, 16)
LABEL_BITS = cython.declare(index, 20)
CHECKSUM_BITS = cython.declare(index, 16)

_GENERIC = cython.declare(index, -1)
GENERIC = _GENERIC
"""Stands in a choice of payloads for the first VARIANTS rows: which of them, the hash says."""
VARIANTS = 8
"""Rows that differ in length only, so that the UDP length carries bits too."""
VARIANT_BITS = cython.declare(index, 3)

_ANY_SIZE = cython.declare(index, -1)
ANY_SIZE = _ANY_SIZE
"""Of `find`: the quote says how long the probe was, and the caller knows whether it was."""
MOST_BYTES = cython.declare(index, 65_535)
"""Of an IP packet, as far as its length field goes."""
MOST_ATTEMPTS = 1 << 31
"""Attempts are numbered below this."""
FLOW = cython.declare(u64, 0xFFFF_FFFF)
"""In place of an attempt: what all probes of a flow share."""
PORT_CHOICE = cython.declare(u64, 0xFFFF_FFFE)
"""In place of an attempt: which port a host's probes leave from."""

_SOURCE = cython.declare(index, 1)
_DESTINATION = cython.declare(index, 2)
_IDENT = cython.declare(index, 4)
_SWAPPED = cython.declare(index, 8)
_CHECKSUM = cython.declare(index, 16)
SOURCE, DESTINATION, IDENT, SWAPPED, CHECKSUM = _SOURCE, _DESTINATION, _IDENT, _SWAPPED, _CHECKSUM
"""What differs between a quote and the probe: bits of `Prober.changed`. (Typed names are not seen from Python.)"""


@cython.cclass
class SipHash:
    """SipHash (Aumasson and Bernstein, 2012) of 64-bit words, with 1 round a word and 3 at the end, as in CPython.

    Args:
        key: two halves of 128 secret bits.
    """

    def __init__(self, key: tuple[int, int]) -> None:
        self.key_low, self.key_high = key
        self.a = self.b = self.c = self.d = 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def start(self) -> cython.int:
        self.a = self.key_low ^ SIP_A
        self.b = self.key_high ^ SIP_B
        self.c = self.key_low ^ SIP_C
        self.d = self.key_high ^ SIP_D
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def turn(self) -> cython.int:
        """One round. In locals, which stay in registers."""
        a: u64 = (self.a + self.b) & MASK64
        b: u64 = ((self.b << 13 | self.b >> 51) & MASK64) ^ a
        a = (a << 32 | a >> 32) & MASK64
        c: u64 = (self.c + self.d) & MASK64
        d: u64 = ((self.d << 16 | self.d >> 48) & MASK64) ^ c
        a = (a + d) & MASK64
        d = ((d << 21 | d >> 43) & MASK64) ^ a
        c = (c + b) & MASK64
        b = ((b << 17 | b >> 47) & MASK64) ^ c
        c = (c << 32 | c >> 32) & MASK64
        self.a = a
        self.b = b
        self.c = c
        self.d = d
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def take(self, word: u64) -> cython.int:
        self.d ^= word
        self.turn()
        self.a ^= word
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def turn_thrice(self) -> cython.int:
        self.turn()
        self.turn()
        self.turn()
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def take_five(self, v: u64, w: u64, x: u64, y: u64, z: u64) -> cython.int:
        """Hash five words as `of_128` does, up to where the state makes the first half of the result."""
        self.start()
        self.b ^= 0xEE
        self.take(v)
        self.take(w)
        self.take(x)
        self.take(y)
        self.take(z)
        self.take(FIVE_WORDS)
        self.c ^= 0xEE
        return self.turn_thrice()

    def of(self, words: Sequence[int], compressions: int = 1, finalizations: int = 3) -> int:
        """The 64-bit hash of words, whose bytes are their little-endian ones."""
        self.start()
        self._take_all(words, compressions)
        self.c ^= 0xFF
        return self._finished(finalizations)

    def of_128(self, words: Sequence[int], compressions: int = 1, finalizations: int = 3) -> tuple[int, int]:
        """The 128-bit hash of words, as two halves."""
        self.start()
        self.b ^= 0xEE
        self._take_all(words, compressions)
        self.c ^= 0xEE
        first = self._finished(finalizations)
        self.b ^= 0xDD
        return first, self._finished(finalizations)

    def _take_all(self, words: Sequence[int], compressions: int) -> None:
        for word in (*words, 8 * len(words) % 256 << 56):
            self.d ^= word
            for _ in range(compressions):
                self.turn()
            self.a ^= word

    def _finished(self, finalizations: int) -> int:
        for _ in range(finalizations):
            self.turn()
        return self.a ^ self.b ^ self.c ^ self.d


@cython.cclass
class Payloads:
    """What probes may carry.

    Args:
        rows: the bytes of each payload, where the token goes in it, and how many bytes of the token, 0 to TOKEN_BYTES.
            If GENERIC is used, the first VARIANTS rows are its variants.
        choices: what a task may be sent, in turn: rows, or GENERIC.

    Raises:
        ValueError: a token that does not fit, or a choice of nothing or of a row that is not there.
    """

    def __init__(self, rows: Sequence[tuple[bytes, int, int]], choices: Sequence[Sequence[int]] = ((0,),)) -> None:
        _check_payloads(rows, choices)
        data, start = bytearray(), []
        for row, at, size in rows:
            start.append(len(data))
            data += row[:at] + bytes(size) + row[at + size:]
            data += bytes((4 - len(data) % 4) % 4)       # so that it can be copied in words
        self.longest = max(len(row) for row, _, _ in rows)
        self.data = bytes(data)
        self.words = memoryview(bytes(data) or bytes(4)).cast("I")
        self.start = array("I", start)
        self.length = array("I", [len(row) for row, _, _ in rows])
        self.token_at = array("I", [at for _, at, _ in rows])
        self.token_size = bytes(size for _, _, size in rows)
        self.sum = array("I", [_sum_of(row[:at] + bytes(size) + row[at + size:]) for row, at, size in rows])
        self.order = array("i", [row for choice in choices for row in choice])
        self.first = array("I", [sum(map(len, choices[:number])) for number in range(len(choices))])
        self.count = array("I", [len(choice) for choice in choices])


@cython.cclass
class Tasks:
    """What is probed: (n,) columns, one buffer each, which are read in place.

    Args:
        destination_high: first half of each address ("Q"); IPv4 addresses are mapped (RFC 4291, 2.5.5.2).
        destination_low: second half ("Q").
        source_port: of each task ("H").
        port: of each destination ("H").
        choice: which of `Payloads`' choices it is sent ("H").
    """

    def __init__(self, destination_high: array[int], destination_low: array[int], source_port: array[int],
                 port: array[int], choice: array[int]) -> None:
        self.destination_high = self.high = destination_high
        self.destination_low = self.low = destination_low
        self.source_port = self.from_port = source_port
        self.port = self.to_port = port
        self.choice = self.payload = choice


@cython.cclass
class Batch:
    """Room for probes that are sent together: what is asked for, and the packets.

    Its arrays are its caller's to fill and to read; row n of each belongs to the packet at `n * stride`.

    Args:
        capacity: how many probes.
        stride: bytes a packet; a multiple of 4.
    """

    def __init__(self, capacity: int, stride: int) -> None:
        if stride % 4 or stride <= 0:
            raise ValueError(f"a stride of {stride} bytes is no multiple of 4")
        self.stride = stride
        self.task = self.tasks = array("I", bytes(4 * capacity))
        self.source = self.sources = array("H", bytes(2 * capacity))
        self.attempt = self.attempts = array("I", bytes(4 * capacity))
        self.ttl = self.ttls = bytearray(capacity)
        self.size = self.sizes = array("I", bytes(4 * capacity))
        """Bytes of the IP packet that a shorter payload is filled up to, with zeros; 0 to leave it as it is."""
        self.length = self.lengths = array("I", bytes(4 * capacity))
        """Bytes of each IP packet."""
        self.packets = self.data = bytearray(capacity * stride)
        self.words = memoryview(self.packets).cast("I")

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def put(self, word: index, value: u64) -> cython.int:
        """Write 32 bits in network byte order, as the RFCs draw headers."""
        if IS_LITTLE:
            value = value >> 24 & 0xFF | value >> 8 & 0xFF00 | (value & 0xFF00) << 8 | (value & 0xFF) << 24
        self.words[word] = value & MASK32
        return 0


@cython.cclass
class Quoted:
    """What an ICMP error quotes of a datagram; -1 for what it does not reach.

    Args:
        data: the bytes that `payload_at` and `payload_end` point into.
    """

    def __init__(self, data: bytes | bytearray | memoryview = b"") -> None:
        self.buffer = self.data = data
        self.source_high = self.source_low = self.destination_high = self.destination_low = 0
        self.source_port = self.port = -1
        self.ident = 0
        """IPv4 id, or IPv6 flow label."""
        self.udp_length = self.checksum = -1
        self.payload_at = self.payload_end = 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def is_padding(self, at: index) -> cython.int:
        """Whether there are only zeros from this byte of the buffer on: RFC 4884 has short quotes filled up."""
        while at < self.payload_end:
            if self.data[at] != 0:
                return 0
            at += 1
        return 1


@cython.cclass
class Prober:
    """Computes probes: to send them, and to compare them with what is quoted.

    It works in attributes of its own, so each thread needs one; they may share everything else.

    Args:
        key: two halves of 128 secret bits, of this run only.
        payloads: what probes carry.
        sources: the addresses they leave from, two halves each.
        first_port: the first of the source ports we own.
        ports: how many there are.
        port_bits: how many bits the choice of the source port is worth; where a single one was drawn from a range,
            log2 of that range. None for log2 of `ports`.
        label_per_flow: the IPv6 flow label depends on addresses and ports only, as a path's probes need it.
    """

    def __init__(self, key: tuple[int, int], payloads: Payloads, sources: Sequence[tuple[int, int]],  # noqa: PLR0913
                 first_port: int, ports: int = 1, *, port_bits: int | None = None, label_per_flow: bool = False) -> None:
        self.hash = SipHash(key)
        self.payloads = payloads
        self.sources_high = array("Q", [high for high, _ in sources])
        self.sources_low = array("Q", [low for _, low in sources])
        self.source_count = len(sources)
        self.first_port, self.ports = first_port, ports
        self.port_bits = ports.bit_length() - 1 if port_bits is None else port_bits
        self.label_per_flow = label_per_flow
        self.source_high = self.source_low = self.destination_high = self.destination_low = self.token = 0
        self.family = self.source_port = self.port = self.row = self.header = self.length = self.ident = 0
        self.checksum = self.length_bits = self.rest = self.hidden = 0
        self.source = self.attempt = self.agree = self.shared = self.disagree = self.changed = 0

    def source_port_for(self, destination: tuple[int, int], rank: int) -> int:
        """Which port of ours the probes of a task leave from: secret, and different for neighbouring ranks.

        Args:
            destination: the host's address.
            rank: 0, 1, 2 … for the tasks of a host. An answer from another port than was asked says by the one it
                arrives at which task it is about, so these should share as few as possible.
        """
        high, low = destination
        self.hash.take_five(0, 0, high, low, PORT_CHOICE)
        chance = self.hash.a ^ self.hash.b ^ self.hash.c ^ self.hash.d
        return int(self.first_port + (chance + rank) % self.ports)

    # ---- computing

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def aim(self, tasks: Tasks, task: index, source: index, attempt: index, size: index) -> cython.int:
        """Compute the probe of a task, a source and an attempt: the same one whenever it is asked."""
        return self.set(self.sources_high[source], self.sources_low[source], tasks.high[task], tasks.low[task],
                        tasks.from_port[task], tasks.to_port[task], tasks.payload[task], attempt, size)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def set(self, source_high: u64, source_low: u64, destination_high: u64, destination_low: u64,  # noqa: PLR0913
            source_port: index, port: index, choice: index, attempt: index, size: index) -> cython.int:
        self.source_high = source_high
        self.source_low = source_low
        self.destination_high = destination_high
        self.destination_low = destination_low
        self.source_port = source_port
        self.port = port
        ports: u64 = source_port << 16 | port
        self.hash.take_five(source_high, source_low, destination_high, destination_low, ports << 32 | attempt)
        self.token = self.hash.a ^ self.hash.b ^ self.hash.c ^ self.hash.d
        self.hash.b ^= 0xDD
        self.hash.turn_thrice()
        mark: u64 = self.hash.a ^ self.hash.b ^ self.hash.c ^ self.hash.d
        turn: index = 0
        if self.payloads.count[choice] > 1:
            turn = attempt % self.payloads.count[choice]
        row: index = self.payloads.order[self.payloads.first[choice] + turn]
        self.length_bits = 0
        if row == _GENERIC:
            row = mark >> 61
            if size == 0:
                self.length_bits = VARIANT_BITS
        self.row = row
        if destination_high == 0 and destination_low >> 32 == MAPPED:
            self.family = 4
            self.header = 28
            self.ident = 1 + (mark & MASK32) % 0xFFFF        # never 0, which the kernel would replace
        else:
            self.family = 6
            self.header = 48
            if self.label_per_flow:
                self.hash.take_five(source_high, source_low, destination_high, destination_low, ports << 32 | FLOW)
                mark = self.hash.a ^ self.hash.b ^ self.hash.c ^ self.hash.d
            self.ident = 1 + (mark & MASK32) % 0xFFFFF       # never 0, which would be no label (RFC 6437, section 2)
        self.length = self.header + self.payloads.length[row]
        if self.length < size:
            self.length = size
        self.sum_up()
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def sum_up(self) -> cython.int:
        """The UDP checksum (RFC 768, RFC 8200, 8.1)."""
        size: index = self.payloads.token_size[self.row]
        total: u64 = UDP + 2 * (self.length - self.header + UDP_BYTES) + self.payloads.sum[self.row]
        if size > 0:
            token: u64 = self.token >> (64 - 8 * size) << (64 - 8 * size) & MASK64
            token = folded(halves(token))
            if self.payloads.token_at[self.row] & 1:     # begins with the second byte of a word
                token <<= 8
            total += token
        self.rest = total
        self.checksum = checksum_of(total, self.source_high, self.source_low, self.destination_high,
                                    self.destination_low, self.source_port, self.port)
        return 0

    # ---- sending

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def put(self, batch: Batch, row: index, ttl: u64) -> cython.int:
        """Write the probe at hand into a batch, which has room for it (RFC 791, RFC 8200, RFC 768)."""
        at: index = row * batch.stride
        word: index = at // 4
        if self.family == 4:
            source: u64 = self.source_low & MASK32
            destination: u64 = self.destination_low & MASK32
            total: u64 = 0x4500 + self.length + self.ident + DONT_FRAGMENT + (ttl << 8 | UDP) + source + destination
            batch.put(word, 0x4500_0000 | self.length)
            batch.put(word + 1, self.ident << 16 | DONT_FRAGMENT)
            batch.put(word + 2, ttl << 24 | UDP << 16 | MASK16 ^ folded(total))
            batch.put(word + 3, source)
            batch.put(word + 4, destination)
            word += 5
        else:
            batch.put(word, 0x6000_0000 | self.ident)
            batch.put(word + 1, (self.length - 40) << 16 | UDP << 8 | ttl)
            batch.put(word + 2, self.source_high >> 32)
            batch.put(word + 3, self.source_high & MASK32)
            batch.put(word + 4, self.source_low >> 32)
            batch.put(word + 5, self.source_low & MASK32)
            batch.put(word + 6, self.destination_high >> 32)
            batch.put(word + 7, self.destination_high & MASK32)
            batch.put(word + 8, self.destination_low >> 32)
            batch.put(word + 9, self.destination_low & MASK32)
            word += 10
        batch.put(word, self.source_port << 16 | self.port)
        batch.put(word + 1, (self.length - self.header + UDP_BYTES) << 16 | self.checksum)
        batch.lengths[row] = self.length
        return self.put_payload(batch, at + self.header)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def put_payload(self, batch: Batch, at: index) -> cython.int:
        """The payload in words of 4 bytes, zeros up to the packet's length, and the token."""
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
        size: index = self.payloads.token_size[self.row]
        shift: index = 56
        while size > 0:
            batch.data[at] = self.token >> shift & 0xFF
            at += 1
            shift -= 8
            size -= 1
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def craft_some(self, tasks: Tasks, batch: Batch, count: index) -> index:
        """As `craft`; ends before a probe that has no room."""
        row: index = 0
        while row < count:
            self.aim(tasks, batch.tasks[row], batch.sources[row], batch.attempts[row], batch.sizes[row])
            if self.length > batch.stride or self.length > MOST_BYTES:
                break
            self.put(batch, row, batch.ttls[row])
            row += 1
        return row

    def craft(self, tasks: Tasks, batch: Batch, count: int) -> None:
        """Write the first `count` packets of a batch and their lengths, as its other arrays ask for them.

        Raises:
            ValueError: a packet is longer than the batch's stride.
            IndexError: there is no such task, source, choice or row.
        """
        some: index = count
        with cython.nogil:
            done: index = self.craft_some(tasks, batch, some)
        if done < some:
            raise ValueError(f"a probe of {self.length} bytes has no room in {batch.stride}, or in an IP packet")

    def craft_one(self, tasks: Tasks, task: int, *, source: int = 0, attempt: int = 0,  # noqa: PLR0913
                  ttl: int = 64, size: int = 0) -> bytes:
        """One packet.

        Args:
            tasks: what is probed.
            task: which of them.
            source: which of our addresses.
            attempt: 0, 1, 2 … below MOST_ATTEMPTS.
            ttl: or hop limit.
            size: bytes of the IP packet that a shorter payload is filled up to.

        Raises:
            ValueError: it would be longer than an IP packet can be.
            IndexError: there is no such task, source or choice.
        """
        self.aim(tasks, task, source, attempt, size)
        if self.length > MOST_BYTES:
            raise ValueError(f"a probe of {self.length} bytes is longer than an IP packet can be")
        batch = Batch(1, 4 * ((self.length + 3) // 4))
        self.put(batch, 0, ttl)
        return bytes(batch.packets[:self.length])

    def token_of(self, tasks: Tasks, task: int, *, source: int = 0, attempt: int = 0) -> bytes:
        """TOKEN_BYTES, of which the probe carries as many as its payload has room for."""
        self.aim(tasks, task, source, attempt, 0)
        return int(self.token).to_bytes(TOKEN_BYTES)

    # ---- validating

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare(self, quoted: Quoted) -> cython.int:
        """Compare a quote with the probe at hand; 0 if it can't be of this probe, whatever happened on the way.

        Then `agree` holds the bits that agree and are this probe's alone, `shared` those that other probes of its
        task or flow have too, `disagree` the bits that differ, and `changed` what somebody seems to have rewritten.
        """
        self.agree = self.shared = self.disagree = self.changed = 0
        if quoted.udp_length >= 0:
            if quoted.udp_length != self.length - self.header + UDP_BYTES:
                return 0
            self.agree += self.length_bits
        if self.compare_payload(quoted) == 0:
            return 0
        self.compare_ident(quoted)
        if quoted.source_high != self.source_high or quoted.source_low != self.source_low:
            self.changed |= _SOURCE
        if quoted.destination_high != self.destination_high or quoted.destination_low != self.destination_low:
            self.changed |= _DESTINATION
        if quoted.port != self.port:
            self.changed |= _DESTINATION
        if quoted.source_port == self.source_port:
            self.shared += self.port_bits
        else:
            self.changed |= _SOURCE
        self.compare_checksum(quoted)
        return 1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare_payload(self, quoted: Quoted) -> cython.int:
        """Compare what is quoted of the payload up to the end of the token; 0 if it differs.

        Then `hidden` holds the bits of the token that are not quoted.
        """
        size: index = self.payloads.token_size[self.row]
        token_at: index = self.payloads.token_at[self.row]
        self.hidden = 8 * size
        if size == 0:
            return 1
        there: index = quoted.payload_end - quoted.payload_at
        if there > token_at + size:
            there = token_at + size
        at: index = 0
        sent: u64 = 0
        while at < there:
            if at < token_at:
                sent = self.payloads.data[self.payloads.start[self.row] + at]
            else:
                sent = self.token >> (56 - 8 * (at - token_at)) & 0xFF
            if quoted.data[quoted.payload_at + at] != sent:
                return quoted.is_padding(quoted.payload_at + at)
            if at >= token_at:
                self.agree += 8
                self.hidden -= 8
            at += 1
        return 1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare_ident(self, quoted: Quoted) -> cython.int:
        """Compare the IPv4 id or the flow label. Some routers clear it, and no probe's is 0."""
        bits: index = ID_BITS if self.family == 4 else LABEL_BITS
        if quoted.ident == 0:
            return 0
        if quoted.ident == self.ident:
            if self.family == 6 and self.label_per_flow:
                self.shared += bits
            else:
                self.agree += bits
        elif self.family == 4 and ((quoted.ident & 0xFF) << 8 | quoted.ident >> 8) == self.ident:
            self.agree += bits - 1      # a forger has two that would do
            self.changed |= _SWAPPED
        else:
            self.disagree += bits
            self.changed |= _IDENT
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def compare_checksum(self, quoted: Quoted) -> cython.int:
        """Compare the UDP checksum. A NAT may have adapted it to the addresses and ports that it wrote, or not."""
        bits: index = self.hidden if self.hidden < CHECKSUM_BITS else CHECKSUM_BITS
        if quoted.checksum <= 0:        # not quoted, or cleared: no probe's is 0
            return 0
        adapted: index = self.checksum
        if self.changed & (_SOURCE | _DESTINATION):
            adapted = checksum_of(self.rest, quoted.source_high, quoted.source_low, quoted.destination_high,
                                  quoted.destination_low, quoted.source_port, quoted.port)
            if bits > 0:
                bits -= 1               # a forger has two that would do
        if quoted.checksum == self.checksum or quoted.checksum == adapted:  # noqa: PLR1714 - no tuple
            self.agree += bits
        else:
            self.disagree += CHECKSUM_BITS
            self.changed |= _CHECKSUM
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def search(self, quoted: Quoted, tasks: Tasks, task: index, attempts: index, size: index) -> index:  # noqa: PLR0913
        """As `find`."""
        family: index = family_of(tasks.high[task], tasks.low[task])
        if size == _ANY_SIZE:
            size = 0
            if quoted.udp_length >= UDP_BYTES:
                size = quoted.udp_length + (20 if family == 4 else 40)
        known: index = self.find_source(quoted)
        best: index = -1
        best_source: index = 0
        best_score: index = 0
        tried: index = 0
        source: index
        attempt: index
        for source in range(self.source_count):
            if known >= 0 and source != known:
                continue
            if family_of(self.sources_high[source], self.sources_low[source]) != family:
                continue
            for attempt in range(attempts):
                self.aim(tasks, task, source, attempt, size)
                tried += 1
                if self.compare(quoted) == 0 or self.agree == 0:
                    continue
                score: index = (self.agree + self.shared) * 1024 - self.disagree
                if score >= best_score:
                    best = attempt
                    best_source = source
                    best_score = score
        self.attempt = best
        self.source = best_source
        self.agree = self.shared = self.disagree = self.changed = 0
        if best >= 0:
            self.aim(tasks, task, best_source, best, size)
            self.compare(quoted)
            while tried > 1:        # a forger had so many that would do
                tried = (tried + 1) // 2
                if self.agree > 0:
                    self.agree -= 1
        return best

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def find_source(self, quoted: Quoted) -> index:
        """Which of our addresses the quote has; -1 for none: a NAT wrote another."""
        source: index
        for source in range(self.source_count):
            if self.sources_high[source] == quoted.source_high and self.sources_low[source] == quoted.source_low:
                return source
        return -1

    def find(self, quoted: Quoted, tasks: Tasks, task: int, attempts: int, size: int = 0) -> int:  # noqa: PLR0913
        """Which attempt of a task a quote is most likely of; -1 if no unguessable bit of any agrees.

        Then `agree`, `shared`, `disagree`, `changed` say how sure that is, `source` is the number of the address it left
        from, and the probe's fields are at hand. The more attempts there are, the less does one that agrees prove.

        Args:
            quoted: what an error quotes.
            tasks: what is probed.
            task: which of them it seems to be about.
            attempts: how many probes were made of it.
            size: that they were filled up to; ANY_SIZE to take what the quote says, which the caller then verifies.
        """
        one: index = task
        some: index = attempts
        filled: index = size
        with cython.nogil:
            found: index = self.search(quoted, tasks, one, some, filled)
        return found

    @property
    def is_rewritten(self) -> bool:
        """Whether the quote differs from the probe in a way that only somebody between can have caused."""
        return self.changed & ~SWAPPED != 0


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def family_of(high: u64, low: u64) -> cython.int:
    return 4 if high == 0 and low >> 32 == MAPPED else 6


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def halves(word: u64) -> u64:
    """The sum of two halves, which is that of the four 16-bit words, modulo 65535: 2^16 is 1 there."""
    return (word >> 32) + (word & MASK32)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def folded(total: u64) -> u64:
    """A sum of 16-bit words with its carries added (RFC 1071)."""
    while total >> 16:
        total = (total & MASK16) + (total >> 16)
    return total


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def checksum_of(rest: u64, source_high: u64, source_low: u64, destination_high: u64,  # noqa: PLR0913 - a header's fields
                destination_low: u64, source_port: u64, port: u64) -> cython.int:
    """The UDP checksum, where `rest` is the sum of all but addresses and ports.

    The prefix of a mapped address adds 0xFFFF, which is 0 to such a sum.
    """
    total: u64 = rest + source_port + port + halves(source_high) + halves(source_low) + halves(destination_high)
    checksum: u64 = MASK16 ^ folded(total + halves(destination_low))
    return checksum if checksum else 0xFFFF     # for 0 says that there is none


def _sum_of(data: bytes) -> int:
    data += bytes(len(data) % 2)
    return sum(data[0::2]) * 256 + sum(data[1::2])


def _check_payloads(rows: Sequence[tuple[bytes, int, int]], choices: Sequence[Sequence[int]]) -> None:
    for number, (row, at, size) in enumerate(rows):
        if not (0 <= size <= TOKEN_BYTES and 0 <= at and at + size <= len(row) and len(row) <= MASK16):
            raise ValueError(f"payload {number}: {size} bytes of token at {at} of {len(row)}")
    for choice in choices:
        if not choice or not all(GENERIC <= row < len(rows) for row in choice):
            raise ValueError(f"no choice of {len(rows)} payloads: {choice}")
    if len(rows) < VARIANTS and any(GENERIC in choice for choice in choices):
        raise ValueError(f"fewer payloads than the {VARIANTS} variants of the generic one")
