"""Parquet from the command line: where it goes, and where it does not."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from samples import ANSWERED, EVENT, EVENT_V6, LONE, REFUSED, report

from udpprobe.cli import main

ROOT = Path(__file__).parents[2]
LOOP = str(ROOT / "pcaps/loop3-link.pcap")
ANALYZE = [sys.executable, "-m", "udpprobe", "analyze", "--format", "parquet"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "told.parquet"


def _column(path, query):
    return [value for (value,) in duckdb.sql(query.format(f"'{path}'")).fetchall()]


def test_a_report_file_leaves_out_healthy_destinations(analysis, path, capsys):
    analysis.report = report(REFUSED, ANSWERED, unmatched=[LONE])
    assert main(["analyze", "a", "--fail-on", "silent", "--format", "parquet", "-o", str(path)]) == 0
    assert ["destination", "unmatched"] == _column(path, "SELECT kind FROM {}")
    assert ("", "") == tuple(capsys.readouterr())


def test_events_go_to_a_file_in_capture_order(analysis, path):
    analysis.events = [EVENT, EVENT_V6]
    assert main(["analyze", "a", "--events", "--format", "parquet", "-o", str(path)]) == 0
    assert [7, 123456] == _column(path, "SELECT frame FROM {}")


def test_ctrl_c_leaves_a_complete_file_of_the_results_so_far(analysis, path):
    analysis.report, analysis.interrupt = report(REFUSED), True
    assert main(["analyze", "a", "--format", "parquet", "-o", str(path)]) == 130
    assert ["refused"] == _column(path, "SELECT verdict FROM {}")


def test_parquet_can_be_written_to_a_pipe(path):
    path.write_bytes(subprocess.run([*ANALYZE, LOOP], stdout=subprocess.PIPE, check=True).stdout)
    told = subprocess.run([*ANALYZE[:-1], "json", LOOP], stdout=subprocess.PIPE, check=True).stdout
    assert json.loads(told)["destinations"][0]["sent"] == _column(path, "SELECT sent FROM {}")[0]


def test_parquet_is_not_written_to_a_terminal():
    ours, theirs = pty.openpty()
    done = subprocess.run([*ANALYZE, LOOP], stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(theirs)
    os.close(ours)
    assert (2, "udpprobe: --format parquet is binary; name a file with -o\n") == (done.returncode, done.stderr)


def test_without_the_extra_one_line_names_it(analysis, path, capsys, monkeypatch):
    analysis.report = report(REFUSED)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "udpprobe.reports.parquet", raising=False)
    assert main(["analyze", "a", "--format", "parquet", "-o", str(path)]) == 3
    assert "udpprobe: --format parquet needs pyarrow; install udpprobe[parquet]\n" == capsys.readouterr().err
    assert analysis.asked is None
    assert not path.exists()


def test_other_formats_do_not_load_pyarrow():
    code = (
        "import sys; from udpprobe.cli import main; main(sys.argv[1:]); "
        "sys.exit('pyarrow' in sys.modules or 'distributed' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, "analyze", LOOP], stdout=subprocess.DEVNULL, check=True)


def test_the_docs_query_finds_who_limits_the_packets(path):
    captures = sorted(map(str, ROOT.glob("pcaps/*.pcap")))
    subprocess.run([*ANALYZE, "-o", str(path), *captures], check=True)
    query = re.search(r'duckdb -c "(.*?)"', (ROOT / "docs" / "json.md").read_text(), re.DOTALL)[1]
    told = duckdb.sql(query.replace("report.parquet", str(path))).fetchall()
    plain = subprocess.run([*ANALYZE[:-1], "json", *captures], stdout=subprocess.PIPE, check=True).stdout
    findings = [each for row in json.loads(plain)["destinations"] for each in row["findings"]]
    findings += json.loads(plain)["unmatched"]
    too_big = [each for each in findings if each["verdict"] == "too-big"]
    assert {each["reporter"] for each in too_big} == {row[0] for row in told}
    assert sum(each["count"] for each in too_big) == sum(row[-1] for row in told)
