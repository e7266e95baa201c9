"""What routers tell beyond ICMP: MPLS labels (RFC 4950) and interfaces (RFC 5837) behind a quote (RFC 4884)."""

from __future__ import annotations

from typing import Any

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMPExtension_Header, ICMPExtension_InterfaceInformation, ICMPExtension_Object
from scapy.utils import checksum

from udpprobe.lab.model import Address, Kind
from udpprobe.lab.spec import NodeSpec

_EXTENDED = {4: {3, 11, 12}, 6: {1, 3}}
"""Types that have a length field, by family (RFC 4884, 4)."""


def structure(spec: NodeSpec, source: Address, kind: Kind) -> bytes:
    """The extension structure of a node's error, with its header; none where it tells no more, or may not."""
    if kind.type not in _EXTENDED[source.version]:
        return b""
    objects = _labels(spec.mpls) + _interface(spec.interface, source)
    if not objects:
        return b""
    header = ICMPExtension_Header(chksum=0).self_build()
    return header[:2] + checksum(header + objects).to_bytes(2) + objects


def _labels(labels: list[int]) -> bytes:
    if not labels:
        return b""
    last = len(labels) - 1
    stack = b"".join(MPLS(label=label, s=row == last, ttl=1).self_build() for row, label in enumerate(labels))
    return ICMPExtension_Object(len=4 + len(stack), classnum=1, classtype=1).self_build() + stack


def _interface(name: str | None, source: Address) -> bytes:
    """The incoming interface (role 0) by address and name; the name's length counts its own byte (RFC 5837, 4.3)."""
    if name is None:
        return b""
    text = name.encode()
    text += bytes(-(1 + len(text)) % 4)
    address: dict[str, Any] = {"afi": 1, "ip4": str(source)} if source.version == 4 else {"afi": 2, "ip6": str(source)}
    size = 4 + 4 + len(source.packed) + 1 + len(text)
    return bytes(ICMPExtension_InterfaceInformation(len=size, has_ipaddr=1, has_ifname=1, ifname_len=1 + len(text),
                                              ifname=text, **address))
