"""Write pcaps/README.md from pcaps/expected.toml: `pcaps_readme.py`."""

from __future__ import annotations

import tomllib
from pathlib import Path

PCAPS = Path(__file__).parents[1] / "pcaps"
EXPECTED = tomllib.loads((PCAPS / "expected.toml").read_text())
INTRODUCTION = """\
# Captures of UDP and the errors about it

Recorded from real kernels in network namespaces by `python tests/live/record.py --into pcaps/`
(Linux 6.18; as root; what it plays stands in [scenarios.toml](../tests/live/scenarios.toml)), or
crafted, where no kernel at hand emits such a thing, by `python tests/craft.py --into pcaps/`.
Nearly all hold both families. In recorded ones 10.0.N.1 and 10.0.N.2 (2001:db8:N::1 and ::2) are
the two ends of link N, counted from the client; in crafted ones a number in parentheses is the
case, and the end of its destination's address.

This table is made from [expected.toml](expected.toml) by `python tests/pcaps_readme.py`. The file
says in full what must be concluded, and the tests hold `udpprobe analyze` to it.

| file | made | shows | verdicts |
|---|---|---|---|
"""


def main():
    (PCAPS / "README.md").write_text(readme())


def readme():
    return INTRODUCTION + "".join(line(name, entry) for name, entry in EXPECTED.items())


def line(name, entry):
    return f"| [{name}]({name}) | {entry['how']} | {entry['shows']} | {verdicts(entry)} |\n"


def verdicts(entry):
    return ", ".join(dict.fromkeys(row["verdict"] for row in entry["destinations"]))


if __name__ == "__main__":
    main()
