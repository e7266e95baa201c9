"""Tell each ICMP error while Scapy sniffs, and report in the end: `sudo python follow.py [capture.pcap]`."""

import sys

from scapy.all import sniff

import udpprobe


def tell(event: udpprobe.Event) -> None:
    quoted = event.quoted
    print(f"{quoted.destination} {quoted.destination_port} {event.verdict} by {event.reporter}")


follower = udpprobe.Follower(on_event=tell)
sniff(offline=sys.argv[1] if sys.argv[1:] else None, prn=follower.feed, store=False)
print(len(follower.report().destinations), "destinations failed")
