"""What the docs say about the lab holds."""

import re
from pathlib import Path
from textwrap import dedent

from udpprobe.lab.scenario import names, parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lab.md").read_text()
TEXT = "".join(path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))


def test_the_documented_scenario_is_valid():
    page = dedent(re.search(r"^    conclude = .*?(?=^\S)", PAGE, re.MULTILINE | re.DOTALL)[0])
    assert {"you", "home", "dns"} == parse(page, "lab.md").nodes.keys()


def test_the_documented_scenarios_exist():
    named = set(re.findall(r"udpprobe lab (?:-s|--show) ([a-z0-9-]+)", TEXT))
    assert named
    assert named <= set(names())
