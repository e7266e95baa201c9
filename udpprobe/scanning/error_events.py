"""Turns each ICMP error that a scan matched to one of its probes into an `Event`."""

from __future__ import annotations

from udpprobe.core.addresses import address_text
from udpprobe.core.advice import advice_about
from udpprobe.core.extensions import extensions_of
from udpprobe.core.model import Event, Quoted, quoted_of
from udpprobe.core.notes import mtu_notes, no_neighbour_notes, texts_of
from udpprobe.core.verdicts import ERRNO_OF_VERDICT
from udpprobe.scanning.outcome import NS_PER_MS, Known, judged
from udpprobe.scanning.plan import Plan
from udpprobe.scanning.record import NOBODY
from udpprobe.scanning.replies import Believed


def event_of(known: Known, believed: Believed) -> Event:
    """The event of a matched error."""
    packet, kind = believed.packet, believed.kind
    meaning, verdict = judged(known, believed.task, kind)
    extensions, odd = extensions_of(packet.data, packet.family) if packet else (None, 0)
    notes = believed.notes | mtu_notes(kind.family, kind.mtu, believed.length) | odd
    texts, is_own = texts_of(notes, believed.length, kind.family), kind.reporter == NOBODY
    reporter = None if is_own else address_text(*kind.reporter)
    if is_own:
        texts += no_neighbour_notes(kind.family, known.interface_of(believed.task))
    quoted, mtu = quoted_of(packet) if packet else _sent(known.plan, believed), kind.mtu if kind.mtu >= 0 else None
    return Event(
        frame=believed.number,
        time_ns=believed.time_ns,
        family=kind.family,
        type=kind.icmp_type,
        code=kind.icmp_code,
        verdict=verdict,
        errno=ERRNO_OF_VERDICT.get(verdict or ""),
        linux=meaning.linux,
        reason=meaning.reason,
        reporter=reporter,
        mtu=mtu,
        quoted=quoted,
        match="exact" if believed.is_exact else "rewritten",
        matched_frame=believed.frame or None,
        rtt_ms=(believed.time_ns - believed.sent_ns) / NS_PER_MS if believed.sent_ns and not is_own else None,
        extensions=extensions,
        notes=texts,
        match_evidence=believed.evidence,
        # A control probe asks a port that nobody is meant to listen on.
        advice=advice_about(quoted, verdict, meaning.reason, reporter, family=kind.family, mtu=mtu, notes=texts)
        if believed.task < known.plan.asked
        else None,
    )


def _sent(plan: Plan, believed: Believed) -> Quoted:
    """The probe, where nobody saw what was quoted of it."""
    address = plan.tasks.address(believed.task)
    header = 20 if believed.kind.family == 4 else 40
    return Quoted(
        source=address_text(*believed.own),
        source_port=plan.source_port[believed.task],
        destination=address_text(*address),
        destination_port=plan.port[believed.task],
        ip_id=None,
        ttl=plan.ttl,
        ip_length=believed.length,
        udp_length=believed.length - header,
        udp_checksum=None,
        bytes=0,
    )
