"""Frames are left out by libpcap's filters and by time; those that stay keep their numbers."""

from __future__ import annotations

import builders as b
import containers as c
import pytest
from capture_rows import rows_of

from udpprobe.capture.filter import FilteredSource, TimeWindow, compile_filter
from udpprobe.errors import UsageError
from udpprobe.sources import open_captures

DATAGRAMS = [b.datagram("10.0.0.1", "10.0.0.2", 4000, port, b"?") for port in (53, 123, 53, 500)]


@pytest.fixture
def capture(tmp_path):
    def write(frames, link_type=c.ETHERNET):
        path = tmp_path / "capture.pcap"
        path.write_bytes(c.bytes_of_pcap(frames, link_type=link_type))
        return open_captures([str(path)])
    return write


def timed(packets):
    return [c.Frame(second * 10**9, packet) for second, packet in enumerate(packets, 1)]


@pytest.mark.parametrize(("expression", "numbers"), [
    ("udp port 53", [1, 3]), ("", [1, 2, 3, 4]), ("icmp", []), ("not port 53", [2, 4]), ("greater 1000", [])])
def test_only_frames_that_match_pass(capture, expression, numbers):
    source = FilteredSource(capture(timed(b.ethernet(packet) for packet in DATAGRAMS)), expression)

    assert numbers == [row.frame for row in rows_of(source)]


@pytest.mark.parametrize("link_type", [101, 228, 12, 14])
def test_raw_ip_is_filtered_whatever_its_number(capture, link_type):
    source = FilteredSource(capture(timed(DATAGRAMS), link_type), "udp port 123")

    assert [2] == [row.frame for row in rows_of(source)]


def test_a_length_on_the_wire_is_what_greater_means(capture):
    frames = [c.Frame(1, b.ethernet(DATAGRAMS[0]), 1500), c.Frame(2, b.ethernet(DATAGRAMS[0]))]

    assert [1] == [row.frame for row in rows_of(FilteredSource(capture(frames), "greater 1000"))]


def test_link_types_of_one_capture_are_filtered_each_in_its_way(tmp_path):
    path = tmp_path / "two.pcapng"
    path.write_bytes(c.section() + c.interface(link_type=1) + c.interface(link_type=101)
                     + c.enhanced(c.Frame(0, b.ethernet(DATAGRAMS[0])))
                     + c.enhanced(c.Frame(0, DATAGRAMS[0]), number=1) + c.enhanced(c.Frame(0, DATAGRAMS[0])))

    assert [1, 2] == [row.frame for row in rows_of(FilteredSource(open_captures([str(path)]), "udp port 53"))]


@pytest.mark.parametrize(("expression", "said"), [
    ("udp prot 53", "syntax error"), ("host nosuchhost.invalid", "unknown host")])
def test_a_bad_expression_is_a_usage_error_in_one_line(expression, said):
    with pytest.raises(UsageError, match=rf"^--filter: [^\n]*{said}[^\n]*$"):
        compile_filter(expression, c.ETHERNET)


@pytest.mark.parametrize(("link_type", "expression"), [(65_000, "udp"), (147, "udp"), (228, "vlan 5")])
def test_frames_of_a_link_type_that_libpcap_cannot_filter_are_a_fault(capture, link_type, expression):
    source = FilteredSource(capture(timed(DATAGRAMS), link_type), expression)

    assert [] == rows_of(source)
    assert {"unfilterable-link-type": 4} == source.state.faults


def test_faults_of_filtering_are_told_of_several_files_too(capture, tmp_path):
    capture(timed(DATAGRAMS), 147)
    path = str(tmp_path / "capture.pcap")
    source = FilteredSource(open_captures([path, path]), "udp")

    assert [] == rows_of(source)
    assert {"unfilterable-link-type": 8} == source.state.faults


def test_a_bad_expression_is_told_before_a_frame_is_read(capture):
    with pytest.raises(UsageError, match=r"^--filter: "):
        FilteredSource(capture([]), "no such words")


@pytest.mark.parametrize(("since", "until", "numbers"), [
    (None, None, [1, 2, 3, 4]), (2, None, [2, 3, 4]), (None, 3, [1, 2]), (2, 4, [2, 3]), (9, None, [])])
def test_a_span_of_time_ends_before_its_last_instant(capture, since, until, numbers):
    bounds = (bound and bound * 10**9 for bound in (since, until))
    source = TimeWindow(capture(timed(DATAGRAMS)), *bounds)

    assert numbers == [row.frame for row in rows_of(source)]


def test_time_goes_on_where_nothing_passes(capture):
    ends = [batch.now_ns for batch in FilteredSource(capture(timed(DATAGRAMS)), "icmp")]

    assert [4 * 10**9] == ends
