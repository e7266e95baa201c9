"""Caches, games and peers."""

from udpprobe.payloads.model import Payload

MEMCACHED = bytes.fromhex("0000 0000 0001 0000") + b"version\r\n"
"""Request id, sequence number, datagrams in all, reserved."""

DHT_HEAD = b"d1:ad2:id20:udpprobe------------e1:q4:ping1:t2:"
MSSQL_DAC = b"\x0f\x01MSSQLSERVER\0"
"""CLNT_UCAST_DAC: one port number, where the whole list of instances would be large."""

PAYLOADS = (
    Payload("memcached", (11211,), MEMCACHED, 0, 2, r"(?P<token>..)\x00\x00\x00\x01\x00\x00(?:VERSION |ERROR)",
            "memcached protocol.txt, UDP protocol"),
    Payload("ms-sql-browser", (1434,), MSSQL_DAC, answer=r"\x05\x06\x00\x01..\Z", source="MC-SQLR 2.2.4, 2.2.6"),
    Payload("a2s", (27015, 27016, 27017), b"\xff\xff\xff\xffTSource Engine Query\0",
            answer=r"\xff\xff\xff\xff[AIm]", source="Valve, Server queries, A2S_INFO"),
    Payload("quake3", (27960,), b"\xff\xff\xff\xffgetchallenge\0", answer=r"\xff\xff\xff\xffchallengeResponse",
            source="Quake III Arena, SV_GetChallenge"),
    Payload("dht", (6881,), DHT_HEAD + b"\0\0" + b"1:y1:qe", len(DHT_HEAD), 2, r"d.*1:t2:(?P<token>..).*1:y1:[re]e\Z",
            "BEP 5, ping"),
)
