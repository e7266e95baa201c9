"""What to do about a verdict: one table of sentences for every command.

A `Case` is what a sentence depends on besides the destination. A table on a screen has one sentence for all
destinations of a case; JSON has it in each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from udpprobe.core.notes import (
    AMPLIFIER,
    GROUP_MEMBER,
    LEAST_MTU,
    NO_ERRORS_ARRIVE,
    OWN_SOCKET,
    REMAIN,
    SCANNER,
    TEXTS,
    Note,
    says,
)
from udpprobe.endpoints import endpoint_text

if TYPE_CHECKING:
    from udpprobe.core.model import Destination, Finding, Quoted

SENTENCES = {
    "refused": "Nothing listens on {where}: start the service or check the port.",
    "refused-at-times": "Check the service on {where}: some datagrams were answered, others refused.",
    "rejected": "Ask whoever runs {who} about its filter: it refuses on behalf of {where}.",
    "group-member": "Ignore this, or tell whoever runs {who}: hosts must not send errors about multicast or broadcast.",
    "amplifier": "Restrict who may query {where}, or limit the size of its answers: it can be abused to flood others.",
    "too-big": "Send UDP payloads of at most {size} bytes to {where}: larger ones do not fit beyond {who}.",
    "too-big-unknown": "Measure the path MTU with `udpprobe mtu {first}`: {who} reports no plausible MTU.",
    "loop": "Contact whoever runs {who}: the route to {where} loops.",
    "loop-unseen": "Find the routers in the loop with `udpprobe trace {first}`, and contact whoever runs them.",
    "expired": "Use a higher TTL for {where}, unless this was a traceroute.",
    "prohibited": "Ask whoever runs {who} about its filter: it blocks UDP to {where}.",
    "prohibited-itself": "Allow UDP to {where} in that host's own firewall.",
    "host-unreach": "Check that the host is up: {who}, the last router, cannot reach {where}.",
    "no-neighbour": "Check that the host is up and on this link: nothing answers ARP or neighbour discovery for "
    "{where}.",
    "no-route": "Ask whoever runs {who} for a route to {where}.",
    "proto-unreach": "Check the address {where}: the host there does not speak UDP.",
    "unreachable": "Ask whoever runs {who} why it cannot deliver to {where}.",
    "reassembly": "Send smaller datagrams to {where}, which need no fragments: some fragments are lost on the way.",
    "quenched": "Send more slowly to {where}, or ignore this: {who} sends source quench, which is obsolete (RFC 6633).",
    "malformed": "Check the IP options and extension headers of packets to {where}: {who} cannot parse them.",
    "unknown": "Look up this ICMPv6 type: {who} sends an error that this version does not know.",
    "listening-or-filtered": "Send a request that the service on {where} answers, or check on the host itself: "
    "silence cannot tell a listener from a filter.",
    "rate-limited": "Probe {where} again, more slowly: the host's ICMP rate limit may have suppressed an error.",
    "no-evidence": "See how far packets get with `udpprobe trace {first}`: the host is down, or a filter drops UDP.",
    "no-error": "Send a request that the service on {where} answers, or check on the host itself: it is up, but its "
    "ICMP errors do not arrive, so a closed port is silent too.",
    "answer-from": "Bind the service on {where} to that address: it answers from {who} instead.",
    "unsent": "Check this host's route with `ip route get {host}`.",
    "unsent-EPERM": "Allow UDP to {where} in this host's own firewall (`nft list ruleset`).",
    "unsent-ENETUNREACH": "Add a route to {where}: this host has none (`ip route get {host}`).",
    "unsent-EMSGSIZE": "Send smaller datagrams to {where}: the interface's MTU is too small for them.",
    "unsent-ENETDOWN": "Bring up the interface towards {where} (`ip link`).",
    "unsent-ENODEV": "Bring back the interface towards {where} (`ip link`).",
    "unsent-ENOBUFS": "Send more slowly to {where}: the interface's queue was full.",
    "unsent-EADDRNOTAVAIL": "Give this host a source address for {where}.",
    "unsent-EAFNOSUPPORT": "Give this host a source address for {where}.",
    "unsent-late": "Allow more time: it ran out before {where} was probed.",
    "black-hole": "Make the device behind {who} send {errors}, and let these through; until then, set the MTU of "
    "the route to {host} to {size}.",
    "wrong-mtu": "Ask whoever runs {who} to correct the MTU it reports; until then, set the MTU of the route to {host} "
    "to {size}.",
    "below-least": "Look for a filter on the way to {where}: every link must carry {size} bytes, but packets larger "
    "than {who} bytes disappear.",
    "who-stops": "See what stops probes with `udpprobe trace {first}`.",
    "too-far": "Trace again with a higher --max-ttl: the path to {where} is longer.",
    "silent-behind": "Ask whoever runs {who}, the last router that replied, about {where}, or check that the host is "
    "up.",
    "silent-at-all": "Check this host's firewall and its route (`ip route get {host}`): no router replied at all.",
    "too-slow": "Check the load of {where}, and the RTT of each hop with `udpprobe trace {first}`.",
    "not-refused": "Stop the service on {where}, or correct what is expected of it.",
    "unchecked": "Fix what keeps {where} from being checked: {who}.",
}
"""`{where}` is the destination or several of them, `{first}` one of them for a command, `{host}` its address."""

SOMEBODY = "a router on the way"
"""Stands for the reporter if only the errno is known."""
OF = " of "
"""In a place that stands for several: `40 ports of 192.0.2.1`, `2 ports of 192.0.2.1 and 9 other hosts`."""
SOME, ANY_HOST = "some destinations", "HOST"
"""Stand for the destinations in a row about a reporter, if the reporter is another host."""
_BY_ITSELF = {"refused": "some ports of {}", "reassembly": "{}", "proto-unreach": "{}"}
"""Cases in which the reporter is the destination, and what to call it."""
_NO_ADDRESS = {4: "", 6: ":"}
"""By family, an address that no reporter has."""
_NO_ROUTE = frozenset({"net-unreach", "no-route"})
_HEADERS = {4: 28, 6: 48}
"""Bytes of an IP header without options plus a UDP header, by family."""
_NOT_SMALLER = TEXTS[Note.MTU_NOT_SMALLER]
ANSWER = "udp-response"
"""Reason of findings about answers from another address or port; nmap's word."""
_NAMED = 3
"""A sentence names this many destinations; further ones are counted."""


class Case(NamedTuple):
    """What advice depends on, besides the destinations."""

    key: str
    """Key into SENTENCES."""
    who: str = ""
    """A router, or those of a loop."""
    size: int = 0
    """Bytes."""


def case_of_error(  # noqa: PLR0911, PLR0913 - a table of verdicts; the fields of an error
    verdict: str | None,
    *,
    reason: str,
    reporter: str | None,
    address: str,
    family: int,
    mtu: int | None = None,
    notes: Sequence[str] = (),
    routers: Sequence[str] = (),
    answered: int = 0,
) -> Case:
    """The case of an ICMP error about a datagram to an address."""
    who = reporter or SOMEBODY
    match verdict:
        case "rejected" if GROUP_MEMBER in notes:
            return Case("group-member", who)
        case "refused":
            return Case("refused-at-times" if answered else "refused")
        case "too-big":
            is_likely = mtu is not None and mtu >= LEAST_MTU[family] and _NOT_SMALLER not in notes
            size = _inside(mtu or 0, notes) - _HEADERS[6 if ":" in address else 4]
            return Case("too-big", who, size) if is_likely else Case("too-big-unknown", who)
        case "loop":
            names = list(routers) or ([] if reporter is None else [reporter])
            return Case("loop", listed(names)) if names else Case("loop-unseen")
        case "prohibited":
            return Case("prohibited-itself") if reporter == address else Case("prohibited", who)
        case "unreachable":
            return Case(_kind_of_unreachable(reason, reporter), who)
        case None:
            return Case("unknown", who)
        case _:
            return Case(verdict, "" if verdict in {"expired", "reassembly"} else who)


def _inside(mtu: int, notes: Sequence[str]) -> int:
    """What an MTU leaves for the datagram's own packet. Inside a tunnel, a note has the remaining bytes."""
    left = next((each.rpartition(", and ")[2] for each in notes if each.endswith(REMAIN)), None)
    return int(left.removesuffix(REMAIN)) if left else mtu


def _kind_of_unreachable(reason: str, reporter: str | None) -> str:
    if reason == "host-unreach":
        return "host-unreach" if reporter else "no-neighbour"
    if reason in _NO_ROUTE:
        return "no-route"
    return "proto-unreach" if reason == "proto-unreach" else "unreachable"


def case_of(found: Destination) -> Case | None:
    """The case of a destination's verdict; None if it is healthy.

    In a row about a whole host, other ports may have answered than were refused.
    """
    if found.verdict is None or (found.verdict == "refused" and is_probed_only(found.notes)):
        return None
    return case_of_verdict(
        found.verdict,
        found.findings,
        found.address,
        meaning=found.meaning,
        errno=found.errno,
        answered=found.answered if found.port is not None else 0,
        notes=found.notes,
    )


def is_probed_only(notes: Sequence[str]) -> bool:
    """Whether only scanners of this host sent there, so that a refusal asks for nothing: they may try closed ports."""
    senders = [note for note in notes if OWN_SOCKET in note]
    return bool(senders) and all(SCANNER in note for note in senders)


def case_of_verdict(
    verdict: str,
    findings: Sequence[Finding],
    address: str,
    *,
    meaning: str | None = None,
    errno: str | None = None,
    answered: int = 0,
    notes: Sequence[str] = (),
) -> Case | None:
    """Like `case_of`, for a destination that is not complete yet."""
    if verdict == "answered":
        return Case("amplifier") if says(notes, AMPLIFIER) else None
    if verdict == "silent":
        other = next((each.reporter for each in findings if each.reason == ANSWER and each.reporter != address), None)
        if other:
            return Case("answer-from", other)
        is_up = meaning == "no-evidence" and says(notes, NO_ERRORS_ARRIVE)
        return Case("no-error" if is_up else meaning or "no-evidence")
    if verdict == "unsent":
        return unsent_case(errno)
    found = next((each for each in findings if each.verdict == verdict), None)
    return None if found is None else case_of_finding(found, address, answered)


def advice_by_reporter(case: Case | None, reporter: str) -> str | None:
    """Advice for a row about a reporter. Its destinations were not kept, unless the reporter is the destination."""
    return sentence(case, [place_by_reporter(case, reporter)], ANY_HOST)


def place_by_reporter(case: Case | None, reporter: str) -> str:
    """Name of the destination in a row about a reporter."""
    return _BY_ITSELF.get(case.key if case else "", SOME).format(reporter)


def case_by_reporter(verdict: str | None, findings: Sequence[Finding]) -> Case | None:
    """The case of a row about a reporter. The row's address is no destination's, nor need a filter there be."""
    found = next((each for each in findings if each.verdict == verdict), None)
    return None if found is None else case_of_finding(found, _NO_ADDRESS[found.family])


def unsent_case(errno: str | None) -> Case:
    """The case of a datagram that this host could not send."""
    key = f"unsent-{errno or 'late'}"
    return Case(key if key in SENTENCES else "unsent")


def case_of_finding(found: Finding, address: str, answered: int = 0) -> Case:
    """The case of one finding."""
    return case_of_error(
        found.verdict,
        reason=found.reason,
        reporter=found.reporter,
        address=address,
        family=found.family,
        mtu=found.mtu,
        notes=found.notes,
        routers=found.loop.routers if found.loop else (),
        answered=answered,
    )


def advice_about(
    quoted: Quoted,
    verdict: str | None,
    reason: str,
    reporter: str | None,
    *,
    family: int,
    mtu: int | None,
    notes: Sequence[str],
) -> str | None:
    """Advice on one error about the datagram that it quotes."""
    case = case_of_error(
        verdict, reason=reason, reporter=reporter, address=quoted.destination, family=family, mtu=mtu, notes=notes
    )
    return sentence(case, [endpoint_text(quoted.destination, quoted.destination_port)], quoted.destination)


def sentence(case: Case | None, places: Sequence[str], host: str = "", *, errors: str = "") -> str | None:
    """The sentence of a case.

    Args:
        case: None for a healthy destination.
        places: the destinations it is about.
        host: address of the first.
        errors: the ICMP errors that a black hole suppresses.
    """
    if case is None:
        return None
    first = "HOST:PORT" if places[0] == SOME else first_of(places[0])
    return SENTENCES[case.key].format(
        where=listed(places),
        first=f"'{first}'" if "[" in first else first,
        host=host or first,
        who=case.who,
        size=case.size,
        errors=errors,
    )


def first_of(place: str) -> str:
    """A destination that a command takes, where a place stands for several."""
    return place.rpartition(OF)[2].partition(" ")[0]


def listed(names: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B, C and 4 more`."""
    shown = list(names[:_NAMED]) if len(names) > _NAMED + 1 else list(names)
    if left := len(names) - len(shown):
        shown.append(f"{left} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
