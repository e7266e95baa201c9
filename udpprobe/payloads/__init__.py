"""What a probe carries, so that a service which answers only its own protocol answers.

One table, payloads.toml, a row each. `recipes` makes it, with Scapy; whoever scans only reads it.
"""

from udpprobe.payloads.answers import is_what_was_asked, notes_of_answers, notes_of_other_ports
from udpprobe.payloads.catalogue import GENERIC, Catalogue, known_ports, listing, load
from udpprobe.payloads.choice import chosen
from udpprobe.payloads.model import Payload, name_of_answer, recognise
from udpprobe.payloads.nmap import from_nmap

__all__ = ["GENERIC", "Catalogue", "Payload", "chosen", "from_nmap", "is_what_was_asked", "known_ports", "listing",
           "load", "name_of_answer", "notes_of_answers", "notes_of_other_ports", "recognise"]
