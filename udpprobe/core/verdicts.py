"""One table of meanings: what an ICMP or ICMPv6 error says about the datagram it quotes.

The errno is the book's (UNP table 28.1); the Linux columns were measured with crafted errors on Linux 6.18.
`scan` and `analyze` print the verdict, `explain` the table, `icmpd` sends the errno.
"""

from __future__ import annotations

from dataclasses import dataclass

VERDICTS = ("refused", "rejected", "too-big", "loop", "expired", "prohibited", "unreachable", "reassembly",
            "quenched", "malformed", "answered", "silent", "unsent")
"""Every verdict, most telling first."""

ERRNO_OF_VERDICT = {
    "refused": "ECONNREFUSED", "rejected": "ECONNREFUSED", "too-big": "EMSGSIZE", "loop": "EHOSTUNREACH",
    "expired": "EHOSTUNREACH", "prohibited": "EHOSTUNREACH", "unreachable": "EHOSTUNREACH",
    "reassembly": "EHOSTUNREACH", "quenched": "EHOSTUNREACH",
}
"""UNP table 28.1; the verdicts that are not here have none."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row of the table."""

    family: int
    type: int
    code: int
    name: str
    """The error's own short name."""
    reason: str
    """nmap's word where it has one."""
    verdict: str | None
    """`refused` and `expired` stand also for `rejected` and `loop`, which need more than type and code."""
    connected: str | None
    """Errno a connected Linux socket gets; an unconnected one gets none, ever."""
    recverr: str | None
    """Errno a Linux socket with IP_RECVERR or IPV6_RECVERR gets."""
    text: str
    """What it says, in a sentence."""

    @property
    def errno(self) -> str | None:
        """What the book's daemon sends for it."""
        return ERRNO_OF_VERDICT.get(self.verdict or "")

    @property
    def linux(self) -> dict[str, str | None]:
        """Errno by kind of Linux socket."""
        return {"unconnected": None, "connected": self.connected, "recverr": self.recverr}
