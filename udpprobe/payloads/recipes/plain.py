"""The small services of old, and what only listens."""

from udpprobe.payloads.model import Payload

SYSLOG = b"<191>1 - - udpprobe - - - udpprobe"
"""local7.debug: what every default configuration throws away first."""

PAYLOADS = (
    Payload("echo", (7,), bytes(8), 0, 8, r"(?P<token>.{8})\Z", "RFC 862", loose=True),
    Payload("discard", (9,), bytes(8), 0, 8, source="RFC 863: silent by design"),
    Payload("daytime", (13,), bytes(8), 0, 8, r"[ -~]{8,64}[\r\n]", "RFC 867", loose=True),
    Payload("time", (37,), b"", answer=r".{4}\Z", source="RFC 868: an empty datagram", loose=True),
    Payload("syslog", (514,), SYSLOG, source="RFC 5424 6; RFC 5426: silent by design"),
    Payload("xdmcp", (177,), bytes.fromhex("0001 0002 0001 00"), answer=r"\x00\x01\x00[\x05\x06]..\x00",
            source="XDMCP 1.1, Query"),
)
