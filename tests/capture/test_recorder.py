"""What was recorded is read back: by our own source, by plain `struct`, and by Wireshark's programs."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import builders as b
import pytest
from containers import Row, read
from hypothesis import given
from hypothesis import strategies as st
from live_frames import frames_of, read_frames
from ring_blocks import Packet, block

from udpprobe.capture.frames import Frame
from udpprobe.capture.recorder import FORGOTTEN, OBJECT_BYTES, Recorder, Rotation
from udpprobe.errors import UdpprobeError

RAW, ETHERNET = 101, 1
START_NS = 1_700_000_000_123_456_789
PROBE = b.datagram("192.0.2.1", "192.0.2.2", 40000, 7, b"hello")
REFUSAL = b.port_unreachable(PROBE)
FRAMES = [Frame(START_NS, PROBE, len(PROBE), RAW, 1), Frame(START_NS + 1, REFUSAL, len(REFUSAL), RAW, 2)]

frames = st.lists(
    st.builds(
        Frame,
        time_ns=st.integers(0, 2**63 - 1),
        data=st.binary(max_size=70),
        length=st.integers(0, 2**32 - 1),
        link_type=st.sampled_from((RAW, ETHERNET, 276)),
        number=st.just(0),
    )
)


def rows_of(frames):
    """What must be read of these frames."""
    return [Row(number, each.time_ns, each.data, each.length, each.link_type) for number, each in enumerate(frames, 1)]


def record(path, *batches, comments=()):
    with Recorder(str(path)) as recorder:
        for frames in batches:
            recorder.add(frames)
        recorder.finish(dict(comments), application="udpprobe 1.2")


def recorded(path, *batches, comments=()):
    record(path, *batches, comments=comments)
    return path.read_bytes()


def comments_of(data):
    """The comment of each enhanced packet block, None where it has none."""
    at, found = 0, []
    while at < len(data):
        kind, size = struct.unpack_from("<2I", data, at)
        if kind == 6:
            options = data[at + 28 + (struct.unpack_from("<I", data, at + 20)[0] + 3 & -4) : at + size - 4]
            found.append(options[4 : 4 + struct.unpack_from("<H", options, 2)[0]] if options else None)
        at += size
    return found


def names_in(directory):
    return [path.name for path in directory.iterdir()]


@pytest.fixture
def target(tmp_path):
    return tmp_path / "scan.pcapng"


@given(frames, st.integers(0, 20))
def test_a_recorded_capture_is_read_back(tmp_path_factory, frames, cut):
    target = tmp_path_factory.mktemp("recorder") / "scan.pcapng"
    found, state = read(recorded(target, frames[:cut], frames[cut:]))
    assert rows_of(frames) == found
    assert not state.faults


def test_a_capture_can_be_read_and_recorded_again(target):
    record(target, FRAMES)
    assert FRAMES == read_frames(target)
    assert target.read_bytes() == recorded(target, iter(read_frames(target)))


def test_a_scan_of_nothing_is_a_capture_without_frames(target):
    assert [] == read(recorded(target, []))[0]


def test_a_comment_belongs_to_the_frame_number_it_was_added_for(target):
    batches = [[frame._replace(number=10 * frame.number)] for frame in FRAMES]
    assert [None, b"refused"] == comments_of(recorded(target, *batches, comments={20: "refused", 1: "nobody"}))


@pytest.mark.parametrize("text", ["", "a", "ab", "abc", "abcd"])
def test_comments_of_every_length_leave_the_frames_alone(target, text):
    data = recorded(target, FRAMES, comments={1: text, 2: text})
    assert [text.encode()] * 2 == comments_of(data)
    assert rows_of(FRAMES) == read(data)[0]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\x1b[2J", rb"\x1b[2J"),
        ("one\ntwo", rb"one\ntwo"),
        ("\u202egnp", rb"\u202egnp"),
        ("\udc80", rb"\udc80"),
        ("größer", "größer".encode()),
    ],
)
def test_a_comment_cannot_control_a_terminal(target, text, written):
    assert [written, None] == comments_of(recorded(target, FRAMES, comments={1: text}))


def test_a_comment_is_cut_where_its_length_ends_and_between_characters(target):
    data = recorded(target, FRAMES, comments={1: "x" * 65_534 + "ü", 2: "x" * 70_000})
    assert [b"x" * 65_534, b"x" * 65_535] == comments_of(data)
    assert rows_of(FRAMES) == read(data)[0]


def test_the_file_names_the_program_that_wrote_it(target):
    assert b"\x04\x00\x0c\x00udpprobe 1.2" in recorded(target)[:64]


def test_the_file_appears_only_at_the_end(target):
    with Recorder(str(target)) as recorder:
        recorder.add(FRAMES)
        assert [] == names_in(target.parent)
        recorder.finish({}, application="x")
        assert [target.name] == names_in(target.parent)


def test_an_error_leaves_the_old_capture_unchanged(target):
    target.write_bytes(b"older")
    not_frames = [1]
    with pytest.raises(AttributeError), Recorder(str(target)) as recorder:
        recorder.add(not_frames)
    assert b"older" == target.read_bytes()
    assert [target.name] == names_in(target.parent)


def test_the_old_capture_is_replaced_and_keeps_its_mode(target):
    target.write_bytes(b"older")
    target.chmod(0o640)
    assert rows_of(FRAMES) == read(recorded(target, FRAMES))[0]
    assert 0o640 == target.stat().st_mode & 0o777


def test_the_temporary_name_of_a_capture_is_unpredictable(target, tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("precious")
    names = iter(["planted", "free"])
    with Recorder(str(target)) as recorder:
        recorder.add(FRAMES)
        monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: names)
        for name in (".udpprobe-planted", f".{target.name}.{os.getpid()}"):
            (target.parent / name).symlink_to(tmp_path / "victim")
        recorder.finish({}, application="x")
    assert "precious" == (tmp_path / "victim").read_text()
    assert rows_of(FRAMES) == read(target.read_bytes())[0]


def test_a_link_stays_a_link(target, tmp_path):
    (tmp_path / "real").mkdir()
    target.symlink_to("real/scan.pcapng")
    record(target, FRAMES)
    assert target.is_symlink()
    assert rows_of(FRAMES) == read((tmp_path / "real" / "scan.pcapng").read_bytes())[0]


@pytest.mark.parametrize(
    ("name", "reason"), [("none/scan.pcapng", "No such file or directory"), ("", "it is a directory")]
)
def test_a_bad_path_is_reported_before_the_scan(tmp_path, name, reason):
    with pytest.raises(UdpprobeError, match=f"cannot write .*: {reason}"):
        Recorder(str(tmp_path / name))


def test_a_disk_that_fills_up_during_the_scan_is_reported(target, monkeypatch):
    full = Path("/dev/full").open("w+b", buffering=1 << 20)  # noqa: SIM115 the recorder closes it
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    with pytest.raises(UdpprobeError, match=r"cannot write .*scan\.pcapng: No space left on device"):
        record(target, FRAMES)
    assert full.closed
    assert [] == names_in(target.parent)


def test_a_full_disk_is_reported():
    with pytest.raises(UdpprobeError, match="cannot write /dev/full: No space left on device"):
        record("/dev/full", FRAMES)


def test_a_pipe_is_written_directly(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        record(fifo, FRAMES)
        assert rows_of(FRAMES) == read(reader.stdout.read())[0]
    assert fifo.is_fifo()


def test_a_dash_is_standard_output(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written))
    record("-", FRAMES)
    assert rows_of(FRAMES) == read(written.getvalue())[0]


def test_a_closed_standard_output_is_reported(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(UdpprobeError, match="cannot write standard output: it is closed"):
        record("-")


def test_a_pipe_that_nobody_reads_is_not_the_users_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    out = os.fdopen(writing, "w")
    monkeypatch.setattr("sys.stdout", out)
    with pytest.raises(BrokenPipeError):
        record("-", FRAMES)
    with pytest.raises(BrokenPipeError):
        out.close()  # what was buffered


def lines_of(program, *arguments):
    if not shutil.which(program):
        pytest.skip(f"needs {program}")
    done = subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def test_tshark_sees_frames_times_and_comments(target):
    record(target, FRAMES, comments={2: "refused: größer \x07"})
    fields = ("frame.number", "frame.time_epoch", "frame.len", "frame.comment", "icmp.type")
    found = lines_of("tshark", "-r", target, "-T", "fields", *(word for each in fields for word in ("-e", each)))
    assert ["1\t1700000000.123456789\t33\t\t", "2\t1700000000.123456790\t61\trefused: größer \\x07\t3"] == found


def test_capinfos_reports_no_problem(target):
    record(target, [*FRAMES, Frame(START_NS + 2, b"\0" * 60, 1500, ETHERNET, 3)])
    found = "\n".join(lines_of("capinfos", target))
    for claim in (
        "Number of packets:   3",
        "Capture application: udpprobe 1.2",
        "Number of interfaces in file: 2",
        "Time precision = nanoseconds (9)",
    ):
        assert claim in found


def test_a_full_standard_output_is_reported_by_its_name(monkeypatch):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(UdpprobeError, match="cannot write standard output: No space left on device"):
            record("-", FRAMES)
        with pytest.raises(OSError, match="No space"):
            full.close()  # what it could not write is still there


CHOSEN = [bytes([n]) * 40 for n in range(8)]


def rotation(path, *, most_bytes=10**6, files=3, **how):
    return Rotation(str(path), most_bytes=most_bytes, files=files, application="udpprobe test", **how)


def told(path):
    """The bytes, times and links of the frames in a file."""
    return [(frame.data, frame.time_ns, frame.link_type) for frame in read_frames(path)]


def test_chosen_frames_are_written_at_once_and_in_order(tmp_path):
    path, held = tmp_path / "x.pcapng", frames_of(CHOSEN)
    with rotation(path) as made:
        made.remember(1, held)
        made.write([5, 2], {5: "refused"})
        expected = [(CHOSEN[n - 1], held.frames[n - 1].time_ns, 101) for n in (2, 5)]
        assert expected == told(path)
        made.write([2, 7, 5], {})
        assert [*expected, (CHOSEN[6], held.frames[6].time_ns, 101)] == told(path)
    assert b"refused" in path.read_bytes()


def test_frames_are_written_from_the_blocks_that_hold_them(tmp_path):
    path = tmp_path / "x"
    with rotation(path) as made:
        for first, link in ((1, 101), (9, 1), (17, 101)):
            made.remember(first, frames_of([bytes([link + n]) * 20 for n in range(8)], link, first=first))
        made.write([1, 16, 17], {})
    assert [(bytes([101]) * 20, 101), (bytes([8]) * 20, 1), (bytes([101]) * 20, 101)] == [
        (data, link) for data, _, link in told(path)
    ]


def test_forgotten_frames_are_counted(tmp_path):
    path = tmp_path / "x"
    with rotation(path, remembered_bytes=3 * OBJECT_BYTES) as made:
        for first in range(1, 41):
            made.remember(first, frames_of([bytes([first])], first=first))
        made.write([1, 39, 40, 99], {})
        assert [b"\x27", b"\x28"] == [data for data, *_ in told(path)]
        assert 2 == made.faults[FORGOTTEN]


def test_frames_come_out_of_a_block_of_the_ring(tmp_path):
    path = tmp_path / "x"
    with rotation(path) as made:
        made.remember(1, frames_of([b"before"]))
        made.remember(2, block([Packet(data, n * 10**9 + 7) for n, data in enumerate(CHOSEN)]))
        made.write([2, 9, 10], {})
        assert [(CHOSEN[0], 7, 101), (CHOSEN[7], 7 * 10**9 + 7, 101)] == told(path)
        assert 1 == made.faults[FORGOTTEN]


def test_nothing_is_remembered_before_the_first_frames(tmp_path):
    with rotation(tmp_path / "x") as made:
        made.write([1], {})
        assert 1 == made.faults[FORGOTTEN]


def test_full_files_are_rotated_and_the_oldest_is_removed(tmp_path):
    path = tmp_path / "x"
    with rotation(path, most_bytes=100) as made:
        made.remember(1, frames_of(CHOSEN))
        for frame in range(1, 9):
            made.write([frame], {})
    names = ["x", "x.1", "x.2"]
    assert names == sorted(each.name for each in tmp_path.iterdir())
    kept = [data for name in reversed(names) for data, *_ in told(tmp_path / name)]
    assert CHOSEN[-len(kept) :] == kept
    assert 3 <= len(kept) < 8


def test_a_single_file_starts_over_when_it_is_full(tmp_path):
    with rotation(tmp_path / "x", most_bytes=100, files=1) as made:
        made.remember(1, frames_of(CHOSEN))
        made.write(range(1, 9), {})
    assert [tmp_path / "x"] == list(tmp_path.iterdir())
    assert CHOSEN[-1] == told(tmp_path / "x")[-1][0]


def test_an_unwritable_path_is_named(tmp_path):
    with pytest.raises(UdpprobeError, match=r"cannot write .*missing"):
        rotation(tmp_path / "missing" / "x")
