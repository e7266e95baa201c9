"""Pages: their structure, that nothing foreign is taken for HTML, and what a browser is allowed to do with them."""

import hashlib
import html
import re
from base64 import b64encode
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from samples import (
    ANSWERED,
    EVENT,
    EVENT_V6,
    LONE,
    LOOP,
    REFUSED,
    T0_NS,
    TOO_BIG,
    UNREACHABLE_V6,
    destination,
    finding,
    report,
)
from test_reports_mtu import HOLE, OK, SILENT
from test_reports_mtu import TOO_BIG as NARROW
from test_trace_report import EXPIRED, ODD, WHOLE, report_of
from test_trace_report import LOOP as TRACE_LOOP

from udpprobe.core.model import Loop, Spread, Unread
from udpprobe.core.verdicts import VERDICTS
from udpprobe.diff import CHANGES, compare
from udpprobe.reports import OutputFormat, events_in, report_pieces
from udpprobe.reports.diff import DIFF_FORMATS
from udpprobe.reports.html import Timeline, report_html
from udpprobe.reports.mtu import MTU_FORMATS
from udpprobe.reports.trace import TRACE_FORMATS

VOID = {"meta", "link"}
OPTIONAL = {"tr", "td", "th"}
EVERYTHING = report(
    REFUSED,
    TOO_BIG,
    LOOP,
    UNREACHABLE_V6,
    ANSWERED,
    unmatched=[LONE],
    faults={"cut-icmp": 2},
    unread=(Unread("b.pcap", "no such file"),),
    dropped=3,
    cut_short=True,
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' \x1b[31m\u202e&amp;"


class Tree(HTMLParser):
    """What a page is made of; fails where an end does not fit."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.scripts, self.styles, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag in VOID:
            return
        while self.open and tag in OPTIONAL and self.open[-1] in {"td", "th"}:
            self.open.pop()
        if tag == "tr" and self.open and self.open[-1] == "tr":
            self.open.pop()
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open[-1] in OPTIONAL and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        {"script": self.scripts, "style": self.styles}.get(where, self.text).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def page(found, *events):
    timeline = Timeline()
    assert timeline.add(list(events)) == ""
    return "".join(timeline.end(found, 80))


def pages():
    yield "report", page(EVERYTHING, EVENT, EVENT_V6, replace(EVENT, verdict=None, time_ns=T0_NS + 10**9))
    yield "empty", page(report())
    yield "reporters", page(replace(EVERYTHING, group_by="reporter"))
    yield "trace", TRACE_FORMATS[OutputFormat.HTML](WHOLE, 80)
    yield "trace-loop", TRACE_FORMATS[OutputFormat.HTML](report_of([EXPIRED], [ODD], [EXPIRED], loop=TRACE_LOOP), 80)
    yield "nothing", TRACE_FORMATS[OutputFormat.HTML](report_of(), 80)
    for name, each in (("mtu", NARROW), ("ok", OK), ("hole", HOLE), ("silent", SILENT)):
        yield name, MTU_FORMATS[OutputFormat.HTML](each, 80)
    yield (
        "diff",
        DIFF_FORMATS[OutputFormat.HTML](compare(report(REFUSED, LOOP), report(ANSWERED, LOOP), ("a", "b")), 80),
    )


PAGES = dict(pages())
each_page = pytest.mark.parametrize("text", PAGES.values(), ids=PAGES)


@each_page
def test_a_page_is_complete_and_has_landmarks(text):
    tree = Tree(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    for tag in ("header", "main", "h1", "footer"):
        assert 1 == len(tree.all(tag)), tag
    assert re.search(r"<title>[^<]+ - udpprobe [a-z]+</title>\n<style>", text)
    assert [{"class": "skip", "href": "#main"}] == tree.all("a")[:1]
    ids = [attributes["id"] for _, attributes in tree.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tree.found:
        assert all(each in ids for each in attributes.get("aria-labelledby", "").split())
        assert attributes.get("href", "#main").lstrip("#") in {*ids, "data:,"}
    assert all(
        {"width=device-width, initial-scale=1"} & set(each.values())
        for each in tree.all("meta")
        if each.get("name") == "viewport"
    )


@each_page
def test_every_table_has_a_caption_and_headers_and_every_picture_a_title(text):
    tree = Tree(text)
    assert len(tree.all("caption")) == len(tree.all("thead")) == len(tree.all("table"))
    heads = re.findall(r"<thead>(.*?)</thead>", text)
    assert all(head.count("<th ") == head.count('scope="col"') > 1 for head in heads)
    assert text.count("\n<tr") == text.count("<th>")
    for picture in re.findall(r"<svg .*?</svg>", text, re.DOTALL):
        assert 'role="img"' in picture
        assert re.search(r"<title id=.*?>[^<]+</title><desc id=.*?>[^<]+</desc>", picture)


@each_page
def test_the_policy_allows_what_is_in_the_file_and_nothing_else(text):
    tree = Tree(text)
    policy = next(each["content"] for each in tree.all("meta") if each.get("http-equiv") == "Content-Security-Policy")

    def hashed(said):
        return f"'sha256-{b64encode(hashlib.sha256(said.encode()).digest()).decode()}'"

    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "style-src": hashed(tree.styles[0]),
        "script-src": hashed(tree.scripts[-1]),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert text.index("Content-Security-Policy") < text.index("<style>")
    run = [each for each in tree.all("script") if each.get("type") != "application/json"]
    assert ([{}], 1) == (run, len(tree.styles))
    for tag, attributes in tree.found:
        assert not {name for name in attributes if name.startswith("on") or name in {"style", "src", "action"}}, tag
    assert "http" not in re.sub(r"http-equiv|--format", "", "".join(tree.text))


def hostile_pages():
    odd = finding("rejected", (4, 3, 3), HOSTILE, notes=(HOSTILE,), rtt_ms=Spread(1, 1, 1))
    loop = finding("loop", (4, 11, 0), HOSTILE, loop=Loop((HOSTILE, HOSTILE + "2"), 3))
    found = report(
        destination(HOSTILE, 53, "rejected", odd, loop, notes=(HOSTILE,), zone=HOSTILE),
        unmatched=[replace(LONE, address=HOSTILE)],
        name=HOSTILE,
        faults={HOSTILE: 1},
        unread=(Unread(HOSTILE, HOSTILE),),
    )
    yield page(
        found, replace(EVENT, reporter=HOSTILE, notes=(HOSTILE,), quoted=replace(EVENT.quoted, destination=HOSTILE))
    )
    bad = replace(EXPIRED, address=HOSTILE, notes=(HOSTILE,), reason=HOSTILE, verdict=HOSTILE)
    yield TRACE_FORMATS[OutputFormat.HTML](replace(report_of([bad], [EXPIRED]), interface=HOSTILE, advice=HOSTILE), 80)
    yield MTU_FORMATS[OutputFormat.HTML](
        replace(
            NARROW,
            reports=(replace(NARROW.reports[0], reporter=HOSTILE, notes=(HOSTILE,)),),
            interface=HOSTILE,
            notes=(HOSTILE,),
        ),
        80,
    )
    yield DIFF_FORMATS[OutputFormat.HTML](compare(report(), found, (HOSTILE, HOSTILE)), 80)


@pytest.mark.parametrize("text", [*hostile_pages()], ids=["report", "trace", "mtu", "diff"])
def test_untrusted_text_cannot_become_html(text):
    tree = Tree(text)
    assert not tree.all("img")
    assert len(tree.all("script")) <= 2
    assert "alert(1)" in "".join(tree.text)
    assert not {name for _, attributes in tree.found for name in attributes if name.startswith("on")}
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "alert" not in "".join(tree.scripts)


def test_the_summary_says_what_happened_where_when_and_how_certainly():
    said = " ".join(Tree(PAGES["report"]).text)
    for words in (
        "4 destinations: 1 refused, 1 too-big, 1 loop, 1 unreachable; 2 errors without a datagram",
        "reported by 198.51.100.7",
        "2023-11-14 22:13:20 to 22:13:21 UTC",
        "matched with certainty to the datagram that caused them",
        "2 without their datagram",
        "Nothing listens on 198.51.100.7:53",
    ):
        assert words in html.unescape(said), words
    assert "Nothing failed" in PAGES["empty"]


def test_an_interrupted_report_says_so():
    found = replace(report(REFUSED, replace(ANSWERED, verdict=None)), interrupted=True)
    text = " ".join(Tree(page(found)).text)
    assert "1 destination: 1 refused; interrupted" in text
    assert "undecided" in text
    assert "undecided, not reached" in TRACE_FORMATS[OutputFormat.HTML](
        replace(report_of(), verdict=None, reached=False), 80
    )
    assert "undecided" in MTU_FORMATS[OutputFormat.HTML](replace(SILENT, verdict=None), 80)


def test_empty_sections_are_left_out():
    headings = re.findall(r"<h2 [^>]*>(.*?)</h2>", PAGES["empty"])
    assert ["What was read"] == headings
    assert [
        "What happened",
        "What to do",
        "Errors over time",
        "Loops",
        "Who reports errors about whom",
        "Round-trip times",
        "All destinations",
        "Errors one by one",
        "What was read",
    ] == re.findall(r"<h2 [^>]*>(.*?)</h2>", PAGES["report"])


@pytest.mark.parametrize("v6", [False, True])
def test_ten_thousand_destinations_fit_into_a_megabyte_and_the_rest_is_summed_up(v6):
    def one(number):
        address = f"2001:db8:{number:x}:1111:2222:3333:4444:{number:x}" if v6 else f"10.0.{number >> 8}.{number & 255}"
        return destination(
            address,
            53,
            "unreachable",
            finding("unreachable", (4, 3, 1), "192.0.2.1", number % 9 + 1, rtt_ms=Spread(1, 2, 3)),
        )

    text = page(report(*map(one, range(10_000)), unmatched=[LONE] * 1000), *[EVENT] * 1000)
    assert len(text.encode()) < 1_000_000
    shown, left = text.count("<th>10.") + text.count("<th>[2001:db8"), re.search(r"([\d,]+) more are left out", text)
    lone = re.search(r"([\d,]+) without datagram", text)
    left_out = int(left[1].replace(",", "")) - (int(lone[1].replace(",", "")) if lone else 0)
    assert 10_000 == shown + left_out
    assert shown > 4_000
    Tree(text)


def test_frequent_verdicts_do_not_hide_rare_ones():
    many = [
        destination(
            f"10.0.{number >> 8}.{number & 255}",
            53,
            "refused",
            finding("refused", (4, 3, 3), f"10.0.{number >> 8}.{number & 255}"),
        )
        for number in range(20_000)
    ]
    text = page(report(*many, LOOP, UNREACHABLE_V6, unmatched=[LONE]))
    assert len(text.encode()) < 1_000_000
    for words in (
        "<th>198.51.100.99:33434",
        "<th>192.0.2.77",
        "the route to 198.51.100.99:33434 loops",
        "and 19997 more: start the service",
        " refused; --format json has all",
    ):
        assert words in text, words


def test_with_many_pairs_the_ports_of_a_host_share_a_ribbon():
    def ribbons(ports):
        text = page(
            report(
                *(
                    destination("192.0.2.1", port, "rejected", finding("rejected", (4, 3, 3), "192.0.2.9"))
                    for port in range(ports)
                )
            )
        )
        return re.findall(r'class="ribbon rejected".*?<title>(.*?)</title>', text)

    assert 50 == len(ribbons(50))
    assert ["192.0.2.9 about 192.0.2.1: 51 rejected"] == ribbons(51)


def test_rows_are_complete_without_javascript():
    text = html.unescape(re.sub(r"<[^>]+>", " ", PAGES["report"]))
    for each in (REFUSED, TOO_BIG, LOOP, UNREACHABLE_V6):
        for found in each.findings:
            assert found.reporter in text
    assert "MTU 1400" in text
    assert "no such file" in text


def test_html_is_written_like_the_other_formats():
    assert "".join(report_pieces(EVERYTHING, OutputFormat.HTML, 80)) == "".join(report_html(EVERYTHING))
    writer = events_in(OutputFormat.HTML, lambda: None)
    assert "" == writer.add([EVENT])
    assert "Errors one by one" in "".join(writer.end(EVERYTHING, 80))


def test_the_script_draws_all_errors():
    events = [
        replace(EVENT, time_ns=T0_NS + number * 10**6, verdict=("refused", "loop")[number % 2]) for number in range(999)
    ]
    data = re.search(r'<script type="application/json" id="bins">(.*?)</script>', page(report(REFUSED), *events))[1]
    import json  # noqa: PLC0415

    found = json.loads(data)
    assert ["refused", "loop"] == found["kinds"]
    assert [500, 499] == [sum(row[kind] for row in found["bins"]) for kind in (1, 2)]
    assert all(0 <= row[0] < found["count"] for row in found["bins"])


# ---- colours


CSS = re.search(r"<style>(.*?)</style>", PAGES["empty"], re.DOTALL)[1]


def schemes():
    light, dark = (
        dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", block))
        for block in re.findall(r":root\{(.*?)\}", CSS, re.DOTALL)[:2]
    )
    return {"light": light, "dark": light | dark}


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(each * 2 for each in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(name):
    colours = schemes()[name]
    for ground in ("bg", "card"):
        for text in ("fg", "soft", "link"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for mark in (*VERDICTS, "range"):
            assert contrast(colours[mark], colours[ground]) >= 3, (mark, ground)


@pytest.mark.parametrize("word", [*VERDICTS, *CHANGES])
def test_every_verdict_and_change_has_a_colour(word):
    assert f".k-{word}" in CSS
