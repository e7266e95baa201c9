"""The command line of trace: what it takes, where its rounds go, how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from udpprobe.cli import main
from udpprobe.commands import trace as tracing
from udpprobe.engines import wire
from udpprobe.errors import UsageError
from udpprobe.tracing.model import Hop, Target, TraceReport


def report_of(verdict="refused", address="192.0.2.7"):
    return TraceReport("1.0", Target(address, 7), "192.0.2.1", (40_000,), "eth0", 0, verdict, None, False, (), None)


@pytest.fixture
def asked(monkeypatch):
    """What trace is asked for, by a stand-in that sends nothing: a round, or two with `--watch`."""
    calls = []

    def stand_in(endpoints, options, on_change, *, interval_s, rounds, **_how):
        calls.append((endpoints[0], options, on_change, interval_s))
        for verdict in ["refused"] if rounds == 1 else ["refused", "loop"]:
            for place, _ in enumerate(endpoints):
                address = "192.0.2.7" if place == 0 else f"192.0.2.{100 + place}"
                yield place, tracing.Traced(report_of(verdict, address), interrupted=False)

    monkeypatch.setattr(tracing, "trace_all", stand_in)
    return calls


def test_a_line_of_ndjson_is_written_once_its_hop_is_settled(monkeypatch, capsys):
    hops = tuple(Hop(ttl, (), 3, 3) for ttl in (1, 2, 3))

    def stand_in(_destinations, _options, _on_change, *, on_hops, rounds, **_how):
        for _ in range(rounds or 2):
            on_hops(0, Target("192.0.2.7", 7), hops[:2])
            assert [1, 2] == [json.loads(line)["ttl"] for line in capsys.readouterr().out.splitlines()]
            yield 0, tracing.Traced(replace(report_of(), hops=hops), interrupted=False)
            told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert [("hop", 3), ("summary", None)] == [(line["kind"], line.get("ttl")) for line in told]

    monkeypatch.setattr(tracing, "trace_all", stand_in)
    assert 0 == main(["trace", "192.0.2.7:7", "--format", "ndjson"])
    assert 130 == main(["trace", "192.0.2.7:7", "--format", "ndjson", "--watch"])


def test_options_reach_the_trace(asked):
    assert 0 == main(
        (
            "trace [2001:db8::1]:53 --max-ttl 40 --first-ttl 2 -q 5 --flows 3 --timeout 1 --rate 9 --payload empty "
            "--size 99 --source-port 77 --source-address 2001:db8::2 -i lo --format json"
        ).split()
    )
    ((destination, options, on_change, interval_s),) = asked
    assert wire.Endpoint((0x2001_0DB8 << 32, 1), 53) == destination
    assert tracing.TraceOptions(40, 2, 5, 1, 9, 3, "lo", "2001:db8::2", 77, "empty", 99) == options
    assert (None, None) == (on_change, interval_s)


def test_without_a_port_the_port_of_traceroute_is_used(asked):
    assert 0 == main(["trace", "192.0.2.1"])
    assert 33434 == asked[0][0].port


@pytest.mark.parametrize(
    "words",
    [
        ["192.0.2.0/24:53"],
        ["192.0.2.1:53,54"],
        ["192.0.2.1", "--flows", "0"],
        [],
        ["192.0.2.1", "--fail-on", "nonsense"],
    ],
)
def test_more_than_one_destination_is_a_usage_error(asked, capsys, words):
    assert 2 == main(["trace", *words])
    assert "" == capsys.readouterr().out
    assert [] == asked


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("fail_on", "status"), [("refused", 1), ("loop,silent", 0)])
def test_a_verdict_named_by_fail_on_fails(capsys, fail_on, status):
    assert status == main(["trace", "192.0.2.1:7", "--fail-on", fail_on])
    assert "192.0.2.7:7: refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-on", "loop,unsent"], "udpprobe: --fail-on: found unsent; but the answer is incomplete\n"),
        (["--fail-on", "loop"], ""),
        ([], ""),
    ],
)
def test_status_3_does_not_hide_verdicts_of_fail_on(monkeypatch, capsys, words, said):
    monkeypatch.setattr(
        tracing,
        "trace_all",
        lambda *_, **__: iter(
            [(0, tracing.Traced(report_of("unsent"), interrupted=False, failure="there is no route to 192.0.2.7"))]
        ),
    )
    assert 3 == main(["trace", "192.0.2.1:7", *words])
    assert f"{said}udpprobe: there is no route to 192.0.2.7\n" == capsys.readouterr().err


def test_watching_shows_the_first_round_and_then_changes(asked, capsys):
    assert 130 == main(["trace", "192.0.2.1:7", "--watch", "--interval", "0"])
    assert capsys.readouterr().out.endswith("verdict: refused -> loop\n")
    assert 0 == asked[0][3]


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("output_format", "verdicts"), [("ndjson", ["refused", "loop"]), ("json", ["loop"])])
def test_watching_streams_lines_and_ends_with_the_last_round_of_a_document(capsys, output_format, verdicts):
    assert 130 == main(["trace", "192.0.2.1:7", "--watch", "--format", output_format])
    out = capsys.readouterr().out
    lines = out.splitlines() if output_format == "ndjson" else [out]
    assert verdicts == [json.loads(line)["verdict"] for line in lines]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True

    def fileno(self):
        raise OSError


def run_on_terminal(monkeypatch, *words, **environment):
    """What --watch leaves on a terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in ({"TERM": "xterm"} | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Terminal())
    assert 130 == main(["trace", "192.0.2.1:7", "--watch", *words])
    return sys.stdout.getvalue()


ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"


def test_a_watch_on_a_terminal_ends_with_a_summary(asked, monkeypatch):
    screen, left = run_on_terminal(monkeypatch).split(NORMAL)
    assert None is not asked[0][2]
    assert ALTERNATE in screen
    assert "verdict: refused -> loop" in screen
    assert "192.0.2.7:7: loop" in left
    assert left.endswith("verdict: refused -> loop\n")


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("words", "environment", "is_coloured"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        (["--color", "never"], {}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
    ],
)
def test_colour_follows_the_option(monkeypatch, words, environment, is_coloured):
    told = run_on_terminal(monkeypatch, *words, **environment)
    assert is_coloured == bool(re.search(r"\x1b\[[\d;]+m", told.split(NORMAL)[0]))
    assert is_coloured == bool(re.search(r"\x1b\[[\d;]+m", told.split(NORMAL)[1]))


@pytest.mark.usefixtures("asked")
def test_a_dumb_terminal_gets_lines(monkeypatch):
    told = run_on_terminal(monkeypatch, TERM="dumb")
    assert "\x1b" not in told
    assert told.endswith("verdict: refused -> loop\n")


@pytest.mark.usefixtures("asked")
def test_with_a_file_for_the_document_the_terminal_shows_the_screen(monkeypatch, tmp_path):
    path = tmp_path / "ticket.json"
    assert ALTERNATE in run_on_terminal(monkeypatch, "--format", "json", "-o", str(path))
    assert ["refused", "loop"] == [json.loads(path.read_text())["changes"][0][name] for name in ("before", "after")]


@pytest.mark.usefixtures("asked")
def test_after_its_cycles_a_trace_reports_all_of_them(capsys):
    assert 0 == main(["trace", "192.0.2.1:7", "--report-cycles", "2", "--format", "json"])
    said = json.loads(capsys.readouterr().out)
    assert ("loop", 2, 1) == (said["verdict"], said["rounds"], len(said["changes"]))
    assert 1 == main(["trace", "192.0.2.1:7", "--report-cycles", "2", "--fail-on", "refused"])
    assert re.fullmatch(r"\s*192\.0\.2\.7:7: loop\n\S+ verdict: refused -> loop\n", capsys.readouterr().out)
    assert 130 == main(["trace", "192.0.2.1:7", "--report-cycles", "3", "--format", "json"])


@pytest.mark.parametrize(
    "options", [tracing.TraceOptions(max_ttl=3, first_ttl=4), tracing.TraceOptions(max_ttl=255, flows=64, queries=100)]
)
def test_contradicting_options_are_reported(options):
    with pytest.raises(UsageError):
        tracing.trace(None, options)


@pytest.mark.parametrize(
    ("options", "targets"),
    [(tracing.TraceOptions(), tracing.MOST_TARGETS + 1), (tracing.TraceOptions(source_port=65_535, flows=1), 2)],
)
def test_too_many_targets_are_reported(options, targets):
    tracing.guard(options, targets - 1)
    with pytest.raises(UsageError):
        next(tracing.trace_all([None] * targets, options))


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("watch", "verdicts"), [([], ["refused"]), (["-c", "2"], ["loop"])])
def test_a_document_has_all_targets(capsys, watch, verdicts):
    words = ["trace", *watch, "192.0.2.1:7", "192.0.2.2:7"]
    assert 0 == main([*words, "--format", "json"])
    said = json.loads(capsys.readouterr().out)
    assert ("udpprobe.traces/1", ["192.0.2.7", "192.0.2.101"]) == (
        said["schema"],
        [each["target"]["address"] for each in said["traces"]],
    )
    assert verdicts * 2 == [each["verdict"] for each in said["traces"]]
    assert 0 == main([*words, "--format", "markdown"])
    assert 2 == capsys.readouterr().out.count("| hop")
    assert 2 == main([*words, "--format", "html"])
    assert capsys.readouterr().err.startswith("udpprobe: --format html is one page of one target")


@pytest.mark.usefixtures("asked")
def test_changes_name_their_target_if_there_are_several(capsys):
    assert 130 == main(["trace", "192.0.2.1:7", "192.0.2.2:7", "--watch"])
    told = capsys.readouterr().out
    assert re.search(r"T\S+ 192\.0\.2\.7:7 verdict: refused -> loop\n", told)
    assert told.endswith(" 192.0.2.101:7 verdict: refused -> loop\n")


def test_a_name_without_address_is_reported_and_the_others_are_traced(asked, capsys, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(OSError("nobody knows it")))
    assert 3 == main(["trace", "nowhere.invalid:7", "192.0.2.1:7"])
    told = capsys.readouterr()
    assert "192.0.2.7:7: refused" in told.out
    assert ("nowhere.invalid" in told.err, 1) == (True, told.err.count("\n"))
    assert 1 == len(asked)
    assert 3 == main(["trace", "nowhere.invalid:7", "nobody.invalid:7"])
    told = capsys.readouterr()
    assert ("", 2) == (told.out, told.err.count("\n"))


@given(st.integers(1, 255), st.integers(1, 64), st.integers(1, 100))
def test_accepted_options_need_no_more_probes_than_a_round_allows(max_ttl, flows, queries):
    options = tracing.TraceOptions(max_ttl=max_ttl, flows=flows, queries=queries)
    try:
        tracing.guard(options)
    except UsageError:
        return
    assert flows * max_ttl * (queries + 3) <= tracing.MOST_OF_A_ROUND


@pytest.mark.skipif(os.geteuid() != 0, reason="needs raw sockets")
def test_a_closed_port_of_this_host_is_refused(capsys):
    assert 0 == main(["trace", "127.0.0.1:9", "--format", "json"])
    said = json.loads(capsys.readouterr().out)
    assert ("refused", True, "lo") == (said["verdict"], said["reached"], said["interface"])
    assert [("127.0.0.1", 3, 3)] == [
        (each["address"], each["type"], each["code"]) for hop in said["hops"] for each in hop["reporters"]
    ]
