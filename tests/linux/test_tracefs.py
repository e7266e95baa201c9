"""Pages of the kernel's ring of events, built here field by field (Documentation/trace/ring-buffer-map.rst)."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.linux import tracefs as module
from udpprobe.linux.tracefs import Format, Tracing, fields_of, lost_before, records_of

FORMAT = """\
name: inet_sk_error_report
ID: 2286
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int error;\toffset:8;\tsize:4;\tsigned:1;
\tfield:__u16 sport;\toffset:12;\tsize:2;\tsigned:0;
\tfield:__u8 saddr[4];\toffset:16;\tsize:4;\tsigned:0;
\tfield:void * location;\toffset:24;\tsize:8;\tsigned:0;

print fmt: "%s", __print_symbolic(REC->sport, { 2, "NOT_SPECIFIED" }, { 3, "NO_SOCKET" })
"""
PAGE = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
"""
PAGE_OF_32_BITS = PAGE.replace("offset:8;\tsize:8", "offset:8;\tsize:4").replace("offset:16", "offset:12")
HEADERS = {8: fields_of(PAGE), 4: fields_of(PAGE_OF_32_BITS)}


def number(value, size=4):
    return value.to_bytes(size, sys.byteorder)


def head(kind, delta=0):
    return number(kind | delta << 5 if sys.byteorder == "little" else kind << 27 | delta)


def short(data, delta=0):
    return head(len(data) // 4, delta) + data


def long(data, delta=0):
    return head(0, delta) + number(4 + len(data)) + data + bytes(-len(data) % 4)


def page(*records, time_ns=1000, flags=0, behind=b"", word=8):
    data = b"".join(records)
    return number(time_ns, 8) + number(len(data) | flags, word) + data + behind


def of(data, word=8):
    return list(records_of(data, HEADERS[word]))


def test_fields_are_read_at_the_offsets_of_the_format_file():
    told = Format.parse(FORMAT)
    assert (2286, {2: "NOT_SPECIFIED", 3: "NO_SOCKET"}) == (told.number, told.symbols)
    record = number(2286, 2) + bytes(2) + number(812) + number(0xFFFFFF91) + number(4000, 2) + bytes(2) + b"\x7f\0\0\1"
    assert {
        "common_type": 2286,
        "common_pid": 812,
        "error": -111,
        "sport": 4000,
        "saddr": b"\x7f\0\0\1",
        "location": 0,
    } == told.read(record)


def test_an_invalid_format_file_is_reported():
    with pytest.raises(ValueError, match="format"):
        Format.parse("nothing of the kind")


@pytest.mark.parametrize("word", [8, 4])
def test_record_times_add_to_the_time_of_the_page(word):
    data = page(short(b"abcd", 5), short(b"efghijkl", 7), long(b"x" * 200, 1), word=word)
    assert [(1005, b"abcd"), (1012, b"efghijkl"), (1013, b"x" * 200)] == of(data, word)


def test_padding_is_not_part_of_a_record():
    assert [(1000, b"abcde"), (1000, b"next")] == of(page(long(b"abcde"), short(b"next")))


def test_long_pauses_and_absolute_times_are_handled():
    extended = head(module.TIME_EXTEND, 3) + number(2)
    assert [(1000 + (2 << 27) + 3 + 1, b"abcd")] == of(page(extended, short(b"abcd", 1)))
    stamp = (1 << 58) + 77
    absolute = head(module.TIME_STAMP, stamp & (1 << 27) - 1) + number(stamp >> 27)
    assert [((1 << 60) + stamp + 1, b"abcd")] == of(page(absolute, short(b"abcd", 1), time_ns=(1 << 60) + 5))


def test_padding_in_the_middle_is_skipped_and_at_the_end_ends_the_page():
    discarded = head(module.PADDING, 9) + number(8) + bytes(4)
    assert [(1009, b"abcd")] == of(page(discarded, short(b"abcd")))
    assert [] == of(page(head(module.PADDING) + bytes(4), short(b"abcd")))


def test_lost_events_are_counted_or_at_least_flagged():
    assert 0 == lost_before(page(short(b"abcd")), HEADERS[8])
    counted = page(short(b"abcd"), flags=module.MISSED | module.MISSED_COUNTED, behind=number(4102, 8))
    assert (4102, [(1000, b"abcd")]) == (lost_before(counted, HEADERS[8]), of(counted))
    assert 1 == lost_before(page(short(b"abcd"), flags=module.MISSED), HEADERS[8])
    cut = page(short(b"abcd"), flags=module.MISSED | module.MISSED_COUNTED)
    assert 1 == lost_before(cut, HEADERS[8])


@given(st.binary(max_size=200), st.integers(0, 1 << 32))
def test_no_bytes_make_the_reader_fail_or_loop_forever(data, length):
    whole = number(1000, 8) + number(length, 8) + data
    assert all(len(record) <= len(data) for _, record in of(whole))
    lost_before(whole, HEADERS[8])
    list(records_of(data, HEADERS[8]))


@given(st.integers(0, 60))
def test_a_page_that_is_cut_short_has_its_first_records(size):
    whole = page(*(short(bytes([n]) * 4) for n in range(5)))
    assert of(whole)[: max(size - 16, 0) // 8] == of(whole[:size])


def test_only_abandoned_instances_are_removed(tmp_path):
    """Whatever process their numbers are here: whoever made them may be in another PID namespace."""
    left, held = f"udpprobe-{os.getppid()}-0123abcd", "udpprobe-4194305-0123abcd"
    others = {"udpprobe-x", "udpprobe-1", "perf", "other-1-0123abcd"}
    for name in (left, held, *others):
        (tmp_path / name).mkdir()
    directory, lock = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path / held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    module.remove_dead(directory)
    os.close(directory)
    os.close(lock)
    assert {held, *others} == {each.name for each in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (1, PrivilegeError, "need root"),
        (13, PrivilegeError, "need root"),
        (19, UdpprobeError, "no tracefs"),
        (16, UdpprobeError, "busy"),
    ],
)
def test_a_missing_requirement_is_reported_in_one_line(monkeypatch, number, kind, text):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "PLACES", ())
    monkeypatch.setattr(module, "_call", refuse)
    with pytest.raises(kind, match=text) as told:
        Tracing({"sock/inet_sk_error_report": ""})
    assert "\n" not in str(told.value)


# ---- with the kernel itself


@pytest.fixture
def tracing():
    try:
        made = Tracing({"sock/inet_sk_error_report": "protocol == 17"})
    except UdpprobeError as why:
        pytest.skip(f"no tracefs: {why}")
    yield made
    made.close()


HOLDING = """
import sys
from udpprobe.linux.tracefs import Tracing
tracing = Tracing({"sock/inet_sk_error_report": ""})
print(flush=True)
sys.stdin.read()
tracing.close()
"""


def owners(made):
    """Who made the instances that there are."""
    return {int(name.split("-")[1]) for name in os.listdir(made.instances) if name.startswith("udpprobe-")}  # noqa: PTH208 - of a descriptor


@pytest.mark.live
def test_an_instance_is_removed_at_the_end_or_at_the_next_start(tracing):
    assert os.getpid() in owners(tracing)
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        held.stdout.readline()
        assert held.pid in owners(tracing)
        held.send_signal(signal.SIGKILL)
        held.wait(timeout=30)
    with subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as following:
        following.stdout.readline()
        assert held.pid not in owners(tracing)
        assert {os.getpid(), following.pid} <= owners(tracing)
        following.communicate(timeout=30)
    assert following.pid not in owners(tracing)


@pytest.mark.live
def test_a_missing_kernel_event_is_reported(tracing):
    tracing.close()
    with pytest.raises(UdpprobeError, match="no_such"):
        Tracing({"sock/no_such_event": ""})
