"""Checks as Prometheus metrics: names with units, base units only.

https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from udpprobe.checking.expectations import CheckState
from udpprobe.core.verdicts import VERDICTS
from udpprobe.reports.text import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from udpprobe.checking.states import Checked, Outcome

LABELS = ("target", "group", "address", "port")
_GAUGES = (
    ("state", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", lambda check: CheckState[check.state].value),
    ("success", "1 where the destination is as expected.", lambda check: check.state == "OK"),
    ("rtt_seconds", "Median round trip.", lambda check: check.rtt_ms and check.rtt_ms / 1000),
    ("path_mtu_bytes", "Largest IP packet that fits, in bytes.", lambda check: check.path_mtu),
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
    Gauge("udpprobe_check_time_seconds", "When the checks began, since 1970.", registry=registry).set(
        outcome.time_ns / 1e9
    )
    Gauge("udpprobe_check_duration_seconds", "How long they took.", registry=registry).set(outcome.duration_s)
    return generate_latest(registry).decode()


def _verdicts(outcome: Outcome, registry: CollectorRegistry) -> None:
    gauge = Gauge(
        "udpprobe_check_verdict", "1 for the verdict on the datagrams.", (*LABELS, "verdict"), registry=registry
    )
    for each in outcome.checks:
        if each.verdict:
            gauge.labels(*_labels(each), each.verdict).set(1)


def _labels(check: Checked) -> tuple[str, ...]:
    port = "" if check.port is None else str(check.port)
    return escape(check.target), escape(check.group or ""), check.address or "", port


_PROBE_GAUGES = (
    ("probe_success", "1 where the target is as expected.", lambda check: check.state == "OK"),
    ("probe_ip_protocol", "4 or 6.", lambda check: None if check.address is None else 6 if ":" in check.address else 4),
    ("probe_udp_state", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", lambda check: CheckState[check.state].value),
    ("probe_udp_rtt_seconds", "Median round trip.", lambda check: check.rtt_ms and check.rtt_ms / 1000),
    ("probe_udp_path_mtu_bytes", "Largest IP packet that fits, in bytes.", lambda check: check.path_mtu),
)

Errors = Mapping[tuple[int, int, int], int]
"""ICMP errors by family, type and code."""


def probe_text(check: Checked, duration_s: float, errors: Errors) -> bytes:
    """The results of one probe, for the server that requested it.

    Args:
        check: of the target's one destination.
        duration_s: how long it took.
        errors: how many ICMP errors the target has drawn by now.
    """
    registry = CollectorRegistry()
    Gauge("probe_duration_seconds", "How long the probe took.", registry=registry).set(duration_s)
    for name, text, value_of in _PROBE_GAUGES:
        if (value := value_of(check)) is not None:
            Gauge(name, text, registry=registry).set(value)
    verdicts = Gauge(
        "probe_udp_verdict", "1 for the verdict on the datagrams, 0 for the others.", ("verdict",), registry=registry
    )
    for verdict in VERDICTS:
        verdicts.labels(verdict).set(verdict == check.verdict)
    registry.register(_Counted(errors))
    return generate_latest(registry)


class _Counted(Collector):
    """Counters that are kept elsewhere."""

    def __init__(self, errors: Errors) -> None:
        self._errors = errors

    def collect(self) -> Iterator[Metric]:
        """One family."""
        found = CounterMetricFamily(
            "probe_udp_icmp_errors", "ICMP errors about datagrams to the target.", labels=("family", "type", "code")
        )
        for key, count in self._errors.items():
            found.add_metric(tuple(map(str, key)), count)
        yield found
