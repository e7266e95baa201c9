"""What the engines without privilege cannot see; `scan --help` says it too, and must not import much."""

from __future__ import annotations

RECVERR = (
    "errors that the kernel keeps to itself (fragments lost on the way over IPv4, source quench, a quote cut "
    "inside the UDP header), and the TTL, IP id and extensions of all that comes back"
)

CONNECTED = (
    "who sent an error, when, and of which type and code, for it hears only the errno (rejected looks like "
    "refused); unreachable nets and hosts and expired TTLs; of several errors at once any but the last; "
    "answers from another address or port"
)
