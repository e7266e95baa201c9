"""Frames for properties: nonsense, near sense, and small worlds of hosts that send, answer, repeat and complain.

A world is a list of (time_ns, Ethernet frame). An action says what happens next in words of what happened before,
so that hypothesis can leave any of them out.
"""

from __future__ import annotations

import builders as b
from builders import sent, with_refusal
from hypothesis import strategies as st
from wraps import LINKS, TUNNELS

US, MS, S = 1000, 10**6, 10**9
CLIENTS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
SERVERS = {4: ("198.51.100.1", "198.51.100.2"), 6: ("2001:db8:1::1", "2001:db8:1::2")}
ROUTERS = {4: ("203.0.113.1", "203.0.113.2"), 6: ("2001:db8:ff::1", "2001:db8:ff::2")}
NATS = {4: "203.0.113.77", 6: "2001:db8:ff::77"}
KINDS = {
    4: ((3, 3), (11, 0), (3, 4), (3, 13), (12, 0), (4, 0), (11, 1)),
    6: ((1, 4), (3, 0), (2, 0), (1, 1), (4, 1), (100, 0)),
}
MACS = tuple(bytes.fromhex(pair) for pair in ("020000000002020000000001", "020000000001020000000002"))
HEADER = {4: 20, 6: 40}

few = st.integers(0, 1)
any_before = st.integers(0, 30)
pauses = st.sampled_from((0, 10 * US, 700 * US, 3 * MS, 1500 * MS, 40 * S))


def send(past, ends, ports, fields, data):
    (family, client, server), (sport, dport), (ident, ttl) = ends, ports, fields
    more = {"id": ident} if family == 4 else {}
    del past
    return [b.datagram(CLIENTS[family][client], SERVERS[family][server], sport, dport, data, ttl=ttl, **more)]


def again(past, which, fall):
    """The same datagram, its TTL lower by `fall`."""
    packet = past[which % len(past)]
    return [b.forwarded(packet, fall)] if b.ttl_of(packet) > fall else [packet]


def answer(past, which, other_port, elsewhere):
    packet = past[which % len(past)]
    (source, destination), at = b.ends(packet), HEADER[b.family_of(packet)]
    sport, dport = (int.from_bytes(packet[at + n : at + n + 2]) for n in (0, 2))
    if elsewhere:
        destination = SERVERS[b.family_of(packet)][1] + "3"
    return [b.datagram(destination, source, other_port or dport, sport, b"answer")]


def record(past, which, size):
    """The datagram with a longer payload, which the network card has still to split and to finish."""
    packet = past[which % len(past)]
    (source, destination), at = b.ends(packet), HEADER[b.family_of(packet)]
    sport, dport = (int.from_bytes(packet[at + n : at + n + 2]) for n in (0, 2))
    pseudo = b.internet_checksum(b.pseudo_header(source, destination, 8 + size, b.UDP)) ^ 0xFFFF
    return [b.datagram(source, destination, sport, dport, bytes(range(size)), checksum=pseudo)]


def _segment(packet):
    """The last few bytes of its payload as a datagram."""
    at = HEADER[b.family_of(packet)]
    sport, dport = (int.from_bytes(packet[at + n : at + n + 2]) for n in (0, 2))
    return b.datagram(*b.ends(packet), sport, dport, packet[at + 8 :][-3:])


def _in_tunnel(packet):
    near, far = ROUTERS[b.family_of(packet)]
    return b.ip(near, far, b.gre(packet), b.GRE)


def pieces(past, which, size):
    """The datagram with a longer payload, in fragments."""
    packet = past[which % len(past)]
    (source, destination), at = b.ends(packet), HEADER[b.family_of(packet)]
    sport, dport = (int.from_bytes(packet[at + n : at + n + 2]) for n in (0, 2))
    return b.fragments(b.datagram(source, destination, sport, dport, bytes(60)), size, id=which)


def complain(past, which, kind, mtu, how):
    """An error about it: by whom, and what became of the quote."""
    packet, (reporter, alter) = past[which % len(past)], how
    family = b.family_of(packet)
    reporters = (None, *ROUTERS[family])
    rest = mtu if kind == 2 else 0
    return [
        b.error(
            packet,
            *KINDS[family][kind % len(KINDS[family])],
            rest,
            reporter=reporters[reporter],
            quote=ALTER[alter](packet),
        )
    ]


def _behind_nat(packet):
    at = {4: 12, 6: 8}[b.family_of(packet)]
    address = b.packed(NATS[b.family_of(packet)])
    return packet[:at] + address + packet[at + len(address) :]


ALTER = (
    lambda packet: packet,
    lambda packet: packet[: HEADER[b.family_of(packet)] + 8],
    lambda packet: packet[: HEADER[b.family_of(packet)] + 5],
    lambda packet: packet[: HEADER[b.family_of(packet)] + 2],
    lambda packet: packet[:4] + packet[5:3:-1] + packet[6:],
    lambda packet: packet[: HEADER[b.family_of(packet)] + 6] + b"\0\0" + packet[HEADER[b.family_of(packet)] + 8 :],
    _behind_nat,
    _segment,
    _in_tunnel,
)

sends = st.tuples(
    st.just(send),
    st.tuples(st.sampled_from((4, 6)), few, few),
    st.tuples(st.sampled_from((5000, 5001)), st.sampled_from((53, 69))),
    st.tuples(st.sampled_from((0, 1, 2, 0x0201)), st.sampled_from((1, 5, 7, 31, 64))),
    st.sampled_from((b"", b"a", b"bb")),
)
agains = st.tuples(st.just(again), any_before, st.integers(0, 3))
answers = st.tuples(st.just(answer), any_before, st.sampled_from((0, 0, 2000)), st.booleans())
records = st.tuples(st.just(record), any_before, st.sampled_from((7, 40)))
fragments = st.tuples(st.just(pieces), any_before, st.just(32))
complaints = st.tuples(
    st.just(complain),
    any_before,
    st.integers(0, 6),
    st.sampled_from((0, 40, 1400)),
    st.tuples(st.integers(0, 2), st.integers(0, len(ALTER) - 1)),
)
actions = st.one_of(sends, sends, agains, answers, fragments, records, complaints, complaints)
steps = st.tuples(actions, pauses, few, st.booleans())


def played(some_steps):
    """The frames of a world."""
    now_ns, past, frames = S, [], []
    for (act, *words), pause_ns, direction, in_tunnel in some_steps:
        now_ns += pause_ns
        if not past and act is not send:
            continue
        for packet in act(past, *words):
            if act in {send, answer, pieces, record}:
                past.append(packet)
            inside = b.ip("10.0.0.1", "10.0.0.2", b.gre(packet), b.GRE) if in_tunnel else packet
            frames.append((now_ns, b.ethernet(inside, macs=MACS[direction])))
    return frames


def worlds(most=24):
    return st.lists(steps, max_size=most).map(played)


# ---- frames of any kind

LINK_TYPES = sorted({link_type for link_type, _, _ in LINKS.values()})
PACKETS = [
    packet for family in (4, 6) for packet in (*with_refusal(sent(1, family)), b.fragments(sent(2, family, 90), 48)[0])
]
PACKETS += [wrap(PACKETS[1]) for families, wrap in TUNNELS.values() if 4 in families]
PACKETS += [b.ip(CLIENTS[family][0], SERVERS[family][0], bytes(20), 6) for family in (4, 6)]  # TCP
FRAMES = [
    (link_type, wrap(packet))
    for link_type, families, wrap in LINKS.values()
    for packet in PACKETS
    if b.family_of(packet) in families
]


@st.composite
def nearly_frames(draw):
    """A frame that was right before some of its bytes changed, with its link type."""
    link_type, frame = draw(st.sampled_from(FRAMES))
    spoilt = bytearray(frame)
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(frame) - 1), st.integers(0, 255)), max_size=4)):
        spoilt[at] = value
    return link_type, bytes(spoilt[: draw(st.one_of(st.just(len(frame)), st.integers(0, len(frame))))])


some_link_types = st.one_of(st.sampled_from(LINK_TYPES), st.integers(0, 65535))
random_frames = st.tuples(some_link_types, st.binary(max_size=120))
any_frames = st.lists(st.one_of(random_frames, nearly_frames()), max_size=12)
