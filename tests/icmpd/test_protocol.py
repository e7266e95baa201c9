"""What clients say and hear."""

import errno

import pytest
from builders import datagram, error, frag_needed, icmp4, ipv4, packet_too_big, port_unreachable, time_exceeded
from hypothesis import given
from hypothesis import strategies as st
from icmpd_world import ME, ME6, OTHER, OTHER6, ROUTER, SPORT, World, arrived, lines, record, records, udp_socket
from published import check

from udpprobe.core.verdicts import MEANINGS
from udpprobe.icmpd import protocol as protocol_module
from udpprobe.icmpd.protocol import CHUNK_BYTES, HANDSHAKE_S, Outbox, Refusal, equal_share, errno_of, record_of

SENT, SENT6 = datagram(ME, OTHER, SPORT, 9, b"hello"), datagram(ME6, OTHER6, SPORT, 9, b"hello")
REFUSED = port_unreachable(SENT)
MALFORMED = error(SENT, 12, 0)


@pytest.mark.parametrize("byte", [b"1", b"\0", b"Z", b"S"])
def test_any_byte_but_j_with_a_udp_socket_is_answered_by_1_and_records(byte):
    world = World()
    assert world.connect(1, udp_socket(), byte) == b"1"
    world.arrive(REFUSED, REFUSED)
    assert [(111, 3, 3, 16, 2, 9, OTHER, 0)] * 2 == records(world.read(1))


def test_a_descriptor_that_is_not_udp_is_answered_by_0_and_the_end():
    world = World()
    assert world.connect(1, Refusal("not-udp")) == b"0"
    assert (True, 1) == (world.protocol.ends(1), world.protocol.counts["refused-not-udp"])


def test_a_client_being_closed_gets_no_more_errors():
    world = World()
    world.connect(1, udp_socket())
    world.protocol.received(1, b"x", Refusal("no-descriptor"))
    world.arrive(REFUSED)
    assert (b"0", True) == (world.read(1), world.protocol.ends(1))


def test_an_error_for_a_client_that_has_left_is_dropped():
    world = World()
    world.connect(1, udp_socket())
    wanted = {1: [0]}
    world.protocol.closed(1)
    world.protocol.deliver(wanted, arrived(REFUSED))
    assert b"" == world.read(1)


def test_a_second_socket_replaces_the_first():
    world = World()
    world.connect(1, udp_socket())
    world.protocol.received(1, b"1", udp_socket(port=SPORT + 1))
    assert b"1" == world.read(1)
    world.arrive(REFUSED, port_unreachable(datagram(ME, OTHER, SPORT + 1, 53)))
    assert [53] == [each[5] for each in records(world.read(1))]


def test_a_parameter_problem_is_for_json_only():
    world = World()
    world.connect(1, udp_socket())
    world.connect(2, udp_socket(), b"J")
    world.arrive(MALFORMED)
    assert b"" == world.read(1)
    assert [("malformed", None)] == [(each["verdict"], each["errno"]) for each in lines(world.read(2))]


def test_json_starts_with_the_registered_socket():
    world = World()
    (said,) = lines(world.connect(1, udp_socket(ME, peer=(OTHER, 9)), b"J"))
    assert ("udpprobe.icmpd/1", "registered", True) == (said["schema"], said["kind"], said["registered"])
    assert {"family": 4, "address": ME, "port": SPORT, "peer": {"address": OTHER, "port": 9}} == said["socket"]
    (said,) = lines(world.connect(2, Refusal("not-udp"), b"J"))
    assert ("refused", False, "not-udp") == (said["kind"], said["registered"], said["reason"])


def test_all_json_lines_follow_the_published_schema():
    world = World()
    said = lines(world.connect(1, udp_socket(ME, peer=(OTHER, 9)), b"J"))
    said += lines(world.connect(2, Refusal("not-udp"), b"J"))
    world.connect(3, udp_socket(family=6, carries={4, 6}), b"J")
    world.arrive(
        frag_needed(SENT, 1400, ROUTER), packet_too_big(SENT6, 1300), time_exceeded(SENT, ROUTER), REFUSED, MALFORMED
    )
    said += lines(world.read(3))
    assert {"registered", "refused", "error"} == {each["kind"] for each in said}
    for each in said:
        check(each, "icmpd")
    check(world.protocol.status())


def test_json_has_fields_that_the_record_lacks():
    world = World()
    world.connect(1, udp_socket(family=6, carries={4, 6}), b"J")
    world.arrive(frag_needed(SENT, 1400, ROUTER), packet_too_big(SENT6, 1300), time_exceeded(SENT, ROUTER), REFUSED)
    said = lines(world.read(1))
    assert [1400, 1300, None, None] == [each["mtu"] for each in said]
    assert [ROUTER, OTHER6, ROUTER, OTHER] == [each["reporter"] for each in said]
    assert ["too-big", "too-big", "expired", "refused"] == [each["verdict"] for each in said]
    assert {"family": 6, "address": None, "port": SPORT, "peer": None} == said[0]["socket"]
    assert (33, 64, 13, 33) == tuple(said[0]["quoted"][name] for name in ("ip_length", "ttl", "udp_length", "bytes"))
    assert ("1970-01-01T00:00:00.001000000Z", 2) == (said[0]["time"], said[0]["interface"])


def test_an_unread_queue_is_bounded_and_json_counts_lost_errors():
    world = World(queue_messages=3)
    world.connect(1, udp_socket())
    world.connect(2, udp_socket(), b"J")
    world.arrive(*[REFUSED] * 5)
    assert 3 == len(records(world.read(1)))
    assert [("error", None)] * 3 + [("dropped", 2)] == [
        (each["kind"], each.get("count")) for each in lines(world.read(2))
    ]
    assert (4, 6) == (world.protocol.counts["dropped"], world.protocol.counts["delivered"])
    world.arrive(REFUSED)
    assert ["error"] == [each["kind"] for each in lines(world.read(2))]
    assert world.protocol.status()["queued_bytes"] == 144
    assert 1 == len(records(world.read(1)))


def test_all_queues_together_are_bounded(monkeypatch):
    monkeypatch.setattr(protocol_module, "MOST_QUEUED_BYTES", 300)
    world = World()
    for client in (1, 2):
        world.connect(client, udp_socket())
    for _ in range(3):
        world.arrive(REFUSED)
    assert (4, 2) == (world.protocol.counts["delivered"], world.protocol.counts["dropped"])
    world.protocol.disconnected(1)
    world.read(2)
    assert world.protocol.status()["queued_bytes"] == 0


def test_no_line_is_built_for_a_client_without_room(monkeypatch):
    made = []
    monkeypatch.setattr(protocol_module, "error_object", lambda *_: made.append(1) or {"kind": "error"})
    world = World(queue_messages=3)
    for client in (1, 2):
        world.connect(client, udp_socket(), b"J")
    world.arrive(*[REFUSED] * 5)
    world.arrive(*[REFUSED] * 5)
    assert (3, 6, 14) == (len(made), world.protocol.counts["delivered"], world.protocol.counts["dropped"])


def test_a_user_has_a_limit_of_sockets_per_port_and_root_has_none(monkeypatch):
    monkeypatch.setattr(protocol_module, "MOST_ON_PORT", 2)
    world = World()
    assert [b"1"] * 5 == [world.connect(client, udp_socket()) for client in range(5)]
    assert [b"1", b"1", b"0"] == [world.connect(client, udp_socket(), user=1000) for client in (10, 11, 12)]
    (said,) = lines(world.connect(13, udp_socket(), b"J", user=1000))
    assert (False, "too-many-on-port", 2) == (said["registered"], said["reason"], said["limit"])
    assert b"1" == world.connect(14, udp_socket(port=SPORT + 1), user=1000)
    assert b"1" == world.connect(20, udp_socket(), user=1001)
    world.protocol.received(11, b"1", udp_socket())  # in the place of its own
    assert b"1" == world.read(11)
    world.protocol.disconnected(10)
    assert b"1" == world.connect(15, udp_socket(), user=1000)


def test_a_flood_of_errors_for_one_user_costs_another_none(monkeypatch):
    monkeypatch.setattr(protocol_module, "MOST_ERRORS_AT_ONCE", 12)
    world = World()
    for client in range(4):
        world.connect(client, udp_socket(), b"J", user=1000)
    world.connect(9, udp_socket(port=SPORT + 1), user=1001)
    other = port_unreachable(datagram(ME, OTHER, SPORT + 1, 9))
    world.arrive(*[REFUSED] * 20, *[other] * 3, *[REFUSED] * 20)
    assert 3 == len(records(world.read(9)))
    for client in range(4):  # (12 - 3) errors for four
        said = lines(world.read(client))
        assert [("error", None)] * 2 + [("dropped", 38)] == [(each["kind"], each.get("count")) for each in said[-3:]]
    world.arrive(*[REFUSED] * 3)
    assert [3] * 4 == [len(lines(world.read(client))) for client in range(4)]


@given(st.lists(st.integers(0, 50)), st.integers(0, 200))
def test_equal_shares_leave_no_wanted_part_unused(wanted, total):
    most = equal_share(wanted, total)
    given_out = sum(min(count, most) for count in wanted)
    assert given_out <= max(total, 0)
    assert sum(wanted) <= total or given_out + len(wanted) > total


def test_clients_that_do_not_read_do_not_affect_those_that_do(monkeypatch):
    monkeypatch.setattr(protocol_module, "MOST_QUEUED_BYTES", 300)
    world = World()
    for client in (1, 2, 3):
        world.connect(client, udp_socket())
    for _ in range(5):
        world.arrive(REFUSED)
        assert 1 == len(records(world.read(3)))
    assert world.protocol.counts["dropped"] > 0


def test_a_chunk_holds_whole_records_and_the_rest_goes_first():
    outbox = Outbox(1000)
    outbox.put([bytes([n % 256]) * 144 for n in range(100)])
    chunk = outbox.take()
    assert CHUNK_BYTES == len(chunk)
    outbox.put_back(chunk[144:])
    rest = b"".join(iter(outbox.take, b""))
    assert bytes(range(100)) == (chunk[:144] + rest)[::144]
    assert (0, 0) == (outbox.bytes, len(outbox))


def test_a_message_longer_than_a_chunk_is_sent_anyway():
    outbox = Outbox(10)
    outbox.put([b"x" * (CHUNK_BYTES + 1), b"y"])
    assert [CHUNK_BYTES + 1, 1] == [len(outbox.take()), len(outbox.take())]


def test_bytes_the_kernel_did_not_take_count_as_waiting():
    world = World()
    world.connect(1, udp_socket())
    world.arrive(REFUSED)
    chunk = world.protocol.take(1)
    world.protocol.put_back(1, chunk[100:])
    assert (44, False) == (world.protocol.status()["queued_bytes"], world.protocol.ends(1))


def test_a_silent_client_is_refused_in_time():
    world = World()
    world.connect(1, now_s=0)
    world.connect(2, now_s=10)
    assert ([1], True) == (world.protocol.overdue(HANDSHAKE_S + 1), world.protocol.awaits)
    world.protocol.received(1, b"", Refusal("too-slow"))
    assert (b"0", True) == (world.read(1), world.protocol.ends(1))
    world.protocol.disconnected(2)
    assert not world.protocol.awaits


@pytest.mark.parametrize(("byte", "told"), [(b"J", ["closed"]), (b"1", [])])
def test_a_closed_udp_socket_gets_no_errors_and_its_connection_stays(byte, told):
    world = World()
    world.connect(1, udp_socket(), byte)
    world.protocol.closed(1)
    world.arrive(REFUSED)
    assert told == [each["kind"] for each in lines(world.read(1))]
    assert not world.protocol.ends(1)


def test_s_without_a_socket_is_answered_with_the_counters():
    world = World()
    world.connect(1, udp_socket())
    world.arrive(REFUSED)
    (said,) = lines(world.connect(2, Refusal("no-descriptor"), b"S"))
    assert ("udpprobe.icmpd.status/1", 2, 1, 144) == (
        said["schema"],
        said["clients"],
        said["sockets"],
        said["queued_bytes"],
    )
    counts = {"connections": 2, "registered": 1, "errors": 1, "delivered": 1, "foreign": 0, "dropped": 0}
    assert counts == said["counts"]
    assert world.protocol.ends(2)


def test_an_error_that_quotes_no_udp_belongs_to_nobody():
    world = World()
    world.connect(1, udp_socket())
    world.arrive(ipv4(OTHER, ME, icmp4(8), 1))
    assert (b"", 0) == (world.read(1), world.protocol.counts["errors"])


# ---- the book's record, byte for byte as its client was seen to read it

V4 = "10000000 00000000 0200 0009 0a630202"
V6 = "1c000000 00000000 0a00 0009 00000000 fd990002000000000000000000000002"


def whole(start, rest):
    given = bytes.fromhex(start + "0000" + rest)
    return given + bytes(144 - len(given))


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (error(SENT, 3, 3), whole("6f0000000303", V4)),
        (error(SENT6, 1, 4), whole("6f0000000104", V6)),
        (error(SENT, 11, 0, reporter=ME), whole("710000000b00", V4)),
        (error(SENT6, 3, 0), whole("710000000300", V6)),
        (error(SENT, 3, 4, 1400), whole("5a0000000304", V4)),
        (error(SENT6, 2, 0, 1400), whole("5a0000000200", V6)),
        (error(SENT, 3, 1), whole("710000000301", V4)),
        (error(SENT6, 1, 0), whole("710000000100", V6)),
        (error(SENT, 3, 255), whole("7100000003ff", V4)),
    ],
)
def test_a_record_equals_that_of_the_book_except_for_zeros(packet, said):
    assert said == record_of(arrived(packet), 0)


def test_a_link_local_destination_has_the_scope_of_the_incoming_interface():
    errors = arrived(error(datagram("fe80::1", "fe80::2", SPORT, 9), 1, 4), error(SENT6, 1, 4), interface=7)
    assert [7, 0] == [record(record_of(errors, row))[-1] for row in (0, 1)]


@pytest.mark.parametrize("meaning", MEANINGS, ids=lambda row: f"{row.family}-{row.type}-{row.code}")
def test_errnos_are_those_of_the_book(meaning):
    said = errno_of(meaning.family, meaning.type, max(meaning.code, 0))
    wanted = {"malformed": 0, "refused": errno.ECONNREFUSED, "too-big": errno.EMSGSIZE}
    if meaning.code >= 0:
        assert wanted.get(meaning.verdict, errno.EHOSTUNREACH) == said
    assert errno_of(6, 100, 0) == 0


def test_an_error_without_an_errno_in_the_book_makes_no_record():
    assert b"" == record_of(arrived(error(SENT, 12, 0)), 0)
