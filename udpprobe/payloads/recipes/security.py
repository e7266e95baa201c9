"""Keys, tunnels of keys, and what listens for them."""

from collections.abc import Sequence

from scapy.contrib.ikev2 import IKEv2, IKEv2_KE, IKEv2_Nonce, IKEv2_Proposal, IKEv2_SA, IKEv2_Transform
from scapy.contrib.wireguard import Wireguard, WireguardInitiation
from scapy.layers.isakmp import ISAKMP, ISAKMP_payload_Proposal, ISAKMP_payload_SA, ISAKMP_payload_Transform
from scapy.layers.quic import QUIC_Initial
from scapy.packet import Packet

from udpprobe.payloads.catalogue import Payload

NON_ESP = bytes(4)
"""The marker in front of IKE on port 4500 (RFC 3948 2.2)."""

ENCRYPTION, PRF, INTEGRITY, GROUP = 1, 2, 3, 4
"""Types of IKEv2 transforms (RFC 7296 3.3.2)."""

AES_CBC, CURVE25519 = 12, 31
TRANSFORMS = ((ENCRYPTION, AES_CBC), (PRF, 5), (PRF, 2), (INTEGRITY, 12), (INTEGRITY, 2),
              (GROUP, CURVE25519), (GROUP, 19), (GROUP, 14), (GROUP, 2))
"""AES-CBC-128, SHA-256 or SHA-1, and one of four groups: a responder that likes another says which."""

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
    transforms = [IKEv2_Transform(transform_type=kind, transform_id=number, length=12 if kind == ENCRYPTION else 8,
                                  key_length=128) for kind, number in TRANSFORMS]
    proposal = IKEv2_Proposal(proposal=1, proto=1, trans_nb=len(transforms), trans=_chained(transforms))
    return bytes(IKEv2(init_SPI=bytes(8), exch_type=34, flags="Initiator")
                 / IKEv2_SA(prop=proposal) / IKEv2_KE(group=CURVE25519, ke=BASE_POINT) / IKEv2_Nonce(nonce=NONCE))


BASE_POINT = bytes([9]) + bytes(31)
"""A public value that is valid (RFC 7748 4.1)."""

NONCE = bytes(range(16))


def _ikev1() -> bytes:
    """Main mode, first message (RFC 2409 5.4)."""
    transforms = [ISAKMP_payload_Transform(
        transform_count=number, transform_id=1,
        transforms=[("Encryption", encryption), *([("KeyLength", 128)] if encryption == 7 else []),
                    ("Hash", hash_algorithm), ("Authentication", 1), ("GroupDesc", group),
                    ("LifeType", 1), ("LifeDuration", 60)])
        for number, (encryption, hash_algorithm, group) in enumerate(IKEV1_SUITES, 1)]
    proposal = ISAKMP_payload_Proposal(proposal=1, proto=1, trans_nb=len(transforms), trans=_chained(transforms))
    return bytes(ISAKMP(init_cookie=bytes(8), exch_type=2) / ISAKMP_payload_SA(prop=proposal))


IKEV2_ANSWER = r"(?P<token>.{8}).{8}.\x20\x22[\x20\x28]"
IKEV1_ANSWER = r"(?P<token>.{8})(?:(?!\x00{8}).{8}.\x10\x02|.{8}.\x10\x05)"

WIREGUARD = bytes(Wireguard(message_type=1) / WireguardInitiation(
    sender_index=0, unencrypted_ephemeral=bytes(32), encrypted_static=bytes(48), encrypted_timestamp=bytes(28),
    mac1=bytes(16), mac2=bytes(16)))

CIPHER_SUITES = "c02b c02f c02c c030 c0ac c0a8 009c 002f 00ff"
EXTENSIONS = bytes.fromhex("000a 0006 0004 001d 0017  000b 0002 0100  000d 000a 0008 0403 0804 0401 0201")


def _dtls() -> bytes:
    """ClientHello of DTLS 1.2 without a cookie, which asks for a HelloVerifyRequest (RFC 6347 4.2.1)."""
    suites = bytes.fromhex(CIPHER_SUITES)
    hello = (b"\xfe\xfd" + bytes(32) + b"\0" + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\x01\0"
             + len(EXTENSIONS).to_bytes(2, "big") + EXTENSIONS)
    length = len(hello).to_bytes(3, "big")
    handshake = b"\x01" + length + bytes(2) + bytes(3) + length + hello
    return b"\x16\xfe\xff" + bytes(8) + len(handshake).to_bytes(2, "big") + handshake


QUIC_LEAST = 1200
"""Bytes of a datagram that begins a connection (RFC 9000 14.1)."""

QUIC_UNKNOWN = 0x1A2A3A4A
"""A version that is reserved to be unknown (RFC 9000 15): the answer is a list of versions."""

QUIC = bytes(QUIC_Initial(Version=QUIC_UNKNOWN, DstConnID=bytes(8), SrcConnID=b"udpprobe", Length=QUIC_LEAST - 26,
                          PacketNumber=0)).ljust(QUIC_LEAST, b"\0")

OPENVPN = b"\x38" + bytes(8) + b"\0" + bytes(4)
"""P_CONTROL_HARD_RESET_CLIENT_V2, key 0; session; nothing acknowledged; packet 0."""

PAYLOADS = (
    Payload("ikev2", (500,), _ikev2(), 0, 8, IKEV2_ANSWER, "RFC 7296 1.2, 3"),
    Payload("ikev1", (500,), _ikev1(), 0, 8, IKEV1_ANSWER, "RFC 2409 5.4; RFC 2408 3"),
    Payload("ikev2-natt", (4500,), NON_ESP + _ikev2(), 4, 8, r"\x00{4}" + IKEV2_ANSWER, "RFC 7296 2.23; RFC 3948 2.2"),
    Payload("ikev1-natt", (4500,), NON_ESP + _ikev1(), 4, 8, r"\x00{4}" + IKEV1_ANSWER, "RFC 3947 4; RFC 3948 2.2"),
    Payload("quic", (443, 80, 784, 853, 4433, 8443), QUIC, 6, 8,
            r"[\x80-\xff]\x00{4}\x08udpprobe\x08(?P<token>.{8})", "RFC 9000 6, 15, 17.2.1; RFC 8999 6"),
    Payload("dtls", (443, 853, 4433, 4740, 5061, 5349, 5684), _dtls(), 27, 8,
            r"(?:\x16\xfe[\xfd\xff].{8}..[\x02\x03]|\x15\xfe[\xfd\xff].{8}\x00\x02[\x01\x02])", "RFC 6347 4.1, 4.2.1"),
    Payload("openvpn", (1194,), OPENVPN, 1, 8, r"\x40.{8}\x01.{4}(?P<token>.{8})",
            "OpenVPN wire protocol (doxygen, network_protocol)"),
    Payload("wireguard", (51820,), WIREGUARD, 4, 8, source="WireGuard 5.4.2: silent without a known key"),
)
