"""The capture again, with comments: `analyze -w`."""

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path

import builders as b
import containers as c
import pytest
from builders import PORT, ROUTER, expired, host, sent, with_refusal
from samples import report

from udpprobe.cli import main
from udpprobe.commands.annotate import Annotations
from udpprobe.core.capture import FRAME, Entry, Records
from udpprobe.interrupt import Interrupted

PCAPS = Path(__file__).parents[2] / "pcaps"
COMMENT = 1
with_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")


def frames(*conversations, gap_ns=1_000_000):
    packets = [packet for some in conversations for packet in some]
    return [c.Frame(c.START_NS + number * gap_ns, b.ethernet(packet)) for number, packet in enumerate(packets)]


def big(family, mtu):
    packet = sent(9, family, size=1400, df=True) if family == 4 else sent(9, family, size=1400)
    too_big = b.frag_needed if family == 4 else b.packet_too_big
    return [packet, too_big(packet, mtu, ROUTER[family])]


TOLD = [
    with_refusal(sent(1)),
    with_refusal(sent(2, 6)),
    big(4, 1300),
    big(6, 1300),
    expired(sent(3, ttl=4)),
    [sent(4)],
    [b.port_unreachable(sent(5))],
]
"""Frames 1 to 12: five pairs, a datagram that is well, an error without its datagram."""


def annotated(path, tmp_path, *words, status=0):
    out = tmp_path / "out.pcapng"
    assert status == main(["analyze", str(path), "-w", str(out), "-o", str(tmp_path / "report"), *words])
    return out.read_bytes()


def blocks_of(data):
    """(kind, byte order, whole block) of each."""
    at, order, found = 0, "<", []
    while at < len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
        kind, size = struct.unpack_from(f"{order}2I", data, at)
        assert struct.unpack_from(f"{order}I", data, at + size - 4) == (size,)
        found.append((kind, order, data[at : at + size]))
        at += size
    return found


def options_of(block, order):
    """(code, value) of each option of a packet block, and all of them as they stand there."""
    at = 28 + (struct.unpack_from(f"{order}I", block, 20)[0] + 3 & -4)
    raw, found = block[at:-4], []
    while at + 4 <= len(block) - 4:
        code, size = struct.unpack_from(f"{order}2H", block, at)
        if code == 0:
            break
        found.append((code, block[at + 4 : at + 4 + size]))
        at += 4 + (size + 3 & -4)
    return found, raw


def comments_of(data):
    """Comments by frame, of a file of packet blocks that have a number each."""
    packets = [(order, block) for kind, order, block in blocks_of(data) if kind in {2, 3, 6}]
    return {
        number: [value.decode() for code, value in options_of(block, order)[0] if code == COMMENT]
        for number, (order, block) in enumerate(packets, 1)
        if block[0] != 3 and block[3] != 3 and any(code == COMMENT for code, _ in options_of(block, order)[0])
    }


# ---- what is said


def test_an_error_and_its_datagram_name_each_other(tmp_path):
    path = tmp_path / "in.pcap"
    path.write_bytes(c.bytes_of_pcap(frames(*TOLD)))
    said = {frame: texts[0] for frame, texts in comments_of(annotated(path, tmp_path)).items()}
    one, two = f"{host(1)}:{PORT}", f"[{host(2, 6)}]:{PORT}"
    assert said == {
        1: f"refused {one}; reported in frame 2",
        2: f"refused {one}; caused by frame 1; would reach: only connected or IP_RECVERR sockets",
        3: f"refused {two}; reported in frame 4",
        4: f"refused {two}; caused by frame 3; would reach: only connected or IPV6_RECVERR sockets",
        5: f"too big for its path: larger than the MTU of 1300 behind {ROUTER[4]}; reported in frame 6",
        6: f"too-big {host(9)}:{PORT} by {ROUTER[4]}, MTU 1300; caused by frame 5; "
        "would reach: only connected or IP_RECVERR sockets",
        7: f"too big for its path: larger than the MTU of 1300 behind {ROUTER[6]}; reported in frame 8",
        8: f"too-big [{host(9, 6)}]:{PORT} by {ROUTER[6]}, MTU 1300; caused by frame 7; "
        "would reach: only connected or IPV6_RECVERR sockets",
        9: f"expired {host(3)}:{PORT} by {ROUTER[4]}; reported in frame 10",
        10: f"expired {host(3)}:{PORT} by {ROUTER[4]}; caused by frame 9; would reach: only IP_RECVERR sockets",
        12: f"refused {host(5)}:{PORT}; its datagram is not in this capture; "
        "would reach: only connected or IP_RECVERR sockets",
    }


def test_many_errors_about_one_datagram_are_counted(tmp_path):
    packet = sent(1, ttl=5)
    path = tmp_path / "in.pcap"
    path.write_bytes(
        c.bytes_of_pcap(
            frames(
                [packet],
                [b.time_exceeded(packet, f"203.0.113.{number}", id=number) for number in range(1, 3)],
                [b.port_unreachable(packet, id=number) for number in range(10, 15)],
            )
        )
    )
    said = comments_of(annotated(path, tmp_path))[1][0]
    assert "reported in frames 4, 5, 6 and 2 more" in said
    assert "203.0.113.1; reported in frame 2" in said


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("words", [[], ["--only-involved"], ["--group-by", "host"]])
def test_the_first_and_the_last_pass_of_a_loop_are_marked(tmp_path, family, words):
    packet = sent(1, family, ttl=60)
    rounds = [b.forwarded(packet, 2 * lap) if lap else packet for lap in range(10)]
    other = [sent(2, family)] * 3  # at the times of passes, but elsewhere
    some = frames(rounds, gap_ns=1_000_000)
    some += [frame._replace(data=b.ethernet(each)) for frame, each in zip((some[1], some[9]), other, strict=False)]
    path = tmp_path / "in.pcap"
    path.write_bytes(c.bytes_of_pcap(sorted(some, key=lambda frame: frame.time_ns)))
    said = comments_of(annotated(path, tmp_path, *words))
    texts = [(frame, text) for frame, (text,) in said.items() if "pass of a loop" in text]
    assert (
        [1, 2] == [frame for frame, _ in texts]
        if words == ["--only-involved"]
        else [2, 11] == [frame for frame, _ in texts]
    )
    assert texts[0][1].startswith("first pass of a loop of 2 hops on the way to ")
    assert texts[1][1].startswith("last pass of a loop of 2 hops on the way to ")


# ---- what stays as it was


def stripped(block, order, ours):
    """A packet block without its last `ours` comments."""
    _, raw = options_of(block, order)
    at, spans = len(block) - 4 - len(raw), []
    while at + 4 <= len(block) - 4:
        code, size = struct.unpack_from(f"{order}2H", block, at)
        if code == 0:
            break
        spans.append((code, at, at + 4 + (size + 3 & -4)))
        at += 4 + (size + 3 & -4)
    code, start, end = spans[-1]
    assert (COMMENT, 1) == (code, ours)
    rest = block[:start] + block[end:]
    if len(spans) == 1 and rest[start:-4] == bytes(4):
        rest = block[:start] + block[-4:]  # nothing else was there, so opt_endofopt was added too
    size = struct.pack(f"{order}I", len(rest))
    return rest[:4] + size + rest[8:-4] + size


USER = (COMMENT, b"the user's own"), (2, struct.pack("<I", 5)), (0x8BAD, b"\xff\x00\x01")


def names(order):
    """A name resolution block: 192.0.2.1 is client.example."""
    record = bytes([192, 0, 2, 1]) + b"client.example\0"
    body = struct.pack(f"{order}2H", 1, len(record)) + c.padded(record) + bytes(4)
    return c.block(c.NAMES, body, order)


def section_files():
    some = frames(*TOLD)
    yield "odd", c.bytes_in_sections(some)
    yield (
        "sections",
        b"".join(
            c.section(order, values=[(COMMENT, b"a section")])
            + names(order)
            + c.interface(order, link_type=0)
            + c.interface(order, resolution=9)
            + c.enhanced(frame, order, 1, resolution=9)
            for frame, order in zip(some, "<><<>><<>><>", strict=True)
        ),
    )
    for order in "<>":
        yield (
            f"options{order}",
            (
                c.section(order, length=4711, values=[(4, b"recorder")])
                + c.block(c.NAMES, b"\0" * 8, order)
                + c.interface(order, snap=0, resolution=9)
                + c.block(c.UNKNOWN, b"odd", order)
                + b"".join(c.enhanced(frame, order, resolution=9, values=USER) for frame in some)
                + c.statistics(order, drops=7)
                + c.section(order)
                + c.interface(order)
            ),
        )
        yield f"old{order}", c.bytes_of_pcapng(some, order=order, packet=c.old)


@pytest.mark.parametrize(
    ("name", "data"), [*section_files()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_everything_but_the_new_comments_is_copied_byte_for_byte(tmp_path, name, data):
    path = tmp_path / "in.pcapng"
    path.write_bytes(data)
    before, after = blocks_of(data), blocks_of(annotated(path, tmp_path))
    assert len(before) == len(after)
    commented = 0
    for (kind, order, old), (new_kind, _, new) in zip(before, after, strict=True):
        assert kind == new_kind
        if kind == c.SECTION:
            assert old[:16] + b"\xff" * 8 + old[24:] == new
        elif old != new:
            commented += 1
            found, _ = options_of(new, order)
            assert options_of(old, order)[0] == found[:-1]
            assert stripped(new, order, 1) == old
    assert 11 == commented, name


def test_broken_options_are_kept_and_the_comment_precedes_them(tmp_path):
    some = frames(with_refusal(sent(1)))
    broken = [(7, b"x")]
    data = c.bytes_of_pcapng([], resolution=9) + b"".join(
        c.enhanced(each, resolution=9, values=broken) for each in some
    )
    at = data.rindex(struct.pack("<2H", 7, 1))
    data = data[: at + 2] + struct.pack("<H", 999) + data[at + 4 :]
    path = tmp_path / "in.pcapng"
    path.write_bytes(data)
    old, new = (each[-1][2] for each in (blocks_of(data), blocks_of(annotated(path, tmp_path))))
    assert new[-4 - len(old[at - len(data) : -4]) : -4] == old[at - len(data) : -4]
    assert options_of(new, "<")[0][0][1].startswith(b"refused ")


@pytest.mark.parametrize("variant", [{}, {"order": ">"}, {"nanos": True}, {"modified": True}])
def test_a_pcap_file_keeps_its_frames_and_times(tmp_path, variant):
    some = [*frames(*TOLD), c.Frame(c.START_NS + 10**9, b"", 60), c.Frame(c.START_NS + 10**9 + 1000, b"x" * 61, 1500)]
    path = tmp_path / "in.pcap"
    path.write_bytes(c.bytes_of_pcap(some, **variant))
    data = annotated(path, tmp_path)
    records = Records(Entry(data[:24]), capacity=len(data))
    records.room()[: len(data)] = data
    records.filled(len(data))
    for frame in some:
        assert FRAME == records.next()
        assert (frame.time_ns, frame.data, frame.wire_length) == (
            records.time_ns,
            bytes(records.data[records.at : records.at + records.captured]),
            records.length,
        )
    assert FRAME != records.next()


def test_packets_in_simple_blocks_are_left_alone_and_counted(tmp_path, capsys):
    path = tmp_path / "in.pcapng"
    data = c.bytes_of_pcapng(frames(with_refusal(sent(1))), packet=c.simple)
    path.write_bytes(data)
    assert annotated(path, tmp_path) == data
    assert "udpprobe: 2 packets got no comment" in capsys.readouterr().err


def test_only_the_involved_packets_are_written_and_named_by_their_new_numbers(tmp_path):
    for name, data in (
        ("in.pcap", c.bytes_of_pcap(frames([sent(7)], *TOLD))),
        ("in.pcapng", c.bytes_of_pcapng(frames([sent(7)], *TOLD), resolution=9)),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        out = annotated(path, tmp_path, "--only-involved")
        said = comments_of(out)
        assert list(range(1, 12)) == list(said) == list(range(1, sum(kind == 6 for kind, _, _ in blocks_of(out)) + 1))
        assert said[1][0].endswith("reported in frame 2")
        assert "caused by frame 1;" in said[2][0]


def test_blocks_that_wireshark_numbers_are_counted(tmp_path):
    some, custom = frames([sent(7)], with_refusal(sent(1))), c.block(c.CUSTOM, b"\0\0\0\1data")
    path = tmp_path / "in.pcapng"
    path.write_bytes(
        c.bytes_of_pcapng([]) + custom + c.enhanced(some[0]) + custom + c.enhanced(some[1]) + c.enhanced(some[2])
    )
    assert "caused by frame 4;" in comments_of(annotated(path, tmp_path))[3][0]
    out = annotated(path, tmp_path, "--only-involved")
    assert [c.SECTION, 1, c.CUSTOM, c.CUSTOM, 6, 6] == [kind for kind, _, _ in blocks_of(out)]
    assert "caused by frame 3;" in comments_of(out)[2][0]


# ---- the command


def run(*words, stdin=None, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "udpprobe", "analyze", *map(str, words)],
        input=stdin,
        cwd=cwd,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_report_is_the_same_as_without(tmp_path):
    path = PCAPS / "loop3-link.pcap"
    for words in (["--format", "json"], ["--events", "--format", "ndjson"], []):
        plain, with_capture = run(path, *words), run(path, *words, "-w", tmp_path / "out.pcapng")
        assert (plain.stdout, b"") == (with_capture.stdout, with_capture.stderr)


def test_standard_input_is_spooled_for_the_second_pass_and_reported(tmp_path):
    path, out = PCAPS / "refused.pcap", tmp_path / "out.pcapng"
    done = run("-", "-w", out, stdin=path.read_bytes())
    assert (0, b"udpprobe: standard input is copied to a temporary file, because -w reads it twice\n") == (
        done.returncode,
        done.stderr,
    )
    assert run("-", stdin=path.read_bytes()).stdout == done.stdout
    assert out.read_bytes() == annotated(path, tmp_path)
    assert {"out.pcapng", "report"} == {each.name for each in tmp_path.iterdir()}


def test_a_named_pipe_is_spooled_too(tmp_path):
    fifo, data = tmp_path / "fifo", (PCAPS / "refused.pcap").read_bytes()
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    done = run(fifo, "-w", tmp_path / "out.pcapng")
    writer.join()
    assert (0, f"udpprobe: {fifo} is copied".encode()) == (
        done.returncode,
        done.stderr[: len(f"udpprobe: {fifo} is copied")],
    )
    assert comments_of((tmp_path / "out.pcapng").read_bytes())


def test_compressed_captures_are_written_uncompressed(tmp_path):
    data = (PCAPS / "refused.pcap").read_bytes()
    packed = tmp_path / "in.gz"
    packed.write_bytes(gzip.compress(data))
    assert annotated(packed, tmp_path) == annotated(PCAPS / "refused.pcap", tmp_path)


def test_the_capture_goes_to_standard_output_when_the_report_goes_to_a_file(tmp_path):
    done = run(PCAPS / "refused.pcap", "-w", "-", "-o", tmp_path / "report")
    assert comments_of(done.stdout) == comments_of(annotated(PCAPS / "refused.pcap", tmp_path))
    assert 2 == run(PCAPS / "refused.pcap", "-w", "-").returncode


@pytest.mark.parametrize("words", [["--only-involved"], ["IN", "-w", "OUT"], ["-w", "IN"], ["-w", "OUT", "-o", "OUT"]])
def test_contradicting_options_are_usage_errors(tmp_path, words):
    path = tmp_path / "in.pcap"
    shutil.copy(PCAPS / "refused.pcap", path)
    before = path.read_bytes()
    other = tmp_path / "other.pcap"
    shutil.copy(PCAPS / "too-big.pcap", other)
    names = {"IN": str(path) if "-w" == words[0] else str(other), "OUT": str(tmp_path / "out.pcapng")}
    assert 2 == main(["analyze", str(path), *(names.get(word, word) for word in words)])
    assert path.read_bytes() == before
    assert not (tmp_path / "out.pcapng").exists()


def test_an_unwritable_capture_is_reported_before_anything_is_read(tmp_path, capsys):
    assert 3 == main(["analyze", str(PCAPS / "refused.pcap"), "-w", str(tmp_path / "no" / "out.pcapng")])
    told = capsys.readouterr()
    assert ("", 1) == (told.out, told.err.count("\n"))


def test_an_interruption_leaves_no_partial_capture(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise Interrupted(report())

    monkeypatch.setattr("udpprobe.commands.analyze.analyze", interrupted)
    assert 130 == main(["analyze", str(PCAPS / "refused.pcap"), "-w", str(tmp_path / "out.pcapng")])
    assert [] == [*tmp_path.iterdir()]
    assert "is not written" in capsys.readouterr().err


def test_a_file_that_is_cut_short_is_written_as_far_as_it_can_be_read(tmp_path):
    data = c.bytes_of_pcapng(frames(*TOLD), resolution=9)
    path = tmp_path / "in.pcapng"
    path.write_bytes(data[:-100])
    kinds = [kind for kind, _, _ in blocks_of(annotated(path, tmp_path))]
    assert [c.SECTION, 1, *[6] * 11] == kinds


def test_corrupt_captures_do_no_harm(tmp_path):
    data = c.bytes_of_pcapng(frames(*TOLD), resolution=9)
    path = tmp_path / "in.pcapng"
    for at in range(24, len(data), 37):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        for words in ([], ["--only-involved"]):
            assert main(
                ["analyze", str(path), "-w", str(tmp_path / "out.pcapng"), "-o", str(tmp_path / "r"), *words]
            ) in {0, 3}


# ---- what Wireshark makes of it


def tshark(path, *words):
    done = subprocess.run(["tshark", "-r", str(path), *words], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


@with_tshark
@pytest.mark.slow
@pytest.mark.parametrize("name", ["refused.pcap", "too-big.pcap", "loop3-link.pcap"])
@pytest.mark.parametrize("words", [[], ["--only-involved"]])
def test_tshark_reads_every_comment_at_the_right_frame(tmp_path, name, words):
    annotated(PCAPS / name, tmp_path, *words)
    rows = [
        line.split("\t")
        for line in tshark(
            tmp_path / "out.pcapng",
            *"-T fields -e frame.number -e frame.comment -e frame.protocols -e icmp.type -e icmpv6.type".split(),
        )
    ]
    said = comments_of((tmp_path / "out.pcapng").read_bytes())
    assert {frame: texts[0] for frame, texts in said.items()} == {int(row[0]): row[1] for row in rows if row[1]}
    assert {row[0] for row in rows if "caused by" in row[1]} == {
        row[0] for row in rows if row[3] in {"3", "11"} or row[4] in {"1", "2", "3"}
    }
    plain = tshark(PCAPS / name, "-T", "fields", "-e", "frame.time_epoch", "-e", "ip.id", "-e", "udp.length")
    again = tshark(tmp_path / "out.pcapng", "-T", "fields", "-e", "frame.time_epoch", "-e", "ip.id", "-e", "udp.length")
    assert plain == again if not words else set(again) <= set(plain)


@with_tshark
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [*section_files()][1:],  # the odd one it does not read at all
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tshark_reads_the_old_comments_and_the_new_ones(tmp_path, name, data):
    path = tmp_path / "in.pcapng"
    path.write_bytes(data)
    events = tmp_path / "events"
    assert 0 == main(["analyze", "--events", "--format", "ndjson", "-o", str(events), str(path)])
    errors = {json.loads(line)["frame"] for line in events.read_text().splitlines()}
    annotated(path, tmp_path)
    rows = [
        line.split("\t")
        for line in tshark(
            tmp_path / "out.pcapng", "-T", "fields", "-E", "aggregator=|", "-e", "frame.number", "-e", "frame.comment"
        )
    ]
    assert errors == {int(frame) for frame, text in rows if "would reach:" in text}
    if name.startswith("options"):
        assert all(text.startswith("the user's own") for _, text in rows)


@with_tshark
@pytest.mark.slow
def test_the_lua_script_shows_verdicts_in_a_column(tmp_path):
    annotated(PCAPS / "loop3-link.pcap", tmp_path)
    script = PCAPS.parent / "examples" / "wireshark" / "udpprobe.lua"
    rows = tshark(
        tmp_path / "out.pcapng",
        "-X",
        f"lua_script:{script}",
        *"-Y udpprobe.verdict -T fields -e frame.number -e udpprobe.verdict -e udpprobe.role".split(),
    )
    if (
        not rows
        and "with Lua" not in subprocess.run(["tshark", "-v"], capture_output=True, text=True, check=True).stdout
    ):
        pytest.skip("this tshark has no Lua")
    said = comments_of((tmp_path / "out.pcapng").read_bytes())
    assert [str(frame) for frame in said] == [row.split("\t")[0] for row in rows]
    assert {"loop"} == {row.split("\t")[1] for row in rows}
    assert {"pass", "datagram", "error"} == {row.split("\t")[2] for row in rows}


def test_a_healthy_capture_gets_no_comments(tmp_path):
    out, path = BytesIO(), tmp_path / "in.pcapng"
    data = c.bytes_of_pcapng(frames([sent(1)]), resolution=9)
    path.write_bytes(data)
    assert 0 == Annotations().write(str(path), out)
    assert out.getvalue() == data
