"""Devices and hosts that are managed."""

from scapy.asn1.asn1 import ASN1_OID
from scapy.contrib.enipTCP import ENIPTCP
from scapy.layers.snmp import SNMP, SNMPget, SNMPvarbind

from udpprobe.payloads.model import Payload
from udpprobe.payloads.recipes.ber import BER_LENGTH, NUMBER, NUMBER_BACK, OCTETS, SEQUENCE, ber, integer, token_in

SYS_DESCR = "1.3.6.1.2.1.1.1.0"

def _snmp(version: int) -> bytes:
    """A get of sysDescr.0."""
    get = SNMPget(id=NUMBER, varbindlist=[SNMPvarbind(oid=ASN1_OID(SYS_DESCR))])
    return bytes(SNMP(version=version, community="public", PDU=get))


def _snmp_v3() -> bytes:
    """Discovery (RFC 3414 4): no engine, no user, reportable."""
    header = ber(SEQUENCE, integer(NUMBER), integer(1472), ber(OCTETS, b"\x04"), integer(3))
    security = ber(SEQUENCE, ber(OCTETS), integer(0), integer(0), ber(OCTETS), ber(OCTETS), ber(OCTETS))
    get = ber(0xA0, integer(NUMBER), integer(0), integer(0), ber(SEQUENCE))
    return ber(SEQUENCE, integer(3), header, ber(OCTETS, security), ber(SEQUENCE, ber(OCTETS), ber(OCTETS), get))


SIZE = r"\x02(?:\x01.|\x02..|\x03...|\x04....)"
NO_REQUEST = r"[\x00-\x03]"
"""Message flags that ask for no report (RFC 3412 6.4)."""


def _snmp_answer(version: int) -> str:
    return rf"\x30{BER_LENGTH}\x02\x01\x0{version}\x04\x06public\xa2{BER_LENGTH}{NUMBER_BACK}"


BACNET_READ = bytes.fromhex("810a0011 0104 0005000c 0c023fffff 194b")
"""ReadProperty of object-identifier, device 4194303: whoever that device is, answer."""

IPMI_CAPABILITIES = bytes.fromhex("0600ff07 00 00000000 00000000 09 20 18 c8 81 00 38 0e 04 35")
ASF_PING = bytes.fromhex("0600ff06 000011be 80 00 00 00")

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
)
