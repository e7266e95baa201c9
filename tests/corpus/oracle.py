"""The truth about any capture, by tshark: its errors that quote UDP, and the datagrams they are about.

PDML keeps apart what `-T fields` mixes up: the quoted headers are inside the ICMP layer, and a tunnel's
layers follow each other. Rows have the names of `udpprobe analyze --events`.
"""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice

import pytest

TSHARK = ["tshark", "-n", "-T", "pdml", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-r"]
needs_tshark = pytest.mark.skipif(
    not all(map(shutil.which, ("tshark", "mergecap", "capinfos"))), reason="tshark is not installed"
)
ERROR_TYPES = {"icmp": {3, 4, 11, 12}, "icmpv6": range(1, 128)}


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram as a frame shows it."""

    frame: int
    flow: tuple[str, str, int, int]
    ip_id: int | None
    proof: tuple[int, int]
    """UDP length and checksum."""
    ttl: int

    def is_copy_of(self, other):
        """The same one seen at another place on its way."""
        same = (self.flow, self.ip_id, self.proof) == (other.flow, other.ip_id, other.proof)
        return same and self.ttl != other.ttl


def errors_in(packets):
    """A dictionary for each error that quotes UDP; `matched_frames`: all places its datagram was seen at."""
    datagrams, errors = defaultdict(list), []
    for packet in packets:
        error = error_in(packet)
        if error is None:
            for datagram in datagrams_in(packet):
                datagrams[datagram.flow].append(datagram)
        elif error["quoted"]["protocol"] == 17:
            errors.append(error)
    return [error | match_of(error, datagrams[flow_of(error["quoted"])]) for error in errors]


def packets_of(file):
    done = subprocess.run([*TSHARK, str(file)], capture_output=True, check=True)
    return ET.fromstring(done.stdout).iter("packet")


def packets_of_each(files, folder):
    """Of many captures, by their paths; a process for all of them, for tshark takes a quarter of a second to begin."""
    merged = folder / "merged.pcapng"
    subprocess.run(["mergecap", "-a", "-F", "pcapng", "-w", merged, *files], check=True)
    done = subprocess.run(["capinfos", "-TMrc", *files], capture_output=True, text=True, check=True)
    counts = [int(line.rpartition("\t")[2]) for line in done.stdout.splitlines()]
    packets = packets_of(merged)
    found = {path: list(islice(packets, count)) for path, count in zip(files, counts, strict=True)}
    for each in found.values():
        for place, packet in enumerate(each, 1):
            packet.find(".//field[@name='frame.number']").set("show", str(place))
    assert next(packets, None) is None
    return found


def error_in(packet):
    layers = packet.findall("proto")
    at = next((i for i, layer in enumerate(layers) if layer.get("name") in ERROR_TYPES), None)
    if at is None:
        return None
    message, outer = layers[at], [layer for layer in layers[:at] if is_ip(layer)][-1]
    name = message.get("name")
    type_, quoted = number(message, f"{name}.type"), next(filter(is_ip, message), None)
    if type_ not in ERROR_TYPES[name] or quoted is None:
        return None
    return {
        "frame": frame_of(packet),
        "family": 4 if name == "icmp" else 6,
        "reporter": address(outer, "src"),
        "type": type_,
        "code": number(message, f"{name}.code"),
        "mtu": number(message, f"{name}.mtu"),
        "quoted": quoted_by(quoted, message.find("proto[@name='udp']")),
    }


def quoted_by(ip, udp):
    fields = {
        "source_port": "srcport",
        "destination_port": "dstport",
        "udp_length": "length",
        "udp_checksum": "checksum",
    }
    return {
        "source": address(ip, "src"),
        "destination": address(ip, "dst"),
        "protocol": protocol_of(ip),
        "ip_id": number(ip, "ip.id"),
        "ttl": ttl_of(ip),
        "ip_length": length_of(ip),
        **{name: number(udp, f"udp.{field}") for name, field in fields.items()},
    }


def datagrams_in(packet):
    """The innermost is what is told; a tunnel's own datagram is one too, for errors about the tunnel."""
    ip = None
    for layer in packet.findall("proto"):
        if is_ip(layer):
            ip = layer
        elif layer.get("name") == "udp" and ip is not None:
            ports = number(layer, "udp.srcport"), number(layer, "udp.dstport")
            flow = (address(ip, "src"), address(ip, "dst"), *ports)
            proof = number(layer, "udp.length"), number(layer, "udp.checksum")
            yield Datagram(frame_of(packet), flow, number(ip, "ip.id"), proof, ttl_of(ip))


def match_of(error, candidates):
    """The latest earlier datagram of the flow; better, one that agrees in id, or in length and checksum."""
    quoted, proof = error["quoted"], (error["quoted"]["udp_length"], error["quoted"]["udp_checksum"])
    earlier = [datagram for datagram in candidates if datagram.frame < error["frame"]]
    by_id = [datagram for datagram in earlier if datagram.ip_id == quoted["ip_id"] is not None]
    by_proof = [datagram for datagram in earlier if datagram.proof == proof]
    best = ([datagram for datagram in by_id if datagram in by_proof] or by_id or by_proof or earlier)[-1:]
    copies = [datagram.frame for datagram in earlier if best and datagram.is_copy_of(best[0])]
    return {
        "match": "exact" if by_id else "flow" if earlier else "none",
        "matched_frames": copies + [datagram.frame for datagram in best],
    }


def flow_of(quoted):
    return tuple(quoted[name] for name in ("source", "destination", "source_port", "destination_port"))


def is_ip(layer):
    return layer.get("name") in {"ip", "ipv6"}


def address(ip, end):
    return show(ip, f"{ip.get('name')}.{end}")


def ttl_of(ip):
    return number(ip, "ip.ttl") if ip.get("name") == "ip" else number(ip, "ipv6.hlim")


def length_of(ip):
    """Bytes of the whole packet."""
    return number(ip, "ip.len") if ip.get("name") == "ip" else 40 + number(ip, "ipv6.plen")


def protocol_of(ip):
    """The last of the chain."""
    said = [
        field
        for field in ip.iter("field")
        if field.get("name") == "ip.proto" or field.get("name", "").endswith((".nxt", "ah.next_header"))
    ]
    return int(said[-1].get("show"))


def show(layer, name):
    field = None if layer is None else layer.find(f".//field[@name='{name}']")
    return None if field is None else field.get("show")


def number(layer, name):
    text = show(layer, name)
    return None if text is None else int(text, 0)


def frame_of(packet):
    return int(show(packet, "frame.number"))
