"""Network namespaces in a row, and commands inside them. Needs root, iproute2, ethtool and ping."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PEER = f"{sys.executable} {Path(__file__).with_name('peer.py')}"
PREFIX = {4: 24, 6: 64}
CLONE_NEWNET = 0x4000_0000  # linux/sched.h
# a ring slot holds a whole snap length: with tcpdump's default of 256 KB a looping datagram fills the ring
RECORDERS = {"tcpdump": "tcpdump -Z root -U --immediate-mode -s 2048", "dumpcap": "dumpcap -q"}
ANSWERS = re.compile(r": answer (\d+)")
IS_LISTENING = re.compile("listening on|^File: ")
SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.router_solicitations": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
}


class CannotRun(Exception):  # noqa: N818 it is a reason to skip, not an error
    """This host lacks what the network needs."""


class MissingProgram(CannotRun):
    """A program is not installed. In a live test that does not catch it, `conftest.py` makes it a skip."""


def address(family, link, end):
    """Of the interface at one end (1 left, 2 right) of a link."""
    return f"10.0.{link}.{end}" if family == 4 else f"2001:db8:{link}::{end}"


class Network:
    """Nodes joined in a row by veth pairs; link 1 has 10.0.1.0/24 and 2001:db8:1::/64, and so on.

    A node calls its interfaces `left` and `right`. It knows the way to every link, and sends everything else
    to the right; the last node sends it back to the left.
    """

    def __init__(self, *names):
        self.names = names
        self.running = []

    def __enter__(self):
        require("ip", "ethtool", "ping")
        try:
            self.build()
        except BaseException:
            self.__exit__()  # nobody else would: the block was never entered
            raise
        return self

    def build(self):
        for name in self.names:
            self.add(name)
        for link, (left, right) in enumerate(zip(self.names, self.names[1:], strict=False), 1):
            self.join(link, left, right)
        for place, name in enumerate(self.names):
            self.add_routes(place, name)
        for link, left in enumerate(self.names[:-1], 1):
            # a link takes the kernel up to a second; before that, neighbours are solicited in vain
            self.run(f"{left}: ping -q -c 1 -W 4 {address(6, link, 2)}")

    def __exit__(self, *_):
        with contextlib.ExitStack() as last:  # one that does not stop keeps no namespace
            for name in self.names:
                last.callback(
                    subprocess.run, ["ip", "netns", "del", self.namespace(name)], check=False, capture_output=True
                )
            for process in self.running:
                last.callback(stop, process)

    def namespace(self, name):
        return f"udpprobe-{os.getpid()}-{name}"

    def add(self, name):
        made = subprocess.run(["ip", "netns", "add", self.namespace(name)], check=False, capture_output=True, text=True)
        if made.returncode:
            raise CannotRun(f"no network namespaces: {made.stderr.strip()}")
        self.run(f"{name}: sysctl -q " + " ".join(f"{key}={value}" for key, value in SYSCTLS.items()))
        self.run(f"{name}: ip link set lo up")

    def join(self, link, left, right):
        self.run(
            f"{left}: ip link add right address 02:00:00:00:0{link}:01 type veth"
            f" peer name left address 02:00:00:00:0{link}:02 netns {self.namespace(right)}"
        )
        for end, (name, interface) in enumerate([(left, "right"), (right, "left")], 1):
            # with the offload on, the kernel leaves UDP checksums half computed, and errors quote them so
            self.run(f"{name}: ethtool -K {interface} tx off")
            for family in (4, 6):
                self.run(f"{name}: ip addr add {address(family, link, end)}/{PREFIX[family]} dev {interface}")
            self.run(f"{name}: ip link set {interface} up")

    def add_routes(self, place, name):
        last = len(self.names) - 1
        for family in (4, 6):
            onward = address(family, place + 1, 2) if place < last else address(family, place, 1)
            self.run(f"{name}: ip -{family} route add default via {onward}")
            for link in range(1, place):
                net = f"{address(family, link, 0)}/{PREFIX[family]}"
                self.run(f"{name}: ip -{family} route add {net} via {address(family, place, 1)}")

    def run(self, line):
        """Run `NODE: COMMAND` to its end; with `&` behind it, until the network is taken down.

        `{node}` stands for the namespace of a node.

        Raises:
            MissingProgram: the command is not there.
            CannotRun: it failed.
        """
        if line.endswith("&"):
            self.start(line.removesuffix("&"))
            if not ANSWERS.search(line):  # nothing tells when others are ready
                time.sleep(0.3)
            return
        done = subprocess.run(self.command(line), check=False, capture_output=True, text=True)
        if done.returncode:
            raise CannotRun(f"{line}: {(done.stderr or done.stdout).strip()}")

    def start(self, line, **options):
        process = subprocess.Popen(
            self.command(line), stdout=subprocess.DEVNULL, **{"stderr": subprocess.DEVNULL, **options}
        )
        self.running.append(process)
        if answers := ANSWERS.search(line):
            until_bound(process, int(answers[1]))
        return process

    def command(self, line):
        name, _, text = line.partition(": ")
        text = re.sub("^(?=(send|answer) )", f"{PEER} ", text)
        words = shlex.split(re.sub(r"{(\w+)}", lambda found: self.namespace(found[1]), text))
        require(words[0])
        return ["ip", "netns", "exec", self.namespace(name), *words]

    @contextlib.contextmanager
    def inside(self, name):
        """Sockets that this thread makes here belong to the node for good."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as outside,
            Path("/run/netns", self.namespace(name)).open("rb") as within,
        ):
            enter(within)
            try:
                yield
            finally:
                enter(outside)

    @contextlib.contextmanager
    def capturing(self, path, line):
        """Record into `path` with the tcpdump or dumpcap of `line`."""
        node, program, options = line.split(" ", 2)
        recorder = self.start(f"{node} {RECORDERS[program]} -w {path} {options}", stderr=subprocess.PIPE, text=True)
        for said in recorder.stderr:
            if IS_LISTENING.search(said):
                break
        else:
            raise CannotRun(f"{line}: does not record")
        try:
            yield
        finally:
            stop(recorder, signal.SIGINT)
            recorder.stderr.close()
            self.running.remove(recorder)


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is Python 3.12's
    if libc.setns(namespace.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def until_bound(process, port):
    """Wait until a process that is to answer there has its socket: before, its kernel refuses what comes."""
    end_s = time.monotonic() + 30
    while f":{port:04X} " not in Path(f"/proc/{process.pid}/net/udp6").read_text():
        assert time.monotonic() < end_s, f"nobody answers at port {port}"
        time.sleep(0.02)


def stop(process, how=signal.SIGKILL):
    process.send_signal(how)
    process.wait(timeout=30)


def require(*programs):
    """Say what is missing.

    Raises:
        MissingProgram: a program is not there.
        CannotRun: the user is not root.
    """
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        raise MissingProgram(f"needs {' '.join(missing)}")
    if os.geteuid():
        raise CannotRun("needs root")
