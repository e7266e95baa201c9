"""What `diff` finds between two reports, and how it says so."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace
from samples import ANSWERED, LONE, LOOP, REFUSED, TOO_BIG, UNREACHABLE_V6, destination, finding, report

from udpprobe.cli import main
from udpprobe.core.model import Spread
from udpprobe.core.verdicts import VERDICTS
from udpprobe.diff import _BY_REACH, CHANGES, compare, failing_changes, parse_failing, read_report
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports.json import report_json

PCAPS = Path(__file__).parent.parent / "pcaps"
SILENT = destination("198.51.100.7", 53, "silent", meaning="no-evidence")
HEALED = destination("198.51.100.7", 53, "answered", answered=14, rtt_ms=Spread(1.0, 2.5, 3.0))


def compared(before, after):
    """The one destination of both reports."""
    (row,) = compare(before, after, ("before", "after")).destinations
    return row


def change(before, after):
    row = compared(report(before), report(after))
    return row.change, [each.what for each in row.differences]


def as_json(found):
    return "".join(report_json(found)).encode()


# ---- the rules


def test_every_verdict_has_its_place_from_best_to_worst():
    assert sorted(VERDICTS) == sorted(_BY_REACH)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (HEALED, REFUSED, "worse"),
        (REFUSED, HEALED, "better"),
        (SILENT, REFUSED, "worse"),
        (HEALED, SILENT, "worse"),
        (REFUSED, SILENT, "better"),
        (REFUSED, REFUSED, "same"),
        (
            REFUSED,
            replace(REFUSED, verdict="prohibited", findings=(finding("prohibited", (4, 3, 13), "192.0.2.1"),)),
            "worse",
        ),
    ],
)
def test_a_verdict_is_worse_the_earlier_the_datagram_is_stopped(one, other, expected):
    assert (expected, [] if expected == "same" else ["verdict"]) == change(one, other)


@pytest.mark.parametrize("which", [REFUSED, UNREACHABLE_V6, ANSWERED])
def test_a_destination_of_one_report_alone_is_new_or_gone(which):
    assert "new" == compared(report(), report(which)).change
    assert "gone" == compared(report(which), report()).change


@pytest.mark.parametrize(
    ("reporters", "expected"),
    [
        (["192.0.2.2"], "worse"),
        (["192.0.2.1", "192.0.2.2"], "worse"),
        (["192.0.2.1"], "same"),
        ([], "better"),
    ],
)
def test_a_new_rejecting_reporter_is_worse_and_none_any_more_is_better(reporters, expected):
    def rejected(*names):
        return destination("203.0.113.9", 53, "rejected", *(finding("rejected", (4, 3, 3), name) for name in names))

    assert expected == change(rejected("192.0.2.1"), rejected(*reporters))[0]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [(1400, 1300, "worse"), (1300, 1400, "better"), (1400, 1400, "same"), (None, 1400, "same")],
)
def test_the_least_mtu_of_a_destination_is_compared(one, other, expected):
    def narrow(mtu):
        return destination(
            "203.0.113.9",
            53,
            "too-big",
            finding("too-big", (4, 3, 4), "192.0.2.1", mtu=mtu),
            finding("too-big", (4, 3, 4), "192.0.2.1", mtu=1450 if mtu else None),
        )

    assert expected == change(narrow(one), narrow(other))[0]


@pytest.mark.parametrize(
    ("sent", "answered", "expected"),
    [
        (100, 60, "worse"),
        (100, 92, "same"),  # 8 lost of 100 may be chance where 2 were lost
        (10_000, 9_200, "worse"),  # of 10,000 they are none
        (10_000, 9_750, "same"),  # and so little nobody notices
        (5, 2, "same"),
        (1, 1, "same"),
    ],
)
def test_loss_differs_beyond_what_chance_explains(sent, answered, expected):
    before = replace(ANSWERED, sent=sent, answered=max(sent * 98 // 100, 1))
    after = replace(ANSWERED, sent=sent, answered=answered)
    assert (expected, ["loss"] * (expected != "same")) == change(before, after)
    assert {"worse": "better"}.get(expected, expected) == change(after, before)[0]


@pytest.mark.parametrize(
    ("spread", "answered", "expected"),
    [
        (Spread(9.0, 10.0, 400.0), 100, "same"),
        (Spread(11.0, 12.0, 30.0), 100, "same"),
        (Spread(20.0, 30.0, 40.0), 100, "same"),  # its own jitter is as large
        (Spread(29.0, 30.0, 31.0), 100, "worse"),
        (Spread(1.0, 1.0, 1.0), 100, "better"),
        (Spread(15.0, 15.0, 15.0), 1, "same"),
        (Spread(30.0, 30.0, 30.0), 1, "worse"),
    ],
)
def test_an_rtt_differs_beyond_its_jitter(spread, answered, expected):
    before = replace(ANSWERED, sent=100, answered=100, rtt_ms=Spread(9.5, 10.0, 300.0))
    after = replace(ANSWERED, sent=answered, answered=answered, rtt_ms=spread)
    assert (expected, ["rtt_ms"] * (expected != "same")) == change(before, after)


def test_microseconds_on_a_link_are_noise():
    one, other = (replace(ANSWERED, rtt_ms=Spread(ms, ms, ms)) for ms in (0.02, 0.9))
    assert "same" == change(one, other)[0]


def test_the_verdict_outweighs_everything_else():
    before = replace(TOO_BIG, verdict="prohibited", findings=(finding("prohibited", (4, 3, 13), "192.0.2.1"),))
    row = compared(report(replace(before, answered=40_000, sent=40_000)), report(replace(TOO_BIG, answered=10)))
    assert ("better", {"verdict", "loss"}) == (row.change, {each.what for each in row.differences})


def test_errors_without_a_datagram_belong_to_their_destination():
    row = compared(report(), report(unmatched=[LONE]))
    assert ("192.0.2.77", None, "new", "prohibited") == (row.address, row.port, row.change, row.after.verdict)
    both = compare(
        report(REFUSED), report(REFUSED, unmatched=[replace(LONE, address="198.51.100.7", port=53)]), ("a", "b")
    )
    assert failing_changes(both.destinations, frozenset({"new-prohibited"}))


def test_an_undecided_verdict_is_not_a_change():
    assert ("same", []) == change(replace(SILENT, verdict=None), SILENT)
    assert ("same", []) == change(REFUSED, replace(REFUSED, verdict=None))


def test_reports_with_different_grouping_are_not_compared():
    with pytest.raises(UdpprobeError, match="by flow"):
        compare(report(REFUSED), report(replace(REFUSED, source="10.0.0.1", source_port=5)), ("a", "b"))


def test_the_worst_comes_first():
    found = compare(report(HEALED, ANSWERED, LOOP), report(TOO_BIG, ANSWERED, REFUSED, UNREACHABLE_V6), ("a", "b"))
    assert ["worse", "new", "new", "gone", "same"] == [row.change for row in found.destinations]
    assert "unreachable" == found.destinations[1].after.verdict
    assert {"worse": 1, "new": 2, "gone": 1, "better": 0, "same": 1} == found.counts
    assert tuple(found.counts) == CHANGES


def test_every_failing_destination_has_advice():
    found = compare(report(HEALED, LOOP), report(TOO_BIG, ANSWERED, REFUSED), ("a", "b"))
    for row in found.destinations:
        is_well = row.after is not None and row.after.verdict == "answered"
        assert (row.advice is None) == is_well


def test_the_report_s_own_advice_is_passed_on():
    text = json.loads(as_json(report(REFUSED)))
    text["destinations"][0]["advice"] = "Start the server."
    row = compared(read_report(as_json(report()), "a"), read_report(json.dumps(text).encode(), "b"))
    assert "Start the server." == row.advice


# ---- reports as they are read


@pytest.mark.parametrize("found", [report(REFUSED, TOO_BIG, UNREACHABLE_V6, ANSWERED, unmatched=[LONE]), report()])
def test_a_report_read_from_json_equals_the_report(found):
    read = read_report(as_json(found), "x")
    both = compare(found, read, ("a", "b"))
    assert all(row.change == "same" and row.before == row.after for row in both.destinations)
    assert len(both.destinations) == len(found.destinations) + len(found.unmatched)


def test_a_report_of_another_version_is_read_as_far_as_possible():
    text = {
        "schema": "udpprobe.report/1",
        "command": "analyze",
        "strange": [1],
        "destinations": [{"address": "192.0.2.1", "port": 53, "verdict": "shredded", "odd": {}}],
    }
    row = compared(read_report(json.dumps(text).encode(), "a"), report(destination("192.0.2.1", 53, "answered")))
    assert "better" == row.change


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'{"schema":"udpprobe.trace/1"}',
        b"{}",
        b'{"schema":"udpprobe.report/1","destinations":[{"port":1}]}',
        b'{"schema":"udpprobe.report/1","destinations":[{"address":7}]}',
        b'{"schema":"\xff"}',
        b"{" * 100_000,
    ],
)
def test_a_file_that_is_not_a_report_is_named(text):
    with pytest.raises(UdpprobeError, match=r"^old: is ") as told:
        read_report(text, "old")
    assert 3 == told.value.exit_status


# ---- --fail-on


@pytest.mark.parametrize(
    ("before", "after", "word", "expected"),
    [
        (HEALED, REFUSED, "new-refused", True),
        (REFUSED, REFUSED, "new-refused", False),
        (None, REFUSED, "new-refused", True),
        (None, REFUSED, "new", True),
        (REFUSED, None, "gone", True),
        (REFUSED, HEALED, "new-answered", True),
        (HEALED, REFUSED, "new-loop", False),
        (HEALED, REFUSED, "worse", True),
        (REFUSED, HEALED, "better", True),
        (None, TOO_BIG, "new-expired", True),  # a finding beside the verdict
    ],
)
def test_a_verdict_absent_before_is_new(before, after, word, expected):
    sides = [report(*([each] if each else [])) for each in (before, after)]
    assert expected == bool(failing_changes([compared(*sides)], parse_failing(f"new-unsent,{word}")))


@pytest.mark.parametrize("words", ["refused", "", "new-", "same", "new-refused,", "new-shredded"])
def test_a_wrong_word_is_a_usage_error(words):
    with pytest.raises(UsageError, match="new-VERDICT"):
        parse_failing(words)


# ---- the command


@pytest.fixture
def files(tmp_path):
    def write(name, found):
        path = tmp_path / name
        path.write_bytes(as_json(found))
        return str(path)

    return write("before.json", report(HEALED, LOOP, ANSWERED)), write("after.json", report(REFUSED, TOO_BIG, ANSWERED))


def told(capsys, *words):
    status = main(["diff", *words])
    return status, capsys.readouterr()


def test_the_table_shows_before_and_after_in_80_columns(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out = told(capsys, *(Path(name).name for name in files))
    assert (0, "") == (status, out.err)
    assert max(map(len, out.out.splitlines())) <= 80
    assert "198.51.100.7:53      worse     was answered, is refused by itself\n" in out.out
    assert out.out.replace("\n", " ").endswith(": 1 worse, 1 new, 1 gone; 1 the same (--all shows them). ")
    assert "10.0.0.1:53" not in out.out


def test_all_shows_unchanged_destinations(files, capsys):
    assert "10.0.0.1:53          same      answered\n" in told(capsys, *files, "--all")[1].out


def test_every_format_has_the_same_rows(files, capsys):
    def out(name):
        return told(capsys, *files, "--all", "--format", name)[1].out

    document = json.loads(out("json"))
    rows = [(row["address"], row["change"]) for row in document["destinations"]]
    assert ("udpprobe.diff/1", 4) == (document["schema"], len(rows))
    *destinations, summary = map(json.loads, out("ndjson").splitlines())
    assert rows == [(row["address"], row["change"]) for row in destinations]
    assert {"destination"} == {row["kind"] for row in destinations}
    assert document["counts"] == summary["counts"]
    assert rows == [(row["address"], row["change"]) for row in csv.DictReader(io.StringIO(out("csv")))]
    table = [line.split("|")[1:3] for line in out("markdown").splitlines() if line.startswith("| ")][1:]
    assert [change for _, change in rows] == [cells[1].strip() for cells in table]


def test_the_exit_status_is_1_for_failures_and_2_for_usage_errors(files, capsys):
    assert 1 == told(capsys, *files, "--fail-on", "new-refused")[0]
    assert 0 == told(capsys, *files, "--fail-on", "new-silent")[0]
    status, out = told(capsys, *files, "--fail-on", "new-nonsense")
    assert (2, "", 1) == (status, out.out, out.err.count("\n"))


@pytest.mark.parametrize("text", [None, b"", b"{}", b"\x00" * 50, b'{"schema":'])
def test_an_unreadable_report_is_named_with_status_3(files, tmp_path, capsys, text):
    path = tmp_path / "odd"
    if text is not None:
        path.write_bytes(text)
    for words in ((files[0], str(path)), (str(path), files[0])):
        status, out = told(capsys, *words)
        assert (3, "", 1) == (status, out.out, out.err.count("\n"))
        assert out.err.startswith(f"udpprobe: {path}: ")


@pytest.mark.parametrize(
    ("word", "said"),
    [("new-refused,gone", "udpprobe: --fail-on: found new-refused; but the answer is incomplete\n"), ("new-loop", "")],
)
def test_verdicts_are_named_even_if_a_file_was_unreadable(tmp_path, capsys, word, said):
    (tmp_path / "a.pcap").write_bytes((PCAPS / "refused.pcap").read_bytes())
    (tmp_path / "b.pcap").symlink_to(tmp_path / "missing")
    status, out = told(capsys, str(PCAPS / "silent.pcap"), str(tmp_path / "*.pcap"), "--fail-on", word)
    assert status == 3
    assert said in out.err
    assert out.err.count("--fail-on") == bool(said)
    assert out.err.endswith("no such file\n")


def test_neither_side_is_overwritten_and_standard_input_is_read_once(files, capsys):
    assert 2 == told(capsys, *files, "-o", files[1])[0]
    assert 2 == told(capsys, "-", "-")[0]


def test_hostile_text_is_escaped(tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps(
            {
                "schema": "udpprobe.report/1",
                "destinations": [
                    {
                        "address": "\x1b[31m|<b>",
                        "port": 1,
                        "verdict": "\x1b]0;x\x07",
                        "findings": [{"reporter": "\x1b[2J"}],
                    }
                ],
            }
        )
    )
    empty = tmp_path / "empty.json"
    empty.write_bytes(as_json(report()))
    for name in ("table", "json", "ndjson", "csv", "markdown"):
        out = told(capsys, str(empty), str(path), "--format", name)[1].out
        assert out.isprintable() or "\x1b" not in out
        assert name != "markdown" or "<b>" not in out


def run(*words, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "udpprobe", "diff", *map(str, words)],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["refused.pcap", "too-big.pcap"])
def test_a_capture_can_be_compared_like_its_report(tmp_path, name):
    path = tmp_path / "report.json"
    assert 0 == main(["analyze", "--all", "--format", "json", "-o", str(path), str(PCAPS / name)])
    for before, after, stdin in (
        (path, PCAPS / name, None),
        ("-", path, (PCAPS / name).read_bytes()),
        (PCAPS / name, "-", path.read_bytes()),
    ):
        done = run(before, after, "--fail-on", "new,gone,worse,better", stdin=stdin)
        assert (0, b"") == (done.returncode, done.stderr)
        assert b"nothing changed; 2 the same" in done.stdout.replace(b"\n", b" ")


def test_a_report_without_healthy_destinations_is_pointed_out(tmp_path, capsys):
    short, full = tmp_path / "short.json", tmp_path / "full.json"
    short.write_bytes(as_json(report(REFUSED)))
    full.write_bytes(as_json(report(REFUSED, ANSWERED)))
    status, out = told(capsys, str(short), str(full))
    assert (0, 1) == (status, out.err.count("--all"))
    assert "" == told(capsys, str(full), str(full))[1].err


def test_invalid_standard_input_is_named():
    done = run(PCAPS / "refused.pcap", "-", stdin=b"hello")
    assert (3, b"udpprobe: -: not a pcap") == (done.returncode, done.stderr[:23])
