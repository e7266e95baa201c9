"""What there is to be judged: a path MTU, a black hole, ways with and without a loop, kinds of silence."""

from msgspec.structs import replace
from samples import destination

from udpprobe.pmtud.model import BlackHole, MtuReport
from udpprobe.tracing.model import Target, TraceLoop, TraceReport

MTU = MtuReport(
    version="0.1.0",
    target=Target("10.0.0.1", 53),
    verdict="ok",
    errno=None,
    path_mtu=1500,
    udp_payload_max=1472,
    proof="refusal",
    state="SEARCH_COMPLETE",
    interface="eth0",
    interface_mtu=1500,
    source_address="10.0.0.9",
    control_port=None,
    reports=(),
    black_hole=None,
    sent=2,
    duration_ms=1.0,
    time_ns=0,
    notes=("n",),
    advice="Do this.",
)
HOLE = replace(MTU, verdict="black-hole", path_mtu=1420, black_hole=BlackHole(1420, 1421, "192.0.2.1", None))
TRACE = TraceReport("0.1.0", Target("10.0.0.1", 53), "10.0.0.9", (40_000,), "eth0", 0, "silent", None, False, (), None)
LOOPING = replace(TRACE, verdict="loop", loop=TraceLoop(("192.0.2.1", None, "192.0.2.3"), 3, 2))
MUTE = destination("10.0.0.1", 53, "silent", meaning="no-evidence")
QUIET = replace(MUTE, meaning="listening-or-filtered")
LIMITED = replace(MUTE, meaning="rate-limited")
