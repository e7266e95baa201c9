"""What the engines without privilege cannot see; `scan --help` says it too, and must not import much."""

from __future__ import annotations

RECVERR = ("the error queue shows no error that the kernel keeps to itself (fragments lost on the way over IPv4, "
           "source quench, a quote cut inside the UDP header), and of no packet the TTL, IP id or extensions")

CONNECTED = ("a connected socket hears only an errno: not who sent the error, so that rejected looks like refused, nor "
             "its type and code; nothing of an unreachable net or host or of an expired TTL; of several errors at once "
             "only the last; no answer from another address or port")
