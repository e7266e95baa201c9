"""Managed devices and hosts, directories, logins and file services; most of them speak ASN.1."""

from scapy.asn1.asn1 import ASN1_GENERAL_STRING, ASN1_GENERALIZED_TIME, ASN1_INTEGER, ASN1_OID
from scapy.contrib.enipTCP import ENIPTCP
from scapy.contrib.oncrpc import RPC, RPC_Call
from scapy.layers.kerberos import KRB_AS_REQ, KRB_KDC_REQ_BODY, Kerberos, PrincipalName
from scapy.layers.ldap import LDAP, LDAP_Filter, LDAP_FilterPresent, LDAP_SearchRequest, LDAP_SearchRequestAttribute
from scapy.layers.radius import Radius, RadiusAttribute
from scapy.layers.snmp import SNMP, SNMPget, SNMPvarbind
from scapy.layers.tftp import TFTP, TFTP_RRQ

from udpprobe.payloads.catalogue import Payload

INTEGER, OCTET_STRING, SEQUENCE = 0x02, 0x04, 0x30
"""Tags of the basic encoding rules (X.690)."""

NUMBER = 0x40_000000
"""Of a request: four bytes whatever its lower three are, so that these have room for a token."""

NUMBER_BACK = r"\x02\x04\x40(?P<token>...)"
BER_LENGTH = r"(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)"
"""In an answer's pattern."""


def ber(tag: int, *parts: bytes) -> bytes:
    """A value of less than 256 bytes, definite form (X.690 8.1.3)."""
    content = b"".join(parts)
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def integer(value: int) -> bytes:
    """A number from 0 on, in as few bytes as it takes (X.690 8.3)."""
    return ber(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def token_in(data: bytes) -> tuple[int, int]:
    """Where the lower three bytes of NUMBER stand in `data` first, and how many they are."""
    return data.index(integer(NUMBER)) + 3, 3


SYS_DESCR = "1.3.6.1.2.1.1.1.0"

def _snmp(version: int) -> bytes:
    """A get of sysDescr.0."""
    get = SNMPget(id=NUMBER, varbindlist=[SNMPvarbind(oid=ASN1_OID(SYS_DESCR))])
    return bytes(SNMP(version=version, community="public", PDU=get))


def _snmp_v3() -> bytes:
    """Discovery (RFC 3414 4): no engine, no user, reportable."""
    header = ber(SEQUENCE, integer(NUMBER), integer(1472), ber(OCTET_STRING, b"\x04"), integer(3))
    nothing = ber(OCTET_STRING)
    security = ber(SEQUENCE, nothing, integer(0), integer(0), nothing, nothing, nothing)
    get = ber(0xA0, integer(NUMBER), integer(0), integer(0), ber(SEQUENCE))
    return ber(SEQUENCE, integer(3), header, ber(OCTET_STRING, security), ber(SEQUENCE, nothing, nothing, get))


SIZE = r"\x02(?:\x01.|\x02..|\x03...|\x04....)"
NO_REQUEST = r"[\x00-\x03]"
"""Message flags that ask for no report (RFC 3412 6.4)."""


def _snmp_answer(version: int) -> str:
    return rf"\x30{BER_LENGTH}\x02\x01\x0{version}\x04\x06public\xa2{BER_LENGTH}{NUMBER_BACK}"


BACNET_READ = bytes.fromhex("810a0011 0104 0005000c 0c023fffff 194b")
"""ReadProperty of object-identifier, device 4194303: whoever that device is, answer."""

IPMI_CAPABILITIES = bytes.fromhex("0600ff07 00 00000000 00000000 09 20 18 c8 81 00 38 0e 04 35")
ASF_PING = bytes.fromhex("0600ff06 000011be 80 00 00 00")



REALM = b"UDPPROBE.INVALID"
NO_ATTRIBUTES = b"1.1"
"""RFC 4511 4.5.1.8: the entry's name only, where everything about a directory would be fifty times the request."""

USER_NAME, NAS_IDENTIFIER = 1, 32


def _cldap() -> bytes:
    """The root of the directory, a base search (RFC 4512 5.1)."""
    search = LDAP_SearchRequest(
        baseObject=b"", scope=0, derefAliases=0, sizeLimit=1, timeLimit=1, attrsOnly=True,
        filter=LDAP_Filter(filter=LDAP_FilterPresent(present=b"objectClass")),
        attributes=[LDAP_SearchRequestAttribute(type=NO_ATTRIBUTES)])
    return bytes(LDAP(messageID=NUMBER, protocolOp=search))


def _principal(kind: int, *words: bytes) -> PrincipalName:
    return PrincipalName(nameType=ASN1_INTEGER(kind), nameString=[ASN1_GENERAL_STRING(word) for word in words])


def _kerberos() -> bytes:
    """A ticket for nobody, in a realm that cannot be (RFC 6761 6.4)."""
    body = KRB_KDC_REQ_BODY(
        kdcOptions="", cname=_principal(1, b"udpprobe"), realm=ASN1_GENERAL_STRING(REALM),
        sname=_principal(2, b"krbtgt", REALM), till=ASN1_GENERALIZED_TIME("19700101000000Z"), from_=None, rtime=None,
        nonce=NUMBER, etype=[ASN1_INTEGER(18)], addresses=None, encAuthorizationData=None, additionalTickets=None)
    return bytes(Kerberos(root=KRB_AS_REQ(padata=None, reqBody=body)))


def _null_call(program: int, version: int) -> bytes:
    """Procedure 0, which does nothing (RFC 5531 12.1), with no credentials."""
    return bytes(RPC(xid=0, mtype=0) / RPC_Call(version=2, program=program, pversion=version, procedure=0,
                                                aflavor=0, alength=0, vflavor=0, vlength=0))


def _radius(code: int) -> bytes:
    """Without password: what knows us says no, what does not is silent."""
    asked = [RadiusAttribute(type=kind, value=b"udpprobe") for kind in (USER_NAME, NAS_IDENTIFIER)]
    return bytes(Radius(code=code, id=0, authenticator=bytes(16), attributes=asked))


RPC_ANSWER = r"(?P<token>.{4})\x00\x00\x00\x01\x00\x00\x00[\x00\x01]"

PAYLOADS = (
    Payload("snmp-v3", (161,), _snmp_v3(), *token_in(_snmp_v3()),
            rf"\x30{BER_LENGTH}\x02\x01\x03\x30{BER_LENGTH}{NUMBER_BACK}{SIZE}\x04\x01{NO_REQUEST}",
            "RFC 3412 6; RFC 3414 4"),
    Payload("snmp-v2c", (161,), _snmp(1), *token_in(_snmp(1)), _snmp_answer(1), "RFC 3416 3; RFC 1901 3"),
    Payload("snmp-v1", (161,), _snmp(0), *token_in(_snmp(0)), _snmp_answer(0), "RFC 1157 4"),
    Payload("asf-ping", (623,), ASF_PING, 9, 1, r"\x06\x00.\x06\x00\x00\x11\xbe\x40(?P<token>.)", "DSP0136 3.2.4.2"),
    Payload("ipmi", (623,), IPMI_CAPABILITIES, answer=r"\x06\x00.\x07\x00.{8}.\x81\x1c", source="IPMI 2.0 13.6, 22.13"),
    Payload("bacnet", (47808,), BACNET_READ, 8, 1,
            r"\x81\x0a..\x01.[\x30\x50\x60\x70](?P<token>.)", "ASHRAE 135 annex J; 20.1.2, 15.5"),
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
