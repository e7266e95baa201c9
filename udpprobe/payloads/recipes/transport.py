"""Routers, tunnels, addresses and what finds them."""

from scapy.contrib.bfd import BFD
from scapy.contrib.coap import CoAP
from scapy.contrib.ripng import RIPng, RIPngEntry
from scapy.contrib.stun import STUN
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_InfoRequest, DHCP6OptElapsedTime, DHCP6OptOptReq
from scapy.layers.l2tp import L2TP
from scapy.layers.rip import RIP, RIPEntry

from udpprobe.payloads.catalogue import Payload

MAGIC_COOKIE = r"\x21\x12\xa4\x42"


def _avp(attribute: int, value: bytes) -> bytes:
    """Mandatory, not hidden (RFC 2661 4.1)."""
    return (0x8000 | 6 + len(value)).to_bytes(2, "big") + bytes(2) + attribute.to_bytes(2, "big") + value


def _l2tp() -> bytes:
    """SCCRQ (RFC 2661 6.1); the tunnel id assigned to the answers is the last."""
    attributes = (_avp(0, b"\0\x01"), _avp(2, b"\x01\0"), _avp(3, bytes([0, 0, 0, 3])), _avp(7, b"udpprobe"),
                  _avp(9, bytes(2)))
    return bytes(L2TP(hdr="control+length+sequence", version=2, tunnel_id=0, session_id=0, ns=0, nr=0)
                 / b"".join(attributes))


L2TP_BYTES = _l2tp()

DHCP_INFORM = bytes(BOOTP(op=1, chaddr=bytes(16), xid=0)
                    / DHCP(options=[("message-type", "inform"), ("param_req_list", [1]), "end"]))

DHCP6_INFORM = bytes(DHCP6_InfoRequest(trid=0) / DHCP6OptElapsedTime() / DHCP6OptOptReq(reqopts=[23]))

PCP_ANNOUNCE = bytes([2, 0]) + bytes(22)

PAYLOADS = (
    Payload("stun", (3478, 19302), bytes(STUN(stun_message_type="Binding request", transaction_id=0)), 8, 8,
            rf"\x01[\x01\x11]..{MAGIC_COOKIE}(?P<token>.{{8}})", "RFC 8489 5, 6.3.1"),
    Payload("coap", (5683,), bytes(CoAP(type="CON", code=0, msg_id=0)), 2, 2, r"\x70\x00(?P<token>..)\Z",
            "RFC 7252 4.2, 4.3: a ping"),
    Payload("rip", (520,), bytes(RIP(cmd=1, version=2) / RIPEntry(AF=2, addr="192.0.2.0", mask="255.255.255.0",
                                                                 metric=16)),
            answer=r"\x02[\x01\x02]\x00\x00\x00\x02\x00\x00\xc0\x00\x02\x00", source="RFC 2453 3.9.1: one route"),
    Payload("ripng", (521,), bytes(RIPng(cmd=1, ver=1) / RIPngEntry(prefix_or_nh="2001:db8::", prefixlen=32,
                                                                   metric=16)),
            answer=r"\x02\x01\x00\x00\x20\x01\x0d\xb8", source="RFC 2080 2.4.1: one route"),
    Payload("l2tp", (1701,), L2TP_BYTES, len(L2TP_BYTES) - 2, 2, r"[\xc8\xca]\x02..(?P<token>..)\x00\x00",
            "RFC 2661 3.1, 6.1"),
    Payload("bfd", (3784, 4784), bytes(BFD(sta=1, flags=0, my_discriminator=0, your_discriminator=0,
                                          min_tx_interval=1_000_000, min_rx_interval=1_000_000, echo_rx_interval=0)),
            4, 4, r"[\x20-\x3f]..[\x18-\x3c].{4}(?P<token>.{4})", "RFC 5880 4.1, 6.8.6"),
    Payload("nat-pmp", (5351,), bytes(2), answer=r"\x00\x80\x00[\x00-\x05].{4}(?:.{4})?\Z", source="RFC 6886 3.2"),
    Payload("pcp", (5351,), PCP_ANNOUNCE, answer=r"\x02\x80\x00[\x00-\x0d].{20}", source="RFC 6887 7.1, 14.1"),
    Payload("dhcp-inform", (67,), DHCP_INFORM, 4, 4, r"\x02\x01\x06.(?P<token>.{4})", "RFC 2131 4.4.3"),
    Payload("dhcpv6-inform", (547,), DHCP6_INFORM, 1, 3, r"\x07(?P<token>...)\x00[\x01-\x40]\x00", "RFC 8415 18.2.6"),
)
