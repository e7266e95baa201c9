"""Calls, the networks of mobile operators, caches, games, peers, and the small services of old."""

from scapy.contrib import gtp, gtp_v2
from scapy.contrib.pfcp import PFCP, IE_RecoveryTimeStamp, PFCPHeartbeatRequest

from udpprobe.payloads.catalogue import Payload

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



MEMCACHED = bytes.fromhex("0000 0000 0001 0000") + b"version\r\n"
"""Request id, sequence number, datagrams in all, reserved."""

DHT_HEAD = b"d1:ad2:id20:udpprobe------------e1:q4:ping1:t2:"
MSSQL_DAC = b"\x0f\x01MSSQLSERVER\0"
"""CLNT_UCAST_DAC: one port number, where the whole list of instances would be large."""



SYSLOG = b"<191>1 - - udpprobe - - - udpprobe"
"""local7.debug: what every default configuration throws away first."""

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
    Payload("memcached", (11211,), MEMCACHED, 0, 2, r"(?P<token>..)\x00\x00\x00\x01\x00\x00(?:VERSION |ERROR)",
            "memcached protocol.txt, UDP protocol"),
    Payload("ms-sql-browser", (1434,), MSSQL_DAC, answer=r"\x05\x06\x00\x01..\Z", source="MC-SQLR 2.2.4, 2.2.6"),
    Payload("a2s", (27015, 27016, 27017), b"\xff\xff\xff\xffTSource Engine Query\0",
            answer=r"\xff\xff\xff\xff[AIm]", source="Valve, Server queries, A2S_INFO"),
    Payload("quake3", (27960,), b"\xff\xff\xff\xffgetchallenge\0", answer=r"\xff\xff\xff\xffchallengeResponse",
            source="Quake III Arena, SV_GetChallenge"),
    Payload("dht", (6881,), DHT_HEAD + b"\0\0" + b"1:y1:qe", len(DHT_HEAD), 2, r"d.*1:t2:(?P<token>..).*1:y1:[re]e\Z",
            "BEP 5, ping"),
    Payload("echo", (7,), bytes(8), 0, 8, r"(?P<token>.{8})\Z", "RFC 862", loose=True),
    Payload("discard", (9,), bytes(8), 0, 8, source="RFC 863: silent by design"),
    Payload("daytime", (13,), bytes(8), 0, 8, r"[ -~]{8,64}[\r\n]", "RFC 867", loose=True),
    Payload("time", (37,), b"", answer=r".{4}\Z", source="RFC 868: an empty datagram", loose=True),
    Payload("syslog", (514,), SYSLOG, source="RFC 5424 6; RFC 5426: silent by design"),
    Payload("xdmcp", (177,), bytes.fromhex("0001 0002 0001 00"), answer=r"\x00\x01\x00[\x05\x06]..\x00",
            source="XDMCP 1.1, Query"),
)
