"""Pages as Chromium shows them: no complaint on its console, tables that sort and filter, pictures that zoom.

Chromium is driven through a pipe (--remote-debugging-pipe), so nothing must be installed beside it.
"""

import base64
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from msgspec.structs import replace
from samples import ANSWERED, EVENT, LONE, LOOP, REFUSED, T0_NS, TOO_BIG, UNREACHABLE_V6, report
from test_html import HOSTILE, PAGES, hostile_pages, page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")]
AXE = find_spec("axe_core_python")  # only its axe.min.js is of use
PATIENCE_S = 60
TO_3_AND_4 = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for descriptor, wanted in zip(ours, (3, 4)):
    os.dup2(descriptor, wanted)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One Chromium with one page; `console` has what it complained of."""

    def __init__(self, profile):
        self._in, theirs_out = os.pipe()
        theirs_in, self._out = os.pipe()
        words = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        # descriptors 3 and 4 are the protocol's
        self._process = subprocess.Popen(
            [sys.executable, "-c", TO_3_AND_4, str(theirs_in), str(theirs_out), *words],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._rest, self._session, self.console, self.events = 0, b"", None, [], []
        target = next(each for each in self.ask("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self):
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def _next(self):
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(end - time.monotonic(), 0))
            chunk = os.read(self._in, 1 << 16) if ready else b""
            assert chunk, "Chromium says nothing more"
            self._rest += chunk
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method, **params):
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        os.write(
            self._out, json.dumps({"id": self._number, "method": method, "params": params, **session}).encode() + b"\0"
        )
        while (said := self._next()).get("id") != self._number:
            self._note(said)
        assert "error" not in said, said
        return said["result"]

    def _note(self, said):
        self.events.append(said.get("method"))
        if said.get("method") in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}:
            self.console.append(said["params"])
        if said.get("method") == "Network.requestWillBeSent" and not said["params"]["request"]["url"].startswith(
            ("file:", "about:", "data:")
        ):
            self.console.append(said["params"]["request"]["url"])

    def open(self, path, width=1280, *, dark=False):
        self.console, self.events = [], []
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        self.ask("Page.navigate", url=path.as_uri())
        while "Page.loadEventFired" not in self.events:
            self._note(self._next())

    def run(self, script):
        said = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def screenshot(self):
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture
def shown(browser, tmp_path):
    def show(text, **how):
        path = tmp_path / "page.html"
        path.write_text(text)
        browser.open(path, **how)
        return browser

    return show


EVENTS = [
    replace(EVENT, time_ns=T0_NS + number * 10**8, verdict=("refused", "loop")[number > 700]) for number in range(1000)
]
FULL = page(report(REFUSED, TOO_BIG, LOOP, UNREACHABLE_V6, ANSWERED, unmatched=[LONE]), *EVENTS)
FIRST = "document.querySelector('#destinations table')"


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_page_shows_no_console_error_and_fits_the_screen(shown, name, width, dark):
    browser = shown(PAGES[name], width=width, dark=dark)
    assert [] == browser.console
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)"
    )
    size = struct.unpack(">2I", browser.screenshot()[16:24])
    assert width - 20 < size[0] <= width  # a scroll bar may take some
    assert size[1] >= 500


def test_a_table_sorts_by_numbers_and_by_words_and_back(shown):
    browser = shown(FULL)
    column = f"[...{FIRST}.tBodies[0].rows].map(row => row.cells[2].textContent)"
    assert ["12", "3", "33.0k", "5", "3", "0", "2"] == browser.run(column)
    click = f"{FIRST}.querySelectorAll('thead button')[2].click()"
    browser.run(click)
    assert ["33.0k", "12", "5", "3", "3", "2", "0"] == browser.run(column)
    assert "descending" == browser.run(f"{FIRST}.querySelectorAll('th')[2].getAttribute('aria-sort')")
    browser.run(click)
    assert ["0", "2", "3", "3", "5", "12", "33.0k"] == browser.run(column)
    browser.run(f"{FIRST}.querySelector('thead button').click()")
    names = browser.run(f"[...{FIRST}.tBodies[0].rows].map(row => row.cells[0].textContent)")
    assert names[-1].startswith("203.0.113.9")
    assert 1 == browser.run(f"{FIRST}.querySelectorAll('[aria-sort]').length")
    assert [] == browser.console


def test_a_table_filters_by_text_and_by_verdict(shown):
    browser = shown(FULL)
    tools = "document.querySelector('#destinations .tools')"
    visible = f"[...{FIRST}.tBodies[0].rows].filter(row => !row.hidden).length"
    whole = browser.run(visible)

    def fill(what, text, event):
        browser.run(
            f"{{ const it = {tools}.querySelector('{what}'); it.value = '{text}'; "
            f"it.dispatchEvent(new Event('{event}')); }}"
        )

    fill("input", "198.51", "input")
    assert 2 == browser.run(visible)
    assert f"2 of {whole} rows" == browser.run(f"{tools}.querySelector('output').textContent")
    fill("select", "loop", "change")
    assert 1 == browser.run(visible)
    fill("input", "", "input")
    fill("select", "", "change")
    assert whole == browser.run(visible)
    assert [] == browser.console


def test_the_chart_of_errors_zooms_in_and_out(shown):
    browser = shown(FULL)
    tools = "[...document.querySelectorAll('#over-time .tools button')]"
    bars = "document.querySelectorAll('#bars rect').length"
    loops = "document.querySelectorAll('#bars rect.loop').length"
    before = browser.run(bars)
    assert browser.run(loops) > 0
    browser.run(f"{tools}.find(each => each.textContent === 'Zoom in').click()")
    browser.run(f"{tools}.find(each => each.textContent === 'Earlier').click()")
    assert 0 == browser.run(loops)
    browser.run(f"{tools}.find(each => each.textContent === 'All').click()")
    assert before == browser.run(bars)
    assert [] == browser.console


@pytest.mark.parametrize("number", range(4), ids=["report", "trace", "mtu", "diff"])
def test_hostile_text_runs_no_script(shown, number):
    browser = shown([*hostile_pages()][number])
    assert [] == browser.console
    assert 0 == browser.run("document.images.length")
    assert HOSTILE[:20] in browser.run("document.body.textContent")


def test_a_page_is_complete_without_javascript(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(FULL)
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        assert [] == browser.console
        tree = browser.ask("DOM.getDocument", depth=-1)
        text = json.dumps(tree)
        for word in ("Nothing listens on", "198.51.100.7:53", "33.0k", "203.0.113.9:4500"):
            assert word in text
        assert '"SELECT"' not in text
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_every_control_is_focusable_and_has_a_name(shown):
    browser = shown(FULL)
    nameless = browser.run("""
        [...document.querySelectorAll("button, input, select, a[href], [tabindex]")].filter(each =>
            !(each.textContent.trim() || each.labels?.[0]?.textContent.trim() || each.getAttribute("aria-label"))).length""")
    assert 0 == nameless
    assert 0 == browser.run("""[...document.querySelectorAll(".scroll")].filter(each => each.tabIndex !== 0).length""")


def complaints_of_axe(browser):
    """(rule, what is wrong, where) of each."""
    browser.run(Path(AXE.submodule_search_locations[0], "axe.min.js").read_text() + "; null")
    found = browser.run("axe.run().then(found => ({passes: found.passes.length, violations: found.violations}))")
    assert found["passes"] > 10  # it did look
    return [
        (rule["id"], node["failureSummary"], node["html"][:200])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.skipif(not AXE, reason="axe-core-python is not installed")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_problem_in_a_page(shown, name, dark):
    assert [] == complaints_of_axe(shown(PAGES[name], dark=dark))


@pytest.mark.skipif(not AXE, reason="axe-core-python is not installed")
def test_axe_would_find_grey_on_white_and_a_button_without_a_name(shown):
    browser = shown(FULL)
    browser.run("""document.querySelector("main").insertAdjacentHTML("beforeend", "<button></button><p id=grey>grey</p>");
        document.querySelector("#grey").style.color = "#ccc";""")
    assert {"button-name", "color-contrast"} == {rule for rule, *_ in complaints_of_axe(browser)}
