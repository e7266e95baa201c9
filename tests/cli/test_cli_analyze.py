"""From options to the analysis and from its report to text and exit status; the analysis itself is a fake."""

import json

import pytest
from samples import ANSWERED, EVENT, EVENT_V6, LONE, LOOP, REFUSED, TOO_BIG, report

from udpprobe.cli import main
from udpprobe.core.model import Unread


def test_options_reach_the_analysis(analysis):
    assert main("analyze a - --filter udp --since 1 --until 2.5 --all --group-by flow --loop-ttl 60".split()) == 0
    assert vars(analysis.asked) == {
        "filter": "udp",
        "since_ns": 10**9,
        "until_ns": 2_500_000_000,
        "all_destinations": True,
        "group_by": "flow",
        "loop_ttl": 60,
    }
    assert analysis.paths == ["a", "-"]


def test_the_defaults_are_the_contract_s(analysis):
    assert main(["analyze", "a"]) == 0
    assert vars(analysis.asked) == {
        "filter": None,
        "since_ns": None,
        "until_ns": None,
        "all_destinations": False,
        "group_by": "destination",
        "loop_ttl": 32,
    }


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("table", "destination"),
        ("json", "{"),
        ("ndjson", '{"kind":"destination"'),
        ("csv", "kind,address"),
        ("markdown", "| destination"),
    ],
)
def test_every_format_goes_to_standard_output_alone(analysis, capsys, name, start):
    analysis.report = report(REFUSED)
    assert main(["analyze", "a", "--format", name]) == 0
    told = capsys.readouterr()
    assert (start, "") == (told.out[: len(start)], told.err)


@pytest.mark.parametrize(
    ("fail_on", "status"),
    [
        ("refused", 1),
        ("silent,refused", 1),
        ("prohibited", 1),
        ("expired", 1),
        ("loop", 0),
        ("answered", 1),
        ("silent", 0),
    ],
)
def test_fail_on_looks_at_destinations_findings_and_unmatched_errors(analysis, fail_on, status):
    analysis.report = report(REFUSED, TOO_BIG, ANSWERED, unmatched=[LONE])
    assert status == main(["analyze", "a", "--fail-on", fail_on])


def test_fail_on_a_healthy_verdict_checks_all_destinations_but_shows_no_more(analysis, capsys):
    analysis.report = report(LOOP, ANSWERED)
    assert main(["analyze", "a", "--fail-on", "answered", "--format", "json"]) == 1
    assert analysis.asked.all_destinations
    assert [each["verdict"] for each in json.loads(capsys.readouterr().out)["destinations"]] == ["loop"]


def test_all_shows_healthy_destinations(analysis, capsys):
    analysis.report = report(ANSWERED)
    assert main(["analyze", "a", "--all"]) == 0
    assert "10.0.0.1:53" in capsys.readouterr().out


def test_events_are_streamed_as_ndjson_line_by_line(analysis, tmp_path):
    path, seen = tmp_path / "events", []
    real = analysis.analyze

    def spying(inputs, options, *, on_events, **how):
        def spy(events):
            on_events(events)
            seen.append(len(path.read_text().splitlines()))

        return real(inputs, options, on_events=spy, **how)

    analysis.analyze, analysis.events = spying, [EVENT, EVENT_V6]
    assert main(["analyze", "a", "--events", "--format", "ndjson", "-o", str(path)]) == 0
    assert seen == [1, 2]


@pytest.mark.parametrize("name", ["table", "json", "csv", "markdown"])
def test_events_in_the_other_formats_are_written_at_the_end(analysis, capsys, name):
    analysis.events = [EVENT, EVENT_V6]
    assert main(["analyze", "a", "--events", "--format", name]) == 0
    told = capsys.readouterr().out
    assert told.index("203.0.113.9") < told.index("2001:db8:1111")


def test_without_the_option_events_are_not_collected(analysis, capsys):
    analysis.events = [EVENT]
    assert main(["analyze", "a"]) == 0
    assert "203.0.113.9" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["--events"], ["--fail-on", "refused"]])
def test_ctrl_c_prints_the_results_so_far_and_exits_130(analysis, capsys, words):
    analysis.report, analysis.interrupt = report(REFUSED, name="cut.pcap"), True
    assert main(["analyze", "a", *words]) == 130
    assert "cut.pcap" in capsys.readouterr().out


def test_ctrl_c_writes_a_complete_file_of_the_results_so_far(analysis, tmp_path):
    analysis.report, analysis.interrupt = report(REFUSED), True
    assert main(["analyze", "a", "-o", str(tmp_path / "out")]) == 130
    assert "198.51.100.7:53" in (tmp_path / "out").read_text()


def test_an_unwritable_file_is_reported_before_the_analysis(analysis, tmp_path, capsys):
    assert main(["analyze", "a", "-o", str(tmp_path / "no" / "out")]) == 3
    assert analysis.paths is None
    assert "cannot write" in capsys.readouterr().err


def test_the_capture_is_never_the_output(analysis, tmp_path):
    (tmp_path / "a").write_bytes(b"")
    assert main(["analyze", str(tmp_path / "a"), "-o", str(tmp_path / "a")]) == 2
    assert analysis.paths is None


@pytest.mark.parametrize(("words", "called"), [(["--no-progress"], False), (["--progress"], True), ([], False)])
def test_progress_can_be_requested(analysis, words, called):
    assert main(["analyze", "a", *words]) == 0
    assert called == callable(analysis.on_progress)


@pytest.mark.parametrize(
    ("words", "workers"),
    [
        ([], None),
        (["--workers", "3"], 3),
        (["--events"], None),
        (["--events", "--format", "ndjson"], None),
    ],
)
def test_the_number_of_workers_is_what_helps_or_what_was_requested(analysis, words, workers):
    assert main(["analyze", "a", *words]) == 0
    assert analysis.workers == workers


@pytest.mark.parametrize(("words", "captures"), [([], (("a", "b", "c"),)), (["--vantage"], (("a",), ("b",), ("c",)))])
def test_captures_from_a_list_can_be_kept_apart(analysis, tmp_path, words, captures):
    (tmp_path / "list").write_text("b\nc\n")
    assert main(["analyze", "a", "--files-from", str(tmp_path / "list"), *words]) == 0
    assert analysis.inputs.captures == captures


def test_a_list_without_further_arguments_is_enough(analysis, tmp_path):
    (tmp_path / "list").write_text("b\n")
    assert main(["analyze", "--files-from", str(tmp_path / "list")]) == 0
    assert analysis.paths == ["b"]


def test_unread_files_are_named_after_the_report_with_status_3(analysis, capsys):
    analysis.report = report(REFUSED, unread=(Unread("b", "b: no such file"),))
    assert main(["analyze", "a", "b", "--fail-on", "too-big"]) == 3
    told = capsys.readouterr()
    assert "1 file could not be read" in " ".join(told.out.split())
    assert told.err == "udpprobe: not all was read: b: no such file\n"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"unread": (Unread("b", "b: no such file"),)}, "not all was read: b: no such file\n"),
        (
            {"unread": (Unread("b", "b: is empty"), Unread("c", "c: is empty"))},
            "not all was read: b: is empty (and 1 more",
        ),
    ],
)
def test_status_3_does_not_hide_verdicts_of_fail_on(analysis, capsys, changes, why):
    analysis.report = report(REFUSED, **changes)
    assert main(["analyze", "a", "b", "--fail-on", "too-big,refused"]) == 3
    assert capsys.readouterr().err.startswith(
        f"udpprobe: --fail-on: found refused; but the answer is incomplete\nudpprobe: {why}"
    )


def test_after_ctrl_c_the_status_is_130_even_if_files_were_unread(analysis):
    analysis.report, analysis.interrupt = report(unread=(Unread("b", "b: no such file"),)), True
    assert main(["analyze", "a", "b"]) == 130


def test_a_cluster_reaches_the_analysis(analysis):
    assert main(["analyze", "a", "--cluster", "local", "--workers", "3"]) == 0
    assert ("local", 3) == (analysis.cluster, analysis.workers)
