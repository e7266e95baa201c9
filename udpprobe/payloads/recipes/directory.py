"""Directories, logins and file services."""

from scapy.asn1.asn1 import ASN1_GENERAL_STRING, ASN1_GENERALIZED_TIME, ASN1_INTEGER
from scapy.contrib.oncrpc import RPC, RPC_Call
from scapy.layers.kerberos import KRB_AS_REQ, KRB_KDC_REQ_BODY, Kerberos, PrincipalName
from scapy.layers.ldap import LDAP, LDAP_Filter, LDAP_FilterPresent, LDAP_SearchRequest, LDAP_SearchRequestAttribute
from scapy.layers.radius import Radius, RadiusAttribute
from scapy.layers.tftp import TFTP, TFTP_RRQ

from udpprobe.payloads.model import Payload
from udpprobe.payloads.recipes.ber import BER_LENGTH, NUMBER, NUMBER_BACK, token_in

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
