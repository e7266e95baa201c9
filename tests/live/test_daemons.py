"""Real daemons, with the least configuration they run with, answer what `auto` sends to their ports."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
from network import Network, address

pytestmark = [pytest.mark.live, pytest.mark.slow]
HERE = Path(__file__).parent
ASK, SERVERS = HERE / "ask.py", HERE / "servers.py"
START_S = 10

FREERADIUS = """
security {{ }}
pidfile = {tmp}/radius.pid
modules {{ }}
client v4 {{ ipaddr = 0.0.0.0/0
             secret = unused }}
client v6 {{ ipv6addr = ::/0
             secret = unused }}
server default {{
    listen {{ type = auth
              ipaddr = 0.0.0.0
              port = 1812 }}
    listen {{ type = auth
              ipv6addr = ::
              port = 1812 }}
    authorize {{ }}
}}
"""

FILES = {  # what stands in the directory of a daemon's test
    "chronyd": {"chrony.conf": "allow all\nlocal stratum 10\ncmdport 0\npidfile {tmp}/chronyd.pid\n"},
    "snmpd": {"snmpd.conf": "agentaddress udp:161,udp6:161\nrocommunity public\nrocommunity6 public\n"},
    "freeradius": {"radiusd.conf": FREERADIUS},
}


def daemon(program, port, *answering, run):
    """One that answers these payloads of its port; `run` may say {tmp}, its directory."""
    each = SimpleNamespace(program=program, port=port, answering=set(answering), run=run, is_there=shutil.which)
    return pytest.param(each, id=program)


def python_server(module, port):
    """One of `servers.py`, with the help of this module; it answers the payload of its name."""
    name = module.removeprefix("aio")
    each = SimpleNamespace(
        program=module,
        port=port,
        answering={name},
        run=f"{sys.executable} {SERVERS} {name} {port}",
        is_there=importlib.util.find_spec,
    )
    return pytest.param(each, id=module)


DAEMONS = [
    daemon(
        "dnsmasq",
        53,
        "dns",
        run="dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file={tmp}/pid",
    ),
    daemon("chronyd", 123, "ntp", run="chronyd -x -d -u root -f {tmp}/chrony.conf"),
    daemon(
        "snmpd",
        161,
        "snmp-v3",
        "snmp-v2c",
        "snmp-v1",
        run="env SNMP_PERSISTENT_DIR={tmp} snmpd -f -C -c {tmp}/snmpd.conf -Lf {tmp}/log -p {tmp}/pid",
    ),
    daemon("in.tftpd", 69, "tftp", run="in.tftpd --foreground --user root --secure {tmp}"),
    daemon(
        "turnserver",
        3478,
        "stun",
        run="turnserver -n --no-tls --no-dtls --no-cli --userdb {tmp}/db"
        " --log-file {tmp}/log --simple-log --pidfile {tmp}/pid",
    ),
    daemon("memcached", 11211, "memcached", run="memcached -u root -U 11211 -m 8 -t 1"),
    daemon("freeradius", 1812, "radius", run="freeradius -f -l stdout -d {tmp} -n radiusd"),
    # its socket and lock stand in /run, whatever it is told; an empty one hides the host's
    daemon("rpcbind", 111, "portmap", run="unshare --mount sh -c 'mount -t tmpfs none /run && exec rpcbind -f'"),
    python_server("aioquic", 443),
    python_server("aiocoap", 5683),
]


@pytest.fixture(scope="module")
def network():
    with Network("client", "server") as made:
        yield made


@pytest.fixture(params=DAEMONS)
def served(request, network, tmp_path):
    """A daemon that listens."""
    each = request.param
    if not each.is_there(each.program):
        pytest.skip(f"needs {each.program}")
    for name, text in FILES.get(each.program, {}).items():
        (tmp_path / name).write_text(text.format(tmp=tmp_path))
    process = network.start("server: " + each.run.format(tmp=tmp_path))
    await_port(network, each.port, process)
    yield each
    process.terminate()
    process.wait(timeout=10)


def await_port(network, port, process):
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        if subprocess.run(network.command(f"server: ss -Hlun sport = :{port}"), check=True, capture_output=True).stdout:
            return
        time.sleep(0.05)
    pytest.fail(f"does not listen on port {port}; exit status {process.poll()}")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("engine", ["recverr"])
def test_a_scan_finds_a_daemon_and_its_closed_neighbour_port(engine, family, served, network):
    target = address(family, 1, 2)
    command = network.command(
        f"client: {sys.executable} -m udpprobe scan --engine {engine} --format json -p {served.port},40000 {target}"
    )
    report = json.loads(forked.run(command, check=True).stdout)
    assert {served.port: "answered", 40000: "refused"} == {
        each["port"]: each["verdict"] for each in report["destinations"]
    }
    assert [] == report["unmatched"]


@pytest.mark.parametrize("family", [4, 6])
def test_a_daemon_answers_the_automatic_payload(family, served, network):
    command = network.command(f"client: {sys.executable} {ASK} {address(family, 1, 2)} {served.port}")
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[str(served.port)]
    assert {name: name for name in served.answering} == {name: told[name] for name in served.answering}
