"""What is read in pieces, side by side, is reported as if one process had read it in one go."""

from __future__ import annotations

import gzip
import random

import builders as b
import containers as c
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from profiles import examples
from samples import parsed
from side_by_side import CrewOfOne
from worlds import worlds

from udpprobe import assembly, digest
from udpprobe.errors import CaptureError
from udpprobe.observe import Options, analyze
from udpprobe.reports.json import plain
from udpprobe.sources import pieces
from udpprobe.sources.inputs import Inputs, find_inputs
from udpprobe.sources.selection import Selection

PROFILE = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
EVERYTHING = Options(all_destinations=True)
S = 10**9


@pytest.fixture(autouse=True)
def crew(monkeypatch):
    monkeypatch.setattr("udpprobe.workers.Crew", CrewOfOne)


def told(inputs, options=EVERYTHING, **how):
    """The report and the events, as scripts get them."""
    events = []
    report = analyze(inputs, options, on_events=events.extend, **how)
    return parsed(report), list(map(plain, events))


def compare(inputs, options=EVERYTHING):
    assert told(inputs, options, workers=1) == told(inputs, options, workers=2)


def write(path, frames, data_of=c.bytes_of_pcap, **variant):
    path.write_bytes(data_of([c.Frame(time_ns, frame) for time_ns, frame in frames], **variant))
    return str(path)


def second(number, count=3):
    """Frames within a second, that say when."""
    return [(number * S + index, f"frame {index} of second {number}".encode()) for index in range(count)]


@PROFILE
@given(worlds(), st.integers(40, 3000), st.sampled_from(["destination", "flow", "host", "reporter"]), st.booleans())
def test_a_file_in_pieces_gives_the_same_report_and_events(tmp_path, monkeypatch, frames, piece_bytes, group_by, is_ng):  # noqa: PLR0917 - drawn
    monkeypatch.setattr(assembly, "PIECE_BYTES", piece_bytes)
    path = write(tmp_path / "capture", frames, c.bytes_of_pcapng if is_ng else c.bytes_of_pcap)

    compare(Inputs.of(path), Options(all_destinations=True, group_by=group_by))


@PROFILE
@given(worlds(), st.integers(1, 5), st.integers(40, 3000), st.integers(0, 1 << 32))
def test_a_rotation_set_gives_the_report_of_one_file(tmp_path, monkeypatch, frames, files, piece_bytes, seed):  # noqa: PLR0917 - drawn
    monkeypatch.setattr(assembly, "PIECE_BYTES", piece_bytes)
    bounds = sorted(random.Random(seed).choices(range(len(frames) + 1), k=files - 1))
    paths = []
    for first, last in zip([0, *bounds], [*bounds, len(frames)], strict=True):
        write(tmp_path / f"{len(paths)}.pcap", frames[first:last], nanos=True)
        paths.append(str(tmp_path / f"{len(paths)}.pcap"))
    random.Random(seed).shuffle(paths)

    compare(Inputs("set", (tuple(paths),)))


@pytest.mark.parametrize("options", [
    Options(filter="udp port 53"), Options(since_ns=3 * S, until_ns=9 * S), Options(filter="icmp", since_ns=2 * S),
])
@PROFILE
@given(worlds(), st.integers(40, 1000))
def test_what_is_left_out_keeps_its_frame_numbers(tmp_path, monkeypatch, options, frames, piece_bytes):
    monkeypatch.setattr(assembly, "PIECE_BYTES", piece_bytes)

    compare(Inputs.of(write(tmp_path / "capture", frames)), options)


def test_pieces_are_given_out_ahead_but_not_all(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "PIECE_BYTES", 1000)
    path = write(tmp_path / "capture", [(S + number, bytes(60)) for number in range(1000)])
    seen = []
    analyze(Inputs.of(path), EVERYTHING, workers=2,
            on_progress=lambda state: seen.append((state.done_bytes, len(CrewOfOne.last.given))))

    assert 76 < len(seen)
    assert max(given - done // 1000 for done, given in seen) <= 2 + assembly.AHEAD + 2


def test_an_interface_declared_in_the_middle_is_known_to_the_pieces_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "PIECE_BYTES", 1000)
    monkeypatch.setattr(pieces, "PEEK_BYTES", 1000)
    frames = [c.Frame(S + number, bytes(60)) for number in range(1000)]
    (tmp_path / "capture").write_bytes(
        c.bytes_of_pcapng(frames[:300]) + c.interface(link_type=113)
        + b"".join(c.enhanced(frame, number=number % 2) for number, frame in enumerate(frames[300:])))
    compare(Inputs.of(str(tmp_path / "capture")))

    read = len(CrewOfOne.last.given) - 1
    needed = (tmp_path / "capture").stat().st_size // 1000 + 1
    assert needed < read <= needed + 2 + assembly.AHEAD


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_that_overlap_are_read_by_one_process(tmp_path, pack):
    for name, numbers in (("a", (1, 3)), ("b", (2, 4))):
        data = c.bytes_of_pcap([c.Frame(*frame) for number in numbers for frame in second(number)])
        (tmp_path / name).write_bytes(pack(data))
    inputs = find_inputs([str(tmp_path)])
    compare(inputs)

    assert 12 == told(inputs, workers=2)[0]["source"]["packets"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_file_without_frames_does_not_leave_the_others_to_one_process(tmp_path, monkeypatch, order):
    paths = [write(tmp_path / str(number), second(number) if number != 1 else []) for number in range(3)]
    inputs = Inputs.of(*(paths[number] for number in order))
    compare(inputs)
    monkeypatch.delattr("udpprobe.observe.open_captures")

    assert 6 == told(inputs, workers=2)[0]["source"]["packets"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_frames_of_one_time_come_from_the_file_named_later_first(tmp_path, order):
    paths = [write(tmp_path / "a", [*second(1), (2 * S, b"a")]), write(tmp_path / "b", [(2 * S, b"b"), *second(3)])]

    compare(Inputs.of(*(paths[number] for number in order)))


@pytest.mark.parametrize("workers", [1, 2])
def test_capture_points_are_counted_together_and_matched_apart(tmp_path, workers):
    frames = [(time_ns, frame) for number in range(5) for time_ns, frame in second(number)]
    one = Inputs.of(write(tmp_path / "a", frames))
    both = Inputs("both", ((str(tmp_path / "a"),), (write(tmp_path / "b", frames),)))
    source, twice = (told(inputs, workers=workers)[0]["source"] for inputs in (one, both))

    assert [2 * source[name] for name in ("packets", "bytes")] == [twice[name] for name in ("packets", "bytes")]
    compare(both)


def test_of_many_files_the_torn_are_read_and_the_unreadable_named(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "PIECE_BYTES", 100)
    for number in range(5):
        write(tmp_path / f"{number}.pcap", second(number))
    (tmp_path / "1.pcap").write_bytes((tmp_path / "1.pcap").read_bytes()[:-1])
    (tmp_path / "4.pcap").write_bytes((tmp_path / "4.pcap").read_bytes()[:-1])
    (tmp_path / "2.pcap").write_bytes(b"nothing of the kind")
    (tmp_path / "0.pcap").unlink()
    inputs = find_inputs([str(tmp_path / f"{number}.pcap") for number in range(5)])
    compare(inputs)
    source = told(inputs, workers=2)[0]["source"]

    assert (7, True, ["0.pcap", "2.pcap"]) == (source["packets"], source["cut_short"],
                                              [each["name"][-6:] for each in source["unread"]])


def test_a_file_that_breaks_off_among_others_is_named_and_the_others_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "PIECE_BYTES", 100)
    paths = [write(tmp_path / f"{number}.pcap", second(number)) for number in range(3)]

    def broken(piece, task, ends):
        if piece.name == paths[0]:
            raise CaptureError("reading stopped")
        return digest.digest(piece, task, ends)

    monkeypatch.setattr(assembly, "digest", broken)
    source = told(Inputs.of(*paths), workers=2)[0]["source"]

    assert (6, [{"name": paths[0], "reason": "reading stopped"}]) == (source["packets"], source["unread"])


@pytest.mark.parametrize("first_data", [None, b"nothing of the kind"])
def test_looking_into_many_files_can_be_stopped(tmp_path, first_data):
    paths = [write(tmp_path / str(number), second(number)) for number in range(5)]
    if first_data:
        (tmp_path / "0").write_bytes(first_data)
    crew, looks = CrewOfOne(2), []

    def look(state):
        looks.append(state.done_bytes)
        crew.stop()

    found = assembly.Assembly([paths, paths], digest.Task(Selection()), crew, look)

    assert [0] == looks
    assert found.capture(1).part is None


def test_where_no_file_can_be_read_the_first_is_the_error(tmp_path):
    with pytest.raises(CaptureError, match="no such file"):
        told(Inputs("set", ((str(tmp_path / "a"), str(tmp_path / "b")),)), workers=2)


def test_progress_comes_to_the_size_of_all_files(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "PIECE_BYTES", 100)
    paths = [write(tmp_path / f"{number}.pcap", second(number)) for number in range(3)]
    seen = []
    analyze(Inputs.of(*paths), EVERYTHING, workers=2,
            on_progress=lambda state: seen.append((state.done_bytes, state.total_bytes)))
    total = sum((tmp_path / f"{number}.pcap").stat().st_size for number in range(3))

    assert (total, total) == seen[-1]


def test_what_shows_a_loop_late_is_known_of_early_errors_too(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "PIECE_BYTES", 1000)
    monkeypatch.setattr("udpprobe.core.following.pipeline.MOST_PENDING", 1)
    monkeypatch.setattr("udpprobe.core.decoding.decode.CHUNK_FRAMES", 1)
    monkeypatch.setattr("udpprobe.sources.reader.BATCH_FRAMES", 1)
    sent = [b.datagram("192.0.2.1", "198.51.100.1", 5000, 53, id=ttl, ttl=ttl) for ttl in (5, 7)]
    frames = [(number * S, b.ethernet(packet)) for each in sent
              for number, packet in ((each[8], each), (each[8] + 1, b.time_exceeded(each, "203.0.113.1")))]
    inputs = Inputs.of(write(tmp_path / "capture", frames))
    compare(inputs)

    assert ["loop", "loop"] == [event["verdict"] for event in told(inputs, workers=1)[1]]


def test_events_are_made_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("udpprobe.observe.TOLD_AT_A_TIME", 3)
    sent = b.datagram("192.0.2.1", "198.51.100.1", 5000, 53)
    frames = [(number * S, b.ethernet(b.port_unreachable(sent))) for number in range(8)]
    some = []
    analyze(Inputs.of(write(tmp_path / "capture", frames)), on_events=some.append, options=EVERYTHING, workers=2)

    assert [[1, 2, 3], [4, 5, 6], [7, 8]] == [[event.frame for event in events] for events in some]
