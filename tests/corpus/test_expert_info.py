"""Wireshark's expert info and our notes and faults: the same where both speak (docs/annotate.md has the list)."""

from __future__ import annotations

import json
from collections import Counter

import builders as b
import containers as c
import pytest
from builders import TIME_EXCEEDED, error_about, extension_structure, mpls_labels, padded, quote_length, sent
from oracle import needs_tshark, packets_of_each
from pcaps_readme import EXPECTED, PCAPS

from udpprobe.cli import main
from udpprobe.core.notes import TEXTS, Note

BAD_SUM, BAD_EXTENSION, LENGTH = (
    TEXTS[each] for each in (Note.BAD_ICMP_CHECKSUM, Note.BAD_EXTENSION, Note.IP_LENGTH_LIES)
)
NOTES = {BAD_SUM, BAD_EXTENSION, LENGTH}
WORDS = {
    "icmp.checksum_bad": BAD_SUM,
    "icmpv6.checksum_bad": BAD_SUM,
    "icmp.ext.checksum_bad": BAD_EXTENSION,
    "ip.bogus_ip_version": "bad-ipv4-header",
    "ip.bogus_header_length": "bad-ipv4-header",
    "ip.bogus_ip_length": "bad-ipv4-header",
    "ipv6.bogus_ipv6_version": "bad-ipv6-header",
    "ipv6.invalid_header": "short-ipv6",
    "udp.length.bad": "bad-udp-length",
    "udp.length.bad_zero": "bad-udp-length",
}
"""Classes that both know, by the names of Wireshark's fields without `.expert`."""

THEIRS_ALONE = {
    "ip.ttl.too_small",
    "ip.ttl.lncb",
    "udp.possible_traceroute",  # normal here: traces and loops
    "ipv6.routing.deprecated",
    "icmpv6.undecoded.type",  # an undefined error is an event like others here
    "tcp.connection.syn",
    "_ws.malformed",  # a payload that is no DNS, no TFTP
}
LEGITIMATE = {  # notes that are ours alone: Wireshark does not compare a quote with its datagram, nor with itself
    ("quotes-altered.pcap", 6): {LENGTH},
    ("quotes-altered.pcap", 14): {LENGTH},
}

pytestmark = [pytest.mark.slow, needs_tshark]


def both(files, folder):
    """Of each capture, of each frame what our comment says, and what Wireshark does, in our words; and our faults."""
    outs, reports = ([folder / f"{number}.{kind}" for number in range(len(files))] for kind in ("pcapng", "json"))
    for file, out, report in zip(files, outs, reports, strict=True):
        assert 0 == main(["analyze", str(file), "-w", str(out), "--no-progress", "--format", "json", "-o", str(report)])
    packets = packets_of_each(outs, folder)
    return {
        file: (frames_of(packets[out]), Counter(json.loads(report.read_text())["faults"]))
        for file, out, report in zip(files, outs, reports, strict=True)
    }


def frames_of(packets):
    frames = {}
    for number, packet in enumerate(packets, 1):
        comment = "; ".join(each.get("show") for each in packet.iter("field") if each.get("name") == "frame.comment")
        frames[number] = {note for note in NOTES if note in comment}, expert_info(packet)
    return frames


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    return both([PCAPS / name for name in EXPECTED], tmp_path_factory.mktemp("annotated"))


def expert_info(packet):
    found = set()
    for layer in packet.findall("proto"):
        for holder in layer.iter():
            for info in holder.findall("field[@name='_ws.expert']"):
                name = info.find("field").get("name").removesuffix(".expert")
                is_quoted = layer.get("name") in {"icmp", "icmpv6"} and not name.startswith("icmp")
                found.add(in_our_words(name, is_quoted))
    return found - {None}


def in_our_words(name, is_quoted):
    if name in THEIRS_ALONE or name.startswith("frame.comment"):
        return None
    word = WORDS[name]
    if word in NOTES or not is_quoted:
        return word
    return LENGTH if word == "bad-udp-length" else f"quoted-{word}"


def told_badly(family):
    """(what both say of it, packet): errors, datagrams and quotes in which something is wrong, or nothing."""
    n, header = iter(range(family * 20, 256)), 20 if family == 4 else 40
    bad_ip = f"bad-ipv{family}-header"

    def one(**fields):
        return sent(next(n), family, **fields)

    def quoting(start, end=None):
        packet = one()
        return error_about(packet, quote=start + packet[len(start) : end])

    yield None, one()
    yield None, error_about(one())
    yield BAD_SUM, error_about(one(), checksum=0x1234)
    yield BAD_SUM, error_about(one(), checksum=0)
    for length in (0, 7, 99):
        yield "bad-udp-length", one(length=length)
    for length in (0, 7):
        yield LENGTH, error_about(one(length=length))
    yield bad_ip, b"\x55" + one()[1:]
    if family == 4:
        yield bad_ip, b"\x44" + one()[1:]
        yield f"quoted-{bad_ip}", quoting(b"\x55")
        yield f"quoted-{bad_ip}", quoting(b"\x44")
        quote = padded(one())
        for checksum in (1, None):
            yield (
                checksum and BAD_EXTENSION,
                error_about(
                    one(),
                    TIME_EXCEEDED,
                    quote=quote + extension_structure(mpls_labels(5), checksum=checksum),
                    rest=quote_length(quote, family),
                ),
            )
    else:
        yield "quoted-short-ipv6", quoting(b"", 39)
        yield "quoted-short-ipv6", quoting(b"", 4)
    yield None, quoting(b"", header + 4)
    yield None, quoting(b"", header + 8)


@pytest.mark.parametrize("family", [4, 6])
def test_we_and_wireshark_agree_on_faults(family, tmp_path):
    expected, packets = zip(*told_badly(family), strict=True)
    ethertype = b.IP4_TYPE if family == 4 else b.IP6_TYPE
    path = tmp_path / "in.pcap"
    path.write_bytes(
        c.bytes_of_pcap(
            [
                c.Frame(c.START_NS + number * 10**9, b.ethernet(packet, ethertype))
                for number, packet in enumerate(packets)
            ]
        )
    )
    frames, faults = both([path], tmp_path)[path]
    for number, word in enumerate(expected, 1):
        ours, theirs = frames[number]
        assert theirs == {word} - {None}, number
        assert ours == theirs & NOTES, number
    assert faults == Counter(word for word in expected if word and word not in NOTES)


@pytest.mark.parametrize("name", EXPECTED)
def test_wireshark_and_our_comments_agree(captures, name):
    frames, _ = captures[PCAPS / name]
    for frame, (ours, theirs) in frames.items():
        assert ours - theirs == LEGITIMATE.get((name, frame), set()), frame
        assert theirs & NOTES <= ours, frame
