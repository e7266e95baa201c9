"""Builds payloads.toml: requests made with Scapy's layers, or by hand where Scapy has none.

The package has only the file, which `make golden` rewrites: a scan does not load Scapy, which takes half a second. The
requests are harmless and small, and ask for small answers: no monlist, no statistics, no ANY.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scapy.asn1.asn1 import ASN1_GENERAL_STRING, ASN1_GENERALIZED_TIME, ASN1_INTEGER, ASN1_OID
from scapy.contrib import gtp, gtp_v2
from scapy.contrib.bfd import BFD
from scapy.contrib.coap import CoAP
from scapy.contrib.enipTCP import ENIPTCP
from scapy.contrib.ikev2 import IKEv2, IKEv2_KE, IKEv2_Nonce, IKEv2_Proposal, IKEv2_SA, IKEv2_Transform
from scapy.contrib.oncrpc import RPC, RPC_Call
from scapy.contrib.pfcp import PFCP, IE_RecoveryTimeStamp, PFCPHeartbeatRequest
from scapy.contrib.ripng import RIPng, RIPngEntry
from scapy.contrib.stun import STUN
from scapy.contrib.wireguard import Wireguard, WireguardInitiation
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_InfoRequest, DHCP6OptElapsedTime, DHCP6OptOptReq
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.isakmp import ISAKMP, ISAKMP_payload_Proposal, ISAKMP_payload_SA, ISAKMP_payload_Transform
from scapy.layers.kerberos import KRB_AS_REQ, KRB_KDC_REQ_BODY, Kerberos, PrincipalName
from scapy.layers.l2tp import L2TP
from scapy.layers.ldap import LDAP, LDAP_Filter, LDAP_FilterPresent, LDAP_SearchRequest, LDAP_SearchRequestAttribute
from scapy.layers.llmnr import LLMNRQuery
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ntp import NTPHeader
from scapy.layers.quic import QUIC_Initial
from scapy.layers.radius import Radius, RadiusAttribute
from scapy.layers.rip import RIP, RIPEntry
from scapy.layers.snmp import SNMP, SNMPget, SNMPvarbind
from scapy.layers.tftp import TFTP, TFTP_RRQ
from scapy.packet import Packet

from udpprobe import payloads
from udpprobe.payloads import Payload

TABLE = Path(payloads.__file__).with_name("payloads.toml")

# ---- names, time and service discovery

NULL_SUFFIX = 0x4141
"""The sixteenth byte of a NetBIOS name, zero, as NetBIOS encodes it (RFC 1001 14.1)."""

DNS_ANSWER = r"(?P<token>..)[\x80-\xff].\x00[\x00\x01]"

# these tables are read by their rows, which would take ten lines each
# fmt: off
NAMES = (
    Payload("dns", (53,), bytes(DNS(id=0, rd=1, qd=DNSQR(qname="localhost", qtype="A"))), 0, 2, DNS_ANSWER,
            "RFC 1035 4.1; RFC 6761 6.3: a name no server has to ask others for"),
    Payload("mdns", (5353,),
            bytes(DNS(id=0, rd=0, qd=DNSQR(qname="_services._dns-sd._udp.local", qtype="PTR", unicastresponse=1))),
            0, 2, r"(?P<token>..)[\x84-\x87][\x00-\x0f]\x00[\x00\x01]", "RFC 6762 5.4, 6.7; RFC 6763 9"),
    Payload("llmnr", (5355,), bytes(LLMNRQuery(id=0, qd=DNSQR(qname="localhost", qtype="A"))), 0, 2,
            r"(?P<token>..)[\x80-\x87].\x00\x01", "RFC 4795 2.1.1"),
    Payload("netbios-ns", (137,), bytes(
            NBNSHeader(NAME_TRN_ID=0, NM_FLAGS=0, QDCOUNT=1)
            / NBNSQueryRequest(QUESTION_NAME=b"*" + b"\0" * 14, SUFFIX=NULL_SUFFIX, QUESTION_TYPE="NBSTAT")
            ), 0, 2, r"(?P<token>..)[\x80-\x87].\x00\x00\x00\x01\x00\x00\x00\x00\x20", "RFC 1002 4.2.17"),
    Payload("ntp", (123,), bytes(NTPHeader(version=4, mode=3, stratum=0, poll=0, ref=0, orig=0, recv=0, sent=0)),
            40, 8, r"[\x0c\x14\x1c\x24\x4c\x54\x5c\x64\x8c\x94\x9c\xa4\xcc\xd4\xdc\xe4].{23}(?P<token>.{8}).{16}",
            "RFC 5905 7.3, 14 (RFC 4330 5: any transmit time will do)"),
    Payload("ssdp", (1900,), b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n'
            b"ST: upnp:rootdevice\r\n\r\n", answer=r"HTTP/1\.[01] 200 ",
            source="UPnP Device Architecture 2.0, 1.3.2"),
)
# fmt: on


# ---- management: device and host management, directories, authentication and file services; mostly ASN.1

INTEGER, OCTET_STRING, SEQUENCE = 0x02, 0x04, 0x30
"""Tags of ASN.1's basic encoding rules (X.690)."""

NUMBER = 0x40_000000
"""The request id. It takes four bytes whatever its lower three are, so these can hold a token."""

NUMBER_BACK = r"\x02\x04\x40(?P<token>...)"
BER_LENGTH = r"(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)"
"""A length of any form, in the pattern of an answer."""


def ber(tag: int, *parts: bytes) -> bytes:
    """Encode a value of less than 256 bytes, with a definite length (X.690 8.1.3)."""
    content = b"".join(parts)
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def integer(value: int) -> bytes:
    """Encode a non-negative integer in as few bytes as possible (X.690 8.3)."""
    return ber(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def token_in(data: bytes) -> tuple[int, int]:
    """Offset and length of the token: the lower three bytes of the first NUMBER in `data`."""
    return data.index(integer(NUMBER)) + 3, 3


SYS_DESCR = "1.3.6.1.2.1.1.1.0"


def _snmp(version: int) -> bytes:
    """A GetRequest for sysDescr.0."""
    get = SNMPget(id=NUMBER, varbindlist=[SNMPvarbind(oid=ASN1_OID(SYS_DESCR))])
    return bytes(SNMP(version=version, community="public", PDU=get))


def _snmp_v3() -> bytes:
    """Engine discovery (RFC 3414 4): empty engine id, empty user name, reportable flag set."""
    header = ber(SEQUENCE, integer(NUMBER), integer(1472), ber(OCTET_STRING, b"\x04"), integer(3))
    nothing = ber(OCTET_STRING)
    security = ber(SEQUENCE, nothing, integer(0), integer(0), nothing, nothing, nothing)
    get = ber(0xA0, integer(NUMBER), integer(0), integer(0), ber(SEQUENCE))
    return ber(SEQUENCE, integer(3), header, ber(OCTET_STRING, security), ber(SEQUENCE, nothing, nothing, get))


SIZE = r"\x02(?:\x01.|\x02..|\x03...|\x04....)"
NO_REQUEST = r"[\x00-\x03]"
"""Message flags without the reportable bit, so not a request (RFC 3412 6.4)."""


def _snmp_answer(version: int) -> str:
    return rf"\x30{BER_LENGTH}\x02\x01\x0{version}\x04\x06public\xa2{BER_LENGTH}{NUMBER_BACK}"


BACNET_READ = bytes.fromhex("810a0011 0104 0005000c 0c023fffff 194b")
"""ReadProperty of object-identifier, device 4194303: the wildcard instance, which any device answers."""

IPMI_CAPABILITIES = bytes.fromhex("0600ff07 00 00000000 00000000 09 20 18 c8 81 00 38 0e 04 35")
ASF_PING = bytes.fromhex("0600ff06 000011be 80 00 00 00")


REALM = b"UDPPROBE.INVALID"
NO_ATTRIBUTES = b"1.1"
"""Ask for the entry's name only (RFC 4511 4.5.1.8): all attributes would be fifty times the size of the request."""

USER_NAME, NAS_IDENTIFIER = 1, 32


def _cldap() -> bytes:
    """A base search of the directory's root entry (RFC 4512 5.1)."""
    search = LDAP_SearchRequest(
        baseObject=b"",
        scope=0,
        derefAliases=0,
        sizeLimit=1,
        timeLimit=1,
        attrsOnly=True,
        filter=LDAP_Filter(filter=LDAP_FilterPresent(present=b"objectClass")),
        attributes=[LDAP_SearchRequestAttribute(type=NO_ATTRIBUTES)],
    )
    return bytes(LDAP(messageID=NUMBER, protocolOp=search))


def _principal(kind: int, *words: bytes) -> PrincipalName:
    return PrincipalName(nameType=ASN1_INTEGER(kind), nameString=[ASN1_GENERAL_STRING(word) for word in words])


def _kerberos() -> bytes:
    """A request for a ticket, for a user that does not exist in a realm that cannot (`.INVALID`, RFC 6761 6.4)."""
    body = KRB_KDC_REQ_BODY(
        kdcOptions="",
        cname=_principal(1, b"udpprobe"),
        realm=ASN1_GENERAL_STRING(REALM),
        sname=_principal(2, b"krbtgt", REALM),
        till=ASN1_GENERALIZED_TIME("19700101000000Z"),
        from_=None,
        rtime=None,
        nonce=NUMBER,
        etype=[ASN1_INTEGER(18)],
        addresses=None,
        encAuthorizationData=None,
        additionalTickets=None,
    )
    return bytes(Kerberos(root=KRB_AS_REQ(padata=None, reqBody=body)))


def _null_call(program: int, version: int) -> bytes:
    """A call of procedure 0, which does nothing (RFC 5531 12.1), without credentials."""
    return bytes(
        RPC(xid=0, mtype=0)
        / RPC_Call(
            version=2, program=program, pversion=version, procedure=0, aflavor=0, alength=0, vflavor=0, vlength=0
        )
    )


def _radius(code: int) -> bytes:
    """A request without a password: a server that knows us as a client rejects it, any other stays silent."""
    asked = [RadiusAttribute(type=kind, value=b"udpprobe") for kind in (USER_NAME, NAS_IDENTIFIER)]
    return bytes(Radius(code=code, id=0, authenticator=bytes(16), attributes=asked))


RPC_ANSWER = r"(?P<token>.{4})\x00\x00\x00\x01\x00\x00\x00[\x00\x01]"

# fmt: off
MANAGEMENT = (
    Payload("snmp-v3", (161,), _snmp_v3(), *token_in(_snmp_v3()),
            rf"\x30{BER_LENGTH}\x02\x01\x03\x30{BER_LENGTH}{NUMBER_BACK}{SIZE}\x04\x01{NO_REQUEST}",
            "RFC 3412 6; RFC 3414 4"),
    Payload("snmp-v2c", (161,), _snmp(1), *token_in(_snmp(1)), _snmp_answer(1), "RFC 3416 3; RFC 1901 3"),
    Payload("snmp-v1", (161,), _snmp(0), *token_in(_snmp(0)), _snmp_answer(0), "RFC 1157 4"),
    Payload("asf-ping", (623,), ASF_PING, 9, 1, r"\x06\x00.\x06\x00\x00\x11\xbe\x40(?P<token>.)", "DSP0136 3.2.4.2"),
    Payload("ipmi", (623,), IPMI_CAPABILITIES, answer=r"\x06\x00.\x07\x00.{8}.\x81\x1c", source="IPMI 2.0 13.6, 22.13"),
    Payload("bacnet", (47808,), BACNET_READ, 8, 1, r"\x81\x0a..\x01.[\x30\x50\x60\x70](?P<token>.)",
            "ASHRAE 135 annex J; 20.1.2, 15.5"),
    Payload("ethernet-ip", (44818,), bytes(ENIPTCP(commandId=4, senderContext=0)), 12, 8,
            r"\x04\x00(?!\x00\x00)..\x00\x00\x00\x00.{4}(?P<token>.{8})", "CIP volume 2, 2-4.6 (ListServices)"),
    Payload("tftp", (69,), bytes(TFTP() / TFTP_RRQ(filename=b"udpprobe/no/such/file", mode=b"octet")),
            answer=r"\x00\x05\x00[\x00-\x08].*\x00", source="RFC 1350 5: a file that is not there"),
    Payload("portmap", (111,), _null_call(100000, 2), 0, 4, RPC_ANSWER, "RFC 1833 3; RFC 5531 9"),
    Payload("nfs", (2049,), _null_call(100003, 3), 0, 4, RPC_ANSWER, "RFC 1813 3.3.0; RFC 5531 9"),
    Payload("radius", (1812, 1645), _radius(1), 4, 8, r"[\x02\x03\x0b]\x00\x00[\x14-\xff].{16}", "RFC 2865 4.1"),
    Payload("cldap", (389,), _cldap(), *token_in(_cldap()), rf"\x30{BER_LENGTH}{NUMBER_BACK}[\x64\x65\x73]",
            "MS-ADTS 3.1.1.3.1.1 (CLDAP); RFC 4511 4.5.1"),
    Payload("kerberos", (88,), _kerberos(), *token_in(_kerberos()), rf"[\x7e\x6b]{BER_LENGTH}\x30{BER_LENGTH}\xa0",
            "RFC 4120 5.4.1"),
)
# fmt: on


# ---- security: key exchange and encrypted tunnels

NON_ESP = bytes(4)
"""The non-ESP marker, which precedes IKE on port 4500 (RFC 3948 2.2)."""

ENCRYPTION, PRF, INTEGRITY, GROUP = 1, 2, 3, 4
"""Types of IKEv2 transforms (RFC 7296 3.3.2)."""

AES_CBC, CURVE25519 = 12, 31
TRANSFORMS = (
    (ENCRYPTION, AES_CBC),
    (PRF, 5),
    (PRF, 2),
    (INTEGRITY, 12),
    (INTEGRITY, 2),
    (GROUP, CURVE25519),
    (GROUP, 19),
    (GROUP, 14),
    (GROUP, 2),
)
"""AES-CBC-128, SHA-256 or SHA-1, and one of four groups. A responder that prefers another group says so."""

IKEV1_SUITES = ((7, 2, 14), (7, 2, 2), (5, 2, 2))
"""Encryption, hash and group (RFC 2409 appendix A): AES or triple DES, SHA-1, 2048 or 1024 bits."""


def _chained(packets: Sequence[Packet]) -> Packet:
    for packet in packets[:-1]:
        packet.next_payload = 3
    chain = packets[-1]
    for packet in reversed(packets[:-1]):
        chain = packet / chain
    return chain


def _ikev2() -> bytes:
    """IKE_SA_INIT (RFC 7296 1.2)."""
    transforms = [
        IKEv2_Transform(
            transform_type=kind, transform_id=number, length=12 if kind == ENCRYPTION else 8, key_length=128
        )
        for kind, number in TRANSFORMS
    ]
    proposal = IKEv2_Proposal(proposal=1, proto=1, trans_nb=len(transforms), trans=_chained(transforms))
    return bytes(
        IKEv2(init_SPI=bytes(8), exch_type=34, flags="Initiator")
        / IKEv2_SA(prop=proposal)
        / IKEv2_KE(group=CURVE25519, ke=BASE_POINT)
        / IKEv2_Nonce(nonce=NONCE)
    )


BASE_POINT = bytes([9]) + bytes(31)
"""A valid public key: the base point of Curve25519 (RFC 7748 4.1)."""

NONCE = bytes(range(16))


def _ikev1() -> bytes:
    """Main mode, first message (RFC 2409 5.4)."""
    transforms = [
        ISAKMP_payload_Transform(
            transform_count=number,
            transform_id=1,
            transforms=[
                ("Encryption", encryption),
                *([("KeyLength", 128)] if encryption == 7 else []),
                ("Hash", hash_algorithm),
                ("Authentication", 1),
                ("GroupDesc", group),
                ("LifeType", 1),
                ("LifeDuration", 60),
            ],
        )
        for number, (encryption, hash_algorithm, group) in enumerate(IKEV1_SUITES, 1)
    ]
    proposal = ISAKMP_payload_Proposal(proposal=1, proto=1, trans_nb=len(transforms), trans=_chained(transforms))
    return bytes(ISAKMP(init_cookie=bytes(8), exch_type=2) / ISAKMP_payload_SA(prop=proposal))


IKEV2_ANSWER = r"(?P<token>.{8}).{8}.\x20\x22[\x20\x28]"
IKEV1_ANSWER = r"(?P<token>.{8})(?:(?!\x00{8}).{8}.\x10\x02|.{8}.\x10\x05)"

WIREGUARD = bytes(
    Wireguard(message_type=1)
    / WireguardInitiation(
        sender_index=0,
        unencrypted_ephemeral=bytes(32),
        encrypted_static=bytes(48),
        encrypted_timestamp=bytes(28),
        mac1=bytes(16),
        mac2=bytes(16),
    )
)

CIPHER_SUITES = "c02b c02f c02c c030 c0ac c0a8 009c 002f 00ff"
EXTENSIONS = bytes.fromhex("000a 0006 0004 001d 0017  000b 0002 0100  000d 000a 0008 0403 0804 0401 0201")


def _dtls() -> bytes:
    """A DTLS 1.2 ClientHello without a cookie, which a server answers with HelloVerifyRequest (RFC 6347 4.2.1)."""
    suites = bytes.fromhex(CIPHER_SUITES)
    hello = (
        b"\xfe\xfd"
        + bytes(32)
        + b"\0"
        + b"\0"
        + len(suites).to_bytes(2, "big")
        + suites
        + b"\x01\0"
        + len(EXTENSIONS).to_bytes(2, "big")
        + EXTENSIONS
    )
    length = len(hello).to_bytes(3, "big")
    handshake = b"\x01" + length + bytes(2) + bytes(3) + length + hello
    return b"\x16\xfe\xff" + bytes(8) + len(handshake).to_bytes(2, "big") + handshake


QUIC_LEAST = 1200
"""The least size of a datagram that opens a connection, in bytes (RFC 9000 14.1)."""

QUIC_UNKNOWN = 0x1A2A3A4A
"""A reserved version, which no server supports (RFC 9000 15): it answers with the list of those it does."""

QUIC = bytes(
    QUIC_Initial(
        Version=QUIC_UNKNOWN, DstConnID=bytes(8), SrcConnID=b"udpprobe", Length=QUIC_LEAST - 26, PacketNumber=0
    )
).ljust(QUIC_LEAST, b"\0")

OPENVPN = b"\x38" + bytes(8) + b"\0" + bytes(4)
"""P_CONTROL_HARD_RESET_CLIENT_V2 with key id 0; session id; no acknowledgements; packet id 0."""

# fmt: off
SECURITY = (
    Payload("ikev2", (500,), _ikev2(), 0, 8, IKEV2_ANSWER, "RFC 7296 1.2, 3"),
    Payload("ikev1", (500,), _ikev1(), 0, 8, IKEV1_ANSWER, "RFC 2409 5.4; RFC 2408 3"),
    Payload("ikev2-natt", (4500,), NON_ESP + _ikev2(), 4, 8, r"\x00{4}" + IKEV2_ANSWER, "RFC 7296 2.23; RFC 3948 2.2"),
    Payload("ikev1-natt", (4500,), NON_ESP + _ikev1(), 4, 8, r"\x00{4}" + IKEV1_ANSWER, "RFC 3947 4; RFC 3948 2.2"),
    Payload("quic", (443, 80, 784, 853, 4433, 8443), QUIC, 6, 8, r"[\x80-\xff]\x00{4}\x08udpprobe\x08(?P<token>.{8})",
            "RFC 9000 6, 15, 17.2.1; RFC 8999 6"),
    Payload("dtls", (443, 853, 4433, 4740, 5061, 5349, 5684), _dtls(), 27, 8,
            r"(?:\x16\xfe[\xfd\xff].{8}..[\x02\x03]|\x15\xfe[\xfd\xff].{8}\x00\x02[\x01\x02])",
            "RFC 6347 4.1, 4.2.1"),
    Payload("openvpn", (1194,), OPENVPN, 1, 8, r"\x40.{8}\x01.{4}(?P<token>.{8})",
            "OpenVPN wire protocol (doxygen, network_protocol)"),
    Payload("wireguard", (51820,), WIREGUARD, 4, 8, source="WireGuard 5.4.2: silent without a known key"),
)
# fmt: on


# ---- transport: routing, tunnels, NAT traversal and address configuration

MAGIC_COOKIE = r"\x21\x12\xa4\x42"


def _avp(attribute: int, value: bytes) -> bytes:
    """An attribute-value pair, mandatory and not hidden (RFC 2661 4.1)."""
    return (0x8000 | 6 + len(value)).to_bytes(2, "big") + bytes(2) + attribute.to_bytes(2, "big") + value


def _l2tp() -> bytes:
    """SCCRQ (RFC 2661 6.1). Its last two bytes are our tunnel id, which answers carry."""
    attributes = (
        _avp(0, b"\0\x01"),
        _avp(2, b"\x01\0"),
        _avp(3, bytes([0, 0, 0, 3])),
        _avp(7, b"udpprobe"),
        _avp(9, bytes(2)),
    )
    return bytes(
        L2TP(hdr="control+length+sequence", version=2, tunnel_id=0, session_id=0, ns=0, nr=0) / b"".join(attributes)
    )


L2TP_BYTES = _l2tp()

DHCP_INFORM = bytes(
    BOOTP(op=1, chaddr=bytes(16), xid=0) / DHCP(options=[("message-type", "inform"), ("param_req_list", [1]), "end"])
)

DHCP6_INFORM = bytes(DHCP6_InfoRequest(trid=0) / DHCP6OptElapsedTime() / DHCP6OptOptReq(reqopts=[23]))

PCP_ANNOUNCE = bytes([2, 0]) + bytes(22)

BFD_UP = bytes(
    BFD(
        sta=1,
        flags=0,
        my_discriminator=0,
        your_discriminator=0,
        min_tx_interval=1_000_000,
        min_rx_interval=1_000_000,
        echo_rx_interval=0,
    )
)

# fmt: off
TRANSPORT = (
    Payload("stun", (3478, 19302), bytes(STUN(stun_message_type="Binding request", transaction_id=0)), 8, 8,
            rf"\x01[\x01\x11]..{MAGIC_COOKIE}(?P<token>.{{8}})", "RFC 8489 5, 6.3.1"),
    Payload("coap", (5683,), bytes(CoAP(type="CON", code=0, msg_id=0)), 2, 2, r"\x70\x00(?P<token>..)\Z",
            "RFC 7252 4.2, 4.3: a ping"),
    Payload("rip", (520,),
            bytes(RIP(cmd=1, version=2) / RIPEntry(AF=2, addr="192.0.2.0", mask="255.255.255.0", metric=16)),
            answer=r"\x02[\x01\x02]\x00\x00\x00\x02\x00\x00\xc0\x00\x02\x00", source="RFC 2453 3.9.1: one route"),
    Payload("ripng", (521,),
            bytes(RIPng(cmd=1, ver=1) / RIPngEntry(prefix_or_nh="2001:db8::", prefixlen=32, metric=16)),
            answer=r"\x02\x01\x00\x00\x20\x01\x0d\xb8", source="RFC 2080 2.4.1: one route"),
    Payload("l2tp", (1701,), L2TP_BYTES, len(L2TP_BYTES) - 2, 2, r"[\xc8\xca]\x02..(?P<token>..)\x00\x00",
            "RFC 2661 3.1, 6.1"),
    Payload("bfd", (3784, 4784), BFD_UP, 4, 4, r"[\x20-\x3f]..[\x18-\x3c].{4}(?P<token>.{4})", "RFC 5880 4.1, 6.8.6"),
    Payload("nat-pmp", (5351,), bytes(2), answer=r"\x00\x80\x00[\x00-\x05].{4}(?:.{4})?\Z", source="RFC 6886 3.2"),
    Payload("pcp", (5351,), PCP_ANNOUNCE, answer=r"\x02\x80\x00[\x00-\x0d].{20}", source="RFC 6887 7.1, 14.1"),
    Payload("dhcp-inform", (67,), DHCP_INFORM, 4, 4, r"\x02\x01\x06.(?P<token>.{4})", "RFC 2131 4.4.3"),
    Payload("dhcpv6-inform", (547,), DHCP6_INFORM, 1, 3, r"\x07(?P<token>...)\x00[\x01-\x40]\x00", "RFC 8415 18.2.6"),
)
# fmt: on


# ---- applications: telephony, mobile core networks, caches, games, peer-to-peer, and the classic small services

SIP = (
    b"OPTIONS sip:udpprobe@invalid SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP invalid;branch=z9hG4bKudpprobe;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:udpprobe@invalid>;tag=udpprobe\r\n"
    b"To: <sip:udpprobe@invalid>\r\n"
    b"Call-ID: udpprobe@invalid\r\n"
    b"CSeq: 1 OPTIONS\r\n"
    b"Contact: <sip:udpprobe@invalid>\r\n"
    b"Content-Length: 0\r\n\r\n"
)

IAX2_POKE = bytes.fromhex("8001 0000 00000000 00 00 06 1e")
"""A full frame (RFC 5456 8.1.1) of call 1. The answer repeats its time stamp."""

RECOVERY_TIME = IE_RecoveryTimeStamp(timestamp=0)


MEMCACHED = bytes.fromhex("0000 0000 0001 0000") + b"version\r\n"
"""Request id, sequence number, number of datagrams, reserved; then the command."""

DHT_HEAD = b"d1:ad2:id20:udpprobe------------e1:q4:ping1:t2:"
MSSQL_DAC = b"\x0f\x01MSSQLSERVER\0"
"""CLNT_UCAST_DAC: the answer is one port number. The list of all instances would be large."""


SYSLOG = b"<191>1 - - udpprobe - - - udpprobe"
"""local7.debug: the priority that default configurations discard first."""

# fmt: off
APPLICATIONS = (
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
    Payload("a2s", (27015, 27016, 27017), b"\xff\xff\xff\xffTSource Engine Query\0", answer=r"\xff\xff\xff\xff[AIm]",
            source="Valve, Server queries, A2S_INFO"),
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
# fmt: on


# ---- payloads.toml

RECIPES = NAMES + MANAGEMENT + SECURITY + TRANSPORT + APPLICATIONS
"""Every payload. Of several for the same port, the earlier one is sent first."""

HEAD = "# Written by `make golden` from tests/payload_recipes.py: change it there.\n"
BYTES_A_LINE = 32


def table() -> str:
    """The whole text of payloads.toml."""
    return HEAD + "".join(map(_row, RECIPES))


def _row(payload: Payload) -> str:
    lines = [
        "",
        "[[payload]]",
        f'name = "{payload.name}"',
        f"ports = {list(payload.ports)}",
        f'source = "{payload.source}"',
    ]
    if payload.token_size:
        lines += [f"token_at = {payload.token_at}", f"token_size = {payload.token_size}"]
    if payload.answer:
        lines.append(f"answer = '{payload.answer}'")
    if payload.loose:
        lines.append("loose = true")
    return "\n".join([*lines, *_bytes(payload.data)]) + "\n"


def _bytes(data: bytes) -> list[str]:
    """Lines of hexadecimal digits. A long run of zeros at the end is left out; `size` restores it."""
    shown = data.rstrip(b"\0")
    size = []
    if len(data) - len(shown) > BYTES_A_LINE:
        data, size = shown, [f"size = {len(data)}"]
    rows = [data[at : at + BYTES_A_LINE].hex(" ", -4) for at in range(0, len(data), BYTES_A_LINE)]
    return [*size, f'hex = "{"".join(rows)}"' if len(rows) < 2 else "\n".join(['hex = """', *rows, '"""'])]
