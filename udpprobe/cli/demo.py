"""`udpprobe demo`: what udpprobe finds in small internets, each with one fault."""

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Struct
from typer import Exit, Option, echo

from udpprobe import __version__
from udpprobe.errors import UdpprobeError
from udpprobe.reports.text import wrap

EXAMPLES = """\
\b
Examples:
  udpprobe demo
  udpprobe demo --captures
"""
WIDTH = 80
UDPPROBE = [sys.executable, "-m", "udpprobe"]
IMPOSSIBLE = 3
"""Exit status of a lab that this host or user cannot have."""


class LabStep(Struct, frozen=True):
    """A scenario, and udpprobe's output in it."""

    title: str
    scenario: str
    command: Sequence[str]
    """Run inside."""
    why: str
    program: Sequence[str] = ()
    """The program whose datagrams the command watches."""


class CaptureStep(Struct, frozen=True):
    """A scenario, and udpprobe's output for a capture of it."""

    title: str
    scenario: str
    size: int
    """Bytes of the packets in the capture."""
    why: str


TWO_SOCKETS = """\
from socket import *; from time import sleep
port = "198.18.9.9", 123
one = socket(type=SOCK_DGRAM); one.sendto(b"?", port)
two = socket(type=SOCK_DGRAM); two.connect(port); two.send(b"?")
sleep(1)
"""
STEPS = (
    LabStep(
        "A firewall that answers for others",
        "firewall-rejects",
        ["scan", "198.18.9.9:20,53,54,123"],
        "A program that gets no ICMP errors waits for a timeout on three of these ports. Port 53 works. On port 123 "
        "nothing listens: the host itself refused. Ports 20 and 54 never reached the host: 198.18.1.1, a router on "
        "the way, stopped them, and for port 54 it even pretended to be the closed port.",
    ),
    LabStep(
        "A routing loop",
        "loop-3",
        ["trace", "198.18.9.9:53"],
        "Three routers pass the datagrams round until their TTL runs out. udpprobe names the loop's routers, its "
        "length and the hop where it begins, so you know whom to contact.",
    ),
    LabStep(
        "A link that is too narrow, and hides it",
        "vpn-black-hole",
        ["mtu", "198.18.9.9:53"],
        "Small datagrams arrive, so pings look fine; large ones disappear behind a tunnel, and no router reports it. "
        "udpprobe finds the size to the byte, the place, and what to set.",
    ),
    LabStep(
        "A program that gets no error",
        "firewall-rejects",
        ("watch", "-o", "-"),
        "Two sockets sent to the closed port, and each datagram drew an ICMP error. Linux reported it to the "
        "connected one: its next call gives ECONNREFUSED. The other is unconnected, so Linux dropped the error, and "
        "the program waits for its timeout. As root, this comes from the kernel itself: its event "
        "sock:inet_sk_error_report.",
        program=("python3", "-c", TWO_SOCKETS),
    ),
)
CAPTURES = (
    CaptureStep(
        "A firewall that answers for others",
        "firewall-rejects",
        60,
        "Port 53 works. Ports 20 and 60 never reached the host: 198.18.1.1, a router on the way, stopped them, "
        "and for port 60 it even pretended to be the closed port.",
    ),
    CaptureStep(
        "A routing loop",
        "loop-3",
        60,
        "The datagrams left with a TTL of 64 and it ran out on the way: routers pass them round. `udpprobe trace` "
        "names all routers of such a loop.",
    ),
    CaptureStep(
        "Links that are too narrow",
        "two-narrow-links",
        1500,
        "The datagrams were too big for a link; the router before it reports how much fits. `udpprobe mtu` finds "
        "the size to the byte, even where routers report nothing.",
    ),
)


def demo(
    *,
    captures: Annotated[
        bool, Option("--captures", help="Analyze captures instead, as where no private network is possible.")
    ] = False,
) -> None:
    """Show in a few seconds what udpprobe finds: a firewall, a routing loop, a narrow link, a blind program.

    Everything is simulated on this host; nothing leaves it.
    """
    if sys.stdout is None:
        raise UdpprobeError("standard output is closed, and the demo writes nowhere else")
    reason = "--captures was given" if captures else why_no_lab()
    raise Exit(_analyze_captures(reason) if reason else _go_there())


def why_no_lab() -> str:
    """Why this user cannot run a lab here, as the lab says it; empty if it is possible."""
    tried = subprocess.run(  # noqa: S603 - ourselves
        [*UDPPROBE, "lab", "--", *UDPPROBE, "--version"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return tried.stderr.strip().removeprefix("udpprobe: ") if tried.returncode == IMPOSSIBLE else ""


def _go_there() -> int:
    _say(
        "Small internets are simulated on this host, each with something wrong in it. The commands run inside, "
        "as they would on any network; nothing leaves this host."
    )
    statuses = []
    for number, step in enumerate(STEPS, 1):
        _say(f"{number}. {step.title}")
        inside, program = ["lab", "-s", step.scenario, "--"], step.program and ["--", *step.program]
        ours = program and ["--", sys.executable, *step.program[1:]]
        statuses.append(
            _run([*inside, "udpprobe", *step.command, *program], [*inside, *UDPPROBE, *step.command, *ours])
        )
        _say(step.why)
    _say(
        "For more: udpprobe lab --list. A shell in one: udpprobe lab -s home-nat --shell. Your own network: "
        "udpprobe scan HOST, as root."
    )
    return max(statuses)


def _analyze_captures(reason: str) -> int:
    _say(
        "Three small internets, each with something wrong in it, were simulated, and their packets were written to "
        f"captures, which are analyzed instead: {reason}."
    )
    statuses = []
    with tempfile.TemporaryDirectory() as folder:
        for number, capture in enumerate(CAPTURES, 1):
            _say(f"{number}. {capture.title}")
            words = ["analyze", "--all", _written(capture, Path(folder)).name]
            statuses.append(_run(words, words, folder))
            _say(capture.why)
    _say(
        "Your own captures: udpprobe analyze FILE. Others' captures, sorted by what they show: pcaps/README.md in the "
        "source."
    )
    return max(statuses)


def _written(capture: CaptureStep, folder: Path) -> Path:
    from udpprobe.capture.recorder import Recorder  # noqa: PLC0415 - help does not need it
    from udpprobe.lab.run import PacketRecorder, play  # noqa: PLC0415 - as above
    from udpprobe.lab.scenario import load  # noqa: PLC0415 - as above

    path = folder / f"{capture.scenario}.pcapng"
    with Recorder(str(path)) as recorder:
        recorded = PacketRecorder(recorder)
        play(load(capture.scenario), capture.size, time.time_ns(), recorded.add)
        recorded.finish(f"udpprobe {__version__}")
    return path


def _run(shown: Sequence[str], words: Sequence[str], folder: str | None = None) -> int:
    """Run this program with the displayed options, however it was installed."""
    _print(f"$ udpprobe {shlex.join(shown)}")
    status = subprocess.run([*UDPPROBE, *words], cwd=folder, check=False).returncode  # noqa: S603 - ourselves
    _print("")
    return status


def _say(text: str) -> None:
    _print(f"{wrap(text, WIDTH)}\n")


def _print(text: str) -> None:
    echo(text)
    sys.stdout.flush()
