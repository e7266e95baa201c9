"""Who has which name, what time it is, what is around."""

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.llmnr import LLMNRQuery
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ntp import NTPHeader

from udpprobe.payloads.catalogue import Payload

NULL_SUFFIX = 0x4141
"""The sixteenth byte of a NetBIOS name, zero, in its encoding (RFC 1001 14.1)."""

DNS_ANSWER = r"(?P<token>..)[\x80-\xff].\x00[\x00\x01]"

PAYLOADS = (
    Payload("dns", (53,), bytes(DNS(id=0, rd=1, qd=DNSQR(qname="localhost", qtype="A"))), 0, 2, DNS_ANSWER,
            "RFC 1035 4.1; RFC 6761 6.3: a name no server has to ask others for"),
    Payload("mdns", (5353,),
            bytes(DNS(id=0, rd=0, qd=DNSQR(qname="_services._dns-sd._udp.local", qtype="PTR", unicastresponse=1))),
            0, 2, r"(?P<token>..)[\x84-\x87][\x00-\x0f]\x00[\x00\x01]", "RFC 6762 5.4, 6.7; RFC 6763 9"),
    Payload("llmnr", (5355,), bytes(LLMNRQuery(id=0, qd=DNSQR(qname="localhost", qtype="A"))), 0, 2,
            r"(?P<token>..)[\x80-\x87].\x00\x01", "RFC 4795 2.1.1"),
    Payload("netbios-ns", (137,),
            bytes(NBNSHeader(NAME_TRN_ID=0, NM_FLAGS=0, QDCOUNT=1)
                  / NBNSQueryRequest(QUESTION_NAME=b"*" + b"\0" * 14, SUFFIX=NULL_SUFFIX, QUESTION_TYPE="NBSTAT")),
            0, 2, r"(?P<token>..)[\x80-\x87].\x00\x00\x00\x01\x00\x00\x00\x00\x20", "RFC 1002 4.2.17"),
    Payload("ntp", (123,), bytes(NTPHeader(version=4, mode=3, stratum=0, poll=0, ref=0, orig=0, recv=0, sent=0)),
            40, 8, r"[\x0c\x14\x1c\x24\x4c\x54\x5c\x64\x8c\x94\x9c\xa4\xcc\xd4\xdc\xe4].{23}(?P<token>.{8}).{16}",
            "RFC 5905 7.3, 14 (RFC 4330 5: any transmit time will do)"),
    Payload("ssdp", (1900,),
            b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\n'
            b"ST: upnp:rootdevice\r\n\r\n", answer=r"HTTP/1\.[01] 200 ",
            source="UPnP Device Architecture 2.0, 1.3.2"),
)
