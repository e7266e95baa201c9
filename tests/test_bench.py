"""The captures of `make bench` are what their truth says, and its table is written: all on small sizes."""

import subprocess
import sys
from pathlib import Path

import pytest
from bench import catalogue
from bench.captures import truth_of
from bench.table import analyze
from bench.truth import check

ROOT = Path(__file__).parents[1]
CAPTURES = [
    catalogue.at_random(20_000),
    catalogue.destinations(300),
    catalogue.hundred(),
    catalogue.compressed(catalogue.usual(20_000, "s96", "pcapng")),
    catalogue.two_interfaces(20_000, is_ordered=False),
]


def checked(capture, directory):
    path = capture.ready(directory)
    return check(analyze(capture).command(str(path)), capture, path)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: capture.name)
def test_every_error_is_matched_with_the_datagram_that_the_truth_names(capture, tmp_path):
    found = checked(capture, tmp_path)
    assert found.is_right, str(found)
    assert found.errors


def test_a_wrongly_matched_error_is_detected(tmp_path):
    capture = catalogue.hundred()
    truth = truth_of(capture.ready(tmp_path))
    first, *others = truth.read_text().splitlines()
    error, matched, family = map(int, first.split())
    truth.write_text("\n".join([f"{error} {matched + 1} {family}", *others]))
    found = checked(capture, tmp_path)
    assert (found.errors - found.right, found.complaints) == (1, ())


def test_the_table_has_a_line_for_each_requested_row(tmp_path):
    argv = ("--scale", "0.0001", "--rounds", "1", "--dir", str(tmp_path), "-k", "conversations", "memory")
    told = subprocess.run(
        (sys.executable, "-m", "tests.bench", *argv), cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    assert "0.001 M conversations, memory" in told.splitlines()[-1]
