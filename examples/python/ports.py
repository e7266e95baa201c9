"""Scan ports, and trace what a router stopped on the way: `python ports.py host:1-1024…`."""

import sys

import udpprobe

ON_THE_WAY = {"prohibited", "rejected", "unreachable", "loop"}

report = udpprobe.scan(sys.argv[1:], retries=1, on_warning=lambda text: print("warning:", text, file=sys.stderr))
for destination in report.destinations:
    print(f"{destination.address} {destination.port} {destination.verdict}", destination.meaning or "")
    if destination.verdict in ON_THE_WAY:
        host = f"[{destination.address}]" if ":" in destination.address else destination.address
        trace = udpprobe.trace(f"{host}:{destination.port}")
        for hop in trace.hops:
            print("   ", hop.ttl, *(reporter.address for reporter in hop.reporters))
