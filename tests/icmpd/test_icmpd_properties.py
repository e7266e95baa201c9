"""Whatever clients do and whatever arrives: who hears of an error is whose datagram it was, and nobody else."""

from __future__ import annotations

from builders import datagram, error
from hypothesis import given
from hypothesis import strategies as st
from icmpd_world import (
    ALSO_ME,
    ME,
    ME6,
    OTHER,
    OTHER6,
    SPORT,
    World,
    arrived,
    lines,
    number,
    records,
    udp_socket,
)

from udpprobe.icmpd.protocol import Refusal

CLIENTS = range(4)
HOSTS = {4: [ME, ALSO_ME, OTHER, "192.0.2.1"], 6: [ME6, OTHER6, "2001:db8::1"]}
KINDS = {4: [(3, 3), (3, 1), (3, 4), (11, 0), (4, 0)], 6: [(1, 4), (1, 0), (2, 0), (3, 0)]}
PORTS = [SPORT, SPORT + 1]
families = st.sampled_from([4, 6])


@st.composite
def sent(draw):
    """A datagram's ends."""
    hosts = st.sampled_from(HOSTS[draw(families)])
    source = draw(hosts)
    return (
        source,
        draw(st.sampled_from(HOSTS[6 if ":" in source else 4])),
        draw(st.sampled_from(PORTS)),
        draw(st.sampled_from([9, 53])),
    )


@st.composite
def handed_over(draw):
    carries = draw(st.sampled_from([{4}, {6}, {4, 6}]))
    own = [each for family in sorted(carries) for each in HOSTS[family][: 2 if family == 4 else 1]]
    address = draw(st.sampled_from(["", *own]))
    if address:
        carries = {6 if ":" in address else 4}
    peer = draw(st.sampled_from([None, (HOSTS[max(carries)][-2], 9)])) if address else None
    return udp_socket(
        address,
        draw(st.sampled_from(PORTS)),
        family=draw(st.sampled_from([max(carries), 6])),
        carries=carries,
        peer=peer,
    )


def may_have_sent(handed, ends):
    """Said once more, from the socket's side and in text."""
    source, destination, source_port, destination_port = ends
    family = 6 if ":" in source else 4
    own = {4: {ME, ALSO_ME}, 6: {ME6}}[family]
    sources = {number(each) for each in own} if handed.address == 0 else {handed.address}
    peers = {(number(destination), destination_port)} if handed.peer is None else {handed.peer}
    return (
        family in handed.carries
        and handed.port == source_port
        and number(source) in sources
        and (number(destination), destination_port) in peers
    )


steps = st.one_of(
    st.tuples(st.just("connect"), st.sampled_from(CLIENTS), st.sampled_from([b"1", b"J"])),
    st.tuples(st.just("hand over"), st.sampled_from(CLIENTS), handed_over()),
    st.tuples(st.just("garbage"), st.sampled_from(CLIENTS), st.sampled_from(["not-udp", "no-descriptor"])),
    st.tuples(st.just("close"), st.sampled_from(CLIENTS), st.none()),
    st.tuples(st.just("go"), st.sampled_from(CLIENTS), st.none()),
    st.tuples(st.just("arrive"), st.just(-1), st.lists(sent(), min_size=1, max_size=4)),
)


class Model:
    """What is to be true, in the simplest words."""

    def __init__(self):
        self.world, self.bytes, self.sockets = World(), {}, {}

    def step(self, name, client, what):
        if (client in self.bytes) == (name != "connect") or name == "arrive":
            getattr(self, name.replace(" ", "_"))(client, what)

    def connect(self, client, byte):
        self.world.connect(client)
        self.bytes[client] = byte

    def hand_over(self, client, handed):
        if not self.world.protocol.ends(client):
            self.world.protocol.received(client, self.bytes[client], handed)
            self.sockets[client] = handed
            self.world.read(client)

    def garbage(self, client, reason):
        self.world.protocol.received(client, self.bytes[client], Refusal(reason))
        self.sockets.pop(client, None)
        self.world.read(client)
        self.go(client, None)

    def close(self, client, _):
        if client in self.sockets:
            del self.sockets[client]
            self.world.protocol.closed(client)
            self.world.read(client)

    def go(self, client, _):
        self.world.protocol.disconnected(client)
        del self.bytes[client]
        self.sockets.pop(client, None)

    def arrive(self, _, several):
        packets = [error(datagram(*ends), *KINDS[6 if ":" in ends[0] else 4][len(ends[1]) % 4]) for ends in several]
        self.world.arrive(*packets)
        for client, byte in self.bytes.items():
            handed = self.sockets.get(client)
            mine = [(ends[1], ends[3]) for ends in several if handed and may_have_sent(handed, ends)]
            said = self.world.read(client)
            assert mine == (destinations_of(said) if byte == b"J" else [each[6:4:-1] for each in records(said)])


def destinations_of(said):
    return [(each["quoted"]["destination"], each["quoted"]["destination_port"]) for each in lines(said)]


@given(st.lists(steps, max_size=30))
def test_every_error_goes_to_its_owner_and_nobody_else(several):
    model = Model()
    for each in several:
        model.step(*each)
    assert len(model.bytes) == model.world.protocol.status()["clients"]
    assert len(model.sockets) == model.world.protocol.status()["sockets"]
    assert model.world.protocol.status()["queued_bytes"] == 0


@given(st.lists(st.binary(max_size=120), max_size=5), st.sampled_from([b"1", b"J"]))
def test_any_bytes_are_handled(several, byte):
    world = World()
    world.connect(1, udp_socket(family=6, carries={4, 6}), byte)
    world.arrive(*several)
    assert len(arrived(*several)) == world.protocol.counts["errors"]
