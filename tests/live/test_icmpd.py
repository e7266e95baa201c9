"""The daemon between real kernels: what every kind of client hears of every kind of error."""

from __future__ import annotations

import contextlib
import errno
import json
import select
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from builders import datagram, error
from icmpd_daemon import daemon, hand_over, register, unfragmented, with_hops
from scanning import (
    ALSO_CLOSED,
    CLOSED,
    FAMILIES,
    HOST,
    LISTENING,
    NARROW,
    NEAR,
    PROBER,
    PROHIBITED_NET,
    SIDE,
    UNREACHABLE_NET,
)

from udpprobe.icmpd.client import Icmpd, IcmpdError

pytestmark = [pytest.mark.live, pytest.mark.slow]
DOMAINS = {4: socket.AF_INET, 6: socket.AF_INET6}
ROOT = Path(__file__).parents[2]
BIG = 1430  # bytes of a datagram that the first link takes and the second does not


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    where = tmp_path_factory.mktemp("icmpd") / "socket"
    before = network.command("prober: env")
    with daemon(where, "--allow-user", "*", before=before):
        yield where


@pytest.fixture
def make(network):
    """Makes UDP sockets that belong to the prober."""
    with contextlib.ExitStack() as opened:

        def socket_of(family, address=None, port=0):
            with network.inside("prober"):
                made = opened.enter_context(socket.socket(DOMAINS[family], socket.SOCK_DGRAM))
            if address is not None:
                made.bind((address, port))
            return made

        yield socket_of


class Case(NamedTuple):
    """A datagram, and the error it draws by family."""

    to: dict[int, str]
    errno: int
    icmp: dict[int, tuple[int, int]]
    verdict: str
    size: int = 5
    hops: int = 64
    reporter: dict[int, str] = NEAR
    mtu: int | None = None


CASES = {
    "refused": Case(HOST, errno.ECONNREFUSED, {4: (3, 3), 6: (1, 4)}, "refused", reporter=HOST),
    "time exceeded": Case(HOST, errno.EHOSTUNREACH, {4: (11, 0), 6: (3, 0)}, "expired", hops=1),
    "too big": Case(HOST, errno.EMSGSIZE, {4: (3, 4), 6: (2, 0)}, "too-big", size=BIG, mtu=NARROW),
    "prohibited": Case(PROHIBITED_NET, errno.EHOSTUNREACH, {4: (3, 13), 6: (1, 1)}, "prohibited"),
    "unreachable": Case(
        UNREACHABLE_NET,
        errno.EHOSTUNREACH,
        {4: (3, 1), 6: (1, 0)},
        "unreachable",
        reporter={4: "10.0.2.2", 6: "2001:db8:2::2"},
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_family = pytest.mark.parametrize("family", FAMILIES)


def send(udp, case, family):
    with_hops(unfragmented(udp), case.hops).sendto(b"x" * case.size, (case.to[family], CLOSED))


def record_of(case, family):
    """struct icmpd_err by the book and facts of the platform."""
    kind, code = case.icmp[family]
    packed = ip_address(case.to[family]).packed
    port = CLOSED.to_bytes(2, "big")
    to = struct.pack("=H", DOMAINS[family]) + port + (packed if family == 4 else bytes(4) + packed)
    head = struct.pack("=iBBxxI4x", case.errno, kind, code, 16 if family == 4 else 28)
    return (head + to).ljust(144, b"\0")


@every_family
@every_case
@pytest.mark.parametrize("bound", ["unbound", "any address", "own address"])
def test_the_book_client_gets_the_record_of_the_book(path, make, case, family, bound):
    wildcard = {4: "0.0.0.0", 6: "::"}[family]
    address = {"unbound": None, "any address": wildcard, "own address": PROBER[family]}[bound]
    udp = make(family, address)
    with register(path, udp) as client:
        assert udp.getsockname()[1] > 0
        send(udp, case, family)
        assert record_of(case, family) == client.recv(1000)


@every_family
@every_case
def test_json_has_more_fields_than_the_record(path, make, case, family):
    udp = make(family)
    with Icmpd(udp, str(path)) as errors:
        send(udp, case, family)
        found = next(iter(errors))
    assert ((case.to[family], CLOSED), case.verdict, case.errno, case.mtu, case.reporter[family]) == (
        found.destination,
        found.verdict,
        found.errno,
        found.mtu,
        found.reporter,
    )
    ip_bytes = case.size + 8 + (20 if family == 4 else 40)
    assert ip_bytes == found.fields["quoted"]["ip_length"]


@every_family
def test_a_connected_socket_gets_errors_of_its_peer(path, make, family):
    udp = make(family)
    udp.connect((HOST[family], CLOSED))
    with register(path, udp) as client:
        udp.send(b"x")
        assert record_of(CASES["refused"], family) == client.recv(1000)


def test_an_ipv6_socket_gets_errors_about_its_ipv4_datagrams(path, make):
    udp = make(6)
    with register(path, udp) as client:
        udp.sendto(b"x", (f"::ffff:{HOST[4]}", CLOSED))
        assert record_of(CASES["refused"], 4) == client.recv(1000)


@every_family
def test_clients_of_one_port_on_two_addresses_get_their_own_errors(path, make, family):
    first = make(family, PROBER[family])
    port = first.getsockname()[1]
    second = make(family, SIDE[family], port)
    with register(path, first) as client, register(path, second) as other:
        first.sendto(b"x", (HOST[family], CLOSED))
        assert record_of(CASES["refused"], family) == client.recv(1000)
        second.sendto(b"x", (HOST[family], ALSO_CLOSED))
        assert ALSO_CLOSED == int.from_bytes(other.recv(1000)[18:20], "big")
        first.sendto(b"x", (HOST[family], ALSO_CLOSED))
        assert 144 == len(client.recv(1000))


def test_a_socket_of_another_network_namespace_is_refused(path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        with pytest.raises(IcmpdError, match="other-network-namespace"):
            Icmpd(stranger, str(path))
        with hand_over(path, stranger) as client:
            assert (b"0", b"") == (client.recv(1), client.recv(1))


def test_forged_and_broken_errors_are_not_delivered(network, path, make):
    udp, other = make(4), make(4)
    with network.inside("host"):
        forger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with register(path, udp) as client, forger:
        sent = datagram(PROBER[4], HOST[4], udp.getsockname()[1], CLOSED, b"hello")
        for forged in (
            error(sent, 3, 3, checksum=1),
            error(sent, 3, 3, quote=sent[:27]),
            error(sent, 3, 3, quote=b""),
            error(sent, 3, 3, quote=b"\xff" * 60),
            error(datagram("192.0.2.1", HOST[4], udp.getsockname()[1], 9), 3, 3),
        ):
            packet = forged[:16] + ip_address(PROBER[4]).packed + forged[20:]
            forger.sendto(packet, (PROBER[4], 0))
        udp.sendto(b"x", (HOST[4], CLOSED))
        assert record_of(CASES["refused"], 4) == client.recv(1000)
        other.sendto(b"x", (HOST[4], CLOSED))
    counts = status(network, path)["counts"]
    assert (1, 1) <= (counts["bad-icmp-checksum"], counts["no-ports"])


def status(network, path):
    line = f"prober: {sys.executable} -m udpprobe icmpd status --format json --socket {path}"
    return json.loads(subprocess.run(network.command(line), check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Compiles a program."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    where = tmp_path_factory.mktemp("built")

    def built(source):
        program = where / source.stem
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
        return program

    return built


@every_family
def test_a_c_client_like_that_of_the_book_gets_errors(network, path, build, family):
    program = build(ROOT / "tests/icmpd/book_client.c")
    line = f"prober: {program} {path} {HOST[family]} {CLOSED}"
    done = subprocess.run(network.command(line), input="one\ntwo\n", capture_output=True, text=True, check=True)
    host = HOST[family] if family == 4 else f"[{HOST[family]}]"
    kind, code = CASES["refused"].icmp[family]
    assert [
        f"ICMP error: dest = {host}:{CLOSED}, Connection refused, type = {kind}, code = {code}"
    ] * 2 == done.stdout.splitlines()


def test_the_c_example_names_the_unreachable_peer(network, path, build):
    program = build(ROOT / "examples/icmpd/who_is_gone.c")
    line = f"prober: {program} {path} {HOST[4]} {CLOSED} {PROHIBITED_NET[4]} 53 {HOST[4]} {LISTENING}"
    with subprocess.Popen(network.command(line), stdout=subprocess.PIPE, text=True) as process:
        said = {process.stdout.readline() for _ in range(2)}
        process.kill()
    assert {
        f"{HOST[4]} port {CLOSED}: Connection refused\n",
        f"{PROHIBITED_NET[4]} port 53: No route to host\n",
    } == said


def test_the_documented_server_notices_unreachable_peers(network, path, tmp_path):
    text = (ROOT / "docs/icmpd.md").read_text()
    source = textwrap.dedent(text[text.index("    import select\n") :].partition("\n\nIn asyncio")[0])
    program = tmp_path / "server.py"
    program.write_text(source.replace("Icmpd(server)", f"Icmpd(server, {str(path)!r})"))
    command = network.command(f"prober: {sys.executable} -u {program}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        for _ in range(100):
            with network.inside("prober"):
                client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with client:
                client.sendto(b"who goes", ("127.0.0.1", 5353))
            if select.select([server.stdout], [], [], 0.1)[0]:
                break
        said = server.stdout.readline()
        server.kill()
    assert said.startswith("('127.0.0.1', ")
    assert said.endswith(" is gone: refused\n")
