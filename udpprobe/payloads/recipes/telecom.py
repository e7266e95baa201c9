"""Calls, and the networks of mobile operators."""

from scapy.contrib import gtp, gtp_v2
from scapy.contrib.pfcp import PFCP, IE_RecoveryTimeStamp, PFCPHeartbeatRequest

from udpprobe.payloads.model import Payload

SIP = (b"OPTIONS sip:udpprobe@invalid SIP/2.0\r\n"
       b"Via: SIP/2.0/UDP invalid;branch=z9hG4bKudpprobe;rport\r\n"
       b"Max-Forwards: 70\r\n"
       b"From: <sip:udpprobe@invalid>;tag=udpprobe\r\n"
       b"To: <sip:udpprobe@invalid>\r\n"
       b"Call-ID: udpprobe@invalid\r\n"
       b"CSeq: 1 OPTIONS\r\n"
       b"Contact: <sip:udpprobe@invalid>\r\n"
       b"Content-Length: 0\r\n\r\n")

IAX2_POKE = bytes.fromhex("8001 0000 00000000 00 00 06 1e")
"""A full frame (RFC 5456 8.1.1) from call 1, of which the time stamp comes back."""

RECOVERY_TIME = IE_RecoveryTimeStamp(timestamp=0)  # type: ignore[no-untyped-call]  # Scapy declares no types there

PAYLOADS = (
    Payload("sip", (5060,), SIP, answer=r"SIP/2\.0 [1-6]\d\d ", source="RFC 3261 11, 18.2.2; RFC 3581"),
    Payload("iax2", (4569,), IAX2_POKE, 4, 4, r"[\x80-\xff].[\x00\x80]\x01(?P<token>.{4})..\x06[\x03\x04]",
            "RFC 5456 6.7.1, 8.1.1"),
    Payload("mgcp", (2427,), b"AUEP 1 *@udpprobe.invalid MGCP 1.0\r\n", answer=r"[1-5]\d\d 1[ \r\n]",
            source="RFC 3435 2.3.9, 3.2"),
    Payload("gtpv2", (2123,), bytes(gtp_v2.GTPHeader(P=0, T=0, gtp_type=1, seq=0) / gtp_v2.GTPV2EchoRequest()), 4, 3,
            r"[\x40-\x47]\x02..(?P<token>...)", "3GPP TS 29.274 5.1, 7.1.1"),
    Payload("gtpv1", (2123, 2152), bytes(gtp.GTPHeader(S=1, seq=0, teid=0) / gtp.GTPEchoRequest()), 8, 2,
            r"[\x30-\x37]\x02.{6}(?P<token>..)", "3GPP TS 29.060 7.2.1; TS 29.281 7.2.1"),
    Payload("pfcp", (8805,), bytes(PFCP(S=0, seq=0) / PFCPHeartbeatRequest(IE_list=[RECOVERY_TIME])), 4, 3,
            r"[\x20-\x2f]\x02..(?P<token>...)", "3GPP TS 29.244 7.4.2"),
)
