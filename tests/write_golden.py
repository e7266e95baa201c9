"""Write tests/golden, the sessions of README.md and payloads.toml anew (`make golden`); review the diff."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

from samples import parsed

from udpprobe.capture.inputs import Inputs
from udpprobe.cli import main as udpprobe
from udpprobe.commands.analyze import Options, analyze
from udpprobe.payloads import recipes

ROOT = Path(__file__).parents[1]
README, PCAPS = ROOT / "README.md", ROOT / "pcaps"
GOLDEN = Path(__file__).parent / "golden"
CAPTURES = sorted(path for path in PCAPS.iterdir() if path.suffix in {".pcap", ".pcapng"})


SESSION = re.compile(r"^    \$ udpprobe (.+)\n(?:    .*\n|\n(?=    ))*", re.MULTILINE)


def golden_file(capture):
    return GOLDEN / f"{capture.name}.json"


def report_text(capture):
    """The whole report, but for what says where and by which version it was made."""
    told = parsed(analyze(Inputs.of(str(capture)), Options(all_destinations=True)))
    del told["version"], told["source"]["name"]
    return json.dumps(told, indent=1) + "\n"


def session(words):
    """A command and its output, as README.md shows them."""
    shown = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(shown):
        udpprobe(shlex.split(words))
    lines = [f"$ udpprobe {words}", *shown.getvalue().splitlines()]
    return "".join(f"    {line}".rstrip() + "\n" for line in lines)


def main():
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.json"):
        old.unlink()
    for capture in CAPTURES:
        golden_file(capture).write_text(report_text(capture))
    recipes.TABLE.write_text(recipes.table())
    README.write_text(SESSION.sub(lambda found: session(found[1]), README.read_text()))


if __name__ == "__main__":
    main()
