"""Checks as Prometheus's metrics: names with their units, base units only.

https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from udpprobe.core.thresholds import State
from udpprobe.reports.text import escape

if TYPE_CHECKING:
    from udpprobe.core.checking import Checked, Outcome

LABELS = ("target", "group", "address", "port")
_GAUGES = (
    ("state", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", lambda check: State[check.state].value),
    ("success", "1 where the destination is as expected.", lambda check: check.state == "OK"),
    ("rtt_seconds", "Median round trip.", lambda check: check.rtt_ms and check.rtt_ms / 1000),
    ("path_mtu_bytes", "IP packet that fits through.", lambda check: check.path_mtu),
)


def checks_text(outcome: Outcome) -> str:
    """What the node exporter's textfile collector reads."""
    registry = CollectorRegistry()
    for name, text, value_of in _GAUGES:
        gauge = Gauge(f"udpprobe_check_{name}", text, LABELS, registry=registry)
        for each in outcome.checks:
            if (value := value_of(each)) is not None:
                gauge.labels(*_labels(each)).set(value)
    _verdicts(outcome, registry)
    Gauge("udpprobe_check_time_seconds", "When the checks began, since 1970.",
          registry=registry).set(outcome.time_ns / 1e9)
    Gauge("udpprobe_check_duration_seconds", "How long they took.", registry=registry).set(outcome.duration_s)
    return generate_latest(registry).decode()


def _verdicts(outcome: Outcome, registry: CollectorRegistry) -> None:
    gauge = Gauge("udpprobe_check_verdict", "1 for what became of the datagrams.", (*LABELS, "verdict"),
                  registry=registry)
    for each in outcome.checks:
        if each.verdict:
            gauge.labels(*_labels(each), each.verdict).set(1)


def _labels(check: Checked) -> tuple[str, ...]:
    port = "" if check.port is None else str(check.port)
    return escape(check.target), escape(check.group or ""), check.address or "", port
