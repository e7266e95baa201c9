"""What probes carry: requests in the protocol of a port, because many services answer nothing else.

The table is payloads.toml, which tests/payload_recipes.py writes, with Scapy; a scan only reads it.
"""

from udpprobe.core.probe import GENERIC
from udpprobe.payloads.catalogue import (
    Catalogue,
    Payload,
    chosen,
    from_nmap,
    is_what_was_asked,
    known_ports,
    listing,
    load,
    name_of_answer,
    notes_of_answers,
    notes_of_other_ports,
    recognise,
)

__all__ = [
    "GENERIC",
    "Catalogue",
    "Payload",
    "chosen",
    "from_nmap",
    "is_what_was_asked",
    "known_ports",
    "listing",
    "load",
    "name_of_answer",
    "notes_of_answers",
    "notes_of_other_ports",
    "recognise",
]
