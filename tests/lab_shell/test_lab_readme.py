"""What the README says about the lab holds."""

import re
from pathlib import Path
from textwrap import dedent

from udpprobe.lab.scenario import names, parse

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README[README.index("### udpprobe lab"):README.index("## Verdicts")]


def test_its_scenario_is_one():
    page = dedent(re.search(r"^    conclude = .*?(?=^\S)", SECTION, re.MULTILINE | re.DOTALL)[0])
    assert {"you", "home", "dns"} == parse(page, "README.md").nodes.keys()


def test_the_scenarios_it_names_ship():
    named = set(re.findall(r"(?:-s|--show) ([a-z0-9-]+)", SECTION))
    assert named
    assert named <= set(names())
