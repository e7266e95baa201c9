"""Firewalls, forgers and storms: which packets a rule is about."""

from __future__ import annotations

from udpprobe.lab.model import ICMP, ICMPV6, TCP, UDP, Packet
from udpprobe.lab.spec import Network, Rule

_PROTOCOLS = {"udp": {UDP}, "tcp": {TCP}, "icmp": {ICMP, ICMPV6}}


class Gate:
    """A rule that counts.

    Args:
        rule: what it says.
        goals: the networks that `rule.to` means; any where there are none.
    """

    def __init__(self, rule: Rule, goals: list[Network]) -> None:
        self.rule = rule
        self._goals = goals
        self._fitting = 0

    def fits(self, packet: Packet) -> bool:
        """Whether the rule is about this packet, and it is its turn."""
        if not self._is_about(packet):
            return False
        self._fitting += 1
        return self._fitting % self.rule.every == 0

    def _is_about(self, packet: Packet) -> bool:
        rule, port = self.rule, packet.ports[1]
        return (
            (rule.proto == "any" or packet.protocol in _PROTOCOLS[rule.proto])
            and (rule.ports is None or any(low <= port <= high for low, high in rule.ports))
            and (rule.larger_than is None or packet.size > rule.larger_than)
            and (rule.to is None or any(packet.destination in goal for goal in self._goals))
        )
