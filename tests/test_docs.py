"""What README.md and docs say is what really happens; `make docs` writes it anew."""

import json
import os
import re
import shutil
import subprocess
from textwrap import dedent

import pytest
import samples
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from msgspec.structs import replace
from published import PUBLISHED, check
from write_docs import (
    CALLS,
    COMMAND_PAGES,
    DOCS,
    OPTIONS,
    PAGES,
    SCHEMAS,
    SESSION,
    calls_table,
    is_in_lab,
    lasting,
    options_table,
    output,
    schema_text,
    schemas,
    session,
)
from write_golden import CAPTURES, GOLDEN, ROOT
from write_man import MAN
from write_man import pages as manual_pages

import udpprobe
from udpprobe.checking.config import read_config
from udpprobe.cli import COMMANDS, main
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS

SESSIONS = {
    (str(page.relative_to(ROOT)), found[1]): found[0] for page in PAGES for found in SESSION.finditer(page.read_text())
}
LINK = re.compile(r"(?<!!)\[[^]]*\]\((?!https?://|#)([^)#\s]+)")
needs_raw = pytest.mark.skipif(os.geteuid() != 0, reason="needs raw sockets")


# ---- pages


@pytest.mark.parametrize(("page", "words"), [each for each in SESSIONS if not is_in_lab(each[1])])
def test_documented_sessions_show_what_happens(page, words):
    assert SESSIONS[page, words] == session(words)


def test_a_session_ends_before_the_next_one():
    page = "    $ udpprobe one\n    told\n\n    more\n\n    $ udpprobe two\n\nText.\n\n    $ udpprobe three\n    $ udpprobe four\n"
    assert ["one", "two", "three", "four"] == [found[1] for found in SESSION.finditer(page)]
    assert "    $ udpprobe one\n    told\n\n    more\n" == SESSION.search(page)[0]


@needs_raw
@pytest.mark.live
@pytest.mark.parametrize(("page", "words"), [each for each in SESSIONS if is_in_lab(each[1])])
def test_documented_lab_sessions_show_what_happens_except_for_times(page, words):
    assert lasting(SESSIONS[page, words]) == lasting(session(words))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_page_whose_options_are_current(name):
    begin, end = OPTIONS
    text = (COMMAND_PAGES / f"{name}.md").read_text()
    assert f"\n{options_table(name)}\n" == text.partition(begin)[2].partition(end)[0]


def test_the_table_of_calls_is_current():
    begin, end = CALLS
    text = (DOCS / "why-udp-errors-vanish.md").read_text()
    assert f"\n{calls_table()}\n" == text.partition(begin)[2].partition(end)[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_have_targets(page):
    assert [] == [to for to in LINK.findall(page.read_text()) if not (page.parent / to).exists()]


def test_the_targets_of_the_monitoring_page_are_valid(tmp_path):
    block = re.search(r"^    \[defaults\].*?(?=^\S)", (DOCS / "monitoring.md").read_text(), re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "services.toml").write_text(dedent(block))
    assert [("dns.example:53", "resolvers"), ("office", None)] == [
        (each.name, each.group) for each in read_config(str(tmp_path / "services.toml"))
    ]


def test_the_python_page_names_every_public_name():
    text = (DOCS / "python.md").read_text()
    assert set(re.findall(r"udpprobe\.([A-Za-z_]+)\(?", text)) <= set(udpprobe.__all__)
    assert [] == [
        name for name in ("analyze", "scan", "trace", "mtu", "check", "to_json", "Follower") if name not in text
    ]


@needs_raw
def test_the_python_page_s_programs_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "capture.pcap").write_bytes((ROOT / "pcaps" / "refused.pcap").read_bytes())
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", (DOCS / "python.md").read_text(), re.MULTILINE)
    assert 3 == len(blocks)
    known = {}
    for block in blocks:
        exec(dedent(block).replace("timeout=60", "timeout=0.1"), known)
    assert capsys.readouterr().out.startswith("10.0.1.2 7 refused Nothing listens")
    assert 0 == known["report"].source.packets or known["report"].source.kind == "interface"


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_its_row_and_errno(verdict):
    row = re.search(rf"^\| `{verdict}` \| .* \| (\S+|its own) \|$", (DOCS / "verdicts.md").read_text(), re.MULTILINE)
    assert row[1] == {"unsent": "its own"}.get(verdict, ERRNO_OF_VERDICT.get(verdict, "\N{EN DASH}"))


# ---- schemas


def written(capsys, *words):
    main([*words, "--format", "json"])
    return json.loads(capsys.readouterr().out)


def test_schemas_are_current():
    assert {name: schema_text(each) for name, each in schemas().items()} == {
        path.stem: path.read_text() for path in SCHEMAS.glob("*.json")
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_schemas_are_valid(name):
    Draft202012Validator.check_schema(PUBLISHED[name])


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name)
def test_golden_reports_match_the_schema(capture):
    golden = json.loads((GOLDEN / f"{capture.name}.json").read_text())
    golden["version"] = golden["source"]["name"] = ""
    check(golden)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name)
def test_events_match_the_schema(capture, capsys):
    check(written(capsys, "analyze", "--events", str(capture)))


@pytest.mark.parametrize(
    "words",
    [
        ("analyze", "--group-by", "flow", "pcaps/both-sides.pcapng"),
        ("analyze", "--all", "pcaps/nmap.pcap", "pcaps/no-such.pcap"),
        ("diff", "--all", "pcaps/refused.pcap", "pcaps/too-big.pcap"),
        ("diff", "pcaps/nmap.pcap", "pcaps/silent.pcap"),
        ("explain",),
        ("explain", "refused"),
        ("explain", "ECONNREFUSED"),
        ("lab", "--list"),
        ("scan", "--list-payloads"),
        ("scan", "--dry-run", "127.0.0.1:53,123", "[::1]:53"),
    ],
    ids=" ".join,
)
def test_documents_of_commands_match_their_schemas(words, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    check(written(capsys, *words))


@needs_raw
@pytest.mark.parametrize(
    "words",
    [
        ("scan", "--retries", "0", "127.0.0.1:9", "[::1]:9"),
        ("scan", "--events", "--retries", "0", "127.0.0.1:9"),
        ("trace", "127.0.0.1:9"),
        ("trace", "127.0.0.1:9", "[::1]:9"),
        ("mtu", "127.0.0.1:9"),
        ("mtu", "--max", "100", "[::1]:9"),
        ("check", "127.0.0.1:9", "[::1]:9", "no.such.invalid:9"),
        ("check", "--min-mtu", "1400", "127.0.0.1:9"),
    ],
    ids=" ".join,
)
def test_documents_about_this_host_match_their_schemas(words, capsys):
    check(written(capsys, *words))


@needs_raw
@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("loop-3", "trace"),
        ("mpls-core", "trace"),
        ("vpn-black-hole", "mtu"),
        ("lying-router", "mtu"),
        ("firewall-rejects", "scan -p 7,53"),
        ("loop-3", "check --no-loop -p 53"),
    ],
)
def test_documents_about_the_lab_match_their_schemas(scenario, words):
    check(json.loads(output(f"lab -s {scenario} -- udpprobe {words} --format json 198.18.9.9")))


@needs_raw
@pytest.mark.live
def test_lines_of_watch_match_the_schema():
    told = output(
        'lab -- sh -c "udpprobe watch -i lab0 --count 1 --format ndjson & sleep 2;'
        ' udpprobe scan -o /dev/null --retries 0 198.18.9.9:54; wait"'
    )
    (line,) = map(json.loads, told.splitlines())
    assert ("refused", 54) == (line["verdict"], line["quoted"]["destination_port"])
    check(line, "events", "WatchedEvent")


def test_lines_of_events_match_the_schema(capsys):
    main(["analyze", "--events", "--format", "ndjson", str(ROOT / "pcaps" / "rfc4884.pcap")])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines
    for each in lines:
        check(each, "events", "Event")


def test_an_interrupted_report_matches_the_schema():
    undecided = replace(samples.REFUSED, verdict=None, errno=None)
    check(samples.parsed(replace(samples.report(undecided), interrupted=True)))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("faults"),
        lambda found: found["source"].pop("packets"),
        lambda found: found["destinations"][0].update(verdict="sad"),
        lambda found: found["destinations"][0]["findings"][0].update(first_time="yesterday"),
        lambda found: found["destinations"][0]["findings"][0].update(count="1"),
        lambda found: found["destinations"][0].update(surprise=1),
        lambda found: found.update(schema="udpprobe.report/2"),
    ],
)
def test_an_invalid_report_does_not_match_the_schema(change):
    found = json.loads(udpprobe.to_json(udpprobe.analyze(ROOT / "pcaps" / "refused.pcap")))
    check(found)
    change(found)
    with pytest.raises(ValidationError):
        check(found)


def test_manual_pages_are_current():
    assert manual_pages() == {path.name: path.read_text() for path in MAN.iterdir()}


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_manual_pages_are_valid_and_keep_text_to_be_copied():
    for path in MAN.iterdir():
        done = subprocess.run(
            ["groff", "-man", "-Tascii", "-ww", "-P-cbou", path], capture_output=True, text=True, check=True
        )
        assert "" == done.stderr
        assert "NAME" in done.stdout
    told = subprocess.run(
        ["groff", "-man", "-Tutf8", "-P-cbou", MAN / "udpprobe-trace.1"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    ).stdout
    assert "udpprobe trace --format json --fail-on loop,silent 192.0.2.1:7" in told
    assert "--report-cycles, -c N" in told
